//! The ranges of numbers in configurations. Every configuration type checks its fields with these,
//! so that a value is in range for `adapt`, for loading and for a single layer alike, or for none.

use crate::error::Error;

/// Refuse the value of a field.
pub(crate) fn refuse<T>(
    field: &'static str,
    value: impl ToString,
    expected: &'static str,
) -> Result<T, Error> {
    let value = value.to_string();
    Err(Error::Config {
        field,
        value,
        expected,
    })
}

/// A count that cannot be zero.
pub(crate) fn at_least_one(field: &'static str, value: usize) -> Result<(), Error> {
    if value == 0 {
        return refuse(field, value, "expected at least 1");
    }
    Ok(())
}

/// Counts that may be left out, and cannot be zero.
pub(crate) fn counts<const N: usize>(
    fields: [(&'static str, Option<usize>); N],
) -> Result<(), Error> {
    let given = fields
        .into_iter()
        .filter_map(|(field, count)| Some((field, count?)));
    given
        .into_iter()
        .try_for_each(|(field, count)| at_least_one(field, count))
}

/// The entries of a list or a mapping. Some models have ten thousand modules, and every entry is
/// compared with all of them.
pub(crate) fn not_too_many(field: &'static str, entries: usize) -> Result<(), Error> {
    const MOST: usize = 20_000;
    if entries > MOST {
        let value = format!("a list of {entries} entries");
        return refuse(field, value, "expected at most 20,000");
    }
    Ok(())
}

/// A scale. PEFT takes any number here; zero and negative ones switch an adapter off or turn its
/// sign, and PiSSA divides by the scale, so that such a value is an error in practice.
pub(crate) fn above_zero(field: &'static str, value: f64) -> Result<(), Error> {
    if !(value.is_finite() && value > 0.0) {
        return refuse(
            field,
            value,
            "expected a finite number above 0; to switch an adapter off or change its sign, give \
             it a factor with `with_active_adapters`",
        );
    }
    Ok(())
}

/// The probability of a dropout. PEFT's own range includes 1, which drops everything: Burn divides
/// by `1 - p` and does not take it.
pub(crate) fn below_one(field: &'static str, value: f64) -> Result<(), Error> {
    if !(0.0..1.0).contains(&value) {
        return refuse(
            field,
            value,
            "expected at least 0 and below 1; an adapter that is only used for inference can have 0",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_each_range() {
        assert!(at_least_one("r", 0).is_err() && at_least_one("r", 1).is_ok());
        for value in [0.0, -1.0, f64::INFINITY, f64::NAN] {
            assert!(above_zero("lora_alpha", value).is_err(), "{value}");
        }
        assert!(above_zero("lora_alpha", 1e-300).is_ok());
        for value in [-1e-9, 1.0, f64::NAN] {
            assert!(below_one("lora_dropout", value).is_err(), "{value}");
        }
        assert!(below_one("lora_dropout", 0.0).is_ok());
        assert!(below_one("lora_dropout", 0.999).is_ok());
    }

    #[test]
    fn the_error_names_field_value_and_fix() {
        let text = below_one("lora_dropout", 1.0).unwrap_err().to_string();
        for part in ["`lora_dropout`", "is 1:", "below 1", "can have 0"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
