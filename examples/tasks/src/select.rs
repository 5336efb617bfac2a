//! Which step sizes are searched, and which setting is the best.

use crate::definition::Trained;
use crate::optimizers::Budget;
use crate::record::Record;
use crate::schedule::Schedule;

/// A step size and its schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// The largest step size.
    pub step_size: f64,
    /// How it changes.
    pub schedule: Schedule,
}

/// The ratio of neighbouring step sizes.
const RATIO: f64 = 2.0;

/// Step sizes that are added on each side of a grid at most.
const EXTENSIONS: usize = 6;

/// What a search has come to.
#[derive(Debug, Clone, PartialEq)]
pub enum Search {
    /// These settings have no run yet. The flag says whether they were added to the grid.
    Missing {
        /// The settings.
        settings: Vec<Setting>,
        /// Whether they were added to the grid.
        extended: bool,
    },
    /// The best setting lies inside of what was tried, or the grid cannot be extended further.
    Best(Setting),
    /// No run kept its loss finite, though the grid was extended as far as it goes.
    Hopeless,
}

/// The settings of a search before it is extended; the one setting of a fixed budget.
pub fn grid(budget: &Budget, trained: Trained) -> Vec<Setting> {
    match *budget {
        Budget::Fixed {
            step_size,
            schedule,
            ..
        } => vec![Setting {
            step_size,
            schedule,
        }],
        Budget::Searched {
            first,
            sizes,
            schedules,
            ..
        } => {
            let size = |place: usize| first(trained) * RATIO.powi(place as i32);
            let settings = schedules.iter().flat_map(|&schedule| {
                (0..sizes).map(move |place| Setting {
                    step_size: size(place),
                    schedule,
                })
            });
            settings.collect()
        }
    }
}

/// How far a search is, from the results of its seed: the best setting is the one with the lowest final training
/// loss, and of equal ones the one with the smaller step size. While it has the smallest or the largest step size
/// of its schedule, the next one is tried as well; if no run kept its loss finite, smaller ones are.
pub fn search(grid: &[Setting], results: &[&Record]) -> Search {
    let has = |setting: &Setting| results.iter().any(|record| of(record) == *setting);
    let missing: Vec<Setting> = grid
        .iter()
        .filter(|&setting| !has(setting))
        .copied()
        .collect();
    if !missing.is_empty() {
        return Search::Missing {
            settings: missing,
            extended: false,
        };
    }
    let best = best(results);
    let extended = match best {
        Some(setting) => beyond(grid, results, setting),
        None => {
            // One step further down for every schedule.
            let lowest = grid.iter().map(|setting| lowest(results, setting.schedule));
            let further: Vec<Setting> = lowest.flatten().map(|setting| below(&setting)).collect();
            let mut different: Vec<Setting> = Vec::new();
            for setting in further {
                if !different.contains(&setting) && within(grid, &setting) {
                    different.push(setting);
                }
            }
            different
        }
    };
    match (extended.is_empty(), best) {
        (false, _) => Search::Missing {
            settings: extended,
            extended: true,
        },
        (true, Some(setting)) => Search::Best(setting),
        (true, None) => Search::Hopeless,
    }
}

fn of(record: &Record) -> Setting {
    Setting {
        step_size: record.run.step_size,
        schedule: record.run.schedule,
    }
}

fn best(results: &[&Record]) -> Option<Setting> {
    let finite = results.iter().filter(|record| record.loss().is_finite());
    let best = finite.min_by(|a, b| {
        let by_loss = a.loss().total_cmp(&b.loss());
        by_loss.then(a.run.step_size.total_cmp(&b.run.step_size))
    });
    best.map(|record| of(record))
}

fn below(setting: &Setting) -> Setting {
    Setting {
        step_size: setting.step_size / RATIO,
        ..*setting
    }
}

fn above(setting: &Setting) -> Setting {
    Setting {
        step_size: setting.step_size * RATIO,
        ..*setting
    }
}

fn lowest(results: &[&Record], schedule: Schedule) -> Option<Setting> {
    let own = results.iter().map(|record| of(record));
    own.filter(|setting| setting.schedule == schedule)
        .min_by(|a, b| a.step_size.total_cmp(&b.step_size))
}

/// The neighbours of the best setting that were not tried and may be.
fn beyond(grid: &[Setting], results: &[&Record], best: Setting) -> Vec<Setting> {
    let tried = |setting: &Setting| results.iter().any(|record| of(record) == *setting);
    let neighbours = [below(&best), above(&best)].into_iter();
    neighbours
        .filter(|setting| !tried(setting) && within(grid, setting))
        .collect()
}

/// Whether a step size is not too far from the grid of its schedule.
fn within(grid: &[Setting], setting: &Setting) -> bool {
    let sizes = grid.iter().filter(|own| own.schedule == setting.schedule);
    let sizes: Vec<f64> = sizes.map(|own| own.step_size).collect();
    let least = sizes.iter().copied().fold(f64::INFINITY, f64::min);
    let most = sizes.iter().copied().fold(0.0, f64::max);
    // A margin for rounding.
    let reach = RATIO.powi(EXTENSIONS as i32) * 1.01;
    setting.step_size >= least / reach && setting.step_size <= most * reach
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{record, with_loss};

    const BUDGET: Budget = Budget::Searched {
        first: |_| 0.25,
        sizes: 3,
        schedules: &[Schedule::Constant, Schedule::Linear],
        seeds: 2,
    };

    fn settings() -> Vec<Setting> {
        grid(&BUDGET, Trained::Lora)
    }

    fn setting(step_size: f64, schedule: Schedule) -> Setting {
        Setting {
            step_size,
            schedule,
        }
    }

    fn results(losses: impl Fn(Setting) -> f64, settings: &[Setting]) -> Vec<Record> {
        let result = |setting: &Setting| {
            let mut record = record("a", "b", setting.step_size, 1);
            record.run.schedule = setting.schedule;
            with_loss(record, losses(*setting))
        };
        settings.iter().map(result).collect()
    }

    /// Searches to the end; returns what was tried beyond the grid, and the end.
    fn whole(losses: impl Fn(Setting) -> f64 + Copy) -> (Vec<Setting>, Search) {
        let grid = settings();
        let (mut tried, mut added) = (Vec::new(), Vec::new());
        loop {
            let results = results(losses, &tried);
            let results: Vec<&Record> = results.iter().collect();
            match search(&grid, &results) {
                Search::Missing { settings, extended } => {
                    if extended {
                        added.extend(settings.clone());
                    }
                    assert!(settings.iter().all(|setting| !tried.contains(setting)));
                    tried.extend(settings);
                }
                end => return (added, end),
            }
        }
    }

    #[test]
    fn the_grid_is_run_first() {
        let grid = settings();
        assert_eq!(grid.len(), 6);
        assert_eq!(grid[2], setting(1.0, Schedule::Constant));
        let some = results(|_| 1.0, &grid[..4]);
        let some: Vec<&Record> = some.iter().collect();
        let expected = Search::Missing {
            settings: grid[4..].to_vec(),
            extended: false,
        };
        assert_eq!(search(&grid, &some), expected);
    }

    #[test]
    fn the_lowest_loss_inside_the_grid_ends_the_search() {
        let loss = |s: Setting| {
            let schedule = if s.schedule == Schedule::Linear {
                0.0
            } else {
                0.1
            };
            (s.step_size - 0.5).abs() + schedule
        };
        let (added, end) = whole(loss);
        assert_eq!(added, []);
        assert_eq!(end, Search::Best(setting(0.5, Schedule::Linear)));
    }

    #[test]
    fn the_grid_grows_while_the_best_is_at_its_edge() {
        let loss = |s: Setting| match s.schedule {
            Schedule::Linear => (s.step_size - 4.0).abs(),
            _ => 100.0,
        };
        let (added, end) = whole(loss);
        let linear = |size| setting(size, Schedule::Linear);
        assert_eq!(added, [linear(2.0), linear(4.0), linear(8.0)]);
        assert_eq!(end, Search::Best(linear(4.0)));
        let (added, end) = whole(|s| s.step_size);
        assert_eq!(added.len(), EXTENSIONS);
        let Search::Best(best) = end else {
            panic!("{end:?}");
        };
        assert_eq!(best.step_size, 0.25 / 64.0);
    }

    #[test]
    fn runs_that_diverge_are_never_the_best() {
        let loss = |s: Setting| {
            if s.step_size > 0.3 {
                f64::INFINITY
            } else {
                1.0 + s.step_size
            }
        };
        let (added, end) = whole(loss);
        assert!(added.iter().all(|s| s.step_size < 0.25));
        assert!(matches!(end, Search::Best(_)));
        let (added, end) = whole(|_| f64::INFINITY);
        assert_eq!((added.len(), end), (2 * EXTENSIONS, Search::Hopeless));
        let (_, end) = whole(|s| {
            if s.step_size > 0.1 {
                f64::INFINITY
            } else {
                s.step_size
            }
        });
        assert!(matches!(end, Search::Best(_)));
    }

    #[test]
    fn of_equal_losses_the_smaller_step_size_counts() {
        let (_, end) = whole(|s| if s.step_size < 0.2 { 2.0 } else { 1.0 });
        let Search::Best(best) = end else {
            panic!("{end:?}");
        };
        assert_eq!(best.step_size, 0.25);
    }
}
