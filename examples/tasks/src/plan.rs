//! Which runs are missing.

use serde_json::Value;

use crate::definition::Definition;
use crate::optimizers::{Budget, Contender};
use crate::record::{Record, Run};
use crate::select::{Search, Setting, grid, search};

/// The seed of searches. No result on it is reported.
pub const SEARCH_SEED: u64 = 1;

/// The seeds of reported runs.
pub fn reported_seeds(budget: &Budget) -> impl Iterator<Item = u64> + use<> {
    let (Budget::Fixed { seeds, .. } | Budget::Searched { seeds, .. }) = *budget;
    SEARCH_SEED + 1..SEARCH_SEED + 1 + seeds
}

/// A run to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Which.
    pub run: Run,
    /// Whether its step size was added to the grid.
    pub extended: bool,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The tasks.
    pub tasks: Vec<&'static Definition>,
    /// The optimizers, the most important first.
    pub contenders: Vec<Contender>,
    /// Whether candidates run on tasks of the other half too.
    pub both_halves: bool,
}

/// The results of one optimizer on one task, as it and the task are now. Others are out of date.
pub fn own<'r>(
    definition: &Definition,
    contender: &Contender,
    records: &'r [Record],
) -> Vec<&'r Record> {
    let options = contender.options(definition);
    let is_own = |run: &Run| {
        run.task == definition.name
            && run.version == definition.version
            && run.optimizer == contender.name
            && run.options == options
    };
    records
        .iter()
        .filter(|record| is_own(&record.run))
        .collect()
}

/// How far the search of one optimizer on one task is.
///
/// A setting whose run diverges on one of the reported seeds counts as one that diverged on the seed of the search
/// too, so that the next best one takes its place: step sizes at the edge of what is stable are not what
/// anybody would use.
pub fn searched(definition: &Definition, contender: &Contender, records: &[&Record]) -> Search {
    let grid = grid(&contender.budget, definition.trained);
    if let Budget::Fixed { .. } = contender.budget {
        return Search::Best(grid[0]);
    }
    let setting = |record: &Record| (record.run.step_size, record.run.schedule);
    let diverged = records.iter().filter(|record| record.diverged.is_some());
    let unstable: Vec<_> = diverged.map(|record| setting(record)).collect();
    let of_search = records
        .iter()
        .filter(|record| record.run.seed == SEARCH_SEED);
    let judged: Vec<Record> = of_search
        .map(|record| Record {
            final_train_loss: record
                .final_train_loss
                .filter(|_| !unstable.contains(&setting(record))),
            ..(*record).clone()
        })
        .collect();
    search(&grid, &judged.iter().collect::<Vec<_>>())
}

/// The runs that can be done now, in their order: for each optimizer the tasks one after the other.
///
/// Runs of the best setting are pending once its search has ended; so this is asked again after every run.
pub fn pending(wanted: &Wanted, records: &[Record]) -> Vec<Planned> {
    let mut pending = Vec::new();
    for contender in &wanted.contenders {
        for &definition in &wanted.tasks {
            if applies(wanted, contender, definition) {
                add(definition, contender, records, &mut pending);
            }
        }
    }
    pending
}

/// Whether an optimizer runs on a task.
pub fn applies(wanted: &Wanted, contender: &Contender, definition: &Definition) -> bool {
    let half = contender.half.filter(|_| !wanted.both_halves);
    (contender.applies)(definition) && half.is_none_or(|half| half == definition.half)
}

fn add(
    definition: &Definition,
    contender: &Contender,
    records: &[Record],
    pending: &mut Vec<Planned>,
) {
    let own = own(definition, contender, records);
    let options = contender.options(definition);
    let run = |setting: Setting, seed: u64| named(definition, contender, &options, setting, seed);
    match searched(definition, contender, &own) {
        Search::Missing { settings, extended } => {
            pending.extend(settings.into_iter().map(|setting| Planned {
                run: run(setting, SEARCH_SEED),
                extended,
            }));
        }
        Search::Best(setting) => {
            let grid = grid(&contender.budget, definition.trained);
            for seed in reported_seeds(&contender.budget) {
                let run = run(setting, seed);
                if !own.iter().any(|record| record.run == run) {
                    pending.push(Planned {
                        run,
                        extended: !grid.contains(&setting),
                    });
                }
            }
        }
        Search::Hopeless => {}
    }
}

fn named(
    definition: &Definition,
    contender: &Contender,
    options: &Value,
    setting: Setting,
    seed: u64,
) -> Run {
    Run {
        task: definition.name.into(),
        version: definition.version,
        optimizer: contender.name.into(),
        options: options.clone(),
        step_size: setting.step_size,
        schedule: setting.schedule,
        seed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::Half;
    use crate::optimizers;
    use crate::record::tests::{record, with_loss};
    use crate::tasks::{self, definitions};

    fn wanted(tasks: &[&str], optimizers: &[&str]) -> Wanted {
        Wanted {
            tasks: tasks
                .iter()
                .map(|name| tasks::named(name).unwrap().definition)
                .collect(),
            contenders: optimizers
                .iter()
                .map(|name| optimizers::named(name).unwrap())
                .collect(),
            both_halves: false,
        }
    }

    /// The result of a planned run.
    fn result(planned: &Planned, loss: f64) -> Record {
        let record = record("", "", 0.0, 0);
        let record = Record {
            run: planned.run.clone(),
            extended: planned.extended,
            ..record
        };
        with_loss(record, loss)
    }

    /// Does everything, and returns all results.
    fn work(wanted: &Wanted, loss: impl Fn(&Run) -> f64) -> Vec<Record> {
        let mut records = Vec::new();
        loop {
            let pending = pending(wanted, &records);
            let Some(next) = pending.first() else {
                return records;
            };
            records.push(result(next, loss(&next.run)));
        }
    }

    #[test]
    fn adamw_is_searched_on_one_seed_and_its_best_setting_runs_on_five_more() {
        let wanted = wanted(&["diamonds"], &["adamw"]);
        let first = pending(&wanted, &[]);
        assert_eq!(first.len(), 12);
        assert!(
            first
                .iter()
                .all(|planned| planned.run.seed == SEARCH_SEED && !planned.extended)
        );
        let records = work(&wanted, |run| (run.step_size - 0.001).abs());
        assert_eq!(records.len(), 17);
        let last: Vec<&Run> = records[12..].iter().map(|record| &record.run).collect();
        assert!(last.iter().all(|run| run.step_size == 0.001));
        let seeds: Vec<u64> = last.iter().map(|run| run.seed).collect();
        assert_eq!(seeds, [2, 3, 4, 5, 6]);
    }

    #[test]
    fn what_was_done_is_not_done_again_in_whatever_order_it_was_done() {
        let wanted = wanted(&["diamonds", "mnist-mlp"], &["ief", "sgd"]);
        let mut records = work(&wanted, |run| (run.step_size - 0.05).abs());
        let count = records.len();
        assert_eq!(count, 2 * (5 + 5 + 3));
        records.reverse();
        assert_eq!(pending(&wanted, &records), []);
        // A kill loses a result: exactly that run is done again.
        let lost = records.remove(7);
        let again = pending(&wanted, &records);
        assert!(again.iter().any(|planned| planned.run == lost.run));
    }

    #[test]
    fn results_of_another_version_or_of_other_options_do_not_count() {
        let wanted = wanted(&["diamonds"], &["ief"]);
        let records = work(&wanted, |_| 1.0);
        let mut older = records.clone();
        older[0].run.version += 1;
        assert_eq!(pending(&wanted, &older).len(), 1);
        let mut other = records.clone();
        other[0].run.options["solve"]["momentum"] = 0.123.into();
        assert_eq!(pending(&wanted, &other).len(), 1);
        assert_eq!(pending(&wanted, &records).len(), 0);
    }

    #[test]
    fn step_sizes_that_were_added_are_marked() {
        let wanted = wanted(&["diamonds"], &["sgd"]);
        let records = work(&wanted, |run| -run.step_size);
        let extended = records.iter().filter(|record| record.extended).count();
        // Six sizes beyond the grid, and three seeds of the largest.
        assert_eq!((records.len(), extended), (5 + 6 + 3, 6 + 3));
    }

    #[test]
    fn a_search_in_which_everything_diverges_ends() {
        let wanted = wanted(&["diamonds"], &["sgd"]);
        let records = work(&wanted, |_| f64::INFINITY);
        assert_eq!(records.len(), 5 + 6);
    }

    #[test]
    fn a_setting_that_diverges_on_a_reported_seed_gives_way_to_the_next_best() {
        let wanted = wanted(&["diamonds"], &["sgd"]);
        // The best step size, 0.1, is stable on the seed of the search alone.
        let records = work(&wanted, |run| match (run.step_size, run.seed) {
            (0.1, 3) => f64::INFINITY,
            (size, _) => (size - 0.09).abs(),
        });
        let last: Vec<(f64, u64)> = records[records.len() - 3..]
            .iter()
            .map(|record| (record.run.step_size, record.run.seed))
            .collect();
        assert_eq!(last, [(0.05, 2), (0.05, 3), (0.05, 4)]);
        assert_eq!(records.len(), 5 + 2 + 3);
        assert_eq!(pending(&wanted, &records), []);
    }

    #[test]
    fn candidates_stay_in_their_half_and_optimizers_of_lora_with_lora() {
        let mut wanted = Wanted {
            tasks: definitions(None),
            contenders: vec![
                optimizers::named("ief-separable").unwrap(),
                optimizers::named("lora-rite").unwrap(),
            ],
            both_halves: false,
        };
        let tasks = |wanted: &Wanted, optimizer: &str| {
            let mut names: Vec<String> = Vec::new();
            for planned in pending(wanted, &[]) {
                if planned.run.optimizer == optimizer && !names.contains(&planned.run.task) {
                    names.push(planned.run.task);
                }
            }
            names
        };
        let explored = tasks(&wanted, "ief-separable");
        assert_eq!(explored.len(), definitions(Some(Half::Explore)).len());
        for task in tasks(&wanted, "lora-rite") {
            assert!(task.contains("lora"), "{task}");
        }
        wanted.both_halves = true;
        assert_eq!(
            tasks(&wanted, "ief-separable").len(),
            definitions(None).len()
        );
    }

    #[test]
    fn optimizers_come_in_their_order() {
        let wanted = wanted(&["diamonds", "mnist-mlp"], &["sgd", "ief"]);
        let pending = pending(&wanted, &[]);
        assert_eq!(
            (
                pending[0].run.optimizer.as_str(),
                pending[5].run.task.as_str()
            ),
            ("sgd", "mnist-mlp")
        );
        assert_eq!(pending[10].run.optimizer, "ief");
    }
}
