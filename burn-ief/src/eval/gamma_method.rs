//! How to compute γ.

/// How to compute the rates u = J_z Δ at which the outputs change along a direction Δ.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::eval::{Fisher, GammaMethod, LossKind, summed_gradient};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let model = LinearConfig::new(2, 1).init(&device);
/// let x = Tensor::<2>::ones([3, 2], &device);
/// let delta = summed_gradient(model.forward(x.clone()).sum().backward(), &model, 1.0);
///
/// let fisher = Fisher::new(LossKind::LeastSquares); // Auto: exact for one output
/// let at = fisher.at(&model, |model| model.forward_recorded(x.clone()))?;
/// assert_eq!(at.curvature(&delta)?.method, GammaMethod::Exact);
///
/// let fisher = fisher.with_method(GammaMethod::Differences);
/// let at = fisher.at(&model, |model| model.forward(x.clone()))?;
/// assert_eq!(at.curvature(&delta)?.method, GammaMethod::Differences);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
#[serde(rename_all = "snake_case")]
pub enum GammaMethod {
    /// [`Exact`](Self::Exact) for at most ten outputs per sample, [`Differences`](Self::Differences)
    /// for more. In half precision, where rounding swallows small steps, it uses
    /// [`MonteCarlo`](Self::MonteCarlo) with 16 draws in place of differences. For a model without
    /// recorded calls it falls back to differences.
    #[default]
    Auto,
    /// One recorded forward and backward pass per output of a sample (positions times classes). The
    /// passes are kept and serve every direction that is judged on the batch.
    Exact,
    /// Finite differences of the outputs at three steps along Δ. They work with any model, recorded
    /// or not. The error is estimated from what the third step changes.
    Differences,
    /// `(Δᵀ∇log p(ŷ))²` for labels ŷ drawn from the model: unbiased, and needs recorded calls. The
    /// passes are kept and serve every direction that is judged on the batch. The errors of two γ on
    /// the same batch are therefore correlated, and their ratio is more precise than either.
    MonteCarlo {
        /// Labels drawn per sample (and position), one pass each. At least 1.
        draws: usize,
        /// Seed of the draws.
        seed: u64,
    },
}
