//! Batch norm with stored statistics.

use burn::module::{Flag, Module, ModuleMapper, Param};
use burn::nn::BatchNorm;
use burn::tensor::{Tensor, assert_shape};

use super::{Affine, trains};
use crate::nn::ForwardRecorded;
use crate::record::{is_empty_batch, recorder};

/// Records one gradient row per sample for the scale and the shift, if the statistics are frozen.
///
/// A BatchNorm in training mode normalises by the statistics of the batch, so a sample has no gradient of its
/// own. Its call is then Burn's `forward`, and the step returns
/// [`Error::BatchNorm`](crate::Error::BatchNorm) if the BatchNorm or something in front of it is trained.
/// [`freeze_statistics`] makes it use its stored statistics.
///
/// # Shapes
///
/// - input and output: `[M, num_features, …]`
///
/// # Panics
///
/// Panics if axis 1 of `input` is not `num_features`.
///
/// ```
/// use burn::nn::BatchNormConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::jacobian::Jacobian;
/// use burn_ief::nn::{ForwardRecorded, freeze_statistics};
/// use burn_ief::{LossScale, Tape};
///
/// let device = Device::flex().autodiff();
/// let norm = freeze_statistics(BatchNormConfig::new(2).init(&device));
/// let x = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 5.0]], &device);
/// let tape = Tape::start().with_loss_scale(LossScale::Sum);
/// let grads = norm.forward_recorded(x).sum().backward();
/// // With mean 0 and variance 1, the gradients of γ are the inputs, and of β they are 1.
/// let rows = Jacobian::from_tape(tape, grads, &norm)?.to_dense();
/// for (row, expected) in rows.concat().iter().zip([1.0, 2.0, 1.0, 1.0, 3.0, 5.0, 1.0, 1.0]) {
///     assert!((row - expected).abs() < 1e-4);
/// }
/// # Ok::<(), burn_ief::Error>(())
/// ```
impl<const D: usize> ForwardRecorded<Tensor<D>> for BatchNorm {
    type Output = Tensor<D>;

    fn forward_recorded(&self, input: Tensor<D>) -> Tensor<D> {
        if is_empty_batch(input.dims()[0]) {
            return input;
        }
        let Some(recorder) = recorder() else {
            return self.forward(input);
        };
        let input = recorder.batch(input);
        let device = input.device();
        // Burn's condition for the statistics of the batch.
        let training = device.is_autodiff() && self.training.is_enabled();
        let trained = trains(Some(&self.gamma)) || trains(Some(&self.beta));
        if training || !trained {
            return self.forward(input);
        }
        let [features] = self.gamma.shape().dims();
        assert_shape!(input, [_, features, ..]);
        let mut shape = [1; D];
        shape[1] = features;
        let mean = self.running_mean.value().to_device(&device).reshape(shape);
        let variance = self.running_var.value().to_device(&device).reshape(shape);
        let affine = Affine {
            recorder: &recorder,
            axis: 1,
        };
        let y = (input - mean) / (variance + self.epsilon).sqrt();
        affine.shift(affine.scale(y, &self.gamma), &self.beta)
    }
}

/// Let every BatchNorm of a module use its stored statistics as they are.
///
/// They are not updated any more, in training as in evaluation. Scale and shift still train, and so does
/// everything else. Samples do not depend on each other then, so the module has gradients sample by sample.
///
/// Burn's `freeze` does the same and also freezes the parameters. Clones of a module share their statistics:
/// stop training the other clones.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use burn_ief::nn::{freeze_statistics, unfreeze_statistics};
/// use burn_ief::prelude::*;
///
/// #[derive(Module, Debug)]
/// struct Model {
///     hidden: Linear,
///     norm: BatchNorm,
///     head: Linear,
/// }
///
/// impl Model {
///     fn forward(&self, x: Tensor<2>) -> Tensor<2> {
///         let x = self.norm.forward_recorded(self.hidden.forward_recorded(x));
///         self.head.forward_recorded(x.tanh())
///     }
/// }
///
/// let device = Device::flex().autodiff();
/// let model = Model {
///     hidden: LinearConfig::new(4, 8).init(&device),
///     norm: BatchNormConfig::new(8).init(&device),
///     head: LinearConfig::new(8, 1).init(&device),
/// };
/// let x = Tensor::<2>::random([6, 4], Distribution::Default, &device);
/// // Passes without a step estimate the statistics, as does loading a trained model.
/// for _ in 0..50 {
///     model.forward(x.clone());
/// }
///
/// let mut model = freeze_statistics(model);
/// let scale = model.norm.gamma.val();
/// let mut optim = IefConfig::new().init(&model);
/// model = optim.step_closure(0.1, model, |model| {
///     mark_output(model.forward(x.clone())).square().mean()
/// })?;
/// assert!((model.norm.gamma.val() - scale).abs().max().into_scalar::<f32>() > 0.0);
///
/// model = unfreeze_statistics(model);
/// assert!(model.norm.training.is_enabled());
/// # Ok::<(), burn_ief::Error>(())
/// ```
pub fn freeze_statistics<M: Module>(module: M) -> M {
    // Burn applies an update of the statistics with the next one, or when a module for validation is made.
    drop(module.valid());
    module.map(&mut TrainBatchNorm::new(false))
}

/// Let every BatchNorm of a module use the statistics of the batch again: the inverse of
/// [`freeze_statistics`].
pub fn unfreeze_statistics<M: Module>(module: M) -> M {
    module.map(&mut TrainBatchNorm::new(true))
}

/// Sets the training mode of every BatchNorm.
struct TrainBatchNorm {
    training: bool,
    containers: Vec<String>,
}

impl TrainBatchNorm {
    fn new(training: bool) -> Self {
        Self {
            training,
            containers: Vec::new(),
        }
    }
}

impl ModuleMapper for TrainBatchNorm {
    fn enter_module(&mut self, _name: &str, container: &str) {
        self.containers.push(container.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.containers.pop();
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        if self
            .containers
            .last()
            .is_some_and(|c| c == "Struct:BatchNorm")
        {
            flag.with_value(self.training)
        } else {
            flag
        }
    }
}
