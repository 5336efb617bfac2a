//! Linear layers.

use burn::tensor::{Tensor, module};

#[cfg(feature = "flex")]
use crate::kernels::{extension, linear as kernels};

/// `x W + b`: a linear layer, whose bias takes no pass of its own.
///
/// x, W and b may be tracked by autodiff or not. Only what the backward pass reads is kept: x if W is
/// tracked, and W if x is.
///
/// # Shapes
///
/// - x: `[…, i]`
/// - weight: `[i, o]`
/// - bias: `[o]`
/// - output: `[…, o]`
///
/// # Panics
///
/// Panics if the widths of x, weight and bias do not agree.
///
/// ```
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::flex();
/// let x = Tensor::<3>::ones([2, 5, 3], &device);
/// let weight = Tensor::<2>::ones([3, 4], &device);
/// let y = burn_flex_fused::linear(x, weight, Some(Tensor::ones([4], &device)));
/// assert_eq!(y.dims(), [2, 5, 4]);
/// assert_eq!(y.max().into_scalar::<f32>(), 4.0);
/// ```
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    check("linear", &x, &weight, bias.as_ref());
    #[cfg(feature = "flex")]
    if takes(&x, &weight, bias.as_ref(), None) {
        return apply(x, weight, bias, None);
    }
    module::linear(x, weight, bias)
}

/// `x W + b + r`: a linear layer whose output is added to another tensor, such as the input of a
/// residual block or the product of an adapter, in one pass.
///
/// x, W, b and r may be tracked by autodiff or not.
///
/// # Shapes
///
/// - x: `[…, i]`
/// - weight: `[i, o]`
/// - bias: `[o]`
/// - residual and output: `[…, o]`
///
/// # Panics
///
/// Panics if the widths of x, weight and bias or the shapes of the residual and the output do not
/// agree.
///
/// ```
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::flex();
/// let x = Tensor::<2>::ones([5, 3], &device);
/// let weight = Tensor::<2>::ones([3, 3], &device);
/// let y = burn_flex_fused::linear_add(x.clone(), weight, None, x);
/// assert_eq!(y.max().into_scalar::<f32>(), 4.0);
/// ```
pub fn linear_add<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    residual: Tensor<D>,
) -> Tensor<D> {
    check("linear_add", &x, &weight, bias.as_ref());
    let mut expected = x.dims();
    expected[D - 1] = weight.dims()[1];
    assert!(
        residual.dims() == expected,
        "linear_add: expected a residual {expected:?}, found {:?}",
        residual.dims()
    );
    #[cfg(feature = "flex")]
    if takes(&x, &weight, bias.as_ref(), Some(&residual)) {
        return apply(x, weight, bias, Some(residual));
    }
    residual + module::linear(x, weight, bias)
}

fn check<const D: usize>(name: &str, x: &Tensor<D>, weight: &Tensor<2>, bias: Option<&Tensor<1>>) {
    let [inner, outer] = weight.dims();
    assert!(
        x.dims()[D - 1] == inner,
        "{name}: expected x of width {inner} for a weight {:?}, found {:?}",
        weight.dims(),
        x.dims()
    );
    if let Some(bias) = bias {
        assert!(
            bias.dims() == [outer],
            "{name}: expected a bias of width {outer} for a weight {:?}, found {:?}",
            weight.dims(),
            bias.dims()
        );
    }
}

#[cfg(feature = "flex")]
fn takes<const D: usize>(
    x: &Tensor<D>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
    residual: Option<&Tensor<D>>,
) -> bool {
    let mut facts = vec![extension::facts(x), extension::facts(weight)];
    facts.extend(bias.map(extension::facts));
    facts.extend(residual.map(extension::facts));
    extension::takes(&facts)
}

#[cfg(feature = "flex")]
fn apply<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    residual: Option<Tensor<D>>,
) -> Tensor<D> {
    let operation = kernels::Linear {
        bias: bias.is_some(),
        residual: residual.is_some(),
    };
    let mut inputs = vec![x.into_dispatch(), weight.into_dispatch()];
    inputs.extend(bias.map(Tensor::into_dispatch));
    inputs.extend(residual.map(Tensor::into_dispatch));
    extension::apply(operation.kernel(), inputs)
}
