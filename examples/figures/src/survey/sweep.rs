//! γ against the damping at three stages.

use std::path::{Path, PathBuf};

use burn_ief::eval::{Survey, SweepRule};
use burn_ief::solve::DampingAmount;
use finetune::model::Judged;
use programs::plot::Axis;

use super::judge::Judge;
use super::picture::{Plot, look, ratio, ratios, side_by_side};
use super::{Stage, three};
use crate::error::Error;
use crate::table;

const SHOWN: [&str; 4] = ["ef", "sf", "ief_fisher", "ief_gram"];

/// Relative λ from 1e-12 to 1e3, in equal ratios.
fn dampings(count: usize) -> Vec<f64> {
    let gaps = count.saturating_sub(1).max(1) as f64;
    (0..count)
        .map(|index| 10f64.powf(15.0 * index as f64 / gaps - 12.0))
        .collect()
}

/// Draw γ over γ of SGD against so many λ (31 are two to a decade) as `<name>_sweep.svg` in
/// `folder`, with the numbers in `<name>_sweep.csv`.
///
/// # Errors
///
/// [`Error::Method`], [`Error::Write`].
pub fn sweep<M: Judged>(
    folder: &Path,
    name: &str,
    stages: &[Stage<M>],
    batches: &[M::Batch],
    lambdas: usize,
) -> Result<PathBuf, Error> {
    let stages = three(stages);
    let dampings = dampings(lambdas);
    let amounts: Vec<_> = dampings
        .iter()
        .copied()
        .map(DampingAmount::Relative)
        .collect();
    let mut survey = Survey::new();
    for stage in &stages {
        for (seed, batch) in batches.iter().enumerate() {
            let judge = Judge::new(stage, batch, seed as u64)?;
            judge.push(&mut survey, &SweepRule::all(), &amounts)?;
        }
    }
    table::write(folder, &format!("{name}_sweep.csv"), &table::lines(&survey))?;

    let curves = |stage: &str| {
        let curve = |direction: &str| {
            let points = dampings.iter().filter_map(|&damping| {
                let (mean, error) = ratio(&survey, stage, direction, Some(damping))?;
                Some((damping, mean, error))
            });
            (look(direction), points.collect())
        };
        SHOWN.map(curve).to_vec()
    };
    let all: Vec<Vec<_>> = stages.iter().map(|stage| curves(&stage.name())).collect();
    let y = ratios(all.iter().flatten());
    let plots: Vec<_> = stages
        .iter()
        .zip(all)
        .map(|(stage, curves)| Plot {
            caption: format!("epoch {}, loss {:.2}", stage.epoch, stage.train_loss),
            x: Axis::log("relative λ", 1e-12..1e3).with_labels(5),
            y: y.clone(),
            curves,
            one: true,
        })
        .collect();
    let looks: Vec<_> = SHOWN.into_iter().chain(["sgd"]).map(look).collect();
    side_by_side(folder, &format!("{name}_sweep.svg"), &looks, &plots)
}
