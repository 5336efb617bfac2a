//! Pruning of a perceptron that was trained for a few epochs.

use programs::DeviceKind;
use quickstart::data::Split;
use quickstart::experiment::Experiment;
use quickstart::prune::{Method, Options, table};

/// Flex has one random state per process, so the runs are in one test.
#[test]
fn every_method_prunes_and_training_goes_on() {
    let experiment = Experiment {
        split: Split::load().unwrap(),
        device: DeviceKind::Flex.open().unwrap(),
        epochs: 6,
    };
    let options = Options {
        gradients: 300,
        block_size: 32,
        damping: None,
        row_major: false,
        as_published: false,
    };
    let mlp = experiment.dense(1).unwrap();
    let dense = experiment.row(&mlp, None, 1, 0.0).test_accuracy;
    assert!(dense > 0.9, "{dense}");
    let mut rows = Vec::new();
    for method in Method::ALL {
        let pruned = experiment.prune(&mlp, method, &options, 0.5).unwrap();
        assert_eq!(
            (pruned.mask.pruned(), pruned.mask.total()),
            (12_928, 25_856)
        );
        let row = experiment.row(&pruned.model, Some(method), 1, 0.5);
        assert!(row.test_accuracy > dense - 0.05, "{row:?}");
        rows.push(row);
    }
    let text = table(&rows, &[0.5]).to_string();
    assert!(
        Method::ALL
            .iter()
            .all(|method| text.contains(method.title())),
        "{text}"
    );

    // What is lost comes back, and the pruned weights do not.
    let hard = experiment
        .prune(&mlp, Method::Magnitude, &options, 0.95)
        .unwrap();
    let before = experiment.row(&hard.model, None, 1, 0.95).test_accuracy;
    let mask = hard.mask.clone();
    let trained = experiment.train_on(hard, 1, 2).unwrap();
    let after = experiment.row(&trained, None, 1, 0.95).test_accuracy;
    assert!(after > before + 0.1, "{before} {after}");
    let masked = mask.apply(trained.clone()).unwrap();
    let accuracy = experiment.row(&masked, None, 1, 0.95).test_accuracy;
    assert_eq!(accuracy, after);
}
