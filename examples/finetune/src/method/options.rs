//! The hyper-parameters of a method.

use burn::optim::momentum::MomentumConfig;
use burn_ief::kfac::KroneckerDamping;
use burn_ief::update::{Amount, Damping, On};
use programs::optimizer::{OptimizerName, optimizer};
use serde::{Deserialize, Serialize};

use super::{FactorOptions, is_kronecker};
use crate::error::Error;
use crate::schedule::Schedule;

/// The unit of a damping.
///
/// ```
/// use finetune::method::{DampingUnit, MethodOptions};
/// use programs::optimizer::optimizer;
///
/// assert_eq!(MethodOptions::of(optimizer("ief")).damping_unit, DampingUnit::Relative);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DampingUnit {
    /// A fraction of the mean diagonal of the damped matrix.
    Relative,
    /// λ itself: in sum form, of the K-FAC family in mean form.
    Absolute,
}

/// Which matrix is damped; all methods but iEF have one choice only and ignore it.
///
/// ```
/// use finetune::method::{DampingOn, MethodOptions};
/// use programs::optimizer::optimizer;
///
/// assert_eq!(MethodOptions::of(optimizer("ief")).damping_on, DampingOn::Fisher);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DampingOn {
    /// The improved Fisher matrix.
    Fisher,
    /// The Gram matrix of the per-sample gradients.
    Gram,
}

/// The hyper-parameters of one method, in sum form.
///
/// ```
/// use finetune::method::{MethodOptions, build};
/// use programs::optimizer::{OptimizerName, optimizer};
///
/// let options = MethodOptions { momentum: 0.9, ..MethodOptions::of(OptimizerName::SGD) };
/// let (_, natural) = build(OptimizerName::SGD, &options, 1)?;
/// assert!(natural.is_none());
/// # Ok::<(), finetune::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MethodOptions {
    /// The first step size.
    pub step_size: f64,
    /// How it changes.
    pub schedule: Schedule,
    /// Decoupled weight decay (SGD: added to the gradient, as Burn has it).
    pub weight_decay: f64,
    /// Momentum, 0 for none; SGD and the natural-gradient methods.
    pub momentum: f64,
    /// Momentum inside the solve (SPRING), 0 for none; iEF, EF and SF.
    // Records from before it was there were made without.
    #[serde(default)]
    pub solve_momentum: f64,
    /// How much damping; natural-gradient methods.
    pub damping: f64,
    /// Its unit.
    pub damping_unit: DampingUnit,
    /// Its matrix; iEF.
    pub damping_on: DampingOn,
    /// Scale every update to this norm, 0 for not at all; natural-gradient methods.
    pub normalize: f64,
    /// The Kronecker factors; K-FAC, eKFAC and ieKFAC, absent for all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factors: Option<FactorOptions>,
}

impl Default for MethodOptions {
    fn default() -> Self {
        Self::of(optimizer("ief"))
    }
}

impl MethodOptions {
    /// Values to start from: falling step sizes, damping as `burn_ief` has it, momentum in the solve
    /// for iEF (without it its step size is about 1), and normalised updates for EF and SF, as in the
    /// paper. The K-FAC family gets more damping: with factors that
    /// are refreshed every ten steps the default of the library is too little for wide layers.
    pub fn of(method: OptimizerName) -> Self {
        let (step_size, weight_decay) = match method.name() {
            "ef" | "sf" | "sgd" => (0.1, 0.0),
            "adamw" => (1e-3, 0.01),
            "adafactor" => (1e-3, 0.0),
            _ => (0.3, 0.0),
        };
        Self {
            step_size,
            schedule: Schedule::Linear,
            weight_decay,
            momentum: 0.0,
            solve_momentum: match method.name() {
                "ief" => 0.9,
                _ => 0.0,
            },
            damping: if is_kronecker(method) { 1.0 } else { 1e-3 },
            damping_unit: DampingUnit::Relative,
            damping_on: DampingOn::Fisher,
            normalize: f64::from(u8::from(matches!(method.name(), "ef" | "sf"))),
            factors: is_kronecker(method).then(FactorOptions::default),
        }
    }

    pub(super) fn momentum(&self) -> Option<MomentumConfig> {
        let config = MomentumConfig::new().with_momentum(self.momentum);
        // Without dampening, as in PyTorch.
        (self.momentum > 0.0).then(|| config.with_dampening(0.0))
    }

    /// The norm of every update, if it is set.
    pub(super) fn norm(&self) -> Option<f64> {
        (self.normalize != 0.0).then_some(self.normalize)
    }

    fn amount(&self) -> Amount {
        match self.damping_unit {
            DampingUnit::Relative => Amount::Relative(self.damping),
            DampingUnit::Absolute => Amount::Absolute(self.damping),
        }
    }

    pub(super) fn factor_damping(&self, factors: &FactorOptions) -> KroneckerDamping {
        KroneckerDamping {
            amount: self.amount(),
            split: factors.damping_split.into(),
        }
    }

    pub(super) fn damping(&self) -> Damping {
        let on = match self.damping_on {
            DampingOn::Fisher => On::Fisher,
            DampingOn::Gram => On::Gram,
        };
        Damping {
            amount: self.amount(),
            on,
            floor: true,
        }
    }

    pub(super) fn check(&self, method: OptimizerName) -> Result<(), Error> {
        let refuse = |field: &str, found: f64, expected: &str| {
            let field = format!("method.{}.{field}", method.name());
            Err(Error::config(field, found, expected))
        };
        if !(self.step_size.is_finite() && self.step_size > 0.0) {
            return refuse("step_size", self.step_size, "a finite number above 0");
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return refuse("weight_decay", self.weight_decay, "a finite number from 0");
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return refuse("momentum", self.momentum, "at least 0 and below 1");
        }
        if self.momentum > 0.0 && [OptimizerName::ADAMW, OptimizerName::ADAFACTOR].contains(&method)
        {
            let expected = "0: this method has its own";
            return refuse("momentum", self.momentum, expected);
        }
        let solves = method.is_natural() && !is_kronecker(method);
        if self.solve_momentum != 0.0 && !solves {
            let expected = "0: this method solves nothing";
            return refuse("solve_momentum", self.solve_momentum, expected);
        }
        if self.factors.is_some() && !is_kronecker(method) {
            let field = format!("method.{}.factors", method.name());
            let expected = "nothing: this method has no Kronecker factors";
            return Err(Error::config(field, "set", expected));
        }
        Ok(())
    }
}
