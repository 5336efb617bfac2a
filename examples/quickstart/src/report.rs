//! The table and the rows.

use std::path::Path;

use programs::files;
use programs::optimizer::OptimizerName;
use programs::statistics::{median, with_spread};
use programs::table::{self, Style, Table};
use serde::Serialize;

use crate::error::Error;
use crate::experiment::Run;
use crate::tuned::Tuned;

/// One run, as written by `--json`.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Name of the method.
    pub method: &'static str,
    /// Seed of the run.
    pub seed: u64,
    /// Mean training loss over the last epoch.
    pub final_train_loss: f64,
    /// Share of the test images that are recognised after the last epoch, 0 to 1.
    pub test_accuracy: f64,
    /// Median time of a step.
    pub ms_per_step: f64,
}

impl From<&Run> for Row {
    fn from(run: &Run) -> Self {
        Self {
            method: run.method.name(),
            seed: run.seed,
            final_train_loss: run.final_train_loss,
            test_accuracy: run.history.test_accuracy(),
            ms_per_step: run.history.ms_per_step(),
        }
    }
}

/// Write the rows of all runs.
///
/// # Errors
///
/// [`Error::Write`].
pub fn write_json(path: &Path, runs: &[Run]) -> Result<(), Error> {
    let rows: Vec<Row> = runs.iter().map(Row::from).collect();
    Ok(files::write_json(path, &rows)?)
}

const HEADER: [&str; 6] = [
    "method",
    "step size",
    "final training loss",
    "test accuracy %",
    "ms per step",
    "time / SGD",
];

/// One line for each method, over its seeds: mean ± sample standard deviation.
pub fn table(runs: &[Run]) -> Table {
    let sgd = step_time(runs, OptimizerName::SGD);
    let mut rows = Vec::new();
    for Tuned {
        method, step_size, ..
    } in Tuned::all()
    {
        let of = |value: fn(&Run) -> f64| -> Vec<f64> {
            let runs = runs.iter().filter(|run| run.method == method);
            runs.map(value).collect()
        };
        let losses = of(|run| run.final_train_loss);
        if losses.is_empty() {
            continue;
        }
        let accuracies = of(|run| 100.0 * run.history.test_accuracy());
        let time = step_time(runs, method);
        let ratio = Some(time / sgd).filter(|ratio| !ratio.is_nan());
        rows.push([
            method.title().to_string(),
            step_size.to_string(),
            with_spread(&losses, 4),
            with_spread(&accuracies, 1),
            table::number(Some(time), 1),
            table::number(ratio, 2),
        ]);
    }
    table::table(Style::Lines, HEADER, &[0], rows)
}

/// Median over the seeds of the median times.
fn step_time(runs: &[Run], method: OptimizerName) -> f64 {
    let runs = runs.iter().filter(|run| run.method == method);
    median(
        &runs
            .map(|run| run.history.ms_per_step())
            .collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::History;
    use programs::optimizer::optimizer;

    fn run(method: OptimizerName, seed: u64, ms: f64) -> Run {
        let history = History {
            losses: vec![1.0, 0.5],
            milliseconds: vec![ms; 2],
            accuracies: vec![0.5, 0.9 + seed as f64 / 100.0],
        };
        Run {
            method,
            seed,
            final_train_loss: 0.5,
            history,
        }
    }

    #[test]
    fn rows_have_the_documented_fields() {
        let path =
            std::env::temp_dir().join(format!("quickstart-rows-{}.json", std::process::id()));
        write_json(&path, &[run(optimizer("ief"), 2, 7.0)]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let rows: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!([{
            "method": "ief",
            "seed": 2,
            "final_train_loss": 0.5,
            "test_accuracy": 0.92,
            "ms_per_step": 7.0,
        }]);
        assert_eq!(rows, expected);
    }

    #[test]
    fn the_table_compares_with_sgd() {
        let runs = [
            run(OptimizerName::SGD, 1, 10.0),
            run(OptimizerName::SGD, 3, 10.0),
            run(optimizer("sf"), 1, 17.0),
        ];
        let text = table(&runs).to_string();
        assert!(text.contains("92.0 ± 1.4"), "{text}");
        assert!(text.contains("1.70"), "{text}");
        assert!(!text.contains("iEF"), "{text}");
        let alone = table(&runs[2..]).to_string();
        assert!(alone.contains('–'), "{alone}");
    }
}
