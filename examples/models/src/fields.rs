//! Checks of the fields of a `config.json`.

use std::fmt::Display;

use crate::error::Error;
use crate::message::bytes;

/// No model comes near; products of two sizes fit in 64 bits.
const LARGEST: usize = 1 << 24;
/// No model comes near.
const LAYERS: usize = 1 << 12;
/// Bytes of a table or a matrix: no model comes near.
const TABLE: u128 = 1 << 40;

/// An [`Error::Config`] for a field.
pub(crate) fn refuse<T>(
    field: &'static str,
    value: impl Display,
    expected: impl Into<String>,
) -> Result<T, Error> {
    Err(Error::Config {
        path: None,
        field,
        value: value.to_string(),
        expected: expected.into(),
    })
}

/// An [`Error::Config`] unless `holds`.
pub(crate) fn require(
    holds: bool,
    field: &'static str,
    value: impl Display,
    expected: impl Into<String>,
) -> Result<(), Error> {
    if holds {
        Ok(())
    } else {
        refuse(field, value, expected)
    }
}

/// The `model_type`, where the file states one.
pub(crate) fn check_model_type(found: Option<&str>, expected: &str) -> Result<(), Error> {
    match found {
        Some(found) => require(
            found == expected,
            "model_type",
            format!("`{found}`"),
            expected,
        ),
        None => Ok(()),
    }
}

/// A size of a layer.
pub(crate) fn check_size(field: &'static str, value: usize) -> Result<(), Error> {
    let fits = (1..=LARGEST).contains(&value);
    require(fits, field, value, format!("1 to {LARGEST}"))
}

/// A number of layers.
pub(crate) fn check_layers(field: &'static str, value: usize) -> Result<(), Error> {
    let fits = (1..=LAYERS).contains(&value);
    require(fits, field, value, format!("1 to {LAYERS}"))
}

/// The classes of a head, from their names or their number.
pub(crate) fn check_classes(named: bool, count: usize, width: usize) -> Result<(), Error> {
    let field = if named { "id2label" } else { "num_labels" };
    check_size(field, count)?;
    check_table(field, count, width)
}

/// The memory of a matrix of one row for each `value` of a field.
pub(crate) fn check_table(field: &'static str, value: usize, width: usize) -> Result<(), Error> {
    let size = value as u128 * width as u128 * 4;
    let expected = || {
        let (size, most) = (bytes(size), bytes(TABLE));
        format!(
            "a smaller number: a table of {value} × {width} numbers takes {size}, more than {most}"
        )
    };
    if size <= TABLE {
        Ok(())
    } else {
        refuse(field, value, expected())
    }
}

/// Heads that divide the width.
pub(crate) fn check_heads(width: usize, heads: usize) -> Result<(), Error> {
    check_size("hidden_size", width)?;
    let fits = heads > 0 && width.is_multiple_of(heads);
    let expected = format!("a divisor of the hidden size {width}");
    require(fits, "num_attention_heads", heads, expected)
}

/// A value of which one only is supported.
pub(crate) fn check_only<T: Display + PartialEq>(
    field: &'static str,
    value: T,
    supported: T,
    why: &str,
) -> Result<(), Error> {
    let expected = format!("{supported} ({why})");
    require(value == supported, field, value, expected)
}

/// A dropout probability.
pub(crate) fn check_probability(field: &'static str, value: f64) -> Result<(), Error> {
    let fits = (0.0..1.0).contains(&value);
    require(fits, field, value, "at least 0 and less than 1")
}

/// A finite number above zero.
pub(crate) fn check_positive(field: &'static str, value: f64) -> Result<(), Error> {
    let fits = value.is_finite() && value > 0.0;
    require(fits, field, value, "a finite number above 0")
}

/// The field that a configuration is refused for.
#[cfg(test)]
pub(crate) fn refused_field(checked: Result<(), Error>) -> &'static str {
    match checked {
        Err(Error::Config { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_named() {
        assert!(check_layers("num_hidden_layers", 12).is_ok());
        let error = check_layers("num_hidden_layers", 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "config field `num_hidden_layers`: expected 1 to 4096, found 0"
        );
        assert!(check_layers("num_hidden_layers", 4097).is_err());
        assert!(check_size("hidden_size", usize::MAX).is_err());
        assert!(check_table("vocab_size", 1 << 18, 1 << 14).is_ok());
        let error = check_table("vocab_size", 1 << 24, 1 << 24).unwrap_err();
        assert!(error.to_string().contains("1.0 PiB"), "{error}");
        assert!(check_heads(12, 3).is_ok());
        assert!(check_heads(12, 5).is_err());
        assert!(check_heads(12, 0).is_err());
        assert!(check_probability("p", 0.0).is_ok());
        assert!(check_probability("p", 1.0).is_err());
        assert!(check_probability("p", f64::NAN).is_err());
        assert!(check_positive("layer_norm_eps", 1e-12).is_ok());
        assert!(check_positive("layer_norm_eps", f64::INFINITY).is_err());
        assert!(check_model_type(None, "bert").is_ok());
        assert!(check_model_type(Some("t5"), "bert").is_err());
        assert!(check_only("is_decoder", false, false, "not supported").is_ok());
        let error = check_only("is_decoder", true, false, "decoders are not supported");
        assert_eq!(refused_field(error), "is_decoder");
    }
}
