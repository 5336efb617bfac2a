//! The step of gradient descent.

use burn::tensor::Tensor;

/// `keep · parameter - step · update`: gradient descent with decoupled weight decay, in one pass.
///
/// The result takes the memory of the parameter if nothing else uses it. It is rounded as that of
/// Burn's operations: first both products, then the difference.
///
/// # Shapes
///
/// - parameter, update and output: any, all alike
///
/// # Panics
///
/// Panics if the shapes differ.
///
/// ```
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::flex();
/// let parameter = Tensor::<1>::from_floats([1.0, 2.0], &device);
/// let update = Tensor::<1>::from_floats([1.0, -1.0], &device);
/// let next = burn_flex_fused::descend(parameter, update, 0.5, 1.0);
/// assert_eq!(next.into_data().try_to_vec::<f32>().unwrap(), [0.5, 2.5]);
/// ```
pub fn descend<const D: usize>(
    parameter: Tensor<D>,
    update: Tensor<D>,
    step: f64,
    keep: f64,
) -> Tensor<D> {
    assert!(
        parameter.dims() == update.dims(),
        "descend: expected an update {:?}, found {:?}",
        parameter.dims(),
        update.dims()
    );
    #[cfg(feature = "flex")]
    if takes(&parameter, &update) {
        return on_flex(parameter, update, step, keep);
    }
    let parameter = if keep == 1.0 {
        parameter
    } else {
        parameter * keep
    };
    parameter - update * step
}

/// Whether the kernel takes these operands.
#[cfg(feature = "flex")]
fn takes<const D: usize>(parameter: &Tensor<D>, update: &Tensor<D>) -> bool {
    use crate::kernels::extension::{facts, takes};

    let tracked = parameter.is_tracked() || update.is_tracked();
    !tracked && takes(&[facts(parameter), facts(update)])
}

/// By the kernel.
#[cfg(feature = "flex")]
fn on_flex<const D: usize>(
    parameter: Tensor<D>,
    update: Tensor<D>,
    step: f64,
    keep: f64,
) -> Tensor<D> {
    use burn::backend::Flex;

    let is_plain = !parameter.device().is_autodiff();
    let [parameter, update] = [parameter, update].map(|x| {
        let x = if x.device().is_autodiff() {
            x.inner()
        } else {
            x
        };
        x.try_into_primitive::<Flex>().expect("a tensor on Flex")
    });
    let next = crate::kernels::descent::descend(parameter, &update, step, keep);
    let next = Tensor::from_primitive::<Flex>(next);
    if is_plain { next } else { next.autodiff() }
}
