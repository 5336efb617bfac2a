//! Curves over the epochs of a training as an SVG, each with its name at its end.

use std::error::Error;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::Color as _;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::{Axis, Places};
use super::color::{Color, GRID, TEXT};
use crate::statistics::{deviation, mean};

const SIZE: (u32, u32) = (880, 500);
/// Least room to the right of the plot for the names of the curves, in pixels.
const NAMES: i32 = 96;
/// Width of a letter of a name in pixels, about.
const LETTER: i32 = 9;
/// Pixels between the plot and the names.
const GAP: i32 = 8;
/// Least distance between two names, in pixels.
const APART: i32 = 19;
/// Most numbers on the axis of the epochs.
const EPOCHS: usize = 11;

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Its name, drawn at its end.
    pub name: String,
    /// The colour of line and name.
    pub color: Color,
    /// Epochs, rising, and values.
    pub points: Vec<[f64; 2]>,
}

/// A picture of curves.
///
/// ```
/// use programs::plot::{Chart, Color, Curve};
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
    /// The title, above the picture.
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
    /// Those of the drawing library.
    pub fn svg(&self, curves: &[Curve]) -> Result<String, Box<dyn Error>> {
        let curves: Vec<Curve> = curves
            .iter()
            .filter_map(|curve| self.shown(curve))
            .collect();
        let points = || curves.iter().flat_map(|curve| &curve.points);
        let epochs = points().map(|point| point[0]).fold(1.0, f64::max).ceil();
        let x = Axis::linear("epoch", 0.0..epochs).with_labels(EPOCHS);
        let values = points().map(|point| point[1]);
        let y = if self.logarithmic {
            Axis::log_around(&self.axis, values)
        } else {
            Axis::linear_around(&self.axis, values)
        };
        let mut text = String::new();
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        self.draw(&root, &x, &y, &curves)?;
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

    fn draw(
        &self,
        root: &DrawingArea<SVGBackend<'_>, Shift>,
        x: &Axis,
        y: &Axis,
        curves: &[Curve],
    ) -> Result<(), Box<dyn Error>> {
        let mut chart = ChartBuilder::on(root)
            .margin(14)
            .margin_right(room(curves))
            .caption(&self.title, ("sans-serif", 19, &TEXT))
            .x_label_area_size(46)
            .y_label_area_size(64)
            .build_cartesian_2d(Places::from(x), Places::from(y))?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(TEXT)
            .x_labels(x.ticks().len())
            .y_labels(y.ticks().len())
            .x_label_formatter(&|place| x.label(*place))
            .y_label_formatter(&|place| y.label(*place))
            .x_desc(&x.title)
            .y_desc(&y.title)
            .label_style(("sans-serif", 15, &TEXT))
            .axis_desc_style(("sans-serif", 17, &TEXT))
            .draw()?;
        let mut names = Vec::new();
        for curve in curves {
            let style = curve.color.rgb().stroke_width(3);
            let places: Vec<(f64, f64)> = curve
                .points
                .iter()
                .map(|&[epoch, value]| (x.place(epoch), y.place(value)))
                .collect();
            if let [place] = places[..] {
                chart.draw_series([Circle::new(place, 4, style.filled())])?;
            }
            if let Some(end) = places.last() {
                names.push((curve, chart.backend_coord(end).1));
            }
            chart.draw_series(LineSeries::new(places, style))?;
        }
        let (across, down) = chart.plotting_area().get_pixel_range();
        for (curve, height) in apart(names, down.end) {
            let color = curve.color.rgb();
            let style = ("sans-serif", 17, FontStyle::Bold)
                .into_text_style(root)
                .color(&color)
                .pos(Pos::new(HPos::Left, VPos::Center));
            let place = (across.end + GAP, height);
            root.draw(&Text::new(curve.name.as_str(), place, style))?;
        }
        Ok(())
    }
}

/// Move names apart where the ends of their curves meet, and up where they would leave the picture.
fn apart(mut names: Vec<(&Curve, i32)>, bottom: i32) -> Vec<(&Curve, i32)> {
    names.sort_by_key(|(_, height)| *height);
    let mut last = i32::MIN / 2;
    for (_, height) in &mut names {
        *height = (*height).max(last + APART);
        last = *height;
    }
    let over = (last - bottom).max(0);
    for (_, height) in &mut names {
        *height -= over;
    }
    names
}

/// Room for the longest name.
fn room(curves: &[Curve]) -> i32 {
    let letters = curves.iter().map(|curve| curve.name.chars().count()).max();
    let needed = letters.unwrap_or(0) as i32 * LETTER + 2 * GAP;
    needed.clamp(NAMES, SIZE.0 as i32 / 3)
}

/// The training loss of several runs, averaged over them and over bins of `bin` steps: epochs, mean,
/// and standard deviation over the runs.
///
/// ```
/// use programs::plot::loss_curve;
///
/// let runs = [&[1.0, 2.0, 3.0, 4.0][..], &[3.0, 4.0, 5.0, 6.0]];
/// let points = loss_curve(&runs, 4, 2);
/// assert_eq!(points.len(), 2);
/// assert_eq!(points[0][..2], [0.25, 2.5]);
/// ```
pub fn loss_curve(runs: &[&[f64]], steps_per_epoch: usize, bin: usize) -> Vec<[f64; 3]> {
    let steps = runs.iter().map(|losses| losses.len()).min().unwrap_or(0);
    let bin = bin.max(1);
    let mut points = Vec::new();
    for start in (0..steps / bin).map(|index| index * bin) {
        let middle = start as f64 + bin as f64 / 2.0;
        let means: Vec<f64> = runs
            .iter()
            .map(|losses| mean(&losses[start..start + bin]))
            .collect();
        let epochs = middle / steps_per_epoch.max(1) as f64;
        points.push([epochs, mean(&means), deviation(&means)]);
    }
    points
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
}
