//! The quality of a direction, with its error and its cost.

use std::ops::AddAssign;

use super::gamma_method::GammaMethod;

/// How good a direction is.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::eval::{Fisher, LossKind, summed_gradient};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let model = LinearConfig::new(2, 1).with_bias(false).init(&device);
/// let x = Tensor::<2>::from_floats([[3.0, 0.0], [0.0, 4.0]], &device);
/// let forward = |model: &burn::nn::Linear| model.forward_recorded(x.clone());
/// let at = Fisher::new(LossKind::LeastSquares).at(&model, forward)?;
///
/// // F = XᵀX, and Δ = g = (3, 4): Δᵀg = 25, ΔᵀFΔ = 9·9 + 16·16.
/// let g = summed_gradient(model.forward(x.clone()).sum().backward(), &model, 1.0);
/// let quality = at.quality(&g, &g)?;
/// assert!((quality.slope - 25.0).abs() < 1e-3);
/// assert!((quality.gamma() - 337f64.sqrt() / 25.0).abs() < 1e-4);
/// assert!((quality.best_step() - 25.0 / 337.0).abs() < 1e-4);
/// assert!((quality.best_reduction() - 0.5 * 25.0 * 25.0 / 337.0).abs() < 1e-3);
/// assert_eq!(quality.gamma_error(), 0.0); // exact passes
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Quality {
    /// Δᵀg: how fast the summed loss falls along Δ.
    pub slope: f64,
    /// ΔᵀFΔ of the batch, in sum form.
    pub curvature: FisherCurvature,
}

impl Quality {
    /// γ(Δ) = √(ΔᵀFΔ) / |Δᵀg|. Smaller is better; the natural gradient has the smallest γ.
    pub fn gamma(&self) -> f64 {
        self.curvature.value.sqrt() / self.slope.abs()
    }

    /// The error of γ that follows from the error of ΔᵀFΔ, to first order.
    pub fn gamma_error(&self) -> f64 {
        if self.curvature.value > 0.0 {
            0.5 * self.gamma() * self.curvature.error / self.curvature.value
        } else {
            self.curvature.error.sqrt() / self.slope.abs()
        }
    }

    /// The step size η of the update `θ ← θ − η Δ` that lowers the quadratic model of the summed
    /// loss most: Δᵀg / ΔᵀFΔ.
    pub fn best_step(&self) -> f64 {
        self.slope / self.curvature.value
    }

    /// How much that step lowers the summed loss in the quadratic model: 1 / (2 γ²).
    pub fn best_reduction(&self) -> f64 {
        0.5 * self.slope * self.slope / self.curvature.value
    }

    /// γ divided by the γ of another direction on the same batch, for example SGD's.
    pub fn ratio(&self, baseline: &Self) -> f64 {
        self.gamma() / baseline.gamma()
    }
}

/// ΔᵀFΔ, the curvature of the loss along Δ with the Fisher matrix F, with its error and its cost.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::eval::{Fisher, GammaMethod, LossKind, summed_gradient};
///
/// let device = Device::flex().autodiff();
/// let model = LinearConfig::new(2, 20).init(&device);
/// let x = Tensor::<2>::ones([3, 2], &device);
/// let at = Fisher::new(LossKind::LeastSquares).at(&model, |m| m.forward(x.clone()))?;
/// let delta = summed_gradient(model.forward(x.clone()).sum().backward(), &model, 1.0);
///
/// let curvature = at.curvature(&delta)?;
/// assert_eq!(curvature.method, GammaMethod::Differences); // 20 outputs are many
/// assert_eq!(curvature.per_sample.len(), 3);
/// assert!(curvature.error < 1e-2 * curvature.value);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FisherCurvature {
    /// ΔᵀFΔ of the batch, in sum form.
    pub value: f64,
    /// How far off `value` may be: 0 for exact passes (which only round), a cautious estimate from a
    /// third step for differences, the standard error for Monte Carlo.
    pub error: f64,
    /// What each sample contributes; the contributions add up to `value`.
    pub per_sample: Vec<f64>,
    /// The method that was used, never [`GammaMethod::Auto`].
    pub method: GammaMethod,
    /// The passes that this direction took; passes that were kept from an earlier one are not
    /// counted again.
    pub passes: PassCount,
}

/// A number of passes over the batch.
///
/// ```
/// use burn_ief::eval::PassCount;
///
/// // Differences: three steps along Δ for each of two directions.
/// let mut passes = PassCount::new(3, 0);
/// passes += PassCount::new(3, 0);
/// assert_eq!((passes.forward, passes.backward), (6, 0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PassCount {
    /// Forward passes alone.
    pub forward: usize,
    /// Forward passes with a backward pass.
    pub backward: usize,
}

impl PassCount {
    /// `forward` forward passes alone, and `backward` forward passes with a backward pass.
    pub fn new(forward: usize, backward: usize) -> Self {
        Self { forward, backward }
    }
}

impl AddAssign for PassCount {
    fn add_assign(&mut self, other: Self) {
        self.forward += other.forward;
        self.backward += other.backward;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_and_its_error_follow_from_the_curvature() {
        let curvature = FisherCurvature {
            value: 4.0,
            error: 0.4,
            per_sample: vec![1.0, 3.0],
            method: GammaMethod::Differences,
            passes: PassCount::new(3, 0),
        };
        let mut quality = Quality {
            slope: 8.0,
            curvature,
        };
        assert_eq!(quality.gamma(), 0.25); // √4 / 8
        assert_eq!(quality.best_step(), 2.0); // 8 / 4
        assert_eq!(quality.best_reduction(), 8.0); // 1 / (2 γ²)
        assert!((quality.gamma_error() - 0.0125).abs() < 1e-12); // half the relative error
        quality.curvature.value = 0.0;
        assert_eq!(quality.gamma_error(), 0.4f64.sqrt() / 8.0);
    }
}
