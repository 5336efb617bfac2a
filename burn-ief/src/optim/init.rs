//! From a configuration to the optimizer of a model.

use burn::module::Module;

use super::natural_optimizer::NaturalOptimizer;
use crate::error::Error;
use crate::methods::MethodConfig;

/// Makes the optimizer of a model from the configuration of a method.
///
/// It is in the [prelude](crate::prelude).
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_ief::prelude::*;
///
/// let model = LinearConfig::new(4, 3).init(&Device::flex().autodiff());
/// let optim = IefConfig::new().init(&model);
/// assert_eq!(optim.steps(), 0);
/// assert!(IefConfig::new().with_cosine_filter(Some(2.0)).try_init(&model).is_err());
/// ```
pub trait InitOptimizer: MethodConfig {
    /// The optimizer of a model.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first field that is out of range.
    fn try_init<M: Module>(&self, model: &M) -> Result<NaturalOptimizer<Self::Method>, Error> {
        Ok(NaturalOptimizer::new(self.try_build()?, model))
    }

    /// The optimizer of a model.
    ///
    /// # Panics
    ///
    /// Panics if a field is out of range; [`try_init`](Self::try_init) returns the error instead.
    fn init<M: Module>(&self, model: &M) -> NaturalOptimizer<Self::Method> {
        NaturalOptimizer::new(self.build(), model)
    }
}

impl<C: MethodConfig> InitOptimizer for C {}
