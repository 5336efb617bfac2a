//! What a run keeps to go on from: checkpoints of epochs.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use burn::lr_scheduler::LrSchedulerRecord;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::OptimizerRecord;
use burn::store::burn_pack::{Reader, Tensor as PackTensor, Writer};
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::Tensor;
use burn::train::checkpoint::{
    Checkpoint, Checkpointer, CheckpointerError, CheckpointingAction, CheckpointingStrategy,
};
use burn::train::metric::store::EventStoreClient;
use burn::train::{EarlyStoppingStrategy, LearnerModel, SupervisedTraining};
use programs::printing::message;
use programs::{err_line, files};

use crate::error::Error;
use crate::log::Log;
use crate::sums;

const MODEL: &str = "model";
const OPTIMIZER: &str = "optim";
const SCHEDULER: &str = "scheduler";

/// Where the model proper begins in the paths of a checkpoint.
pub(crate) const PROPER: &str = "model.model.";

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

    /// Epochs of which there are parameters.
    pub fn kept(&self) -> BTreeSet<usize> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let epochs = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let epoch = name.strip_prefix("model-")?.strip_suffix(".bpk")?;
            epoch.parse().ok()
        });
        epochs.collect()
    }

    /// Epochs of which all parts are there.
    fn complete(&self) -> BTreeSet<usize> {
        let whole = |epoch: &usize| {
            [MODEL, OPTIMIZER, SCHEDULER]
                .iter()
                .all(|part| self.file(part, *epoch).exists())
        };
        self.kept().into_iter().filter(whole).collect()
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
                Err(error) => err_line!("warning: {}; going back further", message(&error)),
            }
        }
        0
    }

    /// What is kept to go on from, for a message.
    pub fn kept_in_words(&self) -> String {
        match self.last(usize::MAX) {
            0 => "no epoch was complete: start again with --resume".into(),
            epoch => format!(
                "the checkpoint of epoch {epoch} is kept: the same command with --resume goes on"
            ),
        }
    }

    fn read(&self, epoch: usize) -> Result<(), Error> {
        fn part<R: Checkpoint>(path: PathBuf) -> Result<(), Error> {
            let problem = |error: CheckpointerError| Error::read(&path, error);
            sums::check(&path)?;
            R::load(path.clone()).map(|_| ()).map_err(problem)
        }
        part::<ModuleRecord>(self.file(MODEL, epoch))?;
        part::<OptimizerRecord>(self.file(OPTIMIZER, epoch))?;
        part::<LrSchedulerRecord>(self.file(SCHEDULER, epoch))
    }

    /// The model with the parameters of an epoch.
    pub fn load<M: Module>(&self, model: M, epoch: usize) -> Result<M, Error> {
        let path = self.file(MODEL, epoch);
        sums::check(&path)?;
        let record = ModuleRecord::load(&path).map_err(|error| Error::read(&path, error))?;
        let record = record.allow_partial(true);
        model
            .try_load_record(record)
            .map_err(|error| Error::read(&path, error))
    }

    /// The model proper with the parameters of an epoch.
    pub fn load_proper<M: Module>(&self, model: M, epoch: usize) -> Result<M, Error> {
        let path = self.file(MODEL, epoch);
        let refuse = |error: RecordError| Error::read(&path, error);
        let record = ModuleRecord::load(&path).map_err(refuse)?;
        let mut tensors = tensors(record).map_err(refuse)?;
        tensors.retain_mut(|tensor| match tensor.name.strip_prefix(PROPER) {
            Some(own) => {
                tensor.name = own.into();
                true
            }
            None => false,
        });
        let found: HashSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        let missing = paths(&model, "", |trains| trains)
            .into_iter()
            .find(|path| !found.contains(path.as_str()));
        if let Some(missing) = missing {
            let problem = format!("no parameter {missing}: it belongs to another model");
            return Err(Error::read(&path, problem));
        }
        let record = record_of(tensors).map_err(refuse)?.allow_partial(true);
        model
            .try_load_record(record)
            .map_err(|error| Error::read(&path, error))
    }

    /// The state of Burn's optimizer after an epoch.
    pub fn optimizer(&self, epoch: usize) -> Result<OptimizerRecord, Error> {
        let path = self.file(OPTIMIZER, epoch);
        sums::check(&path)?;
        OptimizerRecord::load(&path).map_err(|error| Error::read(&path, error))
    }

    /// Remove them all.
    pub fn remove(&self) -> Result<(), Error> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder).map_err(|error| Error::write(&self.folder, error))
        } else {
            Ok(())
        }
    }

    /// Let a training write checkpoints: the last two and that of the best epoch, of nothing but the
    /// parameters that train and the state of the method; where checkpoints are kept, of all other
    /// epochs the parameters and the state of Burn's optimizers.
    pub fn attach<M: LearnerModel>(
        &self,
        training: SupervisedTraining<M>,
        model: &M,
        log: &Log,
    ) -> Result<SupervisedTraining<M>, Error> {
        files::make_folder(&self.folder)?;
        let part = |name| Part {
            checkpoints: self.clone(),
            name,
            log: log.clone(),
            keeps: false,
        };
        let keeps = log.history().config.training.keep_checkpoints;
        let model = ModelPart {
            part: part(MODEL),
            frozen: paths(model, PROPER, |trains| !trains),
            keeps,
        };
        let optimizer = Part {
            keeps,
            ..part(OPTIMIZER)
        };
        Ok(training
            .with_custom_checkpointers(model, optimizer, part(SCHEDULER))
            .with_checkpointing_strategy(EpochEnd {
                log: log.clone(),
                kept: self.complete(),
            }))
    }
}

/// Paths below `proper` of the parameters that train or do not train. State of a method, which has
/// no autodiff either, is outside of the model proper.
fn paths<M: Module>(model: &M, proper: &'static str, wanted: fn(bool) -> bool) -> HashSet<String> {
    struct Paths {
        path: Vec<String>,
        proper: &'static str,
        wanted: fn(bool) -> bool,
        found: HashSet<String>,
    }
    impl ModuleVisitor for Paths {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.into());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let path = self.path.join(".");
            if (self.wanted)(param.is_require_grad()) && path.starts_with(self.proper) {
                self.found.insert(path);
            }
        }
    }
    let mut paths = Paths {
        path: Vec::new(),
        proper,
        wanted,
        found: HashSet::new(),
    };
    model.visit(&mut paths);
    paths.found
}

/// Writes one part of checkpoints, each file whole or not at all.
struct Part {
    checkpoints: Checkpoints,
    name: &'static str,
    log: Log,
    /// Whether those of all epochs are kept.
    keeps: bool,
}

impl Part {
    fn write(
        &self,
        epoch: usize,
        save: impl FnOnce(PathBuf) -> Result<(), CheckpointerError>,
    ) -> Result<(), CheckpointerError> {
        let path = self.checkpoints.file(self.name, epoch);
        let part = files::unfinished(&path);
        let put = || put(&path);
        save(part.clone()).and_then(|()| put()).map_err(|error| {
            let _ = fs::remove_file(&part);
            let reason = format!("cannot write {}: {error}", path.display());
            self.log.fail(&reason, true);
            CheckpointerError::Unknown(reason)
        })
    }
}

/// Put a file that is written in its place, with its sum.
fn put(path: &Path) -> Result<(), CheckpointerError> {
    let refuse = |error: Error| CheckpointerError::Unknown(error.to_string());
    // The sum comes first: a file without its sum would not be checked.
    sums::note_unfinished(path).map_err(refuse)?;
    files::put_in_place(path).map_err(CheckpointerError::IOError)
}

impl<R: Checkpoint> Checkpointer<R> for Part {
    fn save(&self, epoch: usize, record: R) -> Result<(), CheckpointerError> {
        self.write(epoch, |path| record.save(path))
    }

    fn restore(&self, epoch: usize) -> Result<R, CheckpointerError> {
        R::load(self.checkpoints.file(self.name, epoch))
    }

    fn delete(&self, epoch: usize) -> Result<(), CheckpointerError> {
        if self.keeps {
            return Ok(());
        }
        let path = self.checkpoints.file(self.name, epoch);
        sums::remove(&path);
        // What cannot be removed does no harm.
        let _ = fs::remove_file(path);
        Ok(())
    }
}

/// Writes the parameters that train.
struct ModelPart {
    part: Part,
    frozen: HashSet<String>,
    /// Whether the parameters of all epochs are kept.
    keeps: bool,
}

impl ModelPart {
    /// Forget what is only there to go on from an epoch.
    fn strip(&self, epoch: usize) -> Result<(), CheckpointerError> {
        let record: ModuleRecord = self.part.restore(epoch)?;
        let own = |name: &str| name.starts_with(PROPER);
        let record = filtered(record, own).map_err(CheckpointerError::Record)?;
        let path = self.part.checkpoints.file(MODEL, epoch);
        Checkpoint::save(record, files::unfinished(&path))?;
        // Until the new file has its name, the old one is not checked.
        sums::remove(&path);
        files::put_in_place(&path).map_err(CheckpointerError::IOError)?;
        let noted = sums::note(&path);
        noted.map_err(|error| CheckpointerError::Unknown(error.to_string()))
    }
}

/// The entries of a record whose names fit.
fn filtered(
    record: ModuleRecord,
    fits: impl Fn(&str) -> bool,
) -> Result<ModuleRecord, RecordError> {
    let mut tensors = tensors(record)?;
    tensors.retain(|tensor| fits(&tensor.name));
    record_of(tensors)
}

fn tensors(record: ModuleRecord) -> Result<Vec<PackTensor>, RecordError> {
    Ok(Reader::from_bytes(record.into_bytes()?)?.into_tensors()?)
}

fn record_of(tensors: Vec<PackTensor>) -> Result<ModuleRecord, RecordError> {
    ModuleRecord::from_bytes(Writer::new(tensors).into_bytes()?)
}

impl Checkpointer<ModuleRecord> for ModelPart {
    fn save(&self, epoch: usize, record: ModuleRecord) -> Result<(), CheckpointerError> {
        let trains = |name: &str| !self.frozen.contains(name);
        let record = filtered(record, trains).map_err(CheckpointerError::Record)?;
        Checkpointer::<ModuleRecord>::save(&self.part, epoch, record)
    }

    fn restore(&self, epoch: usize) -> Result<ModuleRecord, CheckpointerError> {
        let record: ModuleRecord = self.part.restore(epoch)?;
        Ok(record.allow_partial(true))
    }

    fn delete(&self, epoch: usize) -> Result<(), CheckpointerError> {
        if self.keeps {
            // A file that stays as it was does no harm.
            let _ = self.strip(epoch);
            return Ok(());
        }
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
        let best = [epoch, epoch.saturating_sub(1)].map(|epochs| history.best_of(epochs));
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
