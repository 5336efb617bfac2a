//! Mean, deviation and median of a few values.

/// The mean; NaN if there is no value.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sample standard deviation; 0 for fewer than two values.
///
/// ```
/// use programs::statistics::{deviation, mean};
///
/// assert_eq!((mean(&[1.0, 3.0]), deviation(&[1.0, 3.0])), (2.0, 2f64.sqrt()));
/// assert_eq!(deviation(&[1.0]), 0.0);
/// ```
pub fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

/// The middle value, or the mean of the two in the middle; NaN if there is no value.
///
/// ```
/// use programs::statistics::median;
///
/// assert_eq!(median(&[5.0, 1.0, 2.0, 3.0]), 2.5);
/// assert!(median(&[]).is_nan());
/// ```
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n => (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0,
    }
}

/// Mean ± sample standard deviation, as text.
///
/// ```
/// use programs::statistics::with_spread;
///
/// assert_eq!(with_spread(&[90.0, 92.0, 94.0], 1), "92.0 ± 2.0");
/// assert_eq!(with_spread(&[0.25], 2), "0.25");
/// assert_eq!(with_spread(&[], 1), "–");
/// ```
pub fn with_spread(values: &[f64], digits: usize) -> String {
    let mean = mean(values);
    match values.len() {
        0 => "–".into(),
        1 => format!("{mean:.digits$}"),
        _ => format!("{mean:.digits$} ± {:.digits$}", deviation(values)),
    }
}
