//! Flags of the methods, each with a value for all of them or one for each.

use std::str::FromStr;

use clap::{Args, ValueEnum};
use programs::optimizer::OptimizerName;

use crate::method::{
    DampingOn, DampingSplit, DampingUnit, FactorSharing, MethodOptions, OtherParameters,
    is_kronecker,
};
use crate::schedule::Schedule;

const HEADING: &str = "Method (VALUE, or METHOD=VALUE,…)";
const FACTORS: &str = "K-FAC family (VALUE, or METHOD=VALUE,…)";

/// A value of one method, or of all.
///
/// ```
/// use finetune::cli::PerMethod;
/// use programs::optimizer::optimizer;
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
    /// constant, linear (to 0), or drop:EPOCH (to a tenth).
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
    /// Damping of the natural-gradient methods.
    #[arg(long, help_heading = HEADING, value_delimiter = ',')]
    damping: Vec<PerMethod<f64>>,
    /// Norm of every update of the natural-gradient methods, 0 for as it comes.
    #[arg(long, help_heading = HEADING, value_delimiter = ',')]
    normalize: Vec<PerMethod<f64>>,
    /// Unit of the damping.
    #[arg(long, help_heading = HEADING, value_enum)]
    damping_unit: Option<DampingUnit>,
    /// Matrix that iEF damps.
    #[arg(long, help_heading = HEADING, value_enum)]
    damping_on: Option<DampingOn>,

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
    /// How the damping is shared between the two factors of a layer.
    #[arg(long, help_heading = FACTORS, value_enum)]
    damping_split: Option<DampingSplit>,
    /// Layers that are applied at several positions.
    #[arg(long, help_heading = FACTORS, value_enum)]
    sharing: Option<FactorSharing>,
    /// What parameters without factors take.
    #[arg(long, help_heading = FACTORS, value_enum)]
    others: Option<OtherParameters>,
}

impl MethodFlags {
    /// Put what is set over the options of a method.
    pub fn over(&self, method: OptimizerName, options: &mut MethodOptions) {
        /// Of several values the last that fits; one for the method goes before one for all.
        fn set<T: Copy>(flag: &[PerMethod<T>], method: OptimizerName, field: &mut T) {
            let of = |wanted| flag.iter().rev().find(move |value| value.method == wanted);
            if let Some(found) = of(Some(method)).or_else(|| of(None)) {
                *field = found.value;
            }
        }
        fn choose<T: Copy>(flag: Option<T>, field: &mut T) {
            *field = flag.unwrap_or(*field);
        }
        set(&self.step_size, method, &mut options.step_size);
        set(&self.schedule, method, &mut options.schedule);
        set(&self.weight_decay, method, &mut options.weight_decay);
        set(&self.momentum, method, &mut options.momentum);
        set(&self.solve_momentum, method, &mut options.solve_momentum);
        set(&self.damping, method, &mut options.damping);
        set(&self.normalize, method, &mut options.normalize);
        choose(self.damping_unit, &mut options.damping_unit);
        choose(self.damping_on, &mut options.damping_on);
        if !is_kronecker(method) {
            return;
        }
        let factors = options.factors.get_or_insert_default();
        set(&self.factor_decay, method, &mut factors.decay);
        set(&self.factor_interval, method, &mut factors.factor_interval);
        set(
            &self.inverse_interval,
            method,
            &mut factors.inverse_interval,
        );
        set(&self.warm_up, method, &mut factors.warm_up);
        set(&self.kl_clip, method, &mut factors.kl_clip);
        set(&self.max_dimension, method, &mut factors.max_dimension);
        choose(self.draws, &mut factors.draws);
        choose(self.damping_split, &mut factors.damping_split);
        choose(self.sharing, &mut factors.sharing);
        choose(self.others, &mut factors.others);
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

    fn options(method: OptimizerName, flags: &[&str]) -> MethodOptions {
        let words = std::iter::once("program").chain(flags.iter().copied());
        let program = Program::try_parse_from(words).unwrap();
        let mut options = MethodOptions::of(method);
        program.flags.over(method, &mut options);
        options
    }

    #[test]
    fn a_value_for_one_method_goes_before_one_for_all() {
        let flags = [
            "--factor-interval=5,kfac=20",
            "--kl-clip=0",
            "--sharing=reduce",
        ];
        let factors = |method| options(method, &flags).factors.unwrap();
        assert_eq!(factors(optimizer("iekfac")).factor_interval, 5);
        assert_eq!(factors(optimizer("kfac")).factor_interval, 20);
        assert_eq!(factors(optimizer("ekfac")).kl_clip, 0.0);
        assert_eq!(factors(optimizer("ekfac")).sharing, FactorSharing::Reduce);
    }

    #[test]
    fn methods_without_factors_ignore_their_flags() {
        let flags = ["--factor-decay=0.5", "--draws=4"];
        assert_eq!(
            options(optimizer("ief"), &flags),
            MethodOptions::of(optimizer("ief"))
        );
    }
}
