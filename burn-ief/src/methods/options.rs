//! Options that several methods share, each checked in one place.

use burn::config::Config;
use burn::module::ParamGroup;
use burn::optim::momentum::MomentumConfig;

use super::metric::UpdateMetric;
use super::ranges::{above_zero, at_least_zero, fraction};
use super::recommended::Recommended;
use crate::error::Error;
use crate::jacobian::GramPrecision;
use crate::solve::{Damping, TrustRegion};

/// What happens to an update after it is computed: every method has these options.
///
/// ```
/// use burn::config::Config;
/// use burn_ief::methods::StepOptions;
///
/// let step = StepOptions::new().with_weight_decay(0.01);
/// assert!(step.validate().is_ok());
/// assert!(step.with_weight_decay(-1.0).validate().is_err());
/// ```
#[derive(Config, Debug)]
#[non_exhaustive]
pub struct StepOptions {
    /// The parameters that the method trains; all others keep their plain gradient. All trainable
    /// parameters if `None`.
    pub group: Option<ParamGroup>,
    /// Scale every update to this Euclidean norm over all parameters; 0 switches it off. `None`
    /// takes what the method recommends: 1 for EF and SF, off for all others.
    pub normalize: Option<f64>,
    /// Decoupled weight decay, as in AdamW.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Burn's momentum, on the update.
    pub momentum: Option<MomentumConfig>,
}

impl StepOptions {
    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first field that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        if let Some(norm) = self.normalize {
            at_least_zero("normalize", norm)?;
        }
        at_least_zero("weight_decay", self.weight_decay)?;
        match &self.momentum {
            Some(momentum) => fraction("momentum", momentum.momentum),
            None => Ok(()),
        }
    }

    /// With the norm that a method recommends where none is set, and `None` for no normalisation.
    pub(super) fn resolved(&self, recommended: Option<f64>) -> Self {
        let norm = self.normalize.or(recommended);
        Self {
            normalize: norm.filter(|norm| *norm > 0.0),
            ..self.clone()
        }
    }
}

/// How EF, iEF, SF and the other exact methods solve the system of a batch. Of what is `None`, a method takes what it
/// recommends:
///
/// | option | iEF | all others |
/// | --- | --- | --- |
/// | `damping` | 0.1, relative | 1e-3, relative |
/// | `trust_region` | 0.015 per sample | unbounded |
/// | `momentum` | 0.9 | 0 |
/// | `metric` | separable, power 0.25 | identity |
///
/// [`plain`](Self::plain) switches all of it off.
///
/// ```
/// use burn::config::Config;
/// use burn_ief::methods::SolveOptions;
/// use burn_ief::solve::Damping;
///
/// let solve = SolveOptions::new().with_damping(Some(Damping::relative(0.1)));
/// assert!(solve.validate().is_ok());
/// assert!(solve.with_momentum(Some(1.0)).validate().is_err());
/// ```
#[derive(Config, Debug)]
#[non_exhaustive]
pub struct SolveOptions {
    /// Damping, in sum form.
    pub damping: Option<Damping>,
    /// Precision of the Gram matrix.
    #[config(default = "GramPrecision::Auto")]
    pub precision: GramPrecision,
    /// Bound on ½ ΔᵀF̃Δ for a step size of 1.
    pub trust_region: Option<TrustRegion>,
    /// Momentum μ in the solve (SPRING), 0 ≤ μ < 1; 0 keeps no state. See
    /// [momentum in the solve](crate::methods#momentum-in-the-solve).
    pub momentum: Option<f64>,
    /// Which update is the smallest: see [metrics](crate::methods::metric).
    pub metric: Option<UpdateMetric>,
}

impl SolveOptions {
    /// The bare rule with this damping: no momentum, no metric and no trust region.
    ///
    /// ```
    /// use burn::config::Config;
    /// use burn_ief::methods::{SolveOptions, UpdateMetric};
    /// use burn_ief::solve::{Damping, TrustRegion};
    ///
    /// let plain = SolveOptions::plain(Damping::relative(1e-3));
    /// assert_eq!(plain.momentum, Some(0.0));
    /// assert_eq!(plain.metric, Some(UpdateMetric::Identity));
    /// assert_eq!(plain.trust_region, Some(TrustRegion::Unbounded));
    /// ```
    pub fn plain(damping: Damping) -> Self {
        Self::new()
            .with_damping(Some(damping))
            .with_momentum(Some(0.0))
            .with_metric(Some(UpdateMetric::Identity))
            .with_trust_region(Some(TrustRegion::Unbounded))
    }

    /// Take what is recommended for every option that is `None`.
    pub(super) fn fill(&mut self, recommended: &Recommended) {
        self.damping.get_or_insert(recommended.damping);
        self.trust_region.get_or_insert(recommended.trust_region);
        self.momentum.get_or_insert(recommended.momentum);
        self.metric.get_or_insert(recommended.metric);
    }

    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first field that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        if let Some(damping) = &self.damping {
            damping.validate()?;
        }
        if let Some(radius) = self
            .trust_region
            .filter(|radius| *radius != TrustRegion::Unbounded)
        {
            above_zero("trust_region", radius.value())?;
        }
        if let Some(metric) = &self.metric {
            metric.validate()?;
        }
        match self.momentum {
            Some(momentum) => fraction("solve.momentum", momentum),
            None => Ok(()),
        }
    }
}
