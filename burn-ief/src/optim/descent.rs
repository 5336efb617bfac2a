//! The optimizer that applies a natural gradient.

use burn::optim::momentum::MomentumConfig;
use burn::optim::{LearningRate, Optimizer, Sgd, SgdConfig};
use burn::tensor::{Device, Tensor};

/// Applies an update that is a natural gradient already:
/// `θ ← (1 − η w) θ − η m`, with m the update or its running average.
///
/// The natural gradient needs one system over all parameters, so it is formed where gradients are
/// formed (see [`NaturalGradient::gradients`]); an [`Optimizer`] sees one parameter at a time and
/// applies it, with decoupled weight decay w as in AdamW and Burn's own momentum.
///
/// Burn's gradient clipping works per tensor and would bend the direction: use the trust region or
/// the normalisation of the configuration instead.
///
/// [`NaturalGradient::gradients`]: crate::NaturalGradient::gradients
///
/// ```
/// use burn::optim::ModuleOptimizer;
/// use burn_ief::optim::NaturalDescent;
///
/// let optimizer = ModuleOptimizer::from(NaturalDescent::new(0.01, None));
/// assert!(!optimizer.has_gradient_clipping());
/// ```
#[derive(Clone)]
pub struct NaturalDescent {
    sgd: Sgd,
    weight_decay: f64,
}

impl NaturalDescent {
    /// With this decoupled weight decay and momentum.
    pub fn new(weight_decay: f64, momentum: Option<MomentumConfig>) -> Self {
        Self {
            sgd: SgdConfig::new().with_momentum(momentum).build(),
            weight_decay,
        }
    }
}

impl Optimizer for NaturalDescent {
    type State<const D: usize> = <Sgd as Optimizer>::State<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        // Updates are formed in f32 at least; the parameter may be narrower.
        let grad = match grad.dtype() == tensor.dtype() {
            true => grad,
            false => grad.cast(tensor.dtype()),
        };
        let tensor = match self.weight_decay == 0.0 {
            true => tensor,
            false => tensor * (1.0 - lr * self.weight_decay),
        };
        self.sgd.step(lr, tensor, grad, state)
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        Sgd::to_device(state, device)
    }
}
