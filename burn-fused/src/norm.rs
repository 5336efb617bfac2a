//! Norms along the last axis.

use burn::tensor::module;
use burn::tensor::{DType, Tensor};

#[cfg(feature = "flex")]
use crate::kernels::{extension, norm as kernels};

/// `(x - mean) / √(variance + ε) ∘ γ + β` along the last axis, with the variance divided by its
/// width: what Burn's `LayerNorm` computes.
///
/// γ and β may be tracked by autodiff or not. As in Burn's layer, an f16 input is normalised in f32.
///
/// # Shapes
///
/// - x and output: `[…, d]`
/// - gamma, beta: `[d]`
///
/// # Panics
///
/// Panics if the width of gamma or beta is not that of x.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_flex_fused::layer_norm;
///
/// let device = Device::flex();
/// let x = Tensor::<2>::from_floats([[1.0, 3.0]], &device);
/// let y = layer_norm(x, Tensor::ones([2], &device), None, 0.0);
/// assert_eq!(y.into_data().try_to_vec::<f32>().unwrap(), [-1.0, 1.0]);
/// ```
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Option<Tensor<1>>,
    epsilon: f64,
) -> Tensor<D> {
    check_widths("layer_norm", &x, &gamma, beta.as_ref());
    #[cfg(feature = "flex")]
    if takes(&x, &gamma, beta.as_ref()) {
        let operation = kernels::Norm {
            centred: true,
            epsilon,
        };
        let mut inputs = vec![x.into_dispatch(), gamma.into_dispatch()];
        inputs.extend(beta.map(Tensor::into_dispatch));
        return extension::apply(operation.kernel(), inputs);
    }
    match x.dtype() {
        DType::F16 => {
            let beta = beta.map(|beta| beta.cast(DType::F32));
            let (wide, gamma) = (x.cast(DType::F32), gamma.cast(DType::F32));
            module::layer_norm(wide, gamma, beta, epsilon).cast(DType::F16)
        }
        _ => module::layer_norm(x, gamma, beta, epsilon),
    }
}

/// `x / √(mean(x²) + ε) ∘ γ` along the last axis.
///
/// γ may be tracked by autodiff or not. The mean square is formed in the precision of x, and in f32
/// for f16 and bf16. In f32 this is what Burn's `RmsNorm` computes; Burn's layer forms the mean
/// square in f32 for f64 inputs too.
///
/// # Shapes
///
/// - x and output: `[…, d]`
/// - gamma: `[d]`
///
/// # Panics
///
/// Panics if the width of gamma is not that of x.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_flex_fused::rms_norm;
///
/// let device = Device::flex();
/// let x = Tensor::<2>::from_floats([[3.0, -3.0]], &device);
/// let y = rms_norm(x, Tensor::ones([2], &device), 0.0);
/// assert_eq!(y.into_data().try_to_vec::<f32>().unwrap(), [1.0, -1.0]);
/// ```
pub fn rms_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, epsilon: f64) -> Tensor<D> {
    check_widths("rms_norm", &x, &gamma, None);
    #[cfg(feature = "flex")]
    if takes(&x, &gamma, None) {
        let operation = kernels::Norm {
            centred: false,
            epsilon,
        };
        return extension::apply(
            operation.kernel(),
            vec![x.into_dispatch(), gamma.into_dispatch()],
        );
    }
    let dtype = x.dtype();
    let wide = match dtype {
        DType::F16 | DType::BF16 => x.cast(DType::F32),
        _ => x,
    };
    let mean_square = wide.clone().square().mean_dim(D - 1);
    let normal = (wide / (mean_square + epsilon).sqrt()).cast(dtype);
    normal * gamma.cast(dtype).unsqueeze()
}

fn check_widths<const D: usize>(
    name: &str,
    x: &Tensor<D>,
    gamma: &Tensor<1>,
    beta: Option<&Tensor<1>>,
) {
    let width = x.dims()[D - 1];
    for (what, vector) in [("gamma", Some(gamma)), ("beta", beta)] {
        if let Some(vector) = vector {
            let [found] = vector.dims();
            assert!(
                found == width,
                "{name}: expected {what} of width {width} for x {:?}, found {found}",
                x.dims()
            );
        }
    }
}

#[cfg(feature = "flex")]
fn takes<const D: usize>(x: &Tensor<D>, gamma: &Tensor<1>, beta: Option<&Tensor<1>>) -> bool {
    let vectors = std::iter::once(gamma).chain(beta).map(extension::facts);
    let facts: Vec<_> = std::iter::once(extension::facts(x))
        .chain(vectors)
        .collect();
    extension::takes(&facts)
}
