//! The Fisher matrix at the outputs, H, for each loss.

use burn::tensor::activation::softmax;
use burn::tensor::{DType, Tensor};

use crate::record::{LabelDraw, Likelihood};

/// The loss, a negative log-likelihood of the model's outputs.
///
/// ```
/// use burn_ief::eval::{Fisher, Loss};
///
/// // One classification per position of a sequence: outputs `[M, T, C]`.
/// let fisher = Fisher::new(Loss::CrossEntropy);
/// # let _ = fisher;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Loss {
    /// Softmax cross-entropy over the last axis of the logits.
    ///
    /// Axes between the batch and the last are positions, each with a label of its own: the
    /// token-level cross-entropy of a sequence. Given the inputs (teacher forcing), the labels of
    /// different positions are independent.
    #[default]
    CrossEntropy,
    /// Binary cross-entropy: every logit goes through a sigmoid of its own.
    BinaryCrossEntropy,
    /// ½ (z − y)² per entry: a Gaussian of unit variance around the outputs, and F = JᵀJ.
    LeastSquares,
}

impl Loss {
    /// H u for outputs z and their rates u, all `[M, T, C]`.
    pub(super) fn curved(self, z: &Tensor<3>, u: Tensor<3>) -> Tensor<3> {
        match self {
            Self::CrossEntropy => {
                let p = softmax(z.clone(), 2);
                let mean = (p.clone() * u.clone()).sum_dim(2);
                p * (u - mean)
            }
            Self::BinaryCrossEntropy => {
                // p (1 − p), which is even in z; NdArray's sigmoid has the precision of f32 only.
                let e = z.clone().abs().neg().exp();
                e.clone() / (e + 1.0).square() * u
            }
            Self::LeastSquares => u,
        }
    }

    /// uᵀHu for each position, `[M, T]`.
    pub(super) fn variances(self, z: &Tensor<3>, u: Tensor<3>) -> Tensor<2> {
        let squares = match self {
            Self::CrossEntropy => {
                let p = softmax(z.clone(), 2);
                let mean = (p.clone() * u.clone()).sum_dim(2);
                // Centred first: the difference of two squares would cancel.
                p * (u - mean).square()
            }
            Self::BinaryCrossEntropy | Self::LeastSquares => self.curved(z, u.clone()) * u,
        };
        squares.sum_dim(2).squeeze_dim(2)
    }

    /// A bound on uᵀHu of the batch for entries of u that are at most 1.
    pub(super) fn bound(self, z: &Tensor<3>) -> f64 {
        let [samples, positions, classes] = z.dims();
        let each = match self {
            Self::CrossEntropy => 1.0,
            Self::BinaryCrossEntropy => 0.25 * classes as f64,
            Self::LeastSquares => classes as f64,
        };
        (samples * positions) as f64 * each
    }

    /// Gradients at the outputs for labels drawn from the model, `[M, T, C]`.
    pub(super) fn draw(self, z: &Tensor<3>, draw: &LabelDraw) -> Tensor<3> {
        let [samples, positions, classes] = z.dims();
        let rows = samples * positions;
        let shape = z.dims();
        match self {
            Self::CrossEntropy => draw
                .output_gradients(
                    z.clone().reshape([rows, classes]),
                    0,
                    Likelihood::Categorical,
                )
                .reshape(shape),
            Self::BinaryCrossEntropy => {
                // A sigmoid is a softmax over (0, z).
                let z = z.clone().reshape([rows * classes, 1]);
                let pairs = Tensor::cat(vec![z.zeros_like(), z], 1);
                let drawn = draw.output_gradients(pairs, 0, Likelihood::Categorical);
                drawn.narrow(1, 1, 1).reshape(shape)
            }
            Self::LeastSquares => draw
                .output_gradients(z.clone().reshape([rows, classes]), 0, Likelihood::Gaussian)
                .reshape(shape),
        }
    }
}

/// The outputs of a batch: off the tape, in f32 at least, `[M, T, C]`.
pub(super) fn flattened<const D: usize>(z: Tensor<D>) -> Tensor<3> {
    let dims = z.dims();
    let classes = dims[D - 1];
    let positions = dims[1..D.max(2) - 1].iter().product::<usize>();
    // A single axis is the batch, with one output each.
    let shape = match D {
        1 => [dims[0], 1, 1],
        _ => [dims[0], positions, classes],
    };
    z.reshape(shape)
}

/// f32 and f64 as they are, narrower ones in f32.
pub(super) fn widened(z: Tensor<3>) -> Tensor<3> {
    let z = z.inner();
    match z.dtype() {
        DType::F32 | DType::F64 => z,
        _ => z.cast(DType::F32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn entries<const D: usize>(x: Tensor<D>) -> Vec<f64> {
        x.into_data().iter::<f64>().collect()
    }

    /// Mean of (uᵀ∇log p)² over many draws is uᵀHu, and uᵀ(Hu) is the same.
    #[test]
    fn draws_have_the_variance_of_the_closed_form() {
        let device = Device::flex();
        const DRAWS: usize = 4000;
        let z = Tensor::<3>::from_floats([[[0.3, -1.0, 0.5], [2.0, 0.1, -0.4]]], &device);
        let u = Tensor::<3>::from_floats([[[1.0, 2.0, -1.0], [0.5, -3.0, 1.0]]], &device);
        for loss in [
            Loss::CrossEntropy,
            Loss::BinaryCrossEntropy,
            Loss::LeastSquares,
        ] {
            let many = z.clone().repeat_dim(0, DRAWS);
            let drawn = loss.draw(&many, &LabelDraw::sample(1, 3, 0));
            let rates = drawn * u.clone().expand([DRAWS, 2, 3]);
            let rates: Tensor<2> = rates.sum_dim(2).squeeze_dim(2);
            let estimate = entries(rates.square().mean_dim(0));
            let expected = entries(loss.variances(&z, u.clone()));
            for (estimate, expected) in estimate.iter().zip(&expected) {
                // Kurtosis is at most about 10 here: five standard errors.
                assert!(
                    (estimate / expected - 1.0).abs() < 0.25,
                    "{loss:?}: {estimate} for {expected}"
                );
            }
            let product = loss.curved(&z, u.clone()) * u.clone();
            let product: Tensor<2> = product.sum_dim(2).squeeze_dim(2);
            for (a, b) in entries(product).iter().zip(&expected) {
                assert!((a - b).abs() < 1e-5 * b, "{loss:?}: {a} for {b}");
            }
        }
    }

    #[test]
    fn outputs_of_any_rank_become_samples_positions_classes() {
        let device = Device::flex();
        assert_eq!(
            flattened(Tensor::<1>::zeros([4], &device)).dims(),
            [4, 1, 1]
        );
        assert_eq!(
            flattened(Tensor::<2>::zeros([4, 3], &device)).dims(),
            [4, 1, 3]
        );
        let z = Tensor::<4>::zeros([4, 2, 5, 3], &device);
        assert_eq!(flattened(z).dims(), [4, 10, 3]);
    }
}
