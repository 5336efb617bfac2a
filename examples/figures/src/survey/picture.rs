//! What the pictures of surveys share.

use std::path::{Path, PathBuf};

use burn_ief::eval::Survey;
use burn_ief::solve::DampingAmount;
use programs::plot::{Axis, Color};

use crate::chart::{Drawn, Look, Panel, legend, picture, px};
use crate::error::Error;

const WIDTH: u32 = 880;
const HEIGHT: u32 = 340;
/// Above the panels.
const LEGEND: u32 = 24;

/// How a direction of a survey looks.
pub(super) fn look(direction: &str) -> Look {
    let (name, color, dashed) = match direction {
        "ef" => ("EF", Color::Purple, false),
        "ief_fisher" => ("iEF", Color::Green, false),
        "ief_gram" => ("iEF, λ on K", Color::Sky, true),
        "sf" => ("SF", Color::Orange, false),
        "ekfac" => ("eKFAC", Color::Purple, true),
        "iekfac" => ("ieKFAC", Color::Blue, true),
        "kfac" => ("KFAC", Color::Orange, true),
        "adamw" => ("AdamW", Color::Blue, false),
        "adamw_batch" => ("AdamW, β₁ = 0", Color::Blue, true),
        _ => ("SGD", Color::Grey, false),
    };
    Look {
        name,
        color,
        dashed,
    }
}

/// Above a panel at one damping.
pub(super) fn at_damping(relative: f64) -> String {
    let label = Axis::log("", 0.1..1.0).label(relative.log10());
    format!("relative λ = {label}")
}

/// How a direction looks, and x, mean and standard error of its points.
pub(super) type Curve = (Look, Vec<(f64, f64, f64)>);

/// One panel.
pub(super) struct Plot {
    pub caption: String,
    pub x: Axis,
    pub y: Axis,
    pub curves: Vec<Curve>,
    /// Whether the baseline, 1, is drawn.
    pub one: bool,
}

/// Panels side by side under one legend.
pub(super) fn side_by_side(
    folder: &Path,
    name: &str,
    looks: &[Look],
    plots: &[Plot],
) -> Result<PathBuf, Error> {
    picture(folder, name, (WIDTH, HEIGHT), |root| {
        let (top, rest) = root.split_vertically(px(LEGEND));
        legend(&top, looks, 56)?;
        let areas = rest.split_evenly((1, plots.len().max(1)));
        plots.iter().zip(&areas).try_for_each(|(plot, area)| {
            let (x, y) = (plot.x.clone(), plot.y.clone());
            draw(&mut Panel::new(area, &plot.caption, x, y)?, plot)
        })
    })
}

fn draw(panel: &mut Panel<'_, '_>, plot: &Plot) -> Drawn {
    if plot.one {
        panel.across(1.0, Color::Grey.rgb())?;
    }
    for (look, points) in &plot.curves {
        panel.estimates(points, *look)?;
    }
    Ok(())
}

/// Mean ratio and standard error of a direction; nothing if it is not in the survey.
pub(super) fn ratio(
    survey: &Survey,
    stage: &str,
    direction: &str,
    damping: Option<f64>,
) -> Option<(f64, f64)> {
    let row = survey.row(stage, direction, damping.map(DampingAmount::Relative))?;
    Some((row.ratio.mean(), row.ratio.standard_error()))
}

/// A logarithmic axis for the ratios of several panels.
pub(super) fn ratios<'a>(curves: impl IntoIterator<Item = &'a Curve>) -> Axis {
    let points = curves.into_iter().flat_map(|(_, points)| points);
    let ends = points.flat_map(|(_, mean, error)| [*mean, mean + error]);
    Axis::log_around("γ / γ of SGD", ends.chain([1.0]))
}
