//! Steps over several shards, each measured on its own device and thread.

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::Module;
use burn::tensor::Gradients;

use super::NaturalOptimizer;
use crate::error::Error;
use crate::exchange::Exchange;
use crate::jacobian::RecordedBatch;
use crate::methods::{Method, Reduction};
use crate::record::Tape;

/// Records one shard of a step and measures it. It may go to another thread.
///
/// [`NaturalOptimizer::shard`] makes it.
#[derive(Debug)]
pub struct ShardRecorder<X: Method> {
    method: X,
    state: X::State,
    step: u64,
    first_row: u64,
}

/// What one shard of a step gives. It stays on the device that measured it.
#[derive(Debug)]
pub struct MeasuredShard<X: Method> {
    pub(super) shard: X::Shard,
    pub(super) step: u64,
    samples: usize,
}

impl<X: Method> MeasuredShard<X> {
    /// Its samples, without copies that have drawn labels.
    pub fn samples(&self) -> usize {
        self.samples
    }
}

impl<X: Method> ShardRecorder<X> {
    /// Start the recording, on the thread that runs the forward pass.
    pub fn start(&self) -> Tape {
        self.method.start_shard(self.step, self.first_row)
    }

    /// Measure the recorded shard. `model` is the replica whose calls were recorded.
    ///
    /// # Errors
    ///
    /// As [`NaturalOptimizer::step`]; samples in errors are counted in the whole batch.
    pub fn measure<M: Module>(
        self,
        tape: Tape,
        grads: Gradients,
        model: &M,
    ) -> Result<MeasuredShard<X>, Error> {
        let first_row = self.first_row as usize;
        let group = self.method.step_options().group.as_ref();
        let batch = RecordedBatch::collect(tape, grads, model, group);
        let shard = batch.and_then(|batch| {
            batch.check_single_holders()?;
            self.method.measure(batch, &self.state, self.step)
        });
        let shard = shard.map_err(|error| match error {
            Error::NonFinite { what, samples } => Error::NonFinite {
                what,
                samples: samples.into_iter().map(|n| first_row + n).collect(),
            },
            error => error,
        })?;
        Ok(MeasuredShard {
            samples: self.method.shard_samples(&shard),
            step: self.step,
            shard,
        })
    }
}

impl<X: Method> NaturalOptimizer<X> {
    /// How devices exchange what they measured, in steps over several shards.
    ///
    /// # Panics
    ///
    /// Panics if a field of `exchange` is out of range: see [`Exchange::validate`].
    pub fn with_exchange(mut self, exchange: Exchange) -> Self {
        if let Err(error) = exchange.validate() {
            panic!("{error}");
        }
        self.joining.exchange = exchange;
        self
    }

    /// How devices exchange what they measured.
    pub fn exchange(&self) -> &Exchange {
        &self.joining.exchange
    }

    /// How the shards of a step, or accumulated batches, become one update: by default exactly that of one
    /// batch which holds all their samples.
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::tensor::{Device, Distribution, Tensor};
    /// use burn_ief::methods::Reduction;
    /// use burn_ief::prelude::*;
    ///
    /// let device = Device::flex().autodiff();
    /// let start = LinearConfig::new(3, 1).init(&device);
    /// let x = Tensor::<2>::random([8, 3], Distribution::Default, &device);
    /// let weight = |reduction| {
    ///     let mut optim = IefConfig::new().init(&start).with_reduction(reduction);
    ///     for part in x.clone().chunk(2, 0) {
    ///         let tape = optim.start();
    ///         let output = mark_output(start.forward_recorded(part));
    ///         optim.accumulate(tape, output.square().mean().backward(), &start)?;
    ///     }
    ///     let model = optim.step_accumulated(0.5, start.clone())?;
    ///     Ok::<_, burn_ief::Error>(model.weight.val().into_data())
    /// };
    /// // Two updates of four samples each are not the update of all eight.
    /// assert_ne!(weight(Reduction::Joint)?, weight(Reduction::Mean)?);
    /// assert_ne!(weight(Reduction::Sum)?, weight(Reduction::Mean)?);
    /// # Ok::<(), burn_ief::Error>(())
    /// ```
    pub fn with_reduction(mut self, reduction: Reduction) -> Self {
        self.joining.reduction = reduction;
        self
    }

    /// What records one shard of the next step. `first_row` is the number of the samples in the shards
    /// before it: drawn labels depend on it, so that the shards draw what one batch would.
    ///
    /// For models on one device, [`accumulate`](Self::accumulate) does the same with less code, and
    /// [`Replicas`](crate::devices::Replicas) runs the shards on several devices.
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::tensor::{Device, Tensor};
    /// use burn_ief::prelude::*;
    ///
    /// let device = Device::flex().autodiff();
    /// let model = LinearConfig::new(3, 1).init(&device);
    /// let mut optim = IefConfig::new().init(&model);
    /// let mut shards = Vec::new();
    /// for (first_row, rows) in [(0, 5), (5, 3)] {
    ///     let recorder = optim.shard(first_row);
    ///     let tape = recorder.start();
    ///     let output = mark_output(model.forward_recorded(Tensor::<2>::ones([rows, 3], &device)));
    ///     let grads = output.square().mean().backward();
    ///     shards.push(recorder.measure(tape, grads, &model)?);
    /// }
    /// let model = optim.step_shards(0.5, model, shards)?; // the update of all eight samples
    /// assert_eq!(optim.steps(), 1);
    /// # let _ = model;
    /// # Ok::<(), burn_ief::Error>(())
    /// ```
    pub fn shard(&self, first_row: u64) -> ShardRecorder<X> {
        ShardRecorder {
            method: self.method.clone(),
            state: self.state.clone(),
            step: self.steps,
            first_row,
        }
    }

    /// Update the model from all shards of a step, in the order of their rows.
    ///
    /// The step is exactly that of one batch that holds all samples, up to rounding, unless
    /// [`with_reduction`](Self::with_reduction) says otherwise.
    ///
    /// # Errors
    ///
    /// As [`step`](Self::step); [`Error::Size`] without shards; [`Error::StaleShard`] for a shard that was
    /// measured before another step; [`Error::Device`] and [`Error::Deadline`] if a device does not answer.
    /// The optimizer is as before then.
    pub fn step_shards<M: Module>(
        &mut self,
        lr: impl Into<ModuleLearningRate>,
        model: M,
        shards: Vec<MeasuredShard<X>>,
    ) -> Result<M, Error> {
        self.check_pending()?;
        let stale = shards.iter().find(|shard| shard.step != self.steps);
        if let Some(shard) = stale {
            return Err(Error::StaleShard {
                step: self.steps,
                measured: shard.step,
            });
        }
        let shards = shards.into_iter().map(|shard| shard.shard).collect();
        let (grads, _) = self.advance(shards, &model)?;
        Ok(self.optim.step(lr, model, grads))
    }
}
