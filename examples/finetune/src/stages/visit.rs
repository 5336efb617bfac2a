//! Models and batches of a run that is opened again.

use burn::optim::OptimizerRecord;
use burn::tensor::Device;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::bounds::{fits, left};
use crate::error::Error;
use crate::experiment::Experiment;
use crate::history::{History, Scores};
use crate::model::Judged;

/// Something to do with the stages of a run, for every type of model.
///
/// See [`KeptRun`](super::KeptRun) for an example.
pub trait Visit {
    /// What comes of it.
    type Output;
    /// What can go wrong.
    type Error: From<Error>;

    /// Do it.
    ///
    /// # Errors
    ///
    /// The visitor's own.
    fn visit<M: Judged>(self, stages: Stages<'_, M>) -> Result<Self::Output, Self::Error>;
}

/// The stages of a run: models with the parameters of its epochs, and batches of its training rows.
///
/// See [`KeptRun`](super::KeptRun) for an example.
pub struct Stages<'a, M: Judged> {
    pub(super) history: &'a History,
    pub(super) experiment: &'a Experiment,
    pub(super) epochs: Vec<usize>,
    pub(super) head: String,
    pub(super) model_at: &'a dyn Fn(usize) -> Result<M, Error>,
    pub(super) optimizer_at: &'a dyn Fn(usize) -> Result<OptimizerRecord, Error>,
    pub(super) trained: &'a dyn Fn() -> Result<M, Error>,
    pub(super) batch: &'a dyn Fn(&[usize], &Device) -> M::Batch,
    pub(super) test: &'a dyn Fn(&M) -> Result<Scores, Error>,
}

impl<M: Judged> Stages<'_, M> {
    /// The run's record.
    pub fn history(&self) -> &History {
        self.history
    }

    /// Epochs whose parameters are there, from 0 for the model before training.
    pub fn epochs(&self) -> Vec<usize> {
        self.epochs.clone()
    }

    /// The model after an epoch (0: before training), on the device and with gradients. Dropout is
    /// off. What does not train is shared between the models of all stages.
    ///
    /// # Errors
    ///
    /// [`Error::RunFolder`] if the parameters of this epoch are not there, [`Error::Read`] if they
    /// cannot be read or belong to another model.
    pub fn model(&self, epoch: usize) -> Result<M, Error> {
        (self.model_at)(epoch)
    }

    /// The state of Burn's optimizer after an epoch, for the parameters of [`model`](Self::model). It is empty for
    /// a natural-gradient method, whose state is not kept.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if it is not there (earlier versions kept that of the last epochs alone) or cannot be read.
    pub fn optimizer(&self, epoch: usize) -> Result<OptimizerRecord, Error> {
        (self.optimizer_at)(epoch)
    }

    /// The model that a finished run of `--adapter full` left behind (that of its best epoch), on the
    /// device and with gradients. Dropout is off.
    ///
    /// # Errors
    ///
    /// [`Error::RunFolder`] if the run is not finished or trained an adapter, [`Error::Read`] if the
    /// parameters cannot be read or belong to another model.
    pub fn trained(&self) -> Result<M, Error> {
        (self.trained)()
    }

    /// Path of the layer that makes the logits; there is no such layer where embeddings make them.
    pub fn head(&self) -> &str {
        &self.head
    }

    /// Loss and metrics on the test rows, as at the end of a run.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] if a batch cannot be made.
    pub fn test(&self, model: &M) -> Result<Scores, Error> {
        (self.test)(model)
    }

    /// Rows for training.
    pub fn rows(&self) -> usize {
        self.history().rows[0]
    }

    /// The batch of these training rows.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if there is none, or one that the data does not have.
    pub fn batch(&self, rows: &[usize]) -> Result<M::Batch, Error> {
        let count = self.rows();
        match rows.iter().find(|row| **row >= count) {
            Some(row) => Err(Error::config("row", row, format!("a row below {count}"))),
            None if rows.is_empty() => Err(Error::config("rows of a batch", 0, "at least 1")),
            None => Ok((self.batch)(rows, self.device())),
        }
    }

    /// `count` batches of `size` training rows, each drawn anew without repetition.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a batch would hold no row or more than there are, or if the batches do not fit
    /// into memory.
    pub fn batches(&self, count: usize, size: usize, seed: u64) -> Result<Vec<M::Batch>, Error> {
        let bytes = count as f64 * size as f64 * self.experiment.row_bytes();
        let left = left(self.history().config.device);
        let what = format!("{count} batches of {size} rows");
        fits(left, "batches", count, &what, bytes)?;
        let drawn = self.draws("rows of a batch", count, size, seed)?;
        drawn.iter().map(|rows| self.batch(rows)).collect()
    }

    /// `size` training rows, drawn without repetition.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for no row, or more than there are.
    pub fn sample(&self, size: usize, seed: u64) -> Result<Vec<usize>, Error> {
        Ok(self.draws("samples", 1, size, seed)?.concat())
    }

    fn draws(
        &self,
        what: &str,
        count: usize,
        size: usize,
        seed: u64,
    ) -> Result<Vec<Vec<usize>>, Error> {
        let rows = self.rows();
        if size == 0 || size > rows {
            let expected = format!("1 to {rows}, the rows for training");
            return Err(Error::config(what, size, expected));
        }
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let draw = |_| rand::seq::index::sample(&mut generator, rows, size).into_vec();
        Ok((0..count).map(draw).collect())
    }

    /// Mean loss over the first `rows` training rows (all, if there are fewer).
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for no rows.
    pub fn training_loss(&self, model: &M, rows: usize) -> Result<f64, Error> {
        let rows: Vec<usize> = (0..rows.min(self.rows())).collect();
        if rows.is_empty() {
            return Err(Error::config("rows for the loss", 0, "at least 1"));
        }
        let model = model.clone().valid();
        let device = self.device().clone().inner();
        let at_once = self.history().config.training.eval_batch;
        let losses = rows.chunks(at_once).map(|chunk| {
            let loss = model.loss(&(self.batch)(chunk, &device));
            f64::from(loss.into_scalar::<f32>()) * chunk.len() as f64
        });
        Ok(losses.sum::<f64>() / rows.len() as f64)
    }

    fn device(&self) -> &Device {
        self.experiment.device()
    }
}
