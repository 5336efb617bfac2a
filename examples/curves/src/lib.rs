//! Curves over the epochs of a training as an SVG, each with its name beside its end.

use std::error::Error;
use std::ops::Range;

use plotters::coord::ranged1d::ValueFormatter;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::Color as _;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const SIZE: (u32, u32) = (880, 500);
/// Least room to the right of the plot for the names of the curves.
const NAMES: i32 = 96;
/// Width of a letter of a name, about.
const LETTER: i32 = 9;
/// Between the plot and the names.
const BESIDE: i32 = 8;
/// Least distance between two names, in pixels.
const APART: i32 = 19;
/// Most numbers on the axis of the epochs.
const EPOCHS: usize = 11;
const TEXT: RGBColor = RGBColor(64, 64, 64);
const GRID: RGBColor = RGBColor(222, 222, 222);

/// Colours that people with any colour vision can tell apart (Okabe and Ito, 2008).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// Blue.
    Blue,
    /// Bluish green.
    Green,
    /// Reddish purple.
    Purple,
    /// Orange.
    Orange,
    /// Sky blue.
    Sky,
    /// Vermillion.
    Vermillion,
    /// Olive, a darker form of the palette's yellow.
    Olive,
    /// Black.
    Black,
    /// Grey, for what others are compared with.
    Grey,
}

impl Color {
    /// As plotters takes it, for pictures of other kinds.
    ///
    /// ```
    /// assert_eq!(curves::Color::Blue.rgb(), plotters::style::RGBColor(0, 114, 178));
    /// ```
    pub fn rgb(self) -> RGBColor {
        match self {
            Self::Blue => RGBColor(0, 114, 178),
            Self::Green => RGBColor(0, 158, 115),
            Self::Purple => RGBColor(204, 121, 167),
            Self::Orange => RGBColor(230, 159, 0),
            Self::Sky => RGBColor(86, 180, 233),
            Self::Vermillion => RGBColor(213, 94, 0),
            Self::Olive => RGBColor(138, 129, 0),
            Self::Black => RGBColor(0, 0, 0),
            Self::Grey => RGBColor(120, 120, 120),
        }
    }
}

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// What stands beside its end.
    pub name: String,
    /// The colour of line and name.
    pub color: Color,
    /// Epochs, rising, and values.
    pub points: Vec<[f64; 2]>,
}

/// A picture of curves.
///
/// ```
/// use curves::{Chart, Color, Curve};
///
/// let chart = Chart {
///     title: "LoRA on the digits".into(),
///     axis: "training loss".into(),
///     logarithmic: true,
/// };
/// let points = vec![[1.0, 0.8], [2.0, 0.3]];
/// let svg = chart.svg(&[Curve { name: "iEF".into(), color: Color::Green, points }])?;
/// assert!(svg.starts_with("<svg") && svg.contains("iEF"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// Above the picture.
    pub title: String,
    /// What the values are.
    pub axis: String,
    /// Whether the axis of the values is logarithmic; values of zero and below are left out then.
    pub logarithmic: bool,
}

impl Chart {
    /// Draw the curves; values that are not finite are left out.
    ///
    /// # Errors
    ///
    /// What the drawing library says.
    pub fn svg(&self, curves: &[Curve]) -> Result<String, Box<dyn Error>> {
        let curves: Vec<Curve> = curves
            .iter()
            .filter_map(|curve| self.shown(curve))
            .collect();
        let points = || curves.iter().flat_map(|curve| &curve.points);
        let values = || points().map(|point| point[1]);
        let epochs = points().map(|point| point[0]).fold(1.0, f64::max).ceil();
        let mut text = String::new();
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut builder = ChartBuilder::on(&root);
        builder
            .margin(14)
            .margin_right(room(&curves))
            .caption(&self.title, ("sans-serif", 19, &TEXT))
            .x_label_area_size(46)
            .y_label_area_size(64);
        if self.logarithmic {
            let range = around(values(), |low, high| (low / 1.3, high * 1.3));
            let ticks = ticks(&range);
            let range = range.log_scale().with_key_points(ticks);
            let chart = builder.build_cartesian_2d(0.0..epochs, range)?;
            self.fill(chart, &root, epochs, &curves)?;
        } else {
            let range = around(values(), |low, high| {
                let air = 0.05 * (high - low).max(0.01);
                (low - air, high + air)
            });
            let chart = builder.build_cartesian_2d(0.0..epochs, range)?;
            self.fill(chart, &root, epochs, &curves)?;
        }
        root.present()?;
        drop(root);
        Ok(text)
    }

    /// What the axis can show of a curve, if anything.
    fn shown(&self, curve: &Curve) -> Option<Curve> {
        let fits = |value: f64| value.is_finite() && (!self.logarithmic || value > 0.0);
        let points = curve.points.iter().copied();
        let points: Vec<_> = points.filter(|point| fits(point[1])).collect();
        (!points.is_empty()).then(|| Curve {
            points,
            ..curve.clone()
        })
    }

    fn fill<'a, Y>(
        &self,
        mut chart: ChartContext<'_, SVGBackend<'a>, Cartesian2d<RangedCoordf64, Y>>,
        root: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
        epochs: f64,
        curves: &[Curve],
    ) -> Result<(), Box<dyn Error>>
    where
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(TEXT)
            .x_labels((epochs as usize + 1).min(EPOCHS))
            .x_label_formatter(&|x| format!("{}", (x * 1e2).round() / 1e2))
            .y_label_formatter(&|y| format!("{}", (y * 1e4).round() / 1e4))
            .x_desc("epoch")
            .y_desc(&self.axis)
            .label_style(("sans-serif", 15, &TEXT))
            .axis_desc_style(("sans-serif", 17, &TEXT))
            .draw()?;
        let mut names = Vec::new();
        for curve in curves {
            let style = curve.color.rgb().stroke_width(3);
            let points = curve.points.iter().map(|&[x, y]| (x, y));
            chart.draw_series(LineSeries::new(points, style))?;
            if let [[x, y]] = curve.points[..] {
                chart.draw_series([Circle::new((x, y), 4, style.filled())])?;
            }
            if let Some(&[x, y]) = curve.points.last() {
                names.push((curve, chart.backend_coord(&(x, y)).1));
            }
        }
        // The names stand beside the ends of their curves, moved apart where these meet.
        names.sort_by_key(|(_, y)| *y);
        let mut last = i32::MIN / 2;
        for (_, y) in &mut names {
            *y = (*y).max(last + APART);
            last = *y;
        }
        let (across, down) = chart.plotting_area().get_pixel_range();
        let over = (last - down.end).max(0);
        for (curve, y) in names {
            let color = curve.color.rgb();
            let style = ("sans-serif", 17, FontStyle::Bold)
                .into_text_style(root)
                .color(&color)
                .pos(Pos::new(HPos::Left, VPos::Center));
            let place = (across.end + BESIDE, y - over);
            root.draw(&Text::new(curve.name.as_str(), place, style))?;
        }
        Ok(())
    }
}

/// Room for the longest name.
fn room(curves: &[Curve]) -> i32 {
    let letters = curves.iter().map(|curve| curve.name.chars().count()).max();
    let wanted = letters.unwrap_or(0) as i32 * LETTER + 2 * BESIDE;
    wanted.clamp(NAMES, SIZE.0 as i32 / 3)
}

/// The range of values with some air.
fn around(values: impl Iterator<Item = f64>, air: impl Fn(f64, f64) -> (f64, f64)) -> Range<f64> {
    let ends = (f64::INFINITY, f64::NEG_INFINITY);
    let (low, high) = values.fold(ends, |(low, high), value| (low.min(value), high.max(value)));
    if low <= high {
        let (low, high) = air(low, high);
        low..high
    } else {
        0.1..1.0
    }
}

/// 1, 2 and 5 times the powers of ten within the range.
fn ticks(range: &Range<f64>) -> Vec<f64> {
    let first = range.start.log10().floor() as i32;
    let last = range.end.log10().ceil() as i32;
    // Divided where the power is negative, so that the numbers are the nearest to their names.
    let tick = |mantissa: f64, power: i32| {
        if power < 0 {
            mantissa / 10f64.powi(-power)
        } else {
            mantissa * 10f64.powi(power)
        }
    };
    let decades = (first..=last).flat_map(|power| [1.0, 2.0, 5.0].map(|m| tick(m, power)));
    decades.filter(|tick| range.contains(tick)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(logarithmic: bool) -> Chart {
        Chart {
            title: "title".into(),
            axis: "axis".into(),
            logarithmic,
        }
    }

    fn curves(values: &[f64]) -> Vec<Curve> {
        let curve = |(i, (name, color)): (usize, (&str, Color))| Curve {
            name: name.into(),
            color,
            points: values
                .iter()
                .enumerate()
                .map(|(epoch, value)| [epoch as f64, value + i as f64 / 100.0])
                .collect(),
        };
        let names = [
            ("iEF", Color::Green),
            ("EF", Color::Purple),
            ("SGD", Color::Grey),
        ];
        names.into_iter().enumerate().map(curve).collect()
    }

    #[test]
    fn every_curve_is_drawn_and_named() {
        for logarithmic in [true, false] {
            let svg = chart(logarithmic).svg(&curves(&[2.0, 1.0, 0.5])).unwrap();
            for name in ["iEF", "EF", "SGD", "title", "axis", "epoch"] {
                assert!(svg.contains(name), "{name}");
            }
            assert_eq!(svg.matches("stroke-width=\"3\"").count(), 3);
        }
    }

    #[test]
    fn values_that_an_axis_cannot_show_are_left_out() {
        let drawn = |logarithmic, values: &[f64]| {
            let svg = chart(logarithmic).svg(&curves(values)).unwrap();
            svg.matches("stroke-width=\"3\"").count()
        };
        assert_eq!(drawn(true, &[-1.0, -2.0]), 0);
        assert_eq!(drawn(false, &[-1.0, -2.0]), 3);
        assert_eq!(drawn(false, &[f64::NAN]), 0);
        assert_eq!(drawn(true, &[]), 0);
    }

    #[test]
    fn a_single_point_is_a_dot() {
        let svg = chart(false).svg(&curves(&[0.5])).unwrap();
        assert_eq!(svg.matches("<circle").count(), 3);
    }

    #[test]
    fn ticks_have_short_names() {
        let names: Vec<_> = ticks(&(0.03..2.5)).iter().map(f64::to_string).collect();
        assert_eq!(names, ["0.05", "0.1", "0.2", "0.5", "1", "2"]);
    }
}
