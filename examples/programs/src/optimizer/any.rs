//! An optimizer with its state, whichever it is.

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;
use burn_ief::optim::NaturalOptimizer;

/// An optimizer of Burn or a natural-gradient method, for loops that run with either.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::optim::SgdConfig;
/// use burn::tensor::{Device, Tensor};
/// use programs::optimizer::AnyOptimizer;
///
/// let device = Device::flex().autodiff();
/// let layer = LinearConfig::new(2, 1).init(&device);
/// let mut optim = AnyOptimizer::from(SgdConfig::new().init());
/// let x = Tensor::<2>::ones([3, 2], &device);
/// let layer = optim.step_closure(0.1, layer, |layer| layer.forward(x).square().mean())?;
/// # let _ = layer;
/// # Ok::<(), burn_ief::Error>(())
/// ```
pub enum AnyOptimizer {
    /// One of Burn.
    FirstOrder(ModuleOptimizer),
    /// One of `burn-ief`.
    Natural(Box<NaturalOptimizer>),
}

impl AnyOptimizer {
    /// One step: `loss` gives the loss of a batch.
    ///
    /// # Errors
    ///
    /// Those of the natural-gradient methods; the model is lost then.
    pub fn step_closure<M: Module>(
        &mut self,
        lr: f64,
        model: M,
        loss: impl FnOnce(&M) -> Tensor<1>,
    ) -> Result<M, burn_ief::Error> {
        match self {
            Self::FirstOrder(optim) => {
                let grads = GradientsParams::from_grads(loss(&model).backward(), &model);
                Ok(optim.step(lr, model, grads))
            }
            Self::Natural(optim) => optim.step_closure(lr, model, loss),
        }
    }
}

impl From<ModuleOptimizer> for AnyOptimizer {
    fn from(optim: ModuleOptimizer) -> Self {
        Self::FirstOrder(optim)
    }
}

impl From<NaturalOptimizer> for AnyOptimizer {
    fn from(optim: NaturalOptimizer) -> Self {
        Self::Natural(Box::new(optim))
    }
}
