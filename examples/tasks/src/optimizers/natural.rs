//! The natural-gradient methods of burn-ief: defaults, and candidates for a better default.

use burn_ief::methods::{AnyConfig, RunningSquares, UpdateMetric};
use burn_ief::prelude::*;
use burn_ief::solve::Damping;
use serde_json::Value;

use super::{Budget, Contender, Model, Options, everywhere, read, write};
use crate::definition::{Definition, Half, Trained};
use crate::error::Error;
use crate::schedule::Schedule;
use crate::stepper::Recipe;

/// The name of iEF at the defaults of the library.
pub const BASELINE: &str = "ief";

/// The options of a method, as changed for a task.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    method: &'static str,
    change: fn(&mut AnyConfig, &Definition),
}

impl Setting {
    /// All options.
    ///
    /// # Panics
    ///
    /// Panics for a method that burn-ief does not have.
    pub(super) fn options(&self, definition: &Definition) -> Value {
        let config = self.method.parse::<AnyConfig>();
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        let mut config = config.resolved();
        (self.change)(&mut config, definition);
        write(&config)
    }
}

/// A method with one setting.
fn fixed(
    name: &'static str,
    title: &'static str,
    setting: Setting,
    (step_size, schedule, seeds): (f64, Schedule, u64),
) -> Contender {
    Contender {
        name,
        title,
        applies: everywhere,
        budget: Budget::Fixed {
            step_size,
            schedule,
            seeds,
        },
        options: Options::ByTask(setting),
        build,
        half: None,
    }
}

fn unchanged(method: &'static str) -> Setting {
    Setting {
        method,
        change: |_, _| {},
    }
}

/// iEF at the defaults of the library: a step size of 1 that falls to zero over the last 40 % of the steps.
pub(super) fn ief() -> Contender {
    let run = (1.0, Schedule::LateLinear, 5);
    fixed(BASELINE, "iEF, default", unchanged("ief"), run)
}

/// The same without a schedule.
pub(super) fn ief_constant() -> Contender {
    let run = (1.0, Schedule::Constant, 5);
    fixed(
        "ief-constant",
        "iEF, default, constant step",
        unchanged("ief"),
        run,
    )
}

/// iEF at the defaults of the library, tuned with AdamW's budget.
pub(super) fn ief_tuned() -> Contender {
    Contender {
        name: "ief-tuned",
        title: "iEF, tuned",
        budget: Budget::Searched {
            first,
            sizes: 6,
            schedules: &[Schedule::Constant, Schedule::LateLinear],
            seeds: 5,
        },
        ..ief()
    }
}

fn first(_trained: Trained) -> f64 {
    0.0625
}

/// EF at the defaults of the library.
pub(super) fn ef() -> Contender {
    let run = (0.1, Schedule::Linear, 3);
    fixed("ef", "EF, default", unchanged("ef"), run)
}

/// SF at the defaults of the library.
pub(super) fn sf() -> Contender {
    let run = (0.1, Schedule::Linear, 3);
    fixed("sf", "SF, default", unchanged("sf"), run)
}

/// K-FAC at the defaults of the library.
pub(super) fn kfac() -> Contender {
    let run = (0.3, Schedule::Linear, 3);
    fixed("kfac", "K-FAC, default", unchanged("kfac"), run)
}

/// A candidate for the default: a step size of 1 on the tasks to explore.
fn candidate(
    name: &'static str,
    title: &'static str,
    schedule: Schedule,
    change: fn(&mut AnyConfig, &Definition),
) -> Contender {
    let setting = Setting {
        method: "ief",
        change,
    };
    Contender {
        half: Some(Half::Explore),
        ..fixed(name, title, setting, (1.0, schedule, 3))
    }
}

/// Candidates for the default of iEF. Each differs in one thing from `ief-separable`, or lacks it.
pub(super) fn candidates() -> Vec<Contender> {
    use Schedule::{Constant, LateLinear, Linear};
    vec![
        Contender {
            budget: Budget::Fixed {
                step_size: 0.3,
                schedule: Linear,
                seeds: 5,
            },
            ..candidate("ief-0.3", "λ 0.001, step size 0.3", Linear, bare)
        },
        candidate("ief-one", "λ 0.001", Linear, bare),
        candidate("ief-bounded", "λ 0.1, trust 0.03", Linear, bounded),
        candidate(
            "ief-separable",
            "λ 0.1, trust 0.03, separable 0.25",
            Linear,
            separable,
        ),
        candidate(
            "ief-separable-constant",
            "the same, constant step",
            Constant,
            separable,
        ),
        candidate(
            "ief-separable-late",
            "the same, falling late",
            LateLinear,
            separable,
        ),
        candidate(
            "ief-trust-0.1-late",
            "trust 0.1, falling late",
            LateLinear,
            |config, task| {
                separable(config, task);
                trust(config, 0.1, task);
            },
        ),
        candidate("ief-power-0.5", "power 0.5", Linear, |config, task| {
            separable(config, task);
            metric(config, 0.5);
        }),
        candidate("ief-trust-0.01", "trust 0.01", Linear, |config, task| {
            separable(config, task);
            trust(config, 0.01, task);
        }),
        candidate("ief-trust-0.1", "trust 0.1", Linear, |config, task| {
            separable(config, task);
            trust(config, 0.1, task);
        }),
        candidate("ief-damping-0.01", "λ 0.01", Linear, |config, task| {
            separable(config, task);
            damping(config, 0.01);
        }),
        candidate(
            "ief-damping-0.01-constant",
            "λ 0.01, constant step",
            Constant,
            |config, task| {
                separable(config, task);
                damping(config, 0.01);
            },
        ),
        candidate(
            "ief-damping-0.01-late",
            "λ 0.01, falling late",
            LateLinear,
            |config, task| {
                separable(config, task);
                damping(config, 0.01);
            },
        ),
        candidate(
            "ief-damping-0.01-trust-0.1-late",
            "λ 0.01, trust 0.1, falling late",
            LateLinear,
            |config, task| {
                separable(config, task);
                damping(config, 0.01);
                trust(config, 0.1, task);
            },
        ),
        candidate("ief-damping-1", "λ 1", Linear, |config, task| {
            separable(config, task);
            damping(config, 1.0);
        }),
        candidate("ief-momentum-0", "μ 0", Linear, |config, task| {
            separable(config, task);
            momentum(config, 0.0);
        }),
        candidate("ief-momentum-0.8", "μ 0.8", Linear, |config, task| {
            separable(config, task);
            momentum(config, 0.8);
        }),
        candidate("ief-decay", "weight decay 0.001", Linear, |config, task| {
            separable(config, task);
            config.step_mut().weight_decay = 1e-3;
        }),
    ]
}

/// Momentum in the solve and λ = 0.001 relative alone: the default of earlier versions.
fn bare(config: &mut AnyConfig, _definition: &Definition) {
    let plain = SolveOptions::plain(Damping::relative(1e-3));
    *solve(config) = plain.with_momentum(Some(0.9));
}

/// λ = 0.1 relative, and ΔᵀF̃Δ of at most 0.03 for each sample.
fn bounded(config: &mut AnyConfig, definition: &Definition) {
    bare(config, definition);
    damping(config, 0.1);
    trust(config, 0.03, definition);
}

/// The same in the separable metric of power 0.25.
fn separable(config: &mut AnyConfig, definition: &Definition) {
    bounded(config, definition);
    metric(config, 0.25);
}

fn solve(config: &mut AnyConfig) -> &mut SolveOptions {
    config.solve_mut().expect("an exact method")
}

fn damping(config: &mut AnyConfig, relative: f64) {
    solve(config).damping = Some(Damping::relative(relative));
}

/// Bound ΔᵀF̃Δ by `share` for each sample; the option bounds half of it over the batch.
fn trust(config: &mut AnyConfig, share: f64, definition: &Definition) {
    let radius = 0.5 * share * definition.batch as f64;
    solve(config).trust_region = Some(TrustRegion::total(radius));
}

fn metric(config: &mut AnyConfig, power: f64) {
    let squares = RunningSquares::default().with_power(power);
    solve(config).metric = Some(UpdateMetric::Separable(squares));
}

fn momentum(config: &mut AnyConfig, momentum: f64) {
    solve(config).momentum = Some(momentum);
}

fn build(options: &Value, model: &Model<'_>) -> Result<Recipe, Error> {
    let mut config: AnyConfig = read("a method of burn-ief", options)?;
    match &mut config {
        AnyConfig::Sf(config) => config.seed = model.seed,
        AnyConfig::Kfac(config) => config.seed = model.seed,
        _ => {}
    }
    let checked = config.try_build();
    checked.map_err(|error| Error::settings(config.name(), error))?;
    Ok(Recipe::Natural(Box::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizers::named;

    #[test]
    fn candidates_have_the_options_that_their_names_say() {
        let definition = crate::tasks::named("trec-lora").unwrap().definition;
        let options = |name: &str| named(name).unwrap().options(definition);
        let solve = options("ief-separable")["solve"].clone();
        let radius = 0.5 * 0.03 * definition.batch as f64;
        assert_eq!(solve["trust_region"]["total"], radius);
        assert_eq!(solve["metric"]["separable"]["power"], 0.25);
        assert_eq!(solve["damping"]["amount"]["relative"], 0.1);
        assert_eq!(options("ief-momentum-0.8")["solve"]["momentum"], 0.8);
        assert_eq!(options("ief-decay")["step"]["weight_decay"], 1e-3);
        assert_eq!(options("ief"), options("ief-tuned"));
        assert_eq!(options("ief")["method"], "ief");
    }

    #[test]
    fn candidates_differ_from_each_other() {
        let definition = crate::tasks::named("diamonds").unwrap().definition;
        let mut seen: Vec<(Value, f64, Schedule)> = Vec::new();
        for candidate in candidates() {
            let Budget::Fixed {
                step_size,
                schedule,
                ..
            } = candidate.budget
            else {
                panic!("candidates are not searched");
            };
            let setting = (candidate.options(definition), step_size, schedule);
            assert!(!seen.contains(&setting), "{}", candidate.name);
            seen.push(setting);
        }
    }
}
