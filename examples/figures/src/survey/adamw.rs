//! AdamW's own steps along its training, next to SF and iEF.

use std::path::{Path, PathBuf};

use burn_ief::eval::{Survey, SweepRule};
use burn_ief::solve::{DampedMatrix, DampingAmount};
use finetune::model::Judged;
use programs::optimizer::AdamWOptions;
use programs::plot::Axis;

use super::judge::Judge;
use super::picture::{Plot, at_damping, look, ratios, side_by_side};
use super::stages::over_stages;
use super::{Stage, Trainer};
use crate::error::Error;
use crate::table;

/// The damping of the exact methods.
const DAMPING: f64 = 1e-3;
/// A step from the state in the training.
const STEP: &str = "adamw";
/// The same without the mean of earlier gradients.
const OF_BATCH: &str = "adamw_batch";
const EXACT: [&str; 3] = ["ef", "sf", "ief_fisher"];

/// Draw γ over γ of SGD of AdamW's steps as `<name>_adamw.svg` in `folder`, over the stages of a training by AdamW; the
/// numbers are in `<name>_adamw.csv`.
///
/// A step begins at the state that AdamW has at that stage, and adds the gradient of the judged batch as a training step
/// would, without weight decay. `adamw_batch` does the same at β₁ = 0: the gradient of the batch alone, divided by the root
/// of the running squares.
///
/// # Errors
///
/// [`Error::Option`] if AdamW did not train the model; [`Error::Method`], [`Error::State`], [`Error::Write`].
pub fn adamw<M: Judged>(
    folder: &Path,
    name: &str,
    stages: &[Stage<M>],
    batches: &[M::Batch],
) -> Result<PathBuf, Error> {
    let mut survey = Survey::new();
    for stage in stages {
        let (trainer, options) = trained_by_adamw(stage)?;
        let step = AdamWOptions {
            weight_decay: 0.0,
            ..options.clone()
        };
        let of_batch = AdamWOptions {
            beta_1: 0.0,
            ..step.clone()
        };
        for (seed, batch) in batches.iter().enumerate() {
            let judge = Judge::new(stage, batch, seed as u64)?;
            judge.push_sgd(&mut survey);
            let exact = [
                SweepRule::ef(),
                SweepRule::sf(),
                SweepRule::ief(DampedMatrix::Fisher),
            ];
            judge.push(&mut survey, &exact, &[DampingAmount::Relative(DAMPING)])?;
            judge.push_adamw(&mut survey, STEP, trainer, &step)?;
            judge.push_adamw(&mut survey, OF_BATCH, trainer, &of_batch)?;
        }
    }
    let file = format!("{name}_adamw.csv");
    table::write(folder, &file, &table::lines(&survey))?;

    let mut curves = over_stages(&survey, stages, &[STEP, OF_BATCH], None);
    curves.extend(over_stages(&survey, stages, &EXACT, Some(DAMPING)));
    let last = stages.last().map_or(1, |stage| stage.epoch);
    let plot = Plot {
        caption: at_damping(DAMPING),
        x: Axis::linear("epoch", 0.0..last.max(1) as f64).with_labels(8),
        y: ratios(&curves),
        curves,
        one: true,
    };
    let names = [STEP, OF_BATCH].into_iter().chain(EXACT).chain(["sgd"]);
    let looks: Vec<_> = names.map(look).collect();
    side_by_side(folder, &format!("{name}_adamw.svg"), &looks, &[plot])
}

fn trained_by_adamw<M>(stage: &Stage<M>) -> Result<(&Trainer, &AdamWOptions), Error> {
    let trainer = stage.trainer.as_ref();
    trainer
        .and_then(|trainer| Some((trainer, trainer.adamw()?)))
        .ok_or_else(|| Error::Option {
            option: "--only",
            found: "adamw".into(),
            expected: "a training by AdamW (--trained-by adamw, or --run with one)".into(),
        })
}
