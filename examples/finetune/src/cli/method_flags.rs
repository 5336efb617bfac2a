//! Flags of the methods, each with a value for all of them or one for each.

use std::fmt;
use std::str::FromStr;

use burn_ief::methods::kfac::{DampingSplit, FallbackCurvature, WeightSharing};
use burn_ief::methods::{RunningSquares, UpdateMetric};
use burn_ief::solve::{DampedMatrix, Damping, DampingAmount, TrustRegion};
use clap::{Args, ValueEnum};
use programs::optimizer::{OptimizerConfig, OptimizerName};

use crate::error::Error;
use crate::method_options::MethodOptions;
use crate::schedule::Schedule;

const HEADING: &str = "Method (VALUE, or METHOD=VALUE,…)";
const FACTORS: &str = "K-FAC family (VALUE, or METHOD=VALUE,…)";

/// A value of one method, or of all.
///
/// ```
/// use finetune::cli::PerMethod;
/// use programs::optimizer::OptimizerName;
///
/// let value: PerMethod<f64> = "sgd=0.5".parse()?;
/// assert_eq!((value.method, value.value), (Some(OptimizerName::SGD), 0.5));
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PerMethod<T> {
    /// `None` for all.
    pub method: Option<OptimizerName>,
    /// The value.
    pub value: T,
}

impl<T: FromStr<Err: ToString>> FromStr for PerMethod<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (method, value) = match text.split_once('=') {
            Some((method, value)) => (
                Some(<OptimizerName as ValueEnum>::from_str(method, false)?),
                value,
            ),
            None => (None, text),
        };
        let value = value.parse().map_err(|error: T::Err| error.to_string())?;
        Ok(Self { method, value })
    }
}

/// Flags of the methods.
#[derive(Debug, Default, Args)]
pub(super) struct MethodFlags {
    /// First step size.
    #[arg(long, help_heading = HEADING, value_delimiter = ',')]
    step_size: Vec<PerMethod<f64>>,
    /// constant, wsd (falls to 0 over the last 40 % of the steps), linear or cosine (to 0), each perhaps with a share
    /// of the steps for a warm-up (cosine:0.05), or drop:EPOCH (to a tenth).
    #[arg(long, help_heading = HEADING, value_delimiter = ',')]
    schedule: Vec<PerMethod<Schedule>>,
    /// Decoupled weight decay.
    #[arg(long, help_heading = HEADING, value_delimiter = ',')]
    weight_decay: Vec<PerMethod<f64>>,
    /// Momentum of SGD and of the natural-gradient methods.
    #[arg(long, help_heading = HEADING, value_delimiter = ',')]
    momentum: Vec<PerMethod<f64>>,
    /// Momentum inside the solve of iEF, EF and SF (SPRING).
    #[arg(long, help_heading = HEADING, value_delimiter = ',')]
    solve_momentum: Vec<PerMethod<f64>>,
    /// Metric of iEF, EF, SF and the other exact methods: identity, separable, per-tensor or diagonal.
    #[arg(long, help_heading = HEADING, value_delimiter = ',')]
    metric: Vec<PerMethod<Metric>>,
    /// Bound on half the quadratic form of an update of these methods, for each sample; 0 for none.
    #[arg(long, help_heading = HEADING, value_delimiter = ',')]
    trust_region: Vec<PerMethod<f64>>,
    /// Damping of the natural-gradient methods.
    #[arg(long, help_heading = HEADING, value_delimiter = ',')]
    damping: Vec<PerMethod<f64>>,
    /// Norm of every update of the natural-gradient methods, 0 for as it comes.
    #[arg(long, help_heading = HEADING, value_delimiter = ',')]
    normalize: Vec<PerMethod<f64>>,
    /// Unit of the damping: relative (a fraction of the mean diagonal of the damped matrix) or
    /// absolute (λ itself: in sum form, of the K-FAC family in mean form).
    #[arg(long, help_heading = HEADING, value_enum)]
    damping_unit: Option<Unit>,
    /// Matrix that iEF damps: fisher or gram.
    #[arg(long, help_heading = HEADING)]
    damping_on: Option<DampedMatrix>,

    /// Decay of the averaged factors, 0 for those of the batch alone.
    #[arg(long, help_heading = FACTORS, value_delimiter = ',')]
    factor_decay: Vec<PerMethod<f64>>,
    /// Steps from one measurement of the factors to the next.
    #[arg(long, help_heading = FACTORS, value_delimiter = ',')]
    factor_interval: Vec<PerMethod<usize>>,
    /// Steps from one inversion of the factors to the next.
    #[arg(long, help_heading = FACTORS, value_delimiter = ',')]
    inverse_interval: Vec<PerMethod<usize>>,
    /// Steps at the start that measure and invert every time.
    #[arg(long, help_heading = FACTORS, value_delimiter = ',')]
    warm_up: Vec<PerMethod<usize>>,
    /// Bound on half the product of update and gradient, 0 for none.
    #[arg(long, help_heading = FACTORS, value_delimiter = ',')]
    kl_clip: Vec<PerMethod<f64>>,
    /// Widest factor; wider layers are treated as those without factors.
    #[arg(long, help_heading = FACTORS, value_delimiter = ',')]
    max_dimension: Vec<PerMethod<usize>>,
    /// Labels that K-FAC draws per sample.
    #[arg(long, help_heading = FACTORS)]
    draws: Option<usize>,
    /// How the damping is shared between the two factors of a layer: pi (by their mean diagonals) or
    /// even (√λ on both).
    #[arg(long, help_heading = FACTORS)]
    damping_split: Option<DampingSplit>,
    /// Layers that are applied at several positions: expand (each position is an example) or reduce
    /// (the positions of a sample are put together first).
    #[arg(long, help_heading = FACTORS)]
    sharing: Option<WeightSharing>,
    /// What parameters without factors take: diagonal (of the same matrix) or gradient (their mean
    /// gradient).
    #[arg(long, help_heading = FACTORS)]
    others: Option<FallbackCurvature>,
}

/// A metric by name, with the running squares that the library takes by default.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Metric(UpdateMetric);

impl Metric {
    const NAMES: [&str; 4] = ["identity", "separable", "per-tensor", "diagonal"];
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let running = RunningSquares::default();
        Ok(Self(match name {
            "identity" => UpdateMetric::Identity,
            "separable" => UpdateMetric::Separable(running),
            "per-tensor" => UpdateMetric::PerTensor(running),
            "diagonal" => UpdateMetric::Diagonal(running),
            _ => {
                let names = Self::NAMES.join(", ");
                return Err(format!("`{name}` is not a metric: expected one of {names}"));
            }
        }))
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            UpdateMetric::Separable(_) => "separable",
            UpdateMetric::PerTensor(_) => "per-tensor",
            UpdateMetric::Diagonal(_) => "diagonal",
            _ => "identity",
        })
    }
}

/// The unit of a damping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Unit {
    Relative,
    Absolute,
}

impl MethodFlags {
    /// Put what is set over the options of a method. A value for all methods leaves those alone that
    /// do not have the option.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a value of one method that does not have the option.
    pub fn over(&self, method: OptimizerName, options: &mut MethodOptions) -> Result<(), Error> {
        let set = Setter { method };
        set.value("step-size", &self.step_size, |value| {
            options.step_size = value;
            true
        })?;
        set.value("schedule", &self.schedule, |value| {
            options.schedule = value;
            true
        })?;
        let optimizer = &mut options.optimizer;
        set.value("weight-decay", &self.weight_decay, |value| {
            optimizer.set_weight_decay(value)
        })?;
        set.value("momentum", &self.momentum, |value| {
            optimizer.set_momentum(value)
        })?;
        set.value("solve-momentum", &self.solve_momentum, |value| {
            put(optimizer.solve_mut(), |solve| solve.momentum = Some(value))
        })?;
        set.value("metric", &self.metric, |Metric(value)| {
            put(optimizer.solve_mut(), |solve| solve.metric = Some(value))
        })?;
        set.value("trust-region", &self.trust_region, |value| {
            let bound = match value {
                0.0 => TrustRegion::Unbounded,
                value => TrustRegion::per_sample(value),
            };
            put(optimizer.solve_mut(), |solve| {
                solve.trust_region = Some(bound)
            })
        })?;
        set.value("normalize", &self.normalize, |value| {
            put(optimizer.step_mut(), |step| step.normalize = Some(value))
        })?;
        set.value("damping", &self.damping, |value| {
            put(optimizer.damping_mut(), |amount| {
                *amount.value_mut() = value
            })
        })?;
        if let (Some(unit), Some(amount)) = (self.damping_unit, optimizer.damping_mut()) {
            *amount = match unit {
                Unit::Relative => DampingAmount::Relative(amount.value()),
                Unit::Absolute => DampingAmount::Absolute(amount.value()),
            };
        }
        if let (Some(on), Some(solve)) = (self.damping_on, optimizer.solve_mut()) {
            solve.damping.get_or_insert_with(Damping::default).on = on;
        }
        if let Some(draws) = self.draws {
            optimizer.set_factor_draws(draws);
        }
        self.over_factors(&set, optimizer)
    }

    fn over_factors(&self, set: &Setter, optimizer: &mut OptimizerConfig) -> Result<(), Error> {
        set.value("factor-decay", &self.factor_decay, |value| {
            put(optimizer.factors_mut(), |factors| factors.decay = value)
        })?;
        set.value("factor-interval", &self.factor_interval, |value| {
            put(optimizer.factors_mut(), |factors| {
                factors.factor_interval = value
            })
        })?;
        set.value("inverse-interval", &self.inverse_interval, |value| {
            put(optimizer.factors_mut(), |factors| {
                factors.inverse_interval = value
            })
        })?;
        set.value("warm-up", &self.warm_up, |value| {
            put(optimizer.factors_mut(), |factors| factors.warm_up = value)
        })?;
        set.value("kl-clip", &self.kl_clip, |value| {
            put(optimizer.factors_mut(), |factors| {
                factors.kl_clip = Some(value);
            })
        })?;
        set.value("max-dimension", &self.max_dimension, |value| {
            put(optimizer.factors_mut(), |factors| {
                factors.max_dimension = value
            })
        })?;
        if let Some(factors) = optimizer.factors_mut() {
            factors.damping.split = self.damping_split.unwrap_or(factors.damping.split);
            factors.sharing = self.sharing.unwrap_or(factors.sharing);
            factors.fallback = self.others.unwrap_or(factors.fallback);
        }
        Ok(())
    }
}

/// Change options, if there are some. Returns whether there are.
fn put<T>(options: Option<&mut T>, change: impl FnOnce(&mut T)) -> bool {
    options.map(change).is_some()
}

/// Chooses the values of one method.
struct Setter {
    method: OptimizerName,
}

impl Setter {
    /// Apply the last of the values for the method, else the last for all; `apply` returns whether
    /// the method has the option.
    fn value<T: Copy + ToString>(
        &self,
        flag: &str,
        values: &[PerMethod<T>],
        apply: impl FnOnce(T) -> bool,
    ) -> Result<(), Error> {
        let of = |wanted| {
            values
                .iter()
                .rev()
                .find(move |value| value.method == wanted)
        };
        let own = of(Some(self.method));
        let Some(found) = own.or_else(|| of(None)) else {
            return Ok(());
        };
        if apply(found.value) || own.is_none() {
            return Ok(());
        }
        let found = format!("{}={}", self.method, found.value.to_string());
        Err(Error::config(
            format!("--{flag}"),
            found,
            "a method that has this option",
        ))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use programs::optimizer::optimizer;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        flags: MethodFlags,
    }

    fn set(name: &str, flags: &[&str]) -> Result<MethodOptions, Error> {
        let words = std::iter::once("program").chain(flags.iter().copied());
        let program = Program::try_parse_from(words).unwrap();
        let mut options = MethodOptions::of(optimizer(name));
        program.flags.over(optimizer(name), &mut options)?;
        Ok(options)
    }

    #[test]
    fn a_value_for_one_method_goes_before_one_for_all() {
        let flags = [
            "--factor-interval=5,kfac=20",
            "--kl-clip=0",
            "--sharing=reduce",
        ];
        let factors = |name| {
            let mut options = set(name, &flags).unwrap();
            options.optimizer.factors_mut().unwrap().clone()
        };
        assert_eq!(factors("iekfac").factor_interval, 5);
        assert_eq!(factors("kfac").factor_interval, 20);
        assert_eq!(factors("ekfac").kl_clip, Some(0.0));
        assert_eq!(factors("ekfac").sharing, WeightSharing::Reduce);
    }

    #[test]
    fn metric_and_trust_region_are_those_of_exact_methods() {
        let flags = ["--metric=diagonal,ief=identity", "--trust-region=0.02,ef=0"];
        let solve = |name| {
            let mut options = set(name, &flags).unwrap();
            options.optimizer.solve_mut().unwrap().clone()
        };
        assert_eq!(solve("ief").metric, Some(UpdateMetric::Identity));
        assert_eq!(
            solve("ief").trust_region,
            Some(TrustRegion::per_sample(0.02))
        );
        let diagonal = UpdateMetric::Diagonal(RunningSquares::default());
        assert_eq!(solve("ef").metric, Some(diagonal));
        assert_eq!(solve("ef").trust_region, Some(TrustRegion::Unbounded));
        assert!(set("adamw", &flags).is_ok());
        assert!(set("adamw", &["--metric=adamw=diagonal"]).is_err());
        for name in Metric::NAMES {
            assert_eq!(name.parse::<Metric>().unwrap().to_string(), name);
        }
        assert!("round".parse::<Metric>().is_err());
    }

    #[test]
    fn the_damping_has_a_value_a_unit_and_a_matrix() {
        let flags = [
            "--damping=2",
            "--damping-unit=absolute",
            "--damping-on=gram",
        ];
        let mut options = set("ief", &flags).unwrap();
        let damping = options.optimizer.solve_mut().unwrap().damping.unwrap();
        assert_eq!(damping.amount, DampingAmount::Absolute(2.0));
        assert_eq!(damping.on, DampedMatrix::Gram);
        let mut options = set("kfac", &flags).unwrap();
        let amount = options.optimizer.damping_mut().copied();
        assert_eq!(amount, Some(DampingAmount::Absolute(2.0)));
    }

    #[test]
    fn methods_ignore_options_that_they_do_not_have_unless_they_are_named() {
        let flags = ["--factor-decay=0.5", "--draws=4", "--momentum=0.5"];
        let adamw = MethodOptions::of(OptimizerName::ADAMW);
        assert_eq!(set("adamw", &flags).unwrap(), adamw);
        let error = set("adamw", &["--momentum=adamw=0.5"]).unwrap_err();
        assert!(
            error.to_string().starts_with("`--momentum` is adamw=0.5"),
            "{error}"
        );
    }
}
