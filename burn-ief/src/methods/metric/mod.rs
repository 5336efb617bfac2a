//! Metrics: which of all updates that change the outputs as asked is the smallest.
//!
//! A batch of M samples asks for M changes of the outputs, and many updates make them. An exact method
//! takes the smallest one: it keeps `‖Δ‖²` small. A metric measures the size differently, as
//! `ΔᵀD⁻¹Δ` with a positive diagonal matrix D. The update of iEF becomes
//!
//! `Δ = D Jᵀ (J D Jᵀ + λ diag(s))⁻¹ s`.
//!
//! The per-sample changes JΔ stay as asked. An entry with a large D takes a larger share of the work.
//!
//! # What it means for the other options
//!
//! The method works on the parameters `D^{-1/2} θ`, whose rows are `J D^{1/2}`. So each rule, with its
//! damping, sees these rows, and everything else keeps its meaning:
//!
//! | option | with a metric |
//! | --- | --- |
//! | damping of EF, SF, NGD, and of iEF on the Fisher matrix | `F̃ + λD⁻¹`: λ penalises `ΔᵀD⁻¹Δ` |
//! | damping of iEF on the Gram matrix | `J D Jᵀ + λI` |
//! | damping of GGT | on the square root of `J D Jᵀ` |
//! | relative damping | the share of the mean diagonal of `J D Jᵀ` (over s on the Fisher matrix) |
//! | momentum in the solve | the penalty is `(Δ − μΔ_prev)ᵀ D⁻¹ (Δ − μΔ_prev)` with the D of this step; Δ_prev is kept in the units of the parameters |
//! | trust region | `½ ΔᵀF̃Δ` at the outputs, unchanged |
//! | normalisation, weight decay, the optimizer's momentum | on Δ and θ themselves, unchanged |
//!
//! The K-FAC family has a metric of its own in its factors, and no such option.
//!
//! # What the metrics know
//!
//! D comes from v, the running mean (over samples and steps) of the squared rows: the diagonal of the
//! rule's curvature matrix, `J_n²/s_n` for iEF, `J_n²` for EF and GGT, and the rows of drawn labels for
//! SF and NGD. With w, what the metric keeps of v for an entry, and `w̄` the mean over all parameters,
//! `D = (w/w̄ + 1e-6)^-p`. Dividing by the mean makes D independent of the scale of v, and of the
//! bias of a running mean that started at zero.
//!
//! | metric | w of an entry | state per parameter |
//! | --- | --- | --- |
//! | [`Separable`](UpdateMetric::Separable) | mean of its row times mean of its column, over the mean of the matrix, as Adafactor stores its second moment | r + c numbers |
//! | [`PerTensor`](UpdateMetric::PerTensor) | the mean of the parameter | 1 number |
//! | [`Diagonal`](UpdateMetric::Diagonal) | v itself | r · c numbers |
//!
//! Every parameter counts as a matrix of its first axis (r) by all others (c); a vector is one row, for
//! which the separable metric is the full diagonal. A step adds its own batch to v before it takes D,
//! so the first step has a metric already. All shards of a step make one D: v is a sum over samples.
//! A sample with s below 1e-24 is fitted and adds nothing.

mod diagonal;
mod per_tensor;
mod separable;
mod state;

use std::fmt::Debug;

use burn::tensor::Tensor;

use super::ranges::fraction;
use crate::error::Error;
use crate::rows::{EntryScale, Squares};

pub use state::MetricState;

/// Which update is the smallest: see the [module](self).
///
/// ```
/// use burn_ief::methods::{RunningSquares, SolveOptions, UpdateMetric};
/// use burn_ief::prelude::*;
///
/// let metric = UpdateMetric::Separable(RunningSquares::default());
/// let bound = TrustRegion::per_sample(0.015);
/// let solve = SolveOptions::new().with_metric(Some(metric)).with_trust_region(Some(bound));
/// assert!(IefConfig::new().with_solve(solve).validate().is_ok());
///
/// let metric = UpdateMetric::Separable(RunningSquares::default().with_power(-1.0));
/// assert!(SolveOptions::new().with_metric(Some(metric)).validate().is_err());
///
/// let json = serde_json::to_string(&UpdateMetric::default()).unwrap();
/// assert_eq!(json, "\"identity\"");
/// let read: UpdateMetric = serde_json::from_str(r#"{"separable": {"power": 0.5}}"#).unwrap();
/// assert_eq!(read, UpdateMetric::Separable(RunningSquares::default().with_power(0.5)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UpdateMetric {
    /// The shortest update, `‖Δ‖²`. It costs nothing and keeps no state.
    #[default]
    Identity,
    /// Means of rows and of columns. Factored rows of large layers stay factored.
    Separable(RunningSquares),
    /// One number per parameter.
    PerTensor(RunningSquares),
    /// Every entry by itself. All rows become dense, which takes M numbers for each entry of the
    /// parameters: for adapters and small models.
    Diagonal(RunningSquares),
}

/// How a metric follows the squares of the rows.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RunningSquares {
    /// p in `D = (w/w̄ + 1e-6)^-p`, from 0 (the identity) to 1.
    pub power: f64,
    /// What is left of the running mean after a step, from 0 to below 1.
    pub decay: f64,
}

impl Default for RunningSquares {
    /// A power of 0.25 and a decay of 0.95.
    fn default() -> Self {
        Self {
            power: 0.25,
            decay: 0.95,
        }
    }
}

impl RunningSquares {
    /// With this power.
    pub fn with_power(self, power: f64) -> Self {
        Self { power, ..self }
    }

    /// With this decay.
    pub fn with_decay(self, decay: f64) -> Self {
        Self { decay, ..self }
    }

    fn validate(&self) -> Result<(), Error> {
        if !(0.0..=1.0).contains(&self.power) {
            return Err(Error::config(
                "metric.power",
                self.power,
                "at least 0 and at most 1",
            ));
        }
        fraction("metric.decay", self.decay)
    }
}

impl UpdateMetric {
    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first field that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        match self.running() {
            Some((_, running)) => running.validate(),
            None => Ok(()),
        }
    }

    /// What a metric with running squares keeps of them, and how it follows them.
    fn running(&self) -> Option<(&'static dyn Kept, &RunningSquares)> {
        match self {
            Self::Identity => None,
            Self::Separable(running) => Some((&separable::Separable, running)),
            Self::PerTensor(running) => Some((&per_tensor::PerTensor, running)),
            Self::Diagonal(running) => Some((&diagonal::Diagonal, running)),
        }
    }

    /// The squares that the metric needs; `None` if it needs none.
    pub(super) fn wanted(&self) -> Option<Squares> {
        self.running().map(|(kept, _)| kept.wanted())
    }
}

/// What a metric keeps of the squares of one parameter `[r, c]`.
trait Kept: Debug {
    /// The squares that it needs.
    fn wanted(&self) -> Squares;

    /// The lengths of the vectors that it keeps.
    fn lengths(&self, shape: [usize; 2]) -> Vec<usize>;

    /// The vectors, all of them means over entries, from the sums of the squares.
    fn means(&self, sums: Vec<Tensor<1>>, shape: [usize; 2]) -> Vec<Tensor<1>>;

    /// The factors of the entries from vectors that are positive and relative to the mean of all
    /// parameters.
    fn scale(&self, means: Vec<Tensor<1>>, power: f64) -> EntryScale;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::AnyConfig;

    #[test]
    fn options_out_of_range_name_their_field() {
        let running = RunningSquares::default;
        let field = |running: RunningSquares| match UpdateMetric::PerTensor(running).validate() {
            Err(Error::Config { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        for power in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(field(running().with_power(power)), "metric.power");
        }
        for decay in [-0.1, 1.0, f64::NAN] {
            assert_eq!(field(running().with_decay(decay)), "metric.decay");
        }
        for (power, decay) in [(0.0, 0.0), (1.0, 0.999)] {
            let running = running().with_power(power).with_decay(decay);
            assert!(UpdateMetric::Diagonal(running).validate().is_ok());
        }
        assert!(UpdateMetric::Identity.validate().is_ok());
    }

    #[test]
    fn a_configuration_names_its_metric() {
        let read = |metric: &str| -> Result<AnyConfig, String> {
            let json = format!(r#"{{"method": "ief", "solve": {{"metric": {metric}}}}}"#);
            serde_json::from_str(&json).map_err(|error| error.to_string())
        };
        let metric = |json: &str| read(json).unwrap().solve_mut().unwrap().metric;
        assert_eq!(metric(r#""identity""#), Some(UpdateMetric::Identity));
        let running = RunningSquares::default();
        for (json, expected) in [
            (
                r#"{"separable": {"power": 0.5}}"#,
                UpdateMetric::Separable(running.with_power(0.5)),
            ),
            (
                r#"{"per_tensor": {"decay": 0.5}}"#,
                UpdateMetric::PerTensor(running.with_decay(0.5)),
            ),
            (r#"{"diagonal": {}}"#, UpdateMetric::Diagonal(running)),
        ] {
            assert_eq!(metric(json), Some(expected));
        }
        assert!(read(r#"{"separable": {"p": 0.5}}"#).is_err());
        assert!(read(r#""round""#).is_err());
    }
}
