//! The stages of a run of `finetune` that kept its checkpoints.

use burn::optim::OptimizerRecord;
use finetune::model::Judged;
use finetune::stages::Stages;
use programs::optimizer::OptimizerName;

use crate::error::Error;
use crate::survey::{Stage, Trainer};

/// Training rows that the loss of a stage is the mean of.
const LOSS_ROWS: usize = 1000;

/// Models of these epochs (all that are kept, if none is named), with their loss on the first 1,000
/// training rows.
///
/// ```no_run
/// use std::path::{Path, PathBuf};
/// use figures::{Error, kept, survey};
/// use finetune::model::Judged;
/// use finetune::stages::{KeptRun, Stages, Visit};
///
/// struct Draw;
///
/// impl Visit for Draw {
///     type Output = PathBuf;
///     type Error = Error;
///
///     fn visit<M: Judged>(self, run: Stages<'_, M>) -> Result<PathBuf, Error> {
///         let batches = run.batches(30, 32, 1)?;
///         survey::stages(Path::new("figures"), "trec", &kept::stages(&run, &[])?, &batches)
///     }
/// }
///
/// let run = KeptRun::open(Path::new("runs/minilm-lora-trec/ief-seed1"))?;
/// println!("{}", run.visit(Draw)?.display());
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Run`] if parameters are not there or do not fit.
pub fn stages<M: Judged>(run: &Stages<'_, M>, epochs: &[usize]) -> Result<Vec<Stage<M>>, Error> {
    let mut chosen = match epochs {
        [] => run.epochs(),
        epochs => epochs.to_vec(),
    };
    chosen.sort_unstable();
    chosen.dedup();
    chosen
        .into_iter()
        .map(|epoch| {
            let model = run.model(epoch)?;
            Ok(Stage {
                epoch,
                train_loss: run.training_loss(&model, LOSS_ROWS)?,
                model,
                trainer: trainer(run, epoch)?,
            })
        })
        .collect()
}

/// AdamW with its state, in a run by AdamW whose state is there.
fn trainer<M: Judged>(run: &Stages<'_, M>, epoch: usize) -> Result<Option<Trainer>, Error> {
    let method = run.history().method;
    if method != OptimizerName::ADAMW {
        return Ok(None);
    }
    let record = match epoch {
        0 => OptimizerRecord::default(),
        _ => run.optimizer(epoch)?,
    };
    let trainer = Trainer::new(&run.history().config.options(method).optimizer, record);
    trainer.map(Some).map_err(|source| Error::State {
        what: format!("epoch {epoch}"),
        source,
    })
}
