//! Ranges of the values in a `config.json`.

use std::fmt::Display;

use crate::error::Error;

/// No model comes near; products of two sizes fit in 64 bits.
const LARGEST: usize = 1 << 24;

fn refuse<T>(field: &'static str, value: impl Display, expected: &str) -> Result<T, Error> {
    Err(Error::Config {
        field,
        value: value.to_string(),
        expected: format!("expected {expected}"),
    })
}

/// The `model_type`, where the file states one.
pub(crate) fn check_model_type(found: Option<&str>, expected: &str) -> Result<(), Error> {
    match found {
        Some(found) if found != expected => refuse("model_type", format!("`{found}`"), expected),
        _ => Ok(()),
    }
}

/// A size of a layer, or a number of layers.
pub(crate) fn check_size(field: &'static str, value: usize) -> Result<(), Error> {
    match value {
        1..=LARGEST => Ok(()),
        _ => refuse(field, value, &format!("1 to {LARGEST}")),
    }
}

/// Heads that divide the width.
pub(crate) fn check_heads(width: usize, heads: usize) -> Result<(), Error> {
    check_size("hidden_size", width)?;
    if heads > 0 && width.is_multiple_of(heads) {
        Ok(())
    } else {
        refuse(
            "num_attention_heads",
            heads,
            &format!("a divisor of the hidden size {width}"),
        )
    }
}

/// A value of which one only is supported.
pub(crate) fn check_only<T: Display + PartialEq>(
    field: &'static str,
    value: T,
    supported: T,
    why: &str,
) -> Result<(), Error> {
    if value == supported {
        Ok(())
    } else {
        refuse(field, value, &format!("{supported}: {why}"))
    }
}

/// A dropout probability.
pub(crate) fn check_probability(field: &'static str, value: f64) -> Result<(), Error> {
    if (0.0..1.0).contains(&value) {
        Ok(())
    } else {
        refuse(field, value, "0 or more and less than 1")
    }
}

/// A finite number above zero.
pub(crate) fn check_positive(field: &'static str, value: f64) -> Result<(), Error> {
    if value.is_finite() && value > 0.0 {
        Ok(())
    } else {
        refuse(field, value, "a number above 0")
    }
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
        assert!(check_size("num_hidden_layers", 12).is_ok());
        let error = check_size("num_hidden_layers", 0).unwrap_err();
        assert!(error.to_string().contains("`num_hidden_layers` is 0"));
        assert!(check_size("hidden_size", usize::MAX).is_err());
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
