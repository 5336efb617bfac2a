//! The table and the rows.

use std::path::Path;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::error::Error;
use crate::experiment::Run;
use crate::fit::median;
use crate::method::Method;

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
    let text = serde_json::to_string_pretty(&rows).map_err(|e| Error::write(path, e))?;
    std::fs::write(path, text + "\n").map_err(|error| Error::write(path, error))
}

/// One line for each method, over its seeds: mean ± sample standard deviation.
pub fn table(runs: &[Run]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header([
        "method",
        "step size",
        "final training loss",
        "test accuracy %",
        "ms per step",
        "time / SGD",
    ]);
    let sgd = step_time(runs, Method::Sgd);
    for method in Method::ALL {
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
        let ratio = if sgd.is_nan() {
            "–".to_string()
        } else {
            format!("{:.2}", time / sgd)
        };
        table.add_row([
            method.title().to_string(),
            method.step_size().to_string(),
            with_spread(&losses, 4),
            with_spread(&accuracies, 1),
            format!("{time:.1}"),
            ratio,
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Median over the seeds of the median times.
fn step_time(runs: &[Run], method: Method) -> f64 {
    let runs = runs.iter().filter(|run| run.method == method);
    median(
        &runs
            .map(|run| run.history.ms_per_step())
            .collect::<Vec<_>>(),
    )
}

/// Mean ± sample standard deviation.
///
/// ```
/// use quickstart::report::with_spread;
///
/// assert_eq!(with_spread(&[90.0, 92.0, 94.0], 1), "92.0 ± 2.0");
/// assert_eq!(with_spread(&[0.25], 2), "0.25");
/// assert_eq!(with_spread(&[], 1), "–");
/// ```
pub fn with_spread(values: &[f64], digits: usize) -> String {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    match values.len() {
        0 => "–".into(),
        1 => format!("{mean:.digits$}"),
        _ => {
            let squares = values.iter().map(|value| (value - mean).powi(2));
            let deviation = (squares.sum::<f64>() / (n - 1.0)).sqrt();
            format!("{mean:.digits$} ± {deviation:.digits$}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::History;

    fn run(method: Method, seed: u64, ms: f64) -> Run {
        let history = History {
            losses: vec![1.0, 0.5],
            milliseconds: vec![ms; 2],
            accuracies: vec![0.5, 0.9 + seed as f64 / 100.0],
            ..History::default()
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
        write_json(&path, &[run(Method::Ief, 2, 7.0)]).unwrap();
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
            run(Method::Sgd, 1, 10.0),
            run(Method::Sgd, 3, 10.0),
            run(Method::Sf, 1, 17.0),
        ];
        let text = table(&runs).to_string();
        assert!(text.contains("92.0 ± 1.4"), "{text}");
        assert!(text.contains("1.70"), "{text}");
        assert!(!text.contains("iEF"), "{text}");
        let alone = table(&runs[2..]).to_string();
        assert!(alone.contains('–'), "{alone}");
    }
}
