//! Short fine-tuning runs of the committed model.

use programs::DeviceKind;
use quickstart::data::Split;
use quickstart::experiment::Experiment;
use quickstart::tuned::Tuned;

fn experiment(images: usize, epochs: usize) -> Experiment {
    let mut split = Split::load().unwrap();
    split.train.truncate(images);
    split.test.truncate(100);
    Experiment {
        split,
        device: DeviceKind::Flex.open().unwrap(),
        epochs,
    }
}

/// Flex has one random state per process, so the runs are in one test.
#[test]
fn every_method_lowers_the_loss_in_an_epoch_and_repeats_itself() {
    let experiment = experiment(640, 1);
    let mut first = Vec::new();
    for tuned in Tuned::all() {
        let run = experiment.run(&tuned, 1, tuned.step_size).unwrap();
        let losses = &run.history.losses;
        assert_eq!(losses.len(), 20);
        assert_eq!(run.history.milliseconds.len(), 20);
        assert_eq!(run.history.accuracies.len(), 1);
        first.push(losses[0]);
        let end = losses[15..].iter().sum::<f64>() / 5.0;
        assert!(end < losses[0], "{tuned:?}: {losses:?}");
    }
    // All start from the same adapters, head and batch.
    assert!(
        first.iter().all(|loss| (loss - first[0]).abs() < 1e-4),
        "{first:?}"
    );

    let sf = Tuned::named("sf").unwrap();
    let losses = |seed| {
        let run = experiment.run(&sf, seed, sf.step_size).unwrap();
        run.history.losses
    };
    let again = losses(1);
    assert_eq!(again, losses(1));
    assert_ne!(again, losses(2));
}
