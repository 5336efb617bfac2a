//! Replicas of a model on several devices.

use std::sync::Arc;

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::team::Team;
use crate::error::Error;
use crate::methods::Method;
use crate::optim::{MeasuredShard, NaturalOptimizer};

/// The loss of a part of a batch by one replica.
type Loss<M, B> = Arc<dyn Fn(&M, B) -> Tensor<1> + Send + Sync>;

/// Replicas of a model, one for each device, that stay on their devices.
///
/// Each device runs forward and backward passes of its part of a batch, on a thread of its own. The step is
/// that of one device with the whole batch, up to rounding, for every method and however the batch is cut.
/// After a step only the trained parameters travel to the other devices, so a large frozen base is sent once.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::nn::loss::CrossEntropyLossConfig;
/// use burn::tensor::{Device, Distribution, Int, Tensor};
/// use burn_ief::devices::Replicas;
/// use burn_ief::prelude::*;
///
/// let devices = [Device::flex().autodiff(), Device::flex().autodiff()]; // yours: several GPUs, or servers
/// let mut model = LinearConfig::new(4, 3).init(&devices[0]);
/// let mut optim = IefConfig::new().init(&model);
/// let mut replicas = Replicas::new(&model, &devices, |model, (x, y): (Tensor<2>, Tensor<1, Int>)| {
///     let logits = mark_output(model.forward_recorded(x));
///     CrossEntropyLossConfig::new().init(&y.device()).forward(logits, y)
/// })?;
/// for _ in 0..3 {
///     // The part of each device: its number of samples, and what the loss takes.
///     let parts = [5, 3].iter().zip(&devices).map(|(&samples, device)| {
///         let x = Tensor::<2>::random([samples, 4], Distribution::Default, device);
///         let y = Tensor::<1, Int>::zeros([samples], device);
///         (samples, (x, y))
///     });
///     model = replicas.step(&mut optim, 0.5, model, parts.collect())?;
/// }
/// assert_eq!(optim.steps(), 3);
/// # Ok::<(), burn_ief::Error>(())
/// ```
///
/// # Failures
///
/// A step either completes or changes nothing: after an error the optimizer, and a clone of the model that
/// you kept, are those of the last complete step. A device that fails or misses the deadline of
/// [`Exchange`](crate::exchange::Exchange) is an [`Error::Shard`] that names it. Make new replicas, without
/// this device, to go on.
pub struct Replicas<M, B> {
    team: Team<M>,
    loss: Loss<M, B>,
    /// Why the replicas no longer have the values of the model.
    behind: Option<Error>,
}

impl<M: Module + 'static, B: Send + 'static> Replicas<M, B> {
    /// A replica of `model` on each device; the first device is that of the model.
    ///
    /// `loss` gives the loss of a part of a batch, as [`NaturalOptimizer::step_closure`] takes it: it runs
    /// inside a recording, marks its output, and returns a mean over the samples of the part. Name a
    /// device several times to use it for several parts.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] without devices; [`Error::Device`] if a device fails.
    pub fn new(
        model: &M,
        devices: &[Device],
        loss: impl Fn(&M, B) -> Tensor<1> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        Ok(Self {
            team: Team::new(model, devices)?,
            loss: Arc::new(loss),
            behind: None,
        })
    }

    /// The devices, in the order of the parts.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.team.devices()
    }

    /// One step: [`each`](Self::each), [`NaturalOptimizer::step_shards`] and [`update`](Self::update).
    ///
    /// # Errors
    ///
    /// Those of [`each`](Self::each) and [`NaturalOptimizer::step_shards`]; nothing has changed then. If the
    /// new values do not reach a device, this step is complete, and the next one is the error.
    pub fn step<X: Method>(
        &mut self,
        optim: &mut NaturalOptimizer<X>,
        lr: impl Into<ModuleLearningRate>,
        model: M,
        parts: Vec<(usize, B)>,
    ) -> Result<M, Error> {
        let shards = self.each(optim, parts)?;
        let model = optim.step_shards(lr, model, shards)?;
        self.behind = self.update(&model).err();
        Ok(model)
    }

    /// Run the loss and its backward pass for each part on its device, at the same time, and measure them.
    ///
    /// A part is its number of samples and what the loss takes; parts without samples are skipped.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] for more parts than devices, or without samples. [`Error::Shard`] for the first part
    /// that fails; [`Error::Size`] in it for a part with another number of samples than declared.
    pub fn each<X: Method>(
        &mut self,
        optim: &NaturalOptimizer<X>,
        parts: Vec<(usize, B)>,
    ) -> Result<Vec<MeasuredShard<X>>, Error> {
        if let Some(error) = &self.behind {
            return Err(error.clone());
        }
        let devices = self.team.devices().len();
        if parts.len() > devices {
            return Err(Error::Size {
                what: "parts of a batch, of which each takes a device",
                expected: devices,
                found: parts.len(),
            });
        }
        if parts.iter().all(|(samples, _)| *samples == 0) {
            return Err(Error::EmptyBatch);
        }
        let mut first_row = 0;
        let mut work = Vec::with_capacity(parts.len());
        for (shard, (samples, part)) in parts.into_iter().enumerate() {
            if samples == 0 {
                continue;
            }
            let recorder = optim.shard(first_row);
            first_row += samples as u64;
            let loss = self.loss.clone();
            work.push((shard, move |replica: &mut M| {
                let tape = recorder.start();
                let grads = loss(replica, part).backward();
                let measured = recorder.measure(tape, grads, replica)?;
                if measured.samples() == samples {
                    return Ok(measured);
                }
                Err(Error::Size {
                    what: "samples of a part of the batch",
                    expected: samples,
                    found: measured.samples(),
                })
            }));
        }
        self.team.run(work, optim.exchange().deadline)
    }

    /// Bring the trained parameters of `model` to all replicas.
    ///
    /// Call it after a step of your own. Frozen parameters are not sent: after you change them, make new
    /// replicas.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignState`] for another model; [`Error::Device`] if a device fails.
    pub fn update(&mut self, model: &M) -> Result<(), Error> {
        self.team.update(model)?;
        self.behind = None;
        Ok(())
    }
}
