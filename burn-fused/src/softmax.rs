//! Softmax along the last axis, and the loss on top of it.

use burn::tensor::{Int, Tensor, activation};

#[cfg(feature = "flex")]
use crate::kernels::{extension, softmax as kernels};

/// `exp(x) / Σ exp(x)` along the last axis.
///
/// # Shapes
///
/// - input and output: any
///
/// ```
/// use burn::tensor::{Device, Tensor};
///
/// let x = Tensor::<2>::from_floats([[0.0, 0.0], [1e4, -1e4]], &Device::flex());
/// let y = burn_flex_fused::softmax(x).into_data().try_to_vec::<f32>().unwrap();
/// assert_eq!(y, [0.5, 0.5, 1.0, 0.0]);
/// ```
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if extension::takes(&[extension::facts(&x)]) {
        return extension::apply(kernels::Softmax::Plain.kernel(), vec![x.into_dispatch()]);
    }
    activation::softmax(x, D - 1)
}

/// `x - log Σ exp(x)` along the last axis.
///
/// # Shapes
///
/// - input and output: any
///
/// ```
/// use burn::tensor::{Device, Tensor};
///
/// let x = Tensor::<2>::from_floats([[1e4, -1e4]], &Device::flex());
/// let y = burn_flex_fused::log_softmax(x).into_data().try_to_vec::<f32>().unwrap();
/// assert_eq!(y, [0.0, -2e4]);
/// ```
pub fn log_softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if extension::takes(&[extension::facts(&x)]) {
        return extension::apply(kernels::Softmax::Log.kernel(), vec![x.into_dispatch()]);
    }
    activation::log_softmax(x, D - 1)
}

/// The cross-entropy `log Σ exp(x) - x[target]` of every row.
///
/// Rows whose target is `ignore` have loss and gradient zero. Take the mean over the others
/// yourself.
///
/// # Shapes
///
/// - logits: `[N, C]`
/// - targets: `[N]`, from 0 to C - 1, or `ignore`
/// - output: `[N]`
///
/// # Panics
///
/// Panics if the numbers of rows differ, and on Flex if another target is not below C (a look-up on
/// other devices does what their backend does).
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_flex_fused::cross_entropy;
///
/// let device = Device::flex();
/// let logits = Tensor::<2>::from_floats([[0.0, 0.0], [5.0, 9.0]], &device);
/// let targets = Tensor::<1, Int>::from_data([1, -100], &device);
/// let losses = cross_entropy(logits, targets, Some(-100));
/// let losses = losses.into_data().try_to_vec::<f32>().unwrap();
/// assert!((losses[0] - 2.0f32.ln()).abs() < 1e-6 && losses[1] == 0.0);
/// ```
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>, ignore: Option<i64>) -> Tensor<1> {
    let [rows, classes] = logits.dims();
    assert!(
        targets.dims() == [rows],
        "cross_entropy: expected {rows} targets for logits [{rows}, {classes}], found {}",
        targets.dims()[0]
    );
    #[cfg(feature = "flex")]
    if extension::takes(&[extension::facts(&logits)]) {
        let targets = targets.into_data();
        let targets = targets.iter::<i64>().enumerate().map(|(row, target)| {
            let class = usize::try_from(target).ok().filter(|at| *at < classes);
            match class {
                _ if Some(target) == ignore => None,
                Some(class) => Some(class),
                None => panic!(
                    "cross_entropy: expected targets from 0 to {}, found {target} in row {row}",
                    classes - 1
                ),
            }
        });
        let operation = kernels::CrossEntropy {
            targets: targets.collect(),
        };
        return extension::apply(operation.kernel(), vec![logits.into_dispatch()]);
    }
    let ignored = ignore.map(|ignore| targets.clone().equal_elem(ignore));
    // Any class does for rows that are ignored.
    let targets = match &ignored {
        Some(ignored) => targets.mask_fill(ignored.clone(), 0),
        None => targets,
    };
    let picked = activation::log_softmax(logits, 1).gather(1, targets.reshape([rows, 1]));
    let losses = picked.reshape([rows]).neg();
    match ignored {
        Some(ignored) => losses.mask_fill(ignored, 0.0),
        None => losses,
    }
}
