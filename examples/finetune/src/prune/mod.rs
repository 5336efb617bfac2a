//! Models of finished runs, pruned in several ways.
//!
//! One-shot: nothing is trained afterwards. Pruned are the weights of linear layers, but not those of
//! the layer that makes the logits.

mod row;
mod settings;
mod weights;

use std::path::PathBuf;

use burn_ief::Tape;
use burn_ief::prune::{
    PruneCurvature, PruneScope, Pruned, SparsityMask, WoodFisher, prune_by_magnitude,
};

use crate::bounds::{fits, left};
use crate::error::Error;
use crate::history::Scores;
use crate::model::Judged;
use crate::report;
use crate::stages::{KeptRun, Stages, Visit, check_full};
use weights::inner_weights;

pub use row::{Row, csv, json, tables};
pub use settings::{PruneOptions, Pruning};

/// Bytes of an entry of a block.
const BLOCK_ENTRY: f64 = 8.0;

/// The folders of the runs in and below folders, all of which can be pruned.
///
/// # Errors
///
/// [`Error::Method`] for an option that is out of range, [`Error::Config`] for more gradients than
/// training rows; [`Error::RunFolder`] if there is no run, or one that is not finished or trained an
/// adapter.
pub fn open(folders: &[PathBuf], options: &PruneOptions) -> Result<Vec<PathBuf>, Error> {
    options.validate()?;
    let found = report::find_runs(folders)?;
    // All or nothing: a run that cannot be read would be missing in the tables.
    if let Some(error) = found.unreadable.into_iter().next() {
        return Err(error);
    }
    let runs = found.runs;
    for (folder, history) in &runs {
        check_full(folder, history)?;
    }
    for (_, history) in &runs {
        options.check_rows(history.rows[0])?;
    }
    Ok(runs.into_iter().map(|(folder, _)| folder).collect())
}

/// Prune the model of a run in every way and to every sparsity; the first row is the dense model.
/// `each` sees the rows as they come.
///
/// ```no_run
/// use std::path::Path;
/// use finetune::prune::{PruneOptions, prune};
/// use finetune::stages::KeptRun;
///
/// let run = KeptRun::open(Path::new("runs/full/adamw-seed1"))?;
/// let rows = prune(&run, &PruneOptions::default(), |row| println!("{row}"))?;
/// assert_eq!(rows[0].pruned, 0);
/// # Ok::<(), finetune::Error>(())
/// ```
///
/// # Errors
///
/// The errors of [`KeptRun::visit`] and [`Stages::trained`]; [`Error::Config`] for more gradients
/// than training rows; [`Error::Method`] if the model has nothing to prune; [`Error::Stopped`] if
/// the Fisher matrix cannot be inverted.
pub fn prune(
    run: &KeptRun,
    options: &PruneOptions,
    each: impl FnMut(&Row),
) -> Result<Vec<Row>, Error> {
    run.visit(Visitor { options, each })
}

struct Visitor<'a, F> {
    options: &'a PruneOptions,
    each: F,
}

impl<F: FnMut(&Row)> Visit for Visitor<'_, F> {
    type Output = Vec<Row>;
    type Error = Error;

    fn visit<M: Judged>(mut self, stages: Stages<'_, M>) -> Result<Vec<Row>, Error> {
        let model = stages.trained()?;
        let dense = SparsityMask::group(&model, &inner_weights(&model, stages.head()))?;
        let mut rows = Vec::new();
        let mut add = |pruning, sparsity, mask: &SparsityMask, model: &M| {
            let row = row(&stages, pruning, sparsity, mask, stages.test(model)?);
            (self.each)(&row);
            rows.push(row);
            Ok::<(), Error>(())
        };
        add(None, 0.0, &dense, &model)?;
        for &pruning in &self.options.methods {
            let all = match pruning.curvature() {
                None => by_magnitude(&stages, &model, &dense, self.options)?,
                Some(curvature) => {
                    let fisher = fisher(&stages, &model, &dense, curvature, self.options)?;
                    let pruned = fisher.prune_each(&model, &self.options.sparsity);
                    pruned.map_err(|error| broken_off(&stages, error))?
                }
            };
            for (pruned, &sparsity) in all.iter().zip(&self.options.sparsity) {
                add(Some(pruning), sparsity, &pruned.mask, &pruned.model)?;
            }
        }
        Ok(rows)
    }
}

fn by_magnitude<M: Judged>(
    stages: &Stages<'_, M>,
    model: &M,
    dense: &SparsityMask,
    options: &PruneOptions,
) -> Result<Vec<Pruned<M>>, Error> {
    let pruned = options.sparsity.iter().map(|&sparsity| {
        let pruned = prune_by_magnitude(model.clone(), dense, sparsity, PruneScope::Global);
        pruned.map_err(|error| broken_off(stages, error))
    });
    pruned.collect()
}

/// The inverse Fisher matrix of samples that the run's seed draws: the same for EF and iEF.
fn fisher<M: Judged>(
    stages: &Stages<'_, M>,
    model: &M,
    dense: &SparsityMask,
    curvature: PruneCurvature,
    options: &PruneOptions,
) -> Result<WoodFisher, Error> {
    let history = stages.history();
    let samples = stages.sample(options.gradients, history.seed)?;
    let weights = dense.total();
    let block = options.block_size.min(weights);
    let bytes = weights as f64 * block as f64 * BLOCK_ENTRY;
    let left = left(history.config.device);
    let what = format!("the blocks of {weights} weights");
    fits(left, "block_size", options.block_size, &what, bytes)?;
    let mut fisher = options.config(curvature).try_init(model, dense)?;
    for rows in samples.chunks(history.config.training.batch) {
        let batch = stages.batch(rows)?;
        let tape = Tape::start();
        let grads = model.loss(&batch).backward();
        let taken = fisher.record(tape, grads, model);
        taken.map_err(|error| broken_off(stages, error))?;
    }
    Ok(fisher)
}

fn broken_off<M: Judged>(stages: &Stages<'_, M>, error: burn_ief::Error) -> Error {
    let history = stages.history();
    let (name, method) = (&history.config.name, history.method.title());
    Error::Stopped {
        run: format!("pruning of {name} {method} seed {}", history.seed),
        reason: error.to_string(),
    }
}

fn row<M: Judged>(
    stages: &Stages<'_, M>,
    pruning: Option<Pruning>,
    sparsity: f64,
    mask: &SparsityMask,
    scores: Scores,
) -> Row {
    let history = stages.history();
    let metric = history.metrics.first().cloned().unwrap_or_default();
    Row {
        setup: history.config.name.clone(),
        trained_by: history.method,
        seed: history.seed,
        pruning,
        sparsity,
        weights: mask.total(),
        pruned: mask.pruned(),
        test: scores.metrics.get(&metric).copied().unwrap_or(f64::NAN),
        metric,
        test_loss: scores.loss,
    }
}
