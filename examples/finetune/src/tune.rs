//! The search for step sizes: the same number of runs for every method.

use std::path::PathBuf;

use programs::files;
use programs::optimizer::OptimizerName;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::error::Error;
use crate::experiment::{Experiment, Flags};
use crate::history::History;
use crate::metric::Metric;
use crate::stop::Stop;

/// Factors on the configured step size that are tried.
pub const FACTORS: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];
/// Seed of the search, apart from those of the reported runs.
pub const SEED: u64 = 100;

/// One step size that was tried.
///
/// ```
/// use programs::optimizer::optimizer;
/// use finetune::tune::{Trial, best};
///
/// let trial = |step_size, valid| Trial {
///     method: optimizer("ief"),
///     step_size,
///     valid,
///     metric: "accuracy".into(),
///     loss: 1.0,
///     reason: None,
/// };
/// let trials = [trial(0.5, Some(0.8)), trial(1.0, Some(0.9)), trial(2.0, None)];
/// assert_eq!(best(&trials).unwrap().step_size, 1.0);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The optimizer.
    pub method: OptimizerName,
    /// Its first step size.
    pub step_size: f64,
    /// The name of the first metric.
    #[serde(default)]
    pub metric: String,
    /// The first metric on the validation rows in the best epoch; `null` if the run failed.
    pub valid: Option<f64>,
    /// The loss there.
    pub loss: f64,
    /// Why the run failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Trial {
    fn of(method: OptimizerName, step_size: f64, history: &History) -> Self {
        match history.best() {
            Some(epoch) => Self {
                method,
                step_size,
                metric: history.metrics.first().cloned().unwrap_or_default(),
                valid: Some(history.best_valid()),
                loss: epoch.valid.loss,
                reason: None,
            },
            None => Self::failed(method, step_size, "no epoch was complete".into()),
        }
    }

    fn failed(method: OptimizerName, step_size: f64, reason: String) -> Self {
        Self {
            method,
            step_size,
            metric: String::new(),
            valid: None,
            loss: f64::MAX,
            reason: Some(reason),
        }
    }
}

/// What a search found.
///
/// ```
/// let found = finetune::tune::Found::default();
/// assert!(found.tuned.is_none() && found.failed.is_empty());
/// ```
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Found {
    /// The configuration with the best step sizes, of the methods that have one, and the file that holds it.
    pub tuned: Option<(Config, PathBuf)>,
    /// Methods whose trials all failed, with the reasons in words.
    pub failed: Vec<(OptimizerName, String)>,
}

/// The trial with the best validation result, and of these the lowest loss; `None` if all failed.
pub fn best(trials: &[Trial]) -> Option<&Trial> {
    let trials = trials.iter().filter(|trial| trial.valid.is_some());
    trials.max_by(|a, b| {
        let merit = |trial: &Trial| {
            let valid = trial.valid.map(|valid| Metric::merit(&trial.metric, valid));
            valid.unwrap_or(f64::MIN)
        };
        merit(a)
            .total_cmp(&merit(b))
            .then(b.loss.total_cmp(&a.loss))
    })
}

/// Try every factor on the step size of every configured method, one run each with seed `seed`,
/// below `tune` in the configured folder; `each` hears of every trial.
///
/// Writes the trials as `tune.json` and the configuration with the best step sizes as `tuned.toml`. Methods whose
/// trials all failed are not in it, and without any other method it is not written. Runs that are there already are
/// not repeated.
///
/// # Errors
///
/// [`Error::Config`] for a factor that makes no step size, and those of [`Experiment::run`]; a run that fails is a trial without a result.
pub fn tune(
    mut experiment: Experiment,
    factors: &[f64],
    seed: u64,
    flags: Flags,
    stop: &Stop,
    mut each: impl FnMut(&Trial),
) -> Result<Found, Error> {
    let config = experiment.config().clone();
    // Step sizes are judged on the validation rows.
    experiment.ask_nothing();
    for &method in &config.methods {
        for factor in factors {
            let mut options = config.options(method);
            options.step_size = rounded(options.step_size * factor);
            options.check(method)?;
        }
    }
    let [trials_file, tuned_file] = ["tune.json", "tuned.toml"].map(|name| config.out.join(name));
    experiment.lock(&config.out)?;
    for file in [&trials_file, &tuned_file] {
        files::check_output(file)?;
    }
    let mut tuned = config.clone();
    tuned.methods.clear();
    let mut found = Found::default();
    let mut all = Vec::new();
    for &method in &config.methods {
        let options = config.options(method);
        let mut trials = Vec::new();
        for factor in factors {
            let step_size = rounded(options.step_size * factor);
            let mut changed = options.clone();
            changed.step_size = step_size;
            let own = experiment.config_mut();
            own.method.insert(method, changed);
            own.out = config
                .out
                .join("tune")
                .join(format!("step-{}", short(step_size)));
            let trial = match experiment.run(method, seed, flags, stop) {
                Ok(ended) => Trial::of(method, step_size, ended.history()),
                Err(Error::Stopped { reason, .. }) => Trial::failed(method, step_size, reason),
                Err(error) => return Err(error),
            };
            each(&trial);
            trials.push(trial);
        }
        if let Some(best) = best(&trials) {
            let mut chosen = options;
            chosen.step_size = best.step_size;
            tuned.method.insert(method, chosen);
            tuned.methods.push(method);
        } else {
            found.failed.push((method, reasons(&trials)));
        }
        all.extend(trials);
    }
    files::write_json(&trials_file, &all)?;
    if !tuned.methods.is_empty() {
        files::write(&tuned_file, tuned.to_toml()?)?;
        found.tuned = Some((tuned, tuned_file));
    }
    Ok(found)
}

/// Why trials failed.
fn reasons(trials: &[Trial]) -> String {
    let reasons = trials.iter().map(|trial| {
        let reason = trial.reason.as_deref().unwrap_or("no reason noted");
        format!("step size {}: {reason}", trial.step_size)
    });
    reasons.collect::<Vec<_>>().join("; ")
}

/// As a folder's name.
fn short(step_size: f64) -> String {
    if (1e-5..1e5).contains(&step_size) {
        step_size.to_string()
    } else {
        format!("{step_size:e}")
    }
}

/// To six digits, so that folders have short names.
fn rounded(value: f64) -> f64 {
    format!("{value:.6e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::tests::history;
    use programs::optimizer::optimizer;

    #[test]
    fn equal_results_are_told_apart_by_their_loss() {
        let trial = |step_size, valid: &[(f64, f64)]| {
            Trial::of(
                optimizer("ief"),
                step_size,
                &history(optimizer("ief"), 1, valid),
            )
        };
        let trials = [
            trial(1.0, &[(0.5, 1.0), (0.8, 0.4)]),
            trial(2.0, &[(0.8, 0.3)]),
            trial(4.0, &[(0.7, 0.1)]),
            Trial::failed(optimizer("ief"), 8.0, "the loss is NaN".into()),
        ];
        assert_eq!(best(&trials).unwrap().step_size, 2.0);
        assert_eq!(best(&trials[3..]), None);
        assert_eq!(reasons(&trials[3..]), "step size 8: the loss is NaN");
        let of_perplexity = |step_size, valid| Trial {
            metric: "perplexity".into(),
            ..trial(step_size, &[(valid, 1.0)])
        };
        let trials = [of_perplexity(1.0, 30.0), of_perplexity(2.0, 20.0)];
        assert_eq!(best(&trials).unwrap().step_size, 2.0);
    }

    #[test]
    fn step_sizes_are_rounded() {
        assert_eq!(rounded(0.1 * 3.0), 0.3);
        assert_eq!(rounded(0.004 * 0.25), 0.001);
        assert_eq!((short(0.3), short(1e300)), ("0.3".into(), "1e300".into()));
    }
}
