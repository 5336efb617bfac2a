//! What an evaluation says.

use super::fisher::Method;

/// How good a direction is.
///
/// ```
/// use burn_ief::eval::{Cost, Curvature, Method, Quality};
///
/// let curvature = Curvature {
///     value: 4.0,
///     error: 0.4,
///     per_sample: vec![1.0, 3.0],
///     method: Method::Differences,
///     cost: Cost::default(),
/// };
/// let quality = Quality { slope: 8.0, curvature };
/// assert_eq!(quality.gamma(), 0.25); // √4 / 8
/// assert_eq!(quality.best_step(), 2.0); // 8 / 4
/// assert_eq!(quality.best_reduction(), 8.0); // 1 / (2 γ²)
/// assert!((quality.gamma_error() - 0.0125).abs() < 1e-12); // half the relative error
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Quality {
    /// Δᵀg, how fast the summed loss falls along Δ.
    pub slope: f64,
    /// ΔᵀFΔ.
    pub curvature: Curvature,
}

impl Quality {
    /// γ(Δ) = √(ΔᵀFΔ) / |Δᵀg|. Smaller is better; the natural gradient has the smallest.
    pub fn gamma(&self) -> f64 {
        self.curvature.value.sqrt() / self.slope.abs()
    }

    /// To first order, the error of γ that the error of ΔᵀFΔ makes.
    pub fn gamma_error(&self) -> f64 {
        match self.curvature.value > 0.0 {
            true => 0.5 * self.gamma() * self.curvature.error / self.curvature.value,
            false => self.curvature.error.sqrt() / self.slope.abs(),
        }
    }

    /// The η of the update `θ ← θ − η Δ` that lowers the quadratic model of the loss most:
    /// Δᵀg / ΔᵀFΔ.
    pub fn best_step(&self) -> f64 {
        self.slope / self.curvature.value
    }

    /// How much that step lowers the summed loss in the quadratic model: 1 / (2 γ²).
    pub fn best_reduction(&self) -> f64 {
        0.5 * self.slope * self.slope / self.curvature.value
    }

    /// γ as a multiple of another direction's on the same batch, SGD's say.
    pub fn ratio(&self, baseline: &Self) -> f64 {
        self.gamma() / baseline.gamma()
    }
}

/// ΔᵀFΔ, with its error and what it cost.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::eval::{Fisher, Loss, Method, gradient};
///
/// let device = Device::flex().autodiff();
/// let model = LinearConfig::new(2, 20).init(&device);
/// let x = Tensor::<2>::ones([3, 2], &device);
/// let at = Fisher::new(Loss::LeastSquares).at(&model, |m| m.forward(x.clone()))?;
/// let delta = gradient(model.forward(x.clone()).sum().backward(), &model, 1.0);
///
/// let curvature = at.curvature(&delta)?;
/// assert_eq!(curvature.method, Method::Differences); // 20 outputs are many
/// assert_eq!(curvature.per_sample.len(), 3);
/// assert!(curvature.error < 1e-2 * curvature.value);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Curvature {
    /// ΔᵀFΔ of the batch, in sum form.
    pub value: f64,
    /// How far off it may be: 0 for exact passes (which round), a cautious estimate from a third
    /// step for differences, the standard error for Monte Carlo.
    pub error: f64,
    /// The share of each sample; they add up to the value.
    pub per_sample: Vec<f64>,
    /// The method that was used, never [`Method::Auto`].
    pub method: Method,
    /// The passes that it took.
    pub cost: Cost,
}

/// Passes over the batch.
///
/// ```
/// use burn_ief::eval::Cost;
///
/// // Differences: three steps along Δ.
/// let cost = Cost { forward: 3, backward: 0 };
/// assert_ne!(cost, Cost::default());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Forward passes alone.
    pub forward: usize,
    /// Forward passes with a backward pass.
    pub backward: usize,
}
