//! Training curves as an SVG.

use std::error::Error as StdError;
use std::ops::Range;
use std::path::{Path, PathBuf};

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::Error;
use crate::experiment::Run;
use crate::fit::BATCH;
use crate::method::Method;

const SIZE: (u32, u32) = (880, 500);
/// Room to the right of the plot for the names of the curves.
const NAMES: u32 = 76;
/// Least distance between two names, in pixels.
const APART: i32 = 19;
/// Points of a curve in an epoch.
const PER_EPOCH: usize = 2;
const TEXT: RGBColor = RGBColor(64, 64, 64);
const GRID: RGBColor = RGBColor(222, 222, 222);

/// The training loss of one method, averaged over its runs.
#[derive(Debug, Clone)]
struct Curve {
    method: Method,
    /// Epochs and loss.
    points: Vec<(f64, f64)>,
}

/// Draw the training loss of every method over the epochs as `quickstart.svg` in `directory`.
///
/// # Errors
///
/// [`Error::Write`].
pub fn draw(directory: &Path, runs: &[Run], epochs: usize) -> Result<PathBuf, Error> {
    std::fs::create_dir_all(directory).map_err(|error| Error::write(directory, error))?;
    let path = directory.join("quickstart.svg");
    let seeds = runs
        .iter()
        .map(|run| run.seed)
        .collect::<std::collections::BTreeSet<_>>();
    let curves = curves(runs, epochs);
    let note = match seeds.len() {
        1 => "one seed".to_string(),
        n => format!("mean of {n} seeds"),
    };
    let mut text = String::new();
    chart(&mut text, &curves, epochs, &note).map_err(|error| Error::write(&path, error))?;
    std::fs::write(&path, text).map_err(|error| Error::write(&path, error))?;
    Ok(path)
}

fn curves(runs: &[Run], epochs: usize) -> Vec<Curve> {
    let curve = |method| {
        let losses: Vec<&[f64]> = runs
            .iter()
            .filter(|run| run.method == method)
            .map(|run| &run.history.losses[..])
            .collect();
        let steps = losses.iter().map(|losses| losses.len()).min()?;
        let bins = (epochs * PER_EPOCH).clamp(1, steps.max(1));
        let point = |bin: usize| {
            let range = bin * steps / bins..(bin + 1) * steps / bins;
            let middle = (range.start + range.end) as f64 / 2.0;
            let values = losses.iter().flat_map(|losses| &losses[range.clone()]);
            let mean = values.sum::<f64>() / (losses.len() * range.len()) as f64;
            (middle * epochs as f64 / steps as f64, mean)
        };
        // A logarithmic axis shows finite losses above zero alone.
        let shown = |(_, loss): &(f64, f64)| loss.is_finite() && *loss > 0.0;
        let points: Vec<_> = (0..bins).map(point).filter(shown).collect();
        (!points.is_empty()).then_some(Curve { method, points })
    };
    Method::ALL.into_iter().filter_map(curve).collect()
}

fn chart(
    text: &mut String,
    curves: &[Curve],
    epochs: usize,
    note: &str,
) -> Result<(), Box<dyn StdError>> {
    let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let losses = curves
        .iter()
        .flat_map(|curve| &curve.points)
        .map(|point| point.1);
    let range = axis(losses);
    let ticks = ticks(&range);
    let mut chart = ChartBuilder::on(&root)
        .margin(14)
        .margin_right(NAMES)
        .caption(
            format!("LoRA fine-tuning of a small ViT on UCI digits ({note}, batch {BATCH})"),
            ("sans-serif", 19, &TEXT),
        )
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..epochs as f64, range.log_scale().with_key_points(ticks))?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(TEXT)
        .x_labels(epochs.min(10) + 1)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y}"))
        .x_desc("epoch")
        .y_desc("training loss")
        .label_style(("sans-serif", 15, &TEXT))
        .axis_desc_style(("sans-serif", 17, &TEXT))
        .draw()?;
    let mut names = Vec::new();
    for curve in curves {
        let style = color(curve.method).stroke_width(3);
        chart.draw_series(LineSeries::new(curve.points.iter().copied(), style))?;
        if let Some(end) = curve.points.last() {
            names.push((curve.method, chart.backend_coord(end).1));
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
            .into_text_style(&root)
            .color(&color)
            .pos(Pos::new(HPos::Left, VPos::Center));
        root.draw(&Text::new(
            method.title(),
            (across.end + 8, y - over),
            style,
        ))?;
    }
    root.present()?;
    Ok(())
}

/// The range of the losses with some air.
fn axis(losses: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = losses.fold((f64::INFINITY, 0f64), |(low, high), loss| {
        (low.min(loss), high.max(loss))
    });
    match low <= high {
        true => low / 1.3..high * 1.3,
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::History;

    fn run(method: Method, seed: u64, losses: Vec<f64>) -> Run {
        let history = History {
            losses,
            ..History::default()
        };
        Run {
            method,
            seed,
            final_train_loss: 0.0,
            history,
        }
    }

    #[test]
    fn curves_are_means_over_runs_and_bins() {
        let runs = [
            run(Method::Sgd, 1, (0..8).map(f64::from).collect()),
            run(Method::Sgd, 2, (0..8).map(|i| f64::from(i) + 2.0).collect()),
            run(Method::Ief, 1, vec![f64::NAN; 8]),
        ];
        let curves = curves(&runs, 1);
        // iEF has nothing to show.
        assert_eq!(curves.len(), 1);
        let expected = [(0.25, 2.5), (0.75, 6.5)];
        assert_eq!(curves[0].points, expected);
    }

    #[test]
    fn ticks_have_short_names() {
        let names: Vec<_> = ticks(&(0.03..2.5)).iter().map(f64::to_string).collect();
        assert_eq!(names, ["0.05", "0.1", "0.2", "0.5", "1", "2"]);
    }

    #[test]
    fn the_picture_names_every_curve() {
        let directory = std::env::temp_dir().join(format!("quickstart-{}", std::process::id()));
        let runs = Method::ALL.map(|method| run(method, 1, vec![2.0, 1.0, 0.5, 0.25]));
        let path = draw(&directory, &runs, 1).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        for method in Method::ALL {
            assert!(svg.contains(method.title()), "{method:?}");
        }
        assert_eq!(
            svg.matches("<polyline").count(),
            Method::ALL.len() + axes(&svg)
        );
    }

    /// Polylines of the axes: those that are not three pixels wide.
    fn axes(svg: &str) -> usize {
        let lines = svg.split("<polyline").skip(1);
        lines
            .filter(|line| !line.contains("stroke-width=\"3\""))
            .count()
    }
}
