//! The loss that a model was trained with, and the Fisher matrix H at its outputs.

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;

use crate::host::to_host;
use crate::record::{LabelDraw, Likelihood};

/// The loss, which must be a negative log-likelihood of the model's outputs.
///
/// Outputs have the shape `[M, …, C]` for M samples. Axes between the batch and the last one are
/// positions.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::eval::{Fisher, LossKind, summed_gradient};
///
/// let device = Device::flex().autodiff();
/// let model = LinearConfig::new(2, 5).init(&device);
/// // One classification per position of a sequence: outputs `[M, T, C]`.
/// let x = Tensor::<3>::ones([3, 4, 2], &device);
/// let at = Fisher::new(LossKind::CrossEntropy).at(&model, |model| model.forward(x.clone()))?;
/// let delta = summed_gradient(model.forward(x.clone()).sum().backward(), &model, 1.0);
/// assert_eq!(at.curvature(&delta)?.per_sample.len(), 3);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// Softmax cross-entropy over the last axis of the logits.
    ///
    /// Every position has its own label, as in the token-level cross-entropy of a sequence. Given
    /// the inputs (teacher forcing), the labels of different positions are independent.
    #[default]
    CrossEntropy,
    /// Binary cross-entropy: a sigmoid for every logit.
    BinaryCrossEntropy,
    /// ½ (z − y)² per entry: a Gaussian of unit variance around the outputs, so that F = JᵀJ.
    LeastSquares,
}

impl LossKind {
    /// H u for outputs z and their rates u, all `[M, T, C]`.
    pub(super) fn product(self, z: &Tensor<3>, u: Tensor<3>) -> Tensor<3> {
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

    /// uᵀHu for each sample.
    pub(super) fn sample_forms(self, z: &Tensor<3>, u: Tensor<3>) -> Vec<f64> {
        // Squares of rates along an undamped direction overflow f32.
        let largest = to_host(u.clone().abs().max())[0];
        if largest == 0.0 {
            return vec![0.0; u.dims()[0]];
        }
        let forms = self.position_forms(z, u / largest).sum_dim(1);
        let forms = to_host(forms).into_iter();
        forms.map(|form| form * largest * largest).collect()
    }

    /// uᵀHu for each position, `[M, T]`.
    fn position_forms(self, z: &Tensor<3>, u: Tensor<3>) -> Tensor<2> {
        let squares = match self {
            Self::CrossEntropy => {
                let p = softmax(z.clone(), 2);
                let mean = (p.clone() * u.clone()).sum_dim(2);
                // Centred first: the difference of two squares would cancel.
                p * (u - mean).square()
            }
            Self::BinaryCrossEntropy | Self::LeastSquares => self.product(z, u.clone()) * u,
        };
        squares.sum_dim(2).squeeze_dim(2)
    }

    /// A bound on uᵀHu of the batch for entries of u that are at most 1.
    pub(super) fn largest_form(self, z: &Tensor<3>) -> f64 {
        let [samples, positions, classes] = z.dims();
        let each = match self {
            Self::CrossEntropy => 1.0,
            Self::BinaryCrossEntropy => 0.25 * classes as f64,
            Self::LeastSquares => classes as f64,
        };
        (samples * positions) as f64 * each
    }

    /// The distribution of the labels, whose negative log-likelihood the loss is.
    fn likelihood(self) -> Likelihood {
        match self {
            Self::CrossEntropy => Likelihood::Categorical,
            Self::BinaryCrossEntropy => Likelihood::Bernoulli,
            Self::LeastSquares => Likelihood::Gaussian,
        }
    }

    /// Gradients at the outputs for labels drawn from the model, `[M, T, C]`.
    pub(super) fn draw(self, z: &Tensor<3>, draw: &LabelDraw) -> Tensor<3> {
        let [samples, positions, classes] = z.dims();
        let flat = z.clone().reshape([samples * positions, classes]);
        draw.output_gradients(flat, samples, 0, self.likelihood())
            .reshape(z.dims())
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
            LossKind::CrossEntropy,
            LossKind::BinaryCrossEntropy,
            LossKind::LeastSquares,
        ] {
            let many = z.clone().repeat_dim(0, DRAWS);
            let drawn = loss.draw(&many, &LabelDraw::sample(1, 3, 0));
            let rates = drawn * u.clone().expand([DRAWS, 2, 3]);
            let rates: Tensor<2> = rates.sum_dim(2).squeeze_dim(2);
            let estimate = entries(rates.square().mean_dim(0));
            let expected = entries(loss.position_forms(&z, u.clone()));
            for (estimate, expected) in estimate.iter().zip(&expected) {
                // Kurtosis is at most about 10 here: five standard errors.
                assert!(
                    (estimate / expected - 1.0).abs() < 0.25,
                    "{loss:?}: {estimate} for {expected}"
                );
            }
            let product = loss.product(&z, u.clone()) * u.clone();
            let product: Tensor<2> = product.sum_dim(2).squeeze_dim(2);
            for (a, b) in entries(product).iter().zip(&expected) {
                assert!((a - b).abs() < 1e-5 * b, "{loss:?}: {a} for {b}");
            }
        }
    }
}
