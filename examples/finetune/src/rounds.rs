//! How a run is divided: steps, and rounds of them with an evaluation at the end.

use crate::config::TrainingOptions;

/// Steps and rounds of a run. A round ends with an evaluation and a checkpoint; it is an epoch unless `eval_steps` says
/// otherwise.
///
/// ```
/// use finetune::config::TrainingOptions;
/// use finetune::rounds::Rounds;
///
/// let mut training = TrainingOptions::default();
/// (training.batch, training.accumulation, training.epochs) = (8, 4, 2);
/// let rounds = Rounds::of(&training, 100);
/// assert_eq!((rounds.steps, rounds.total_steps, rounds.count), (4, 8, 2));
///
/// training.eval_steps = Some(3);
/// let rounds = Rounds::of(&training, 100);
/// assert_eq!((rounds.steps, rounds.total_steps, rounds.count), (3, 7, 3));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rounds {
    /// Steps of an epoch.
    pub steps_per_epoch: usize,
    /// Steps of a round; the last round may have fewer.
    pub steps: usize,
    /// Steps of the run.
    pub total_steps: usize,
    /// Rounds of the run.
    pub count: usize,
    /// Batches of a round and of the run, where rounds are not whole epochs. Batches of a step may then come from two
    /// epochs.
    pub(crate) batches: Option<(usize, usize)>,
}

impl Rounds {
    /// Of a run on so many training rows.
    pub fn of(training: &TrainingOptions, rows: usize) -> Self {
        let accumulation = training.accumulation.max(1);
        let batches = rows.div_ceil(training.batch.max(1)).max(1);
        let all_batches = batches.saturating_mul(training.epochs);
        let steps_per_epoch = batches.div_ceil(accumulation);
        if let Some(steps) = training.eval_steps {
            let steps = steps.max(1);
            let total_steps = training
                .max_steps
                .unwrap_or(all_batches.div_ceil(accumulation));
            let most = match training.max_steps {
                Some(_) => usize::MAX,
                None => all_batches,
            };
            let total = total_steps.saturating_mul(accumulation).min(most);
            return Self {
                steps_per_epoch,
                steps,
                total_steps,
                count: total_steps.div_ceil(steps),
                batches: Some((steps.saturating_mul(accumulation), total)),
            };
        }
        let epochs = steps_per_epoch.saturating_mul(training.epochs);
        let total_steps = training.max_steps.unwrap_or(epochs);
        let (whole, rest) = (total_steps / steps_per_epoch, total_steps % steps_per_epoch);
        let total = whole
            .saturating_mul(batches)
            .saturating_add(rest.saturating_mul(accumulation));
        Self {
            steps_per_epoch,
            steps: steps_per_epoch,
            total_steps,
            count: total_steps.div_ceil(steps_per_epoch),
            batches: training.max_steps.map(|_| (batches, total)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rounds_hold_all_steps(
            rows in 1usize..200, batch in 1usize..20, accumulation in 1usize..5, epochs in 1usize..5,
            eval_steps in proptest::option::of(1usize..30), max_steps in proptest::option::of(1usize..90),
        ) {
            let training = TrainingOptions {
                batch, accumulation, epochs, eval_steps, max_steps,
                ..TrainingOptions::default()
            };
            let rounds = Rounds::of(&training, rows);
            prop_assert!(rounds.count * rounds.steps >= rounds.total_steps);
            prop_assert!((rounds.count - 1) * rounds.steps < rounds.total_steps);
            if let Some(max) = max_steps {
                prop_assert_eq!(rounds.total_steps, max);
            }
            // Every round has as many steps as the learner makes of its batches.
            let (per_round, total) = rounds.batches.unwrap_or((
                rows.div_ceil(batch),
                rows.div_ceil(batch) * epochs,
            ));
            let mut steps = 0;
            for round in 0..rounds.count {
                let batches = per_round.min(total - per_round * round);
                steps += batches.div_ceil(accumulation);
                prop_assert_eq!(steps, (rounds.steps * (round + 1)).min(rounds.total_steps));
            }
        }
    }
}
