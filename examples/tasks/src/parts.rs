//! The table of iEF with batches in parts, as several devices would measure them.

use std::fmt::Write;

use burn_ief::methods::Reduction;
use programs::statistics::mean;
use programs::table::{Style, table};

use crate::definition::Definition;
use crate::optimizers::parts::{CUTS, Cut};
use crate::record::Record;
use crate::summary::{outcome, short, standard_error};

/// The tasks on which parts are compared.
pub const TASKS: [&str; 2] = ["digits-lora", "trec-lora"];

const PARTS: [usize; 4] = [1, 2, 4, 8];

/// A table for each task that has results, as Markdown.
pub fn show(tasks: &[&'static Definition], records: &[Record]) -> String {
    let mut text = String::new();
    for &definition in tasks {
        let seen = |record: &Record| record.run.task == definition.name;
        if !records.iter().any(seen) {
            continue;
        }
        let _ = writeln!(
            text,
            "{}, {} steps of {} samples:\n\n{}\n",
            definition.title,
            definition.steps,
            definition.batch,
            of_task(definition, records),
        );
    }
    text.trim_end().to_string()
}

fn of_task(definition: &Definition, records: &[Record]) -> String {
    let ways = [
        (Reduction::Mean, "mean of the updates"),
        (Reduction::Sum, "sum of the updates"),
        (Reduction::Joint, "joint step"),
    ];
    let lines = ways.map(|(reduction, title)| {
        let cells = PARTS.map(|parts| {
            let is_own = |cut: &&Cut| {
                // With one part all ways are the same.
                cut.parts == parts && (parts == 1 || cut.reduction == reduction)
            };
            let cut = CUTS.iter().find(is_own).expect("each way and number");
            cell(definition, *cut, records)
        });
        let [one, two, four, eight] = cells;
        [title.to_string(), one, two, four, eight]
    });
    let header = ["", "1 part", "2 parts", "4 parts", "8 parts"];
    table(Style::Markdown, header, &[0], lines).to_string()
}

/// Loss, score and step size; a dash before all seeds have run.
fn cell(definition: &Definition, cut: Cut, records: &[Record]) -> String {
    let outcome = outcome(definition, &cut.contender(), records);
    let Some(setting) = outcome.setting.filter(|_| outcome.complete) else {
        return "–".into();
    };
    let size = short(setting.step_size);
    if outcome.diverged > 0 {
        let runs = outcome.train.len();
        return format!("{} of {runs} diverged ({size})", outcome.diverged);
    }
    format!(
        "{:.3} ± {:.3}, {:.1} % ({size})",
        mean(&outcome.train),
        standard_error(&outcome.train),
        100.0 * mean(&outcome.score),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizers::named;
    use crate::plan::{Wanted, pending};
    use crate::record::tests::{record, with_loss};
    use crate::tasks;

    #[test]
    fn the_book_shows_the_results() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let records = crate::store::read(&root.join("benches/results/parts")).unwrap();
        let definitions = TASKS.map(|task| tasks::named(task).unwrap().definition);
        let tables = show(&definitions, &records);
        assert!(tables.contains("joint step"));
        let page = std::fs::read_to_string(root.join("docs/src/several-devices.md")).unwrap();
        assert!(
            page.contains(&tables),
            "`tasks --parts --show --page docs/src/several-devices.md` writes:\n{tables}"
        );
    }

    #[test]
    fn the_table_has_what_was_run_and_dashes_for_the_rest() {
        let definition = tasks::named("digits-lora").unwrap().definition;
        let wanted = Wanted {
            tasks: vec![definition],
            contenders: vec![named("ief-joint-1").unwrap(), named("ief-sum-4").unwrap()],
            both_halves: true,
        };
        let mut records: Vec<Record> = Vec::new();
        assert_eq!(show(&wanted.tasks, &records), "");
        while let Some(next) = pending(&wanted, &records).first() {
            let made = Record {
                run: next.run.clone(),
                test_score: Some(0.91),
                ..record("", "", 0.0, 0)
            };
            let best = if next.run.optimizer == "ief-sum-4" {
                0.5
            } else {
                1.0
            };
            let loss = 0.2 + (next.run.step_size - best).abs();
            records.push(with_loss(made, loss));
        }
        let text = show(&wanted.tasks, &records);
        let lines = text.lines().filter(|line| line.starts_with('|'));
        let cells = lines.map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(str::trim).collect::<Vec<_>>()
        });
        let cells: Vec<_> = cells.collect();
        assert_eq!(cells.len(), 2 + 3, "{text}");
        let whole = "0.200 ± 0.000, 91.0 % (1)";
        let sum = "0.200 ± 0.000, 91.0 % (0.5)";
        assert_eq!(cells[2], ["mean of the updates", whole, "–", "–", "–"]);
        assert_eq!(cells[3], ["sum of the updates", whole, "–", sum, "–"]);
        assert_eq!(cells[4], ["joint step", whole, "–", "–", "–"]);
    }
}
