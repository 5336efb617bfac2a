//! Burn's optimizer that applies the updates of a method.

use burn::optim::momentum::MomentumConfig;
use burn::optim::{LearningRate, ModuleOptimizer, Optimizer, Sgd, SgdConfig, SgdState};
use burn::tensor::{Device, Tensor};
use burn_flex_fused::descend;

use crate::methods::Method;

/// Applies an update that a method has formed: `θ ← (1 − η w) θ − η m`, with m the update or its
/// running average.
///
/// Burn's [`Optimizer`] sees one parameter at a time, but a natural gradient needs one system over
/// all parameters. So the method forms the update, and this optimizer applies it, with decoupled
/// weight decay w as in AdamW and Burn's own momentum.
///
/// Do not combine it with Burn's gradient clipping, which clips every tensor by itself and so changes
/// the direction: use the trust region or the normalisation of the method instead.
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
    has_momentum: bool,
    weight_decay: f64,
}

impl NaturalDescent {
    /// With this decoupled weight decay and momentum.
    pub fn new(weight_decay: f64, momentum: Option<MomentumConfig>) -> Self {
        Self {
            has_momentum: momentum.is_some(),
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
        let grad = if grad.dtype() == tensor.dtype() {
            grad
        } else {
            grad.cast(tensor.dtype())
        };
        let keep = 1.0 - lr * self.weight_decay;
        if !self.has_momentum {
            return (descend(tensor, grad, lr, keep), Some(SgdState::new(None)));
        }
        let tensor = if keep == 1.0 { tensor } else { tensor * keep };
        self.sgd.step(lr, tensor, grad, state)
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        Sgd::to_device(state, device)
    }
}

/// Burn's optimizer that applies the updates of a method: for a learner, which owns its optimizer.
///
/// ```
/// use burn::module::ParamGroup;
/// use burn::optim::AdamWConfig;
/// use burn_ief::methods::StepOptions;
/// use burn_ief::prelude::*;
///
/// let step = StepOptions::new().with_group(Some(ParamGroup::from_predicate("encoder")));
/// let method = IefConfig::new().with_step(step).build();
/// // The encoder takes iEF's updates, AdamW trains everything else.
/// let optim = method.optimizer_with(AdamWConfig::new().build());
/// assert!(!optim.has_gradient_clipping());
/// ```
pub trait MethodOptimizer: Method {
    /// An optimizer that applies the updates to all parameters.
    fn optimizer(&self) -> ModuleOptimizer {
        self.descent().into()
    }

    /// An optimizer that applies the updates to the parameters of the method's group, and leaves all
    /// others to `rest`, from the same backward pass.
    ///
    /// The two take different step sizes: set them per group with
    /// `burn::lr_scheduler::module_lr_scheduler`.
    fn optimizer_with<O: Optimizer>(&self, rest: O) -> ModuleOptimizer {
        match &self.step_options().group {
            Some(group) => {
                ModuleOptimizer::from(rest).with_group(group.clone(), self.descent(), None)
            }
            None => self.optimizer(),
        }
    }

    /// The bare optimizer, for [`ModuleOptimizer::with_group`].
    fn descent(&self) -> NaturalDescent {
        let step = self.step_options();
        NaturalDescent::new(step.weight_decay, step.momentum.clone())
    }
}

impl<X: Method> MethodOptimizer for X {}
