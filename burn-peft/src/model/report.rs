//! How much of a model trains.

use std::fmt;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::walk::{self, Look, Place};

/// Counts of trainable and of all parameters; printed as PEFT prints them.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_peft::{LoraConfig, Peft};
///
/// let device = Device::flex().autodiff();
/// let layer = LinearConfig::new(16, 32).init(&device);
/// let layer = LoraConfig::new().with_r(2).linear("default", layer)?;
/// assert_eq!(
///     layer.trainable().to_string(),
///     "trainable params: 96 || all params: 640 || trainable%: 15.0000"
/// );
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trainable {
    /// Parameters that require a gradient; none on a device without autodiff.
    pub trainable: usize,
    /// All parameters, adapters included.
    pub all: usize,
}

impl Trainable {
    /// Count the parameters of a model, without giving a value to those that have none yet.
    pub(super) fn of<M: Module>(model: &M) -> Self {
        let mut counts = Self {
            trainable: 0,
            all: 0,
        };
        walk::visit(model, &mut counts);
        counts
    }

    /// Trainable share in per cent; 0 for a model without parameters.
    pub fn percent(&self) -> f64 {
        match self.all {
            0 => 0.0,
            all => 100.0 * self.trainable as f64 / all as f64,
        }
    }
}

impl Look for Trainable {
    fn look<const D: usize>(&mut self, _place: Place<'_>, param: &Param<Tensor<D>>) {
        let count = param.lazy_shape().num_elements();
        self.all += count;
        if requires_grad(param) {
            self.trainable += count;
        }
    }
}

/// Whether a parameter requires a gradient. A lazily initialised parameter is not given a value: we
/// ask what it would do after loading one.
pub(super) fn requires_grad<const D: usize>(param: &Param<Tensor<D>>) -> bool {
    if param.is_initialized() {
        return param.is_require_grad();
    }
    let small = Tensor::<D>::zeros([1; D], &param.lazy_device());
    let loaded = param.clone().transform_for_load(small, param.id);
    loaded.is_require_grad()
}

impl fmt::Display for Trainable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "trainable params: {} || all params: {} || trainable%: {:.4}",
            grouped(self.trainable),
            grouped(self.all),
            self.percent(),
        )
    }
}

/// Digits in groups of three.
fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
