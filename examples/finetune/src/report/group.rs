//! Runs that differ in nothing but their seeds.

use std::collections::{BTreeMap, BTreeSet};

use programs::optimizer::OptimizerName;
use serde_json::Value;

use crate::history::{History, Status};

/// The setting that every row shows.
const STEP_SIZE: &str = "step_size";
/// The other setting that has its own letter.
const SOLVE_MOMENTUM: &str = "solve.momentum";

/// Runs of one setup with one method, the same settings and different seeds; those that are not
/// finished are a group of their own.
pub(super) struct Group<'a> {
    pub name: &'a str,
    pub method: OptimizerName,
    pub finished: bool,
    /// The step size, and the settings in which this group differs from others of its setup and method.
    pub settings: Vec<(String, String)>,
    pub runs: Vec<&'a History>,
}

/// All runs that have come to the end of an epoch, by setup, method and settings.
pub(super) fn groups(histories: &[History]) -> Vec<Group<'_>> {
    type Settings = BTreeMap<String, String>;
    type Alike<'a> = BTreeMap<(Settings, bool), Vec<&'a History>>;
    let mut methods: BTreeMap<(&str, OptimizerName), Alike<'_>> = BTreeMap::new();
    for run in histories.iter().filter(|run| !run.epochs.is_empty()) {
        let alike = methods.entry((&run.config.name, run.method)).or_default();
        // What runs first does not matter: finished ones come first.
        let key = (settings(run), run.status != Status::Finished);
        alike.entry(key).or_default().push(run);
    }
    let groups = methods.into_iter().flat_map(|((name, method), alike)| {
        let all: Vec<Settings> = alike.keys().map(|(settings, _)| settings.clone()).collect();
        let names: BTreeSet<&str> = all
            .iter()
            .flat_map(|one| one.keys().map(String::as_str))
            .collect();
        let differs = |field: &&str| all.iter().any(|one| one.get(*field) != all[0].get(*field));
        let others = names.into_iter().filter(|field| *field != STEP_SIZE);
        let shown: Vec<&str> = std::iter::once(STEP_SIZE)
            .chain(others.filter(differs))
            .collect();
        let groups = alike.into_iter().map(|((settings, unfinished), runs)| {
            let shown = shown.iter();
            let shown = shown.map(|field| {
                let value = settings.get(*field).cloned();
                (field.to_string(), value.unwrap_or_else(|| "–".into()))
            });
            Group {
                name,
                method,
                finished: !unfinished,
                settings: shown.collect(),
                runs,
            }
        });
        groups.collect::<Vec<_>>()
    });
    groups.collect()
}

/// What a run was trained with, but for its seed and place, as text by name.
fn settings(run: &History) -> BTreeMap<String, String> {
    let config = &run.config;
    let options = Value::Object(config.options(run.method).to_fields());
    let adapter = serde_json::to_value(&config.adapter).unwrap_or_default();
    let (training, model, data) = (&config.training, &config.model, &config.data);
    let rest = serde_json::json!({
        "adapter": adapter,
        "batch": training.batch,
        "accumulation": training.accumulation,
        "epochs": training.epochs,
        "max_steps": training.max_steps,
        "eval_steps": training.eval_steps,
        "clip_norm": training.clip_norm,
        "patience": training.patience,
        "rows": run.rows[0],
        "split_seed": data.split_seed,
        "max_length": config.max_length(),
        "image_size": data.image_size,
        "pooling": config.pooling(),
        "dropout": model.dropout,
        "trainable": run.model.trainable,
    });
    let mut found = BTreeMap::new();
    flatten("", &options, &mut found);
    flatten("", &rest, &mut found);
    found
}

fn flatten(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = match path {
                    "" => name.clone(),
                    _ => format!("{path}.{name}"),
                };
                flatten(&path, value, found);
            }
        }
        Value::Null => {}
        Value::String(text) => {
            found.insert(path.into(), text.clone());
        }
        _ => {
            // 1, not 1.0.
            let text = value.as_f64().map(|number| number.to_string());
            found.insert(path.into(), text.unwrap_or_else(|| value.to_string()));
        }
    }
}

impl Group<'_> {
    /// Values of the runs that have one.
    pub fn values(&self, of: impl Fn(&History) -> Option<f64>) -> Vec<f64> {
        self.runs.iter().filter_map(|run| of(run)).collect()
    }

    /// The task's metrics.
    pub fn metrics(&self) -> Vec<String> {
        let first = self.runs.first();
        first.map_or(Vec::new(), |run| run.metrics.clone())
    }

    /// The step size and what else is shown, a line each.
    pub fn described(&self) -> String {
        let lines = self
            .settings
            .iter()
            .map(|(name, value)| match name.as_str() {
                STEP_SIZE => value.clone(),
                _ => format!("{name} {value}"),
            });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Number of runs.
    pub fn count(&self) -> String {
        let count = self.runs.len();
        if self.finished {
            count.to_string()
        } else {
            format!("{count} unfinished")
        }
    }

    /// The method's title, with the settings in which this group differs from others of its method.
    pub fn title(&self, of_setup: &[Group<'_>]) -> String {
        let title = self.method.title().to_string();
        let others = |group: &&Group<'_>| (group.name, group.method) == (self.name, self.method);
        if of_setup.iter().filter(others).count() == 1 {
            return title;
        }
        let different = self.settings.iter().filter(|(name, _)| {
            let values = of_setup.iter().filter(others).flat_map(|group| {
                let same = group.settings.iter().filter(|(other, _)| other == name);
                same.map(|(_, value)| value)
            });
            values.collect::<BTreeSet<_>>().len() > 1
        });
        let different = different.map(|(name, value)| match name.as_str() {
            STEP_SIZE => format!("η = {value}"),
            SOLVE_MOMENTUM => format!("μ = {value}"),
            _ => format!("{} {value}", name.replace('_', " ")),
        });
        let unfinished = (!self.finished).then(|| "unfinished".to_string());
        let all: Vec<String> = different.chain(unfinished).collect();
        format!("{title}, {}", all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::tests::history;
    use programs::optimizer::optimizer;

    fn run(seed: u64, step_size: f64, solve_momentum: f64) -> History {
        let mut run = history(optimizer("ief"), seed, &[(0.5, 1.0)]);
        let mut options = run.config.options(optimizer("ief"));
        options.step_size = step_size;
        options.optimizer.solve_mut().unwrap().momentum = Some(solve_momentum);
        run.config.method.insert(optimizer("ief"), options);
        run
    }

    #[test]
    fn runs_with_other_settings_are_not_mixed() {
        let mut runs = vec![run(1, 1.0, 0.0), run(2, 1.0, 0.0), run(1, 1.0, 0.9)];
        runs.push(History {
            status: Status::Interrupted,
            ..run(3, 1.0, 0.9)
        });
        let found = groups(&runs);
        let counts: Vec<String> = found.iter().map(Group::count).collect();
        assert_eq!(counts, ["2", "1", "1 unfinished"]);
        assert_eq!(found[0].described(), "1\nsolve.momentum 0");
        assert_eq!(found[1].title(&found), "iEF, μ = 0.9");
        assert_eq!(found[2].title(&found), "iEF, μ = 0.9, unfinished");
    }

    #[test]
    fn one_group_of_a_method_needs_no_settings() {
        let runs = [run(1, 2.0, 0.9), run(2, 2.0, 0.9)];
        let found = groups(&runs);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].described(), "2");
        assert_eq!(found[0].title(&found), "iEF");
    }
}
