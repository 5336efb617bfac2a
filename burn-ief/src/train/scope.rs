//! How a `TrainStep` finds the method that it runs under.

use std::cell::RefCell;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Gradients;
use burn::train::TrainOutput;

use crate::error::Error;
use crate::jacobian::RecordedBatch;
use crate::kfac::{KroneckerState, Settings};
use crate::optim::{NaturalGradient, PreviousUpdate};
use crate::record::Tape;
use crate::update::SolveReport;

thread_local! {
    static SCOPE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

/// Where a step stands.
enum Stage {
    /// The user's `step` runs; the tape records.
    Recording(Job, Tape),
    /// `train_output` was called.
    Done(Result<Outcome, Error>),
}

/// What a job says.
pub(super) enum Outcome {
    /// The natural gradient, with its report.
    Solved(SolveReport),
    /// Mean gradients and curvature.
    Measured {
        /// Paths of trainable parameters that no recorded use reached.
        unused: Vec<String>,
    },
}

/// What becomes of a recorded batch.
pub(super) enum Job {
    /// Its natural gradient; with a previous update, what is added to that.
    Solve(NaturalGradient, Option<PreviousUpdate>),
    /// Its mean gradient and its curvature; the update is formed after reduction over the shards.
    Measure(Box<Settings>, KroneckerState),
}

/// Run `step` with `job` in scope; returns what it returned and how the job went.
pub(super) fn run<T>(
    job: Job,
    tape: Tape,
    step: impl FnOnce() -> T,
) -> (T, Result<Outcome, Error>) {
    /// Ends the recording if `step` panics.
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            SCOPE.take();
        }
    }
    let _guard = Guard;
    SCOPE.set(Some(Stage::Recording(job, tape)));
    let output = step();
    let solved = match SCOPE.take() {
        Some(Stage::Done(solved)) => solved,
        _ => Err(Error::PlainTrainStep),
    };
    (output, solved)
}

/// The output of a training step: inside a [`Natural`](super::Natural) with the natural gradient,
/// elsewhere exactly `TrainOutput::new`.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::Linear;
/// use burn::tensor::Tensor;
/// use burn::train::{RegressionOutput, TrainOutput, TrainStep};
/// use burn_ief::nn::ForwardRecorded;
/// use burn_ief::{Likelihood, mark_output_as};
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
///         burn_ief::train::train_output(self, grads, RegressionOutput::new(loss, z, y))
///     }
/// }
/// ```
pub fn train_output<M: Module, T>(module: &M, grads: Gradients, item: T) -> TrainOutput<T> {
    match SCOPE.take() {
        Some(Stage::Recording(job, tape)) => {
            let (grads, solved) = match job.run(tape, grads, module) {
                Ok((grads, outcome)) => (grads, Ok(outcome)),
                Err(error) => (GradientsParams::new(), Err(error)),
            };
            SCOPE.set(Some(Stage::Done(solved)));
            TrainOutput { grads, item }
        }
        _ => TrainOutput::new(module, grads, item),
    }
}

impl Job {
    fn run<M: Module>(
        self,
        tape: Tape,
        grads: Gradients,
        module: &M,
    ) -> Result<(GradientsParams, Outcome), Error> {
        match self {
            Self::Solve(method, previous) => {
                let recorded = RecordedBatch::collect(tape, grads, module, method.group())?;
                let step = method.solve(recorded, previous.as_ref())?;
                Ok((step.gradients, Outcome::Solved(step.report)))
            }
            Self::Measure(settings, state) => {
                let group = settings.group.as_ref();
                let recorded = RecordedBatch::collect(tape, grads, module, group)?;
                let unused = recorded.all_rows().unused();
                let measured = settings.measure(module, recorded, &state)?;
                let (mut grads, statistics) = measured;
                state.send(statistics, &mut grads);
                Ok((grads, Outcome::Measured { unused }))
            }
        }
    }
}
