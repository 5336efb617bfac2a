//! Files for other programs, written after every round: `steps.csv`, and events for TensorBoard.

mod events;

use std::path::Path;

use programs::files;

use crate::error::Error;
use crate::history::History;
use events::Events;

/// Loss, step size and time of every step.
const STEPS: &str = "steps.csv";
/// The folder of the events.
const EVENTS: &str = "tensorboard";

/// Write the files of a run after its last round.
pub(crate) fn write(folder: &Path, history: &History) -> Result<(), Error> {
    let sizes = step_sizes(history)?;
    files::write(&folder.join(STEPS), csv(history, &sizes))?;
    if history.config.training.tensorboard {
        let folder = folder.join(EVENTS);
        files::make_folder(&folder)?;
        let round = history.epochs.len();
        // A reader goes on to the next file of the folder: a round is a file, and one that is repeated after an
        // interruption takes the place of its file.
        let path = folder.join(format!("events.out.tfevents.{round:06}.finetune"));
        files::write(&path, of_round(history, &sizes))?;
    }
    Ok(())
}

/// The step size of every step so far.
fn step_sizes(history: &History) -> Result<Vec<f64>, Error> {
    let options = history.config.options(history.method);
    let rounds = history.rounds();
    let mut schedule = options.schedule.build(
        options.step_size,
        rounds.steps_per_epoch,
        rounds.total_steps,
    )?;
    let steps = history.losses.iter();
    Ok(steps.map(|_| schedule.step().base()).collect())
}

fn csv(history: &History, sizes: &[f64]) -> String {
    let mut text = String::from("step,epoch,loss,step_size,milliseconds\n");
    let per_epoch = history.rounds().steps_per_epoch as f64;
    let rows = history.losses.iter().zip(sizes).zip(&history.milliseconds);
    for (index, ((loss, size), milliseconds)) in rows.enumerate() {
        let step = index + 1;
        let epoch = step as f64 / per_epoch;
        text += &format!("{step},{epoch:.4},{loss},{size},{milliseconds:.3}\n");
    }
    text
}

/// The events of the last round.
fn of_round(history: &History, sizes: &[f64]) -> Vec<u8> {
    let mut events = Events::new();
    let first = history.epochs.len().saturating_sub(1) * history.rounds().steps;
    let steps = history.losses.iter().zip(sizes).zip(&history.milliseconds);
    for (index, ((loss, size), milliseconds)) in steps.enumerate().skip(first) {
        let scalars = [
            ("train/loss", *loss),
            ("train/step_size", *size),
            ("train/milliseconds", *milliseconds),
        ];
        events.add(index + 1, scalars);
    }
    if let Some(round) = history.epochs.last() {
        let metrics = round.valid.metrics.iter();
        let metrics = metrics.map(|(name, value)| (format!("valid/{name}"), *value));
        let all = metrics.chain([("valid/loss".to_string(), round.valid.loss)]);
        events.add(history.losses.len(), all);
    }
    events.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::tests::history;
    use programs::optimizer::OptimizerName;

    #[test]
    fn every_step_is_a_line_and_every_round_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut history = history(OptimizerName::SGD, 1, &[(0.5, 1.0), (0.6, 0.9)]);
        history.config.training.tensorboard = true;
        history.config.training.batch = 5;
        history.rows = [10, 1, 1];
        history.losses = vec![2.0, 1.5, 1.25, 1.0];
        history.milliseconds = vec![1.0; 4];
        write(folder.path(), &history).unwrap();
        let text = std::fs::read_to_string(folder.path().join(STEPS)).unwrap();
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows[0], "step,epoch,loss,step_size,milliseconds");
        assert_eq!(rows.len(), 5);
        assert!(rows[4].starts_with("4,2.0000,1,0.0"), "{}", rows[4]);
        let name = "tensorboard/events.out.tfevents.000002.finetune";
        assert!(folder.path().join(name).exists());
    }
}
