//! Axes: places of values, and which of them get a label.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;

/// A linear or logarithmic axis.
///
/// ```
/// use programs::plot::Axis;
///
/// let axis = Axis::log("λ", 1e-6..1e3);
/// assert_eq!(axis.place(1e-4), -4.0);
/// assert_eq!(axis.label(-4.0), "10⁻⁴");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// What it shows, with its unit.
    pub title: String,
    range: Range<f64>,
    log: bool,
    labels: usize,
}

impl Axis {
    /// A linear axis.
    pub fn linear(title: &str, range: Range<f64>) -> Self {
        Self {
            title: title.into(),
            range,
            log: false,
            labels: 6,
        }
    }

    /// A logarithmic axis for values above zero.
    pub fn log(title: &str, range: Range<f64>) -> Self {
        Self {
            title: title.into(),
            range: range.start.log10()..range.end.log10(),
            log: true,
            labels: 8,
        }
    }

    /// A logarithmic axis that holds all finite values above zero, with some air.
    pub fn log_around(title: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let shown = values.into_iter().filter(|v| v.is_finite() && *v > 0.0);
        let (low, high) = shown.fold((f64::INFINITY, 0f64), |(low, high), v| {
            (low.min(v), high.max(v))
        });
        if low <= high {
            Self::log(title, low / 1.25..high * 1.25)
        } else {
            Self::log(title, 0.1..10.0)
        }
    }

    /// A linear axis that holds all finite values, with some air.
    pub fn linear_around(title: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let shown = values.into_iter().filter(|value| value.is_finite());
        let (low, high) = shown.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        if low <= high {
            let air = 0.05 * (high - low).max(0.01);
            Self::linear(title, low - air..high + air)
        } else {
            Self::linear(title, 0.0..1.0)
        }
    }

    /// At most this many labels.
    pub fn with_labels(self, labels: usize) -> Self {
        Self { labels, ..self }
    }

    /// The place of a value, in units of the drawing.
    pub fn place(&self, value: f64) -> f64 {
        if self.log { value.log10() } else { value }
    }

    /// First and last place.
    pub fn range(&self) -> Range<f64> {
        self.range.clone()
    }

    /// The nearest place on the axis.
    pub fn clamp(&self, place: f64) -> f64 {
        place.clamp(self.range.start, self.range.end)
    }

    /// Places that get a label.
    pub fn ticks(&self) -> Vec<f64> {
        let length = self.range.end - self.range.start;
        let few = self.labels.max(2) as f64;
        if !self.log {
            return multiples(&self.range, nice(length / few));
        }
        if length > 2.0 {
            return multiples(&self.range, (length / few).ceil().max(1.0));
        }
        if length < 1.0 {
            let [low, high] = [self.range.start, self.range.end].map(|end| 10f64.powf(end));
            let ticks = multiples(&(low..high), nice((high - low) / few));
            return ticks.into_iter().map(f64::log10).collect();
        }
        // Within few decades: 1, 2 and 5 of each.
        let decades = self.range.start.floor() as i32..=self.range.end.ceil() as i32;
        let steps = decades
            .flat_map(|decade| [1.0f64, 2.0, 5.0].map(|step| f64::from(decade) + step.log10()));
        steps.filter(|tick| self.range.contains(tick)).collect()
    }

    /// The label of a place.
    pub fn label(&self, place: f64) -> String {
        if !self.log {
            plain(place)
        } else if (-3.0..=3.0).contains(&place) {
            plain(10f64.powf(place))
        } else {
            let digits = format!("{place:.0}");
            format!("10{}", digits.chars().map(raised).collect::<String>())
        }
    }
}

/// Places along an axis for the drawing library, with the labels of the axis.
pub struct Places {
    all: RangedCoordf64,
    ticks: Vec<f64>,
}

impl From<&Axis> for Places {
    fn from(axis: &Axis) -> Self {
        Self {
            all: axis.range().into(),
            ticks: axis.ticks(),
        }
    }
}

impl Ranged for Places {
    type ValueType = f64;
    type FormatOption = DefaultFormatting;

    fn map(&self, place: &f64, pixels: (i32, i32)) -> i32 {
        self.all.map(place, pixels)
    }

    fn key_points<H: KeyPointHint>(&self, hint: H) -> Vec<f64> {
        if hint.weight().allow_light_points() {
            Vec::new()
        } else {
            self.ticks.clone()
        }
    }

    fn range(&self) -> Range<f64> {
        self.all.range()
    }
}

/// Without the digits that rounding leaves.
fn plain(value: f64) -> String {
    let value = (value * 1e6).round() / 1e6;
    // Not "-0".
    format!("{}", value + 0.0)
}

/// 1, 2 or 5 times a power of ten, not below `step`.
fn nice(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factors = [1.0, 2.0, 5.0].into_iter();
    let fits = |factor: &f64| factor * power >= step * (1.0 - 1e-9);
    factors.into_iter().find(fits).unwrap_or(10.0) * power
}

fn multiples(range: &Range<f64>, step: f64) -> Vec<f64> {
    let first = (range.start / step - 1e-9).ceil() as i64;
    let last = (range.end / step + 1e-9).floor() as i64;
    (first..=last).map(|n| n as f64 * step).collect()
}

fn raised(digit: char) -> char {
    match digit {
        '-' => '⁻',
        '0' => '⁰',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '4' => '⁴',
        '5' => '⁵',
        '6' => '⁶',
        '7' => '⁷',
        '8' => '⁸',
        '9' => '⁹',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks().iter().map(|tick| axis.label(*tick)).collect()
    }

    #[test]
    fn labels_are_round_numbers() {
        let axis = Axis::linear("", -1.0..1.0).with_labels(5);
        assert_eq!(labels(&axis), ["-1", "-0.5", "0", "0.5", "1"]);
        let axis = Axis::log("", 0.3..7.0);
        assert_eq!(labels(&axis), ["0.5", "1", "2", "5"]);
        let axis = Axis::log("", 0.45..1.4).with_labels(5);
        assert_eq!(labels(&axis), ["0.6", "0.8", "1", "1.2", "1.4"]);
        let axis = Axis::log("", 1e-12..1e3).with_labels(6);
        assert_eq!(
            labels(&axis),
            ["10⁻¹²", "10⁻⁹", "10⁻⁶", "0.001", "1", "1000"]
        );
    }

    #[test]
    fn what_cannot_be_shown_does_not_stretch_the_axis() {
        let axis = Axis::log_around("", [f64::NAN, 0.0, 1.0, f64::INFINITY, 100.0]);
        let range = axis.range();
        assert!((10f64.powf(range.start) - 0.8).abs() < 1e-12);
        assert!((10f64.powf(range.end) - 125.0).abs() < 1e-9);
        assert_eq!(axis.clamp(9.0), range.end);
        let axis = Axis::linear_around("", [f64::NAN, 1.0, 3.0]);
        let range = axis.range();
        assert!((range.start - 0.9).abs() < 1e-12 && (range.end - 3.1).abs() < 1e-12);
        assert_eq!(Axis::linear_around("", []).range(), 0.0..1.0);
    }
}
