//! The search for step sizes: the same number of runs for every method.

use crate::error::Error;
use crate::experiment::Experiment;
use crate::tuned::Tuned;

/// Seed of the search, apart from those of the reported runs.
pub const SEED: u64 = 100;

/// One step size that was tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trial {
    /// First step size.
    pub step_size: f64,
    /// Mean training loss over the last epoch, infinite if the run broke off.
    pub final_train_loss: f64,
}

/// Try every step size of the optimizer's grid on the training images.
///
/// # Errors
///
/// [`Error::Checkpoint`]; a run that breaks off is a trial with an infinite loss.
pub fn tune(
    experiment: &Experiment,
    tuned: &Tuned,
    mut each: impl FnMut(&Trial),
) -> Result<Vec<Trial>, Error> {
    tuned
        .grid()
        .into_iter()
        .map(|step_size| {
            let final_train_loss = match experiment.run(tuned, SEED, step_size) {
                Ok(run) if run.final_train_loss.is_finite() => run.final_train_loss,
                Ok(_) | Err(Error::Stopped { .. }) => f64::INFINITY,
                Err(error) => return Err(error),
            };
            let trial = Trial {
                step_size,
                final_train_loss,
            };
            each(&trial);
            Ok(trial)
        })
        .collect()
}

/// The trial with the lowest final training loss.
pub fn best(trials: &[Trial]) -> Option<&Trial> {
    trials
        .iter()
        .min_by(|a, b| a.final_train_loss.total_cmp(&b.final_train_loss))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_loss_wins() {
        let trials =
            [(0.1, 0.3), (0.2, 0.1), (0.4, f64::INFINITY)].map(|(step_size, loss)| Trial {
                step_size,
                final_train_loss: loss,
            });
        assert_eq!(best(&trials).unwrap().step_size, 0.2);
        assert_eq!(best(&[]), None);
    }

    #[test]
    fn every_method_has_the_same_budget_and_a_step_size_of_its_grid() {
        for tuned in Tuned::all() {
            let grid = tuned.grid();
            assert!(grid.contains(&tuned.step_size), "{tuned:?}");
            assert!(grid.windows(2).all(|pair| pair[1] / pair[0] == 2.0));
        }
    }
}
