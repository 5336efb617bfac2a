//! γ against the damping at three stages.

use std::path::{Path, PathBuf};

use burn_ief::eval::{Survey, SweepRule};
use burn_ief::update::Amount;

use super::judge::Judge;
use super::picture::{Plot, look, ratio, ratios, side_by_side};
use super::{Classifier, Labelled, Stage, three};
use crate::axis::Axis;
use crate::error::Error;
use crate::table;

const SHOWN: [&str; 4] = ["ef", "sf", "ief_fisher", "ief_gram"];

/// Relative λ, two to a decade.
fn dampings() -> Vec<f64> {
    (-24..=6)
        .map(|half| 10f64.powf(f64::from(half) / 2.0))
        .collect()
}

/// Draw γ over γ of SGD against λ as `<name>_sweep.svg` in `folder`, with the numbers in
/// `<name>_sweep.csv`.
///
/// # Errors
///
/// [`Error::Method`], [`Error::Write`].
pub fn sweep<M: Classifier>(
    folder: &Path,
    name: &str,
    stages: &[Stage<M>],
    batches: &[Labelled<M::Input>],
) -> Result<PathBuf, Error> {
    let stages = three(stages);
    let dampings = dampings();
    let amounts: Vec<_> = dampings.iter().copied().map(Amount::Relative).collect();
    let mut survey = Survey::new();
    for stage in &stages {
        for (seed, batch) in batches.iter().enumerate() {
            let judge = Judge::new(stage, batch, seed as u64)?;
            judge.push(&mut survey, &SweepRule::ALL, &amounts)?;
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
