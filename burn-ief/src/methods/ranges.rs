//! Ranges of numbers in configurations.

use crate::error::Error;

/// Refuse a filter of parallel rows outside (0, 1].
pub(super) fn check_cosine_filter(limit: Option<f64>) -> Result<(), Error> {
    match limit {
        Some(limit) if !(limit > 0.0 && limit <= 1.0) => Err(Error::config(
            "cosine_filter",
            limit,
            "above 0 and at most 1",
        )),
        _ => Ok(()),
    }
}

/// Refuse a count of zero.
pub(super) fn at_least_one(field: &'static str, count: usize) -> Result<(), Error> {
    if count > 0 {
        return Ok(());
    }
    Err(Error::config(field, 0, "at least 1"))
}

/// Refuse a value outside [0, 1).
pub(super) fn fraction(field: &'static str, value: f64) -> Result<(), Error> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::config(field, value, "at least 0 and below 1"))
}

/// Refuse a value that is not finite and positive.
pub(super) fn above_zero(field: &'static str, value: f64) -> Result<(), Error> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Error::config(field, value, "a finite number above 0"))
}

/// Refuse a value that is not finite, or negative.
pub(super) fn at_least_zero(field: &'static str, value: f64) -> Result<(), Error> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(Error::config(field, value, "a finite number of at least 0"))
}
