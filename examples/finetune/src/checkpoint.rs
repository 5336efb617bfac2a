//! What a run keeps to go on from: checkpoints of epochs.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use burn::lr_scheduler::LrSchedulerRecord;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::OptimizerRecord;
use burn::store::ModuleRecord;
use burn::store::burn_pack::{Reader, Writer};
use burn::tensor::Tensor;
use burn::train::checkpoint::{
    Checkpoint, Checkpointer, CheckpointerError, CheckpointingAction, CheckpointingStrategy,
};
use burn::train::metric::store::EventStoreClient;
use burn::train::{EarlyStoppingStrategy, LearnerModel, SupervisedTraining};

use crate::error::Error;
use crate::files;
use crate::log::Log;

const MODEL: &str = "model";
const OPTIMIZER: &str = "optim";
const SCHEDULER: &str = "scheduler";

/// The checkpoints in a run's folder.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoints {
    folder: PathBuf,
}

impl Checkpoints {
    pub fn of(run: &Path) -> Self {
        Self {
            folder: run.join("checkpoint"),
        }
    }

    fn file(&self, part: &str, epoch: usize) -> PathBuf {
        self.folder.join(format!("{part}-{epoch}.bpk"))
    }

    /// Epochs of which all parts are there.
    fn complete(&self) -> BTreeSet<usize> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let epochs = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let epoch = name.strip_prefix("model-")?.strip_suffix(".bpk")?;
            epoch.parse().ok()
        });
        let whole = |epoch: &usize| {
            [MODEL, OPTIMIZER, SCHEDULER]
                .iter()
                .all(|part| self.file(part, *epoch).exists())
        };
        epochs.filter(whole).collect()
    }

    /// The last epoch, up to `most`, whose checkpoint can be read; 0 if there is none. Says which
    /// cannot.
    pub fn last(&self, most: usize) -> usize {
        let epochs = self
            .complete()
            .into_iter()
            .rev()
            .filter(|epoch| *epoch <= most);
        for epoch in epochs {
            match self.read(epoch) {
                Ok(()) => return epoch,
                Err(error) => eprintln!("warning: {error}; going back further"),
            }
        }
        0
    }

    fn read(&self, epoch: usize) -> Result<(), Error> {
        fn part<R: Checkpoint>(path: PathBuf) -> Result<(), Error> {
            let problem = |error: CheckpointerError| Error::read(&path, error);
            R::load(path.clone()).map(|_| ()).map_err(problem)
        }
        part::<ModuleRecord>(self.file(MODEL, epoch))?;
        part::<OptimizerRecord>(self.file(OPTIMIZER, epoch))?;
        part::<LrSchedulerRecord>(self.file(SCHEDULER, epoch))
    }

    /// The model with the parameters of an epoch.
    pub fn load<M: Module>(&self, model: M, epoch: usize) -> Result<M, Error> {
        let path = self.file(MODEL, epoch);
        let record = ModuleRecord::load(&path).map_err(|error| Error::read(&path, error))?;
        let record = record.allow_partial(true);
        model
            .try_load_record(record)
            .map_err(|error| Error::read(&path, error))
    }

    /// Remove them all.
    pub fn remove(&self) -> Result<(), Error> {
        match self.folder.exists() {
            true => {
                fs::remove_dir_all(&self.folder).map_err(|error| Error::write(&self.folder, error))
            }
            false => Ok(()),
        }
    }

    /// Let a training write checkpoints: the last two, that of the best epoch, of nothing but the
    /// parameters that train and the state of the method.
    pub fn attach<M: LearnerModel>(
        &self,
        training: SupervisedTraining<M>,
        model: &M,
        proper: &'static str,
        log: &Log,
    ) -> Result<SupervisedTraining<M>, Error> {
        files::make_folder(&self.folder)?;
        let part = |name| Part {
            checkpoints: self.clone(),
            name,
            log: log.clone(),
        };
        let model = ModelPart {
            part: part(MODEL),
            frozen: frozen(model, proper),
        };
        Ok(training
            .with_custom_checkpointers(model, part(OPTIMIZER), part(SCHEDULER))
            .with_checkpointing_strategy(EpochEnd {
                log: log.clone(),
                kept: self.complete(),
            }))
    }
}

/// Paths of the parameters that do not train. State of a method has no autodiff and is not among
/// them: it lies outside of the model proper.
fn frozen<M: Module>(model: &M, proper: &'static str) -> HashSet<String> {
    struct Frozen {
        path: Vec<String>,
        proper: &'static str,
        found: HashSet<String>,
    }
    impl ModuleVisitor for Frozen {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.into());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let path = self.path.join(".");
            if !param.is_require_grad() && path.starts_with(self.proper) {
                self.found.insert(path);
            }
        }
    }
    let mut frozen = Frozen {
        path: Vec::new(),
        proper,
        found: HashSet::new(),
    };
    model.visit(&mut frozen);
    frozen.found
}

/// Writes one part of checkpoints, each file whole or not at all.
struct Part {
    checkpoints: Checkpoints,
    name: &'static str,
    log: Log,
}

impl Part {
    fn write(
        &self,
        epoch: usize,
        save: impl FnOnce(PathBuf) -> Result<(), CheckpointerError>,
    ) -> Result<(), CheckpointerError> {
        let path = self.checkpoints.file(self.name, epoch);
        let part = files::beside(&path);
        let put = || files::put_in_place(&path).map_err(CheckpointerError::IOError);
        save(part.clone()).and_then(|()| put()).map_err(|error| {
            let _ = fs::remove_file(&part);
            let reason = format!("cannot write {}: {error}", path.display());
            self.log.fail(&reason, true);
            CheckpointerError::Unknown(reason)
        })
    }
}

impl<R: Checkpoint> Checkpointer<R> for Part {
    fn save(&self, epoch: usize, record: R) -> Result<(), CheckpointerError> {
        self.write(epoch, |path| record.save(path))
    }

    fn restore(&self, epoch: usize) -> Result<R, CheckpointerError> {
        R::load(self.checkpoints.file(self.name, epoch))
    }

    fn delete(&self, epoch: usize) -> Result<(), CheckpointerError> {
        // What cannot be removed does no harm.
        let _ = fs::remove_file(self.checkpoints.file(self.name, epoch));
        Ok(())
    }
}

/// Writes the parameters that train.
struct ModelPart {
    part: Part,
    frozen: HashSet<String>,
}

impl Checkpointer<ModuleRecord> for ModelPart {
    fn save(&self, epoch: usize, record: ModuleRecord) -> Result<(), CheckpointerError> {
        let trained = || {
            let tensors = Reader::from_bytes(record.into_bytes()?)?.into_tensors()?;
            let kept = tensors
                .into_iter()
                .filter(|tensor| !self.frozen.contains(&tensor.name));
            ModuleRecord::from_bytes(Writer::new(kept.collect()).into_bytes()?)
        };
        let record = trained().map_err(CheckpointerError::Record)?;
        Checkpointer::<ModuleRecord>::save(&self.part, epoch, record)
    }

    fn restore(&self, epoch: usize) -> Result<ModuleRecord, CheckpointerError> {
        let record: ModuleRecord = self.part.restore(epoch)?;
        Ok(record.allow_partial(true))
    }

    fn delete(&self, epoch: usize) -> Result<(), CheckpointerError> {
        Checkpointer::<ModuleRecord>::delete(&self.part, epoch)
    }
}

/// Closes an epoch in the record, and says which checkpoints to keep.
struct EpochEnd {
    log: Log,
    kept: BTreeSet<usize>,
}

impl CheckpointingStrategy for EpochEnd {
    fn checkpointing(
        &mut self,
        epoch: usize,
        _store: &EventStoreClient,
    ) -> Vec<CheckpointingAction> {
        if let Err(error) = self.log.end_epoch() {
            self.log.fail(&error.to_string(), true);
        }
        if self.log.failure().is_some() {
            return Vec::new();
        }
        // Two, so that one is whole if the program is killed while it writes the other.
        // So is what was the best before it: then the run goes back to that.
        let history = self.log.history();
        let best = [epoch, epoch.saturating_sub(1)].map(|epochs| history.best(epochs));
        let keep = |old: &usize| old + 1 >= epoch || best.contains(&Some(*old));
        self.kept.insert(epoch);
        let old: Vec<usize> = self.kept.iter().copied().filter(|old| !keep(old)).collect();
        self.kept.retain(keep);
        let save = std::iter::once(CheckpointingAction::Save);
        save.chain(old.into_iter().map(CheckpointingAction::Delete))
            .collect()
    }
}

/// Stops a run when validation results do not get better.
#[derive(Clone)]
pub(crate) struct Patience {
    pub log: Log,
    pub epochs: usize,
}

impl EarlyStoppingStrategy for Patience {
    fn should_stop(&mut self, _epoch: usize, _store: &EventStoreClient) -> bool {
        self.log.out_of_patience(self.epochs)
    }
}
