//! Results: lines, tables and files.

use std::fmt;

use programs::optimizer::OptimizerName;
use programs::statistics::with_spread;
use programs::table::{self, Style, Table};
use serde::Serialize;

use super::{PruneOptions, Pruning};

/// One pruned model.
///
/// ```
/// use programs::optimizer::OptimizerName;
/// use finetune::prune::{Pruning, Row};
///
/// let row = Row {
///     setup: "trec".into(),
///     trained_by: OptimizerName::ADAMW,
///     seed: 1,
///     pruning: Some(Pruning::Ief),
///     sparsity: 0.5,
///     weights: 100,
///     pruned: 50,
///     metric: "accuracy".into(),
///     test: 0.875,
///     test_loss: 0.5,
/// };
/// let line = "trec AdamW seed 1, WoodFisher, iEF: 50 of 100 weights pruned (50 %), \
///             test accuracy 0.8750";
/// assert_eq!(row.to_string(), line);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What the run calls its setup.
    pub setup: String,
    /// The optimizer that trained the model.
    pub trained_by: OptimizerName,
    /// Seed of the run.
    pub seed: u64,
    /// How it was pruned; `None` for the dense model.
    pub pruning: Option<Pruning>,
    /// Share of the weights that was to be pruned.
    pub sparsity: f64,
    /// Weights that could be pruned.
    pub weights: usize,
    /// Weights that are.
    pub pruned: usize,
    /// The first metric of the task.
    pub metric: String,
    /// This metric on the test rows.
    pub test: f64,
    /// Mean loss of the test rows.
    pub test_loss: f64,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (method, seed) = (self.trained_by.title(), self.seed);
        let pruning = self.pruning.map_or("dense", Pruning::title);
        write!(
            f,
            "{} {method} seed {seed}, {pruning}: {} of {} weights pruned ({} %), test {} {:.4}",
            self.setup,
            self.pruned,
            self.weights,
            percent(self.sparsity),
            self.metric,
            self.test
        )
    }
}

/// At most three digits behind the point.
fn percent(share: f64) -> f64 {
    (share * 1e5).round() / 1e3
}

/// For each setup and optimizer a title and a table: the first metric in % for each sparsity and way
/// to prune, mean ± standard deviation over the runs.
///
/// ```
/// assert!(finetune::prune::tables(&[]).is_empty());
/// ```
pub fn tables(rows: &[Row]) -> Vec<(String, Table)> {
    let mut groups: Vec<Vec<&Row>> = Vec::new();
    let key = |row: &Row| (row.setup.clone(), row.trained_by);
    for row in rows {
        match groups.iter_mut().find(|group| key(group[0]) == key(row)) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    let groups = groups.iter();
    groups.map(|rows| (title(rows), table_of(rows))).collect()
}

fn title(rows: &[&Row]) -> String {
    let first = rows[0];
    let dense: Vec<f64> = rows
        .iter()
        .filter(|row| row.pruning.is_none())
        .map(|row| 100.0 * row.test)
        .collect();
    format!(
        "{}, trained by {}: test {} in % over {} run(s), {} weights; dense: {}",
        first.setup,
        first.trained_by.title(),
        first.metric,
        dense.len(),
        first.weights,
        with_spread(&dense, 1)
    )
}

fn table_of(rows: &[&Row]) -> Table {
    let methods = Pruning::ALL
        .into_iter()
        .filter(|&method| rows.iter().any(|row| row.pruning == Some(method)));
    let methods: Vec<Pruning> = methods.collect();
    let mut sparsities: Vec<f64> = rows
        .iter()
        .filter(|row| row.pruning.is_some())
        .map(|row| row.sparsity)
        .collect();
    sparsities.sort_by(f64::total_cmp);
    sparsities.dedup();
    let mut header = vec!["pruned"];
    header.extend(methods.iter().map(|method| method.title()));
    let mut lines = Vec::new();
    for sparsity in sparsities {
        let mut line = vec![format!("{} %", percent(sparsity))];
        for &method in &methods {
            let chosen = rows
                .iter()
                .filter(|row| row.pruning == Some(method) && row.sparsity == sparsity);
            let values: Vec<f64> = chosen.map(|row| 100.0 * row.test).collect();
            line.push(with_spread(&values, 1));
        }
        lines.push(line);
    }
    table::table(Style::Lines, header, &[], lines)
}

/// Settings and rows.
///
/// # Errors
///
/// None that is known; those of the format.
pub fn json(options: &PruneOptions, rows: &[Row]) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct File<'a> {
        options: &'a PruneOptions,
        rows: &'a [Row],
    }
    let mut content = serde_json::to_vec_pretty(&File { options, rows })?;
    content.push(b'\n');
    Ok(content)
}

/// A line for each row, below a header.
///
/// # Errors
///
/// None that is known; those of the format.
pub fn csv(rows: &[Row]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row)?;
    }
    Ok(writer.into_inner().map_err(|error| error.into_error())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use programs::optimizer::optimizer;

    fn row(seed: u64, pruning: Option<Pruning>, sparsity: f64, test: f64) -> Row {
        Row {
            setup: "toy".into(),
            trained_by: OptimizerName::ADAMW,
            seed,
            pruning,
            sparsity,
            weights: 40,
            pruned: (40.0 * sparsity) as usize,
            metric: "accuracy".into(),
            test,
            test_loss: 1.0,
        }
    }

    fn rows() -> Vec<Row> {
        let mut rows = Vec::new();
        for (seed, test) in [(1, 0.8), (2, 0.9)] {
            rows.push(row(seed, None, 0.0, test));
            rows.push(row(seed, Some(Pruning::Ief), 0.975, test - 0.1));
            rows.push(row(seed, Some(Pruning::Ief), 0.5, test));
            rows.push(row(seed, Some(Pruning::Magnitude), 0.5, test - 0.2));
        }
        rows
    }

    #[test]
    fn a_table_holds_means_over_the_runs() {
        let mut all = rows();
        all.push(Row {
            trained_by: optimizer("ief"),
            ..row(1, None, 0.0, 0.5)
        });
        let tables = tables(&all);
        assert_eq!(tables.len(), 2);
        let (title, table) = &tables[0];
        assert!(
            title.contains("2 run(s), 40 weights; dense: 85.0 ± 7.1"),
            "{title}"
        );
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().collect();
        let line = |label: &str| lines.iter().position(|line| line.contains(label)).unwrap();
        assert!(line("pruned") < line(" 50 %") && line(" 50 %") < line(" 97.5 %"));
        assert!(!text.contains("WoodFisher, EF"), "{text}");
        let half = lines[line(" 50 %")];
        assert!(half.find("65.0 ± 7.1").unwrap() < half.find("85.0 ± 7.1").unwrap());
        assert!(lines[line(" 97.5 %")].contains('–'), "{text}");
    }

    #[test]
    fn files_hold_every_row() {
        let rows = rows();
        let csv = String::from_utf8(csv(&rows).unwrap()).unwrap();
        assert_eq!(csv.lines().count(), 9);
        assert!(
            csv.contains("\ntoy,adamw,2,ief,0.975,40,39,accuracy,0.8,1.0\n"),
            "{csv}"
        );
        let json: serde_json::Value =
            serde_json::from_slice(&json(&PruneOptions::default(), &rows).unwrap()).unwrap();
        assert_eq!(json["options"]["gradients"], 512);
        assert_eq!(json["rows"][0]["pruning"], serde_json::Value::Null);
        assert_eq!(json["rows"][3]["pruning"], "magnitude");
    }
}
