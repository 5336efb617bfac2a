//! Curves as an SVG.

use std::error::Error as StdError;
use std::ops::Range;

use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::curve::Curve;
use crate::method::Method;

const SIZE: (u32, u32) = (880, 500);
/// Room to the right of the plot for the names of the curves.
const NAMES: u32 = 96;
/// Least distance between two names, in pixels.
const APART: i32 = 19;
const TEXT: RGBColor = RGBColor(64, 64, 64);
const GRID: RGBColor = RGBColor(222, 222, 222);

/// Draw curves over epochs, on a logarithmic axis if asked for.
pub(super) fn draw(
    title: &str,
    axis: &str,
    curves: &[Curve],
    logarithmic: bool,
) -> Result<String, Box<dyn StdError>> {
    let mut text = String::new();
    let curves: Vec<Curve> = curves
        .iter()
        .filter_map(|curve| shown(curve, logarithmic))
        .collect();
    let values = || {
        curves
            .iter()
            .flat_map(|curve| &curve.points)
            .map(|point| point[1])
    };
    let epochs = curves
        .iter()
        .flat_map(|curve| &curve.points)
        .map(|point| point[0]);
    let epochs = epochs.fold(1.0, f64::max).ceil();
    let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut builder = ChartBuilder::on(&root);
    builder
        .margin(14)
        .margin_right(NAMES)
        .caption(title, ("sans-serif", 19, &TEXT))
        .x_label_area_size(46)
        .y_label_area_size(64);
    match logarithmic {
        true => {
            let range = around(values(), |low, high| (low / 1.3, high * 1.3));
            let ticks = ticks(&range);
            let range = range.log_scale().with_key_points(ticks);
            finish(
                builder.build_cartesian_2d(0.0..epochs, range)?,
                &root,
                axis,
                &curves,
            )?;
        }
        false => {
            let range = around(values(), |low, high| {
                let air = 0.05 * (high - low).max(0.01);
                (low - air, high + air)
            });
            finish(
                builder.build_cartesian_2d(0.0..epochs, range)?,
                &root,
                axis,
                &curves,
            )?;
        }
    }
    root.present()?;
    drop(root);
    Ok(text)
}

/// What an axis can show of a curve.
fn shown(curve: &Curve, logarithmic: bool) -> Option<Curve> {
    let points = curve.points.iter().copied();
    let points: Vec<_> = points
        .filter(|point| !logarithmic || point[1] > 0.0)
        .collect();
    (!points.is_empty()).then_some(Curve {
        method: curve.method,
        points,
    })
}

fn finish<'a, Y>(
    mut chart: ChartContext<
        '_,
        SVGBackend<'a>,
        Cartesian2d<plotters::coord::types::RangedCoordf64, Y>,
    >,
    root: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
    axis: &str,
    curves: &[Curve],
) -> Result<(), Box<dyn StdError>>
where
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(TEXT)
        .y_label_formatter(&|y| format!("{}", (y * 1e4).round() / 1e4))
        .x_desc("epoch")
        .y_desc(axis)
        .label_style(("sans-serif", 15, &TEXT))
        .axis_desc_style(("sans-serif", 17, &TEXT))
        .draw()?;
    let mut names = Vec::new();
    for curve in curves {
        let style = color(curve.method).stroke_width(3);
        let points = curve.points.iter().map(|point| (point[0], point[1]));
        chart.draw_series(LineSeries::new(points.clone(), style))?;
        if curve.points.len() == 1 {
            chart.draw_series(points.map(|point| Circle::new(point, 4, style.filled())))?;
        }
        if let Some(&[x, y, _]) = curve.points.last() {
            names.push((curve.method, chart.backend_coord(&(x, y)).1));
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
    for (method, y) in names {
        let color = color(method);
        let style = ("sans-serif", 17, FontStyle::Bold)
            .into_text_style(root)
            .color(&color)
            .pos(Pos::new(HPos::Left, VPos::Center));
        root.draw(&Text::new(
            method.title(),
            (across.end + 8, y - over),
            style,
        ))?;
    }
    Ok(())
}

/// The range of values with some air.
fn around(values: impl Iterator<Item = f64>, air: impl Fn(f64, f64) -> (f64, f64)) -> Range<f64> {
    let ends = (f64::INFINITY, f64::NEG_INFINITY);
    let (low, high) = values.fold(ends, |(low, high), value| (low.min(value), high.max(value)));
    match low <= high {
        true => {
            let (low, high) = air(low, high);
            low..high
        }
        false => 0.1..1.0,
    }
}

/// 1, 2 and 5 times the powers of ten within the range.
fn ticks(range: &Range<f64>) -> Vec<f64> {
    let first = range.start.log10().floor() as i32;
    let last = range.end.log10().ceil() as i32;
    // Divided where the power is negative, so that the numbers are the nearest to their names.
    let tick = |mantissa: f64, power: i32| match power < 0 {
        true => mantissa / 10f64.powi(-power),
        false => mantissa * 10f64.powi(power),
    };
    let decades = (first..=last).flat_map(|power| [1.0, 2.0, 5.0].map(|m| tick(m, power)));
    decades.filter(|tick| range.contains(tick)).collect()
}

/// Colours that people with any colour vision can tell apart (Okabe and Ito, 2008).
fn color(method: Method) -> RGBColor {
    match method {
        Method::Adamw => RGBColor(0, 114, 178),
        Method::Sgd => RGBColor(120, 120, 120),
        Method::Ef => RGBColor(204, 121, 167),
        Method::Sf => RGBColor(230, 159, 0),
        Method::Ief => RGBColor(0, 158, 115),
        Method::Adafactor => RGBColor(86, 180, 233),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curves(values: &[f64]) -> Vec<Curve> {
        let points = |shift: f64| {
            let points = values.iter().enumerate();
            points
                .map(|(i, value)| [i as f64, value + shift, 0.0])
                .collect()
        };
        let curve = |(i, method)| Curve {
            method,
            points: points(i as f64 / 100.0),
        };
        Method::ALL.into_iter().enumerate().map(curve).collect()
    }

    #[test]
    fn every_curve_is_drawn_and_named() {
        for logarithmic in [true, false] {
            let svg = draw("title", "axis", &curves(&[2.0, 1.0, 0.5]), logarithmic).unwrap();
            for method in Method::ALL {
                assert!(svg.contains(method.title()), "{method:?}");
            }
            assert_eq!(svg.matches("stroke-width=\"3\"").count(), Method::ALL.len());
        }
    }

    #[test]
    fn values_that_an_axis_cannot_show_are_left_out() {
        assert!(draw("title", "axis", &curves(&[0.0, -1.0]), true).is_ok());
        assert!(draw("title", "axis", &[], true).is_ok());
        assert!(draw("title", "axis", &[], false).is_ok());
        // One point, and all the same.
        assert!(
            draw("title", "axis", &curves(&[0.5]), false)
                .unwrap()
                .contains("<circle")
        );
    }
}
