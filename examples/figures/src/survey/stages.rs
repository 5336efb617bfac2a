//! γ and the imbalance of gradient norms over the stages of a training.

use std::path::{Path, PathBuf};

use burn_ief::eval::{Statistics, Survey, SweepRule};
use burn_ief::solve::DampingAmount;
use finetune::model::Judged;
use programs::plot::{Axis, Color};
use serde::Serialize;

use super::Stage;
use super::judge::Judge;
use super::picture::{Curve, Plot, at_damping, look, ratio, ratios, side_by_side};
use crate::chart::Look;
use crate::error::Error;
use crate::table;

/// Relative λ: next to nothing, as in the paper's comparison, and the default of this library.
const DAMPINGS: [f64; 2] = [1e-9, 1e-3];
const SHOWN: [&str; 3] = ["ef", "sf", "ief_fisher"];

#[derive(Serialize)]
struct Line {
    stage: String,
    train_loss: f64,
    batches: usize,
    imbalance_mean: f64,
    imbalance_standard_error: f64,
}

/// Draw γ over γ of SGD at every stage as `<name>_stages.svg` in `folder`, next to the imbalance;
/// the numbers are in `<name>_stages.csv` and `<name>_imbalance.csv`.
///
/// # Errors
///
/// [`Error::Method`], [`Error::Write`].
pub fn stages<M: Judged>(
    folder: &Path,
    name: &str,
    stages: &[Stage<M>],
    batches: &[M::Batch],
) -> Result<PathBuf, Error> {
    let mut survey = Survey::new();
    let mut lines = Vec::new();
    for stage in stages {
        let mut imbalances = Statistics::new();
        for (seed, batch) in batches.iter().enumerate() {
            let judge = Judge::new(stage, batch, seed as u64)?;
            imbalances.push(judge.imbalance());
            judge.push_sgd(&mut survey);
            judge.push(
                &mut survey,
                &SweepRule::all(),
                &DAMPINGS.map(DampingAmount::Relative),
            )?;
        }
        lines.push(Line {
            stage: stage.name(),
            train_loss: stage.train_loss,
            batches: imbalances.count(),
            imbalance_mean: imbalances.mean(),
            imbalance_standard_error: imbalances.standard_error(),
        });
    }
    table::write(
        folder,
        &format!("{name}_stages.csv"),
        &table::lines(&survey),
    )?;
    table::write(folder, &format!("{name}_imbalance.csv"), &lines)?;

    let epochs = || {
        let last = stages.last().map_or(1, |stage| stage.epoch);
        Axis::linear("epoch", 0.0..last.max(1) as f64).with_labels(8)
    };
    let curves = DAMPINGS.map(|damping| over_stages(&survey, stages, &SHOWN, Some(damping)));
    let y = ratios(curves.iter().flatten());
    let mut plots: Vec<Plot> = curves
        .into_iter()
        .zip(DAMPINGS)
        .map(|(curves, damping)| Plot {
            caption: at_damping(damping),
            x: epochs(),
            y: y.clone(),
            curves,
            one: true,
        })
        .collect();
    plots.push(imbalance(&lines, stages, epochs()));
    let looks: Vec<_> = SHOWN.into_iter().chain(["sgd"]).map(look).collect();
    side_by_side(folder, &format!("{name}_stages.svg"), &looks, &plots)
}

/// Curves over all stages.
pub(super) fn over_stages<M>(
    survey: &Survey,
    stages: &[Stage<M>],
    directions: &[&str],
    damping: Option<f64>,
) -> Vec<Curve> {
    let curve = |direction: &&str| {
        let points = stages.iter().filter_map(|stage| {
            let (mean, error) = ratio(survey, &stage.name(), direction, damping)?;
            Some((stage.epoch as f64, mean, error))
        });
        (look(direction), points.collect())
    };
    directions.iter().map(curve).collect()
}

fn imbalance<M>(lines: &[Line], stages: &[Stage<M>], x: Axis) -> Plot {
    let points: Vec<_> = stages
        .iter()
        .zip(lines)
        .map(|(stage, line)| {
            let error = line.imbalance_standard_error;
            (stage.epoch as f64, line.imbalance_mean, error)
        })
        .collect();
    let ends = points
        .iter()
        .flat_map(|(_, mean, error)| [*mean, mean + error]);
    let ends: Vec<f64> = ends.collect();
    let look = Look {
        name: "imbalance",
        color: Color::Blue,
        dashed: false,
    };
    Plot {
        caption: "imbalance".into(),
        x,
        y: Axis::log_around("largest / smallest ‖∇l‖", ends),
        curves: vec![(look, points)],
        one: false,
    }
}
