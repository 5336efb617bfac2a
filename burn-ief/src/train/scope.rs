//! How a `TrainStep` finds the method that it runs under.

use std::cell::RefCell;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Gradients;
use burn::train::TrainOutput;

use crate::error::Error;
use crate::jacobian::RecordedBatch;
use crate::methods::{AnyMethod, AnyShard, AnyState, Method};
use crate::record::Tape;

thread_local! {
    static SCOPE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

/// How far a step has come.
enum Stage {
    /// The user's `step` runs; the tape records.
    Recording(Box<Job>, Tape),
    /// `train_output` was called.
    Done(Box<Result<AnyShard, Error>>),
}

/// What is needed to measure a recorded batch.
pub(super) struct Job {
    pub method: AnyMethod,
    pub state: AnyState,
    pub step: u64,
}

/// Run `step` with `job` in scope; returns what it returned and the measured shard.
pub(super) fn run<T>(
    job: Job,
    tape: Tape,
    step: impl FnOnce() -> T,
) -> (T, Result<AnyShard, Error>) {
    /// Ends the recording if `step` panics.
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            SCOPE.take();
        }
    }
    let _guard = Guard;
    SCOPE.set(Some(Stage::Recording(Box::new(job), tape)));
    let output = step();
    let shard = match SCOPE.take() {
        Some(Stage::Done(shard)) => *shard,
        _ => Err(Error::PlainTrainStep),
    };
    (output, shard)
}

/// The output of a training step: call it instead of `TrainOutput::new` at the end of the model's
/// `TrainStep::step`.
///
/// Under a [`NaturalModel`](super::NaturalModel) it measures the recorded batch; the gradients of the
/// output are empty then. Elsewhere it is exactly `TrainOutput::new`.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
/// use burn::train::{RegressionOutput, TrainOutput, TrainStep};
/// use burn_ief::prelude::*;
/// use burn_ief::train::train_output;
///
/// #[derive(Module, Debug)]
/// struct Net {
///     layer: Linear,
/// }
///
/// impl TrainStep for Net {
///     type Input = (Tensor<2>, Tensor<2>);
///     type Output = RegressionOutput;
///
///     fn step(&self, (x, y): Self::Input) -> TrainOutput<RegressionOutput> {
///         let z = mark_output_as(self.layer.forward_recorded(x), Likelihood::Gaussian);
///         let loss = (z.clone() - y.clone()).square().sum_dim(1).mean() * 0.5;
///         let grads = loss.backward();
///         train_output(self, grads, RegressionOutput::new(loss, z, y))
///     }
/// }
///
/// let device = Device::flex().autodiff();
/// let net = Net { layer: LinearConfig::new(3, 1).init(&device) };
/// let output = net.step((Tensor::ones([4, 3], &device), Tensor::zeros([4, 1], &device)));
/// // Outside a `NaturalModel` these are plain gradients, of the weight and the bias.
/// assert_eq!(output.grads.len(), 2);
/// ```
pub fn train_output<M: Module, T>(module: &M, grads: Gradients, item: T) -> TrainOutput<T> {
    match SCOPE.take() {
        Some(Stage::Recording(job, tape)) => {
            let shard = job.measure(tape, grads, module);
            SCOPE.set(Some(Stage::Done(Box::new(shard))));
            TrainOutput {
                grads: GradientsParams::new(),
                item,
            }
        }
        _ => TrainOutput::new(module, grads, item),
    }
}

impl Job {
    /// Run the `step` of a model for the shard that begins at a row of the whole batch.
    pub fn run<T>(self, first_row: u64, step: impl FnOnce() -> T) -> (T, Result<AnyShard, Error>) {
        let tape = self.method.start_shard(self.step, first_row);
        run(self, tape, step)
    }

    fn measure<M: Module>(
        &self,
        tape: Tape,
        grads: Gradients,
        module: &M,
    ) -> Result<AnyShard, Error> {
        let group = self.method.step_options().group.as_ref();
        let batch = RecordedBatch::collect(tape, grads, module, group)?;
        batch.check_single_holders()?;
        self.method.measure(batch, &self.state, self.step)
    }
}
