//! Tables of results, and the comparison with AdamW.

use std::fmt::Write;

use programs::statistics::{deviation, mean};
use programs::table::{Style, table};

use crate::definition::{Definition, Half};
use crate::optimizers::{Budget, Contender, REFERENCE};
use crate::plan::{Wanted, own, reported_seeds, searched};
use crate::record::Record;
use crate::select::{Search, Setting};

/// The results of one optimizer on one task.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Name of the optimizer.
    pub name: &'static str,
    /// Its name in tables.
    pub title: &'static str,
    /// The setting, once it is known.
    pub setting: Option<Setting>,
    /// Whether all reported seeds have run.
    pub complete: bool,
    /// Reported runs that diverged.
    pub diverged: usize,
    /// Final training losses of the reported seeds; infinite for runs that diverged.
    pub train: Vec<f64>,
    /// Losses over training rows after the run, of runs that did not diverge.
    pub measured: Vec<f64>,
    /// Test losses, of runs that did not diverge.
    pub test: Vec<f64>,
    /// Test scores; minus infinity for runs that diverged.
    pub score: Vec<f64>,
    /// Runs of the search.
    pub search_runs: usize,
    /// Their seconds.
    pub search_seconds: f64,
}

/// The results of one optimizer on one task, as far as they are there.
pub fn outcome(definition: &Definition, contender: &Contender, records: &[Record]) -> Outcome {
    let own = own(definition, contender, records);
    let setting = match searched(definition, contender, &own) {
        Search::Best(setting) => Some(setting),
        Search::Missing { .. } | Search::Hopeless => None,
    };
    let seeds: Vec<u64> = reported_seeds(&contender.budget).collect();
    let is_reported = |record: &Record| {
        let run = &record.run;
        seeds.contains(&run.seed)
            && setting.is_some_and(|setting| {
                (run.step_size, run.schedule) == (setting.step_size, setting.schedule)
            })
    };
    let reported: Vec<&Record> = own
        .iter()
        .copied()
        .filter(|record| is_reported(record))
        .collect();
    let search: Vec<&Record> = match contender.budget {
        Budget::Fixed { .. } => Vec::new(),
        Budget::Searched { .. } => {
            // Runs of settings that gave way belong to the search too.
            let search = own.iter().filter(|record| !is_reported(record));
            search.copied().collect()
        }
    };
    let finite = |value: fn(&Record) -> Option<f64>| reported.iter().filter_map(move |r| value(r));
    Outcome {
        name: contender.name,
        title: contender.title,
        setting,
        complete: reported.len() == seeds.len(),
        diverged: reported
            .iter()
            .filter(|record| record.diverged.is_some())
            .count(),
        train: reported.iter().map(|record| record.loss()).collect(),
        measured: finite(|record| record.measured_train_loss).collect(),
        test: finite(|record| record.test_loss).collect(),
        score: reported
            .iter()
            .map(|record| record.test_score.unwrap_or(f64::NEG_INFINITY))
            .collect(),
        search_runs: search.len(),
        search_seconds: search.iter().map(|record| record.total_seconds).sum(),
    }
}

/// The standard error of the mean; 0 for fewer than two values.
pub(crate) fn standard_error(values: &[f64]) -> f64 {
    match values.len() {
        0 | 1 => 0.0,
        n => deviation(values) / (n as f64).sqrt(),
    }
}

/// An optimizer against AdamW.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Tasks on which both have all their runs.
    pub tasks: usize,
    /// Tasks on which the final training loss is lower, or higher by no more than the standard errors.
    pub loss: usize,
    /// Tasks on which the test score is higher, or lower by no more than the standard errors.
    pub score: usize,
    /// The largest share by which the loss is higher, and the task.
    pub worst: Option<(f64, &'static str)>,
}

/// Compare outcomes, pairs of an optimizer's and AdamW's with the name of the task. Those that are not complete do
/// not count; a run that diverged makes the whole outcome worse than any other.
pub fn compare<'o>(
    pairs: impl IntoIterator<Item = (&'static str, &'o Outcome, &'o Outcome)>,
) -> Comparison {
    let mut comparison = Comparison {
        tasks: 0,
        loss: 0,
        score: 0,
        worst: None,
    };
    for (task, own, reference) in pairs {
        if !own.complete || !reference.complete {
            continue;
        }
        comparison.tasks += 1;
        let lag = mean(&own.train) / mean(&reference.train) - 1.0;
        let lag = if lag.is_nan() { f64::INFINITY } else { lag };
        if comparison.worst.is_none_or(|(worst, _)| lag > worst) {
            comparison.worst = Some((lag, task));
        }
        if own.diverged > 0 {
            continue;
        }
        if reference.diverged > 0 {
            comparison.loss += 1;
            comparison.score += 1;
            continue;
        }
        let margin = |own: &[f64], other: &[f64]| standard_error(own).hypot(standard_error(other));
        let (loss, of_reference) = (&own.train, &reference.train);
        if mean(loss) <= mean(of_reference) + margin(loss, of_reference) {
            comparison.loss += 1;
        }
        let (score, of_reference) = (&own.score, &reference.score);
        if mean(score) >= mean(of_reference) - margin(score, of_reference) {
            comparison.score += 1;
        }
    }
    comparison
}

/// Everything as Markdown: the counts first, then a table for each task.
pub fn show(wanted: &Wanted, records: &[Record]) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}\n", counts(wanted, records));
    for &definition in &wanted.tasks {
        let outcomes = wanted.contenders.iter();
        let outcomes = outcomes.map(|contender| outcome(definition, contender, records));
        let seen: Vec<Outcome> = outcomes
            .filter(|outcome| !outcome.train.is_empty() || outcome.search_runs > 0)
            .collect();
        if seen.is_empty() {
            continue;
        }
        let _ = writeln!(
            text,
            "### {}\n\n`{}`, {} half: {} steps of {} rows.\n\n{}\n",
            definition.title,
            definition.name,
            definition.half.name(),
            definition.steps,
            definition.batch,
            of_task(definition, &seen),
        );
    }
    text.trim_end().to_string()
}

/// The comparison with AdamW, a line for each optimizer.
fn counts(wanted: &Wanted, records: &[Record]) -> String {
    let reference = wanted.contenders.iter().find(|own| own.name == REFERENCE);
    let Some(reference) = reference else {
        return "Without AdamW there is nothing to compare with.".into();
    };
    let mut lines = Vec::new();
    for contender in wanted.contenders.iter().filter(|own| own.name != REFERENCE) {
        let compared = |half: Option<Half>| {
            let tasks = wanted.tasks.iter().copied();
            let tasks = tasks.filter(|task| half.is_none_or(|half| task.half == half));
            let pairs: Vec<_> = tasks
                .map(|task| {
                    let of = |contender| outcome(task, contender, records);
                    (task.name, of(contender), of(reference))
                })
                .collect();
            compare(pairs.iter().map(|(task, own, other)| (*task, own, other)))
        };
        let all = compared(None);
        if all.tasks == 0 {
            continue;
        }
        let [explore, confirm] = [Half::Explore, Half::Confirm].map(|half| compared(Some(half)));
        let in_halves =
            |all: usize, parts: [usize; 2]| format!("{all} ({} + {})", parts[0], parts[1]);
        let worst = all.worst.map_or_else(String::new, |(lag, task)| {
            if lag.is_finite() {
                format!("{:+.1} % ({task})", 100.0 * lag)
            } else {
                format!("diverged ({task})")
            }
        });
        lines.push([
            contender.title.to_string(),
            in_halves(all.tasks, [explore.tasks, confirm.tasks]),
            in_halves(all.loss, [explore.loss, confirm.loss]),
            in_halves(all.score, [explore.score, confirm.score]),
            worst,
        ]);
    }
    let header = [
        "against tuned AdamW",
        "tasks (explore + confirm)",
        "loss better or equal",
        "score better or equal",
        "worst lag in loss",
    ];
    table(Style::Markdown, header, &[0, 4], lines).to_string()
}

fn of_task(definition: &Definition, outcomes: &[Outcome]) -> String {
    let score = format!("test {}", definition.score.title());
    let header = [
        "optimizer",
        "step size",
        "seeds",
        "training loss",
        "on training rows",
        "test loss",
        score.as_str(),
        "search, runs",
        "search, s",
    ];
    let lines = outcomes.iter().map(|outcome| {
        let setting = outcome.setting.map_or_else(
            || "–".to_string(),
            |setting| format!("{} {}", short(setting.step_size), setting.schedule.title()),
        );
        let train = if outcome.diverged > 0 {
            format!("{} of {} diverged", outcome.diverged, outcome.train.len())
        } else {
            with_error(&outcome.train, 4)
        };
        let scores: Vec<f64> = outcome
            .score
            .iter()
            .copied()
            .filter(|x| x.is_finite())
            .collect();
        [
            outcome.title.to_string(),
            setting,
            outcome.train.len().to_string(),
            train,
            with_error(&outcome.measured, 4),
            with_error(&outcome.test, 4),
            with_error(&scores, 4),
            outcome.search_runs.to_string(),
            format!("{:.0}", outcome.search_seconds),
        ]
    });
    table(Style::Markdown, header, &[0, 1], lines).to_string()
}

/// A step size, without the digits that only rounding makes.
pub(crate) fn short(step_size: f64) -> String {
    let rounded: f64 = format!("{step_size:.3e}").parse().unwrap_or(step_size);
    rounded.to_string()
}

/// Mean ± standard error, as text.
fn with_error(values: &[f64], digits: usize) -> String {
    match values.len() {
        0 => "–".into(),
        1 => format!("{:.digits$}", values[0]),
        _ => format!(
            "{:.digits$} ± {:.digits$}",
            mean(values),
            standard_error(values)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizers;
    use crate::plan::pending;
    use crate::record::tests::{record, with_loss};
    use crate::tasks::{self, definitions};

    fn outcome_of(losses: &[f64], scores: &[f64]) -> Outcome {
        Outcome {
            name: "x",
            title: "x",
            setting: None,
            complete: true,
            diverged: losses.iter().filter(|loss| loss.is_infinite()).count(),
            train: losses.to_vec(),
            measured: Vec::new(),
            test: Vec::new(),
            score: scores.to_vec(),
            search_runs: 0,
            search_seconds: 0.0,
        }
    }

    #[test]
    fn equal_within_the_standard_errors_counts() {
        // Means 1 and 1.1; standard errors 0.1 and 0: the margin is 0.1.
        let reference = outcome_of(&[1.0, 1.0], &[0.9, 0.9]);
        let close = outcome_of(&[1.0, 1.19], &[0.8, 0.98]);
        let far = outcome_of(&[1.3, 1.3], &[0.95, 0.95]);
        let better = outcome_of(&[0.5, 0.5], &[0.8, 0.8]);
        let compared = |own: &Outcome| compare([("t", own, &reference)]);
        let counts = |own: &Outcome| (compared(own).loss, compared(own).score);
        assert_eq!(counts(&close), (1, 1));
        assert_eq!(counts(&far), (0, 1));
        assert_eq!(counts(&better), (1, 0));
        let both = compare([("one", &far, &reference), ("two", &better, &reference)]);
        assert_eq!((both.tasks, both.loss, both.score), (2, 1, 1));
        let (lag, task) = both.worst.unwrap();
        assert!((lag - 0.3).abs() < 1e-12 && task == "one");
    }

    #[test]
    fn a_run_that_diverged_loses_its_task() {
        let reference = outcome_of(&[1.0, 1.0], &[0.9, 0.9]);
        let diverged = outcome_of(&[0.1, f64::INFINITY], &[0.99, f64::NEG_INFINITY]);
        let compared = compare([("t", &diverged, &reference)]);
        assert_eq!((compared.tasks, compared.loss, compared.score), (1, 0, 0));
        assert_eq!(compared.worst, Some((f64::INFINITY, "t")));
        let compared = compare([("t", &reference, &diverged)]);
        assert_eq!((compared.loss, compared.score), (1, 1));
    }

    #[test]
    fn outcomes_that_are_not_complete_do_not_count() {
        let reference = outcome_of(&[1.0, 1.0], &[0.9, 0.9]);
        let mut own = outcome_of(&[0.5], &[0.9]);
        own.complete = false;
        assert_eq!(compare([("t", &own, &reference)]).tasks, 0);
    }

    /// All runs of two optimizers on two tasks, made up.
    fn everything() -> (Wanted, Vec<Record>) {
        let names = ["ief", "adamw"];
        let wanted = Wanted {
            tasks: ["diamonds", "digits-lora"]
                .map(|name| tasks::named(name).unwrap().definition)
                .to_vec(),
            contenders: names.map(|name| optimizers::named(name).unwrap()).to_vec(),
            both_halves: false,
        };
        let mut records = Vec::new();
        while let Some(planned) = pending(&wanted, &records).first() {
            let loss = match planned.run.optimizer.as_str() {
                "ief" => 0.25 + 0.01 * planned.run.seed as f64,
                _ => 0.5 + (planned.run.step_size - 0.002).abs(),
            };
            let made = record("", "", 0.0, 0);
            let made = Record {
                run: planned.run.clone(),
                ..made
            };
            records.push(with_loss(made, loss));
        }
        (wanted, records)
    }

    #[test]
    fn the_search_seed_is_not_reported() {
        let (wanted, records) = everything();
        let adamw = outcome(wanted.tasks[0], &wanted.contenders[1], &records);
        assert_eq!((adamw.train.len(), adamw.search_runs), (5, 12));
        assert_eq!(adamw.search_seconds, 12.0 * 12.0);
        assert_eq!(adamw.setting.unwrap().step_size, 0.002);
        let ief = outcome(wanted.tasks[0], &wanted.contenders[0], &records);
        assert_eq!(
            (ief.train.len(), ief.search_runs, ief.complete),
            (5, 0, true)
        );
    }

    #[test]
    fn the_page_has_counts_and_a_table_for_each_task() {
        let (wanted, records) = everything();
        let text = show(&wanted, &records);
        assert!(text.contains("2 (1 + 1)"), "{text}");
        assert!(text.contains("### diamonds, MLP, regression"), "{text}");
        assert!(text.contains("0.2900 ± 0.0071"), "{text}");
        assert!(text.contains("0.002 constant"), "{text}");
        assert!(text.contains("-42.0 %"), "{text}");
        let none = Wanted {
            tasks: definitions(None),
            ..wanted
        };
        assert!(!show(&none, &[]).contains("###"));
    }
}
