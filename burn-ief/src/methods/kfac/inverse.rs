//! Inverses of the damped factors of a layer, on the host.

use burn::tensor::{DType, Tensor, TensorData};

use super::damping::FactorDamping;
use crate::error::Error;
use crate::host::{to_host, to_host_f32};
use crate::linalg::{Symmetric, inverse_in_f32};
use crate::rows::matmul;

/// Inverses of the damped factors of one layer.
///
/// Made by [`LayerFactors::invert`](super::LayerFactors::invert), see there for an example.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LayerInverses {
    /// `(A + d_A I)⁻¹`.
    pub input: Tensor<2>,
    /// `(B + d_B I)⁻¹`.
    pub error: Tensor<2>,
}

impl LayerInverses {
    /// The update of a gradient `[i (+ 1), o]`: `(A + d_A I)⁻¹ G (B + d_B I)⁻¹`.
    pub fn apply(&self, gradient: Tensor<2>) -> Tensor<2> {
        matmul(matmul(self.input.clone(), gradient), self.error.clone())
    }
}

/// Damp and invert the factors of the layer at `path`.
///
/// # Errors
///
/// [`Error::Curvature`] if a factor holds NaN or infinity.
pub(super) fn invert(
    path: &str,
    input: &Tensor<2>,
    error: &Tensor<2>,
    damping: &FactorDamping,
) -> Result<LayerInverses, Error> {
    let [a, b] = [input, error].map(Factor::read);
    let shifts = damping.shifts(a.mean_diagonal(), b.mean_diagonal());
    let (input, error) = rayon::join(
        || a.inverse(path, shifts[0], input),
        || b.inverse(path, shifts[1], error),
    );
    Ok(LayerInverses {
        input: input?,
        error: error?,
    })
}

/// `(factor + shift I)⁻¹` in f64, with the device and precision of `place`.
pub(super) fn damped_inverse(
    path: &str,
    factor: Symmetric,
    shift: f64,
    place: &Tensor<2>,
) -> Result<Tensor<2>, Error> {
    Factor::F64(factor).inverse(path, shift, place)
}

/// With the device and precision of `place`.
pub(super) fn on_device(matrix: &Symmetric, place: &Tensor<2>) -> Tensor<2> {
    let data = TensorData::new(matrix.values().to_vec(), [matrix.size(); 2]);
    Tensor::from_data(data, (&place.device(), place.dtype()))
}

pub(super) fn on_host(factor: &Tensor<2>) -> Symmetric {
    let [size, _] = factor.dims();
    Symmetric::new(size, to_host(factor.clone()))
}

/// A factor whose mean diagonal is below this counts as zero: its inverse would leave the range of
/// f32. Its pseudo-inverse is zero.
const VANISHING: f64 = 1e-30;

/// Smallest factor in f32 that is inverted in f32.
const LARGE: usize = 512;

/// A factor on the host.
enum Factor {
    F64(Symmetric),
    /// Rows, of a matrix so large that its inversion counts.
    F32(usize, Vec<f32>),
}

impl Factor {
    fn read(factor: &Tensor<2>) -> Self {
        let [size, _] = factor.dims();
        if factor.dtype() == DType::F32 && size >= LARGE {
            Self::F32(size, to_host_f32(factor.clone()))
        } else {
            Self::F64(on_host(factor))
        }
    }

    fn mean_diagonal(&self) -> f64 {
        match self {
            Self::F64(factor) => factor.mean_diagonal(),
            Self::F32(size, values) => {
                let diagonal = values.iter().step_by(size + 1);
                diagonal.map(|&x| f64::from(x)).sum::<f64>() / *size as f64
            }
        }
    }

    fn is_finite(&self) -> bool {
        match self {
            Self::F64(factor) => factor.values().iter().all(|x| x.is_finite()),
            Self::F32(_, values) => values.iter().all(|x| x.is_finite()),
        }
    }

    /// `(factor + shift I)⁻¹`, with the device and precision of `place`.
    fn inverse(self, path: &str, shift: f64, place: &Tensor<2>) -> Result<Tensor<2>, Error> {
        let refused = || Error::Curvature {
            what: "Kronecker factors",
            parameter: path.into(),
        };
        if !self.is_finite() {
            return Err(refused());
        }
        if self.mean_diagonal().max(shift) < VANISHING {
            return Ok(place.zeros_like());
        }
        let factor = match self {
            Self::F64(factor) => factor,
            Self::F32(size, values) => {
                if let Some(inverse) = inverse_in_f32(size, &values, shift) {
                    let data = TensorData::new(inverse, [size; 2]);
                    return Ok(Tensor::from_data(data, (&place.device(), place.dtype())));
                }
                Symmetric::new(size, values.into_iter().map(f64::from).collect())
            }
        };
        let inverse = factor.shifted(shift).inverse().map_err(|_| refused())?;
        Ok(on_device(&inverse, place))
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;

    /// Large factors in f32 take another way than small ones and those in f64.
    #[test]
    fn a_large_factor_is_inverted_as_a_small_one() {
        let device = Device::flex();
        let rows = Tensor::<2>::random([40, LARGE], Distribution::Normal(0.0, 1.0), &device);
        let a = matmul(rows.clone().transpose(), rows) / 40.0;
        let b = a.clone().slice([0..3, 0..3]);
        let damping = FactorDamping::relative(0.1);
        let wide = [&a, &b].map(|factor| factor.clone().cast(DType::F64));
        let f32 = invert("layer", &a, &b, &damping).unwrap();
        let f64 = invert("layer", &wide[0], &wide[1], &damping).unwrap();
        let pairs = [(f32.input, f64.input), (f32.error, f64.error)];
        for (f32, f64) in pairs {
            let largest: f64 = f64.clone().abs().max().into_scalar();
            let difference: f64 = (f32.cast(DType::F64) - f64).abs().max().into_scalar();
            assert!(difference < 1e-4 * largest, "{difference:e} of {largest:e}");
        }
    }

    #[test]
    fn a_large_factor_that_is_not_finite_is_named() {
        let device = Device::flex();
        let a = Tensor::<2>::full([LARGE, LARGE], f32::INFINITY, &device);
        let b = Tensor::<2>::eye(2, &device);
        let error = invert("layer", &a, &b, &FactorDamping::relative(0.1)).unwrap_err();
        assert!(matches!(error, Error::Curvature { parameter, .. } if parameter == "layer"));
        let zero = Tensor::<2>::zeros([LARGE, LARGE], &device);
        let inverses = invert("layer", &zero, &b, &FactorDamping::relative(0.1)).unwrap();
        assert_eq!(inverses.input.abs().max().into_scalar::<f32>(), 0.0);
    }
}
