//! The surveys of the quickstart's model, small.

use std::collections::HashMap;
use std::path::Path;

use burn::tensor::Device;
use figures::digits::{Training, batches};
use figures::survey;
use quickstart::tuned::Tuned;

const BATCHES: usize = 3;

#[derive(Debug, serde::Deserialize)]
struct Row {
    stage: String,
    direction: String,
    relative_damping: Option<f64>,
    batches: usize,
    ratio_mean: f64,
    ratio_standard_error: f64,
}

fn rows(folder: &Path, name: &str) -> Vec<Row> {
    let mut reader = csv::Reader::from_path(folder.join(name)).unwrap();
    reader.deserialize().map(Result::unwrap).collect()
}

#[test]
fn surveys_hold_every_direction_at_every_stage() {
    let device = Device::flex().autodiff();
    let training = Training {
        by: Tuned::named("ief").unwrap(),
        epochs: 2,
        seed: 1,
    };
    let stages = training.stages(&device).unwrap();
    assert_eq!(stages.len(), 3);
    assert!(stages[2].train_loss < 0.5 * stages[0].train_loss);
    let batches = batches(BATCHES, 32, 1, &device).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();

    survey::stages(at, "digits", &stages, &batches).unwrap();
    let found = rows(at, "digits_stages.csv");
    // SGD, and four rules at two dampings.
    assert_eq!(found.len(), 3 * 9);
    assert!(found.iter().all(|row| row.batches == BATCHES));
    let ratios: HashMap<_, _> = found
        .iter()
        .filter(|row| row.stage == "2" && row.relative_damping.is_none_or(|d| d == 1e-3))
        .map(|row| (row.direction.as_str(), row.ratio_mean))
        .collect();
    assert_eq!(ratios["sgd"], 1.0);
    assert!(ratios["ief_fisher"] < 1.0, "{ratios:?}");
    assert!(ratios["ief_fisher"] < ratios["ef"], "{ratios:?}");

    survey::sweep(at, "digits", &stages[2..], &batches[..2], 31).unwrap();
    let found = rows(at, "digits_sweep.csv");
    assert_eq!(found.len(), 4 * 31);
    let far = found
        .iter()
        .find(|row| row.direction == "ief_fisher" && row.relative_damping == Some(1e3));
    // Damped away, the update is the gradient.
    assert!((far.unwrap().ratio_mean - 1.0).abs() < 0.05);

    survey::kfac(at, "digits", &stages[1..], &batches[..2]).unwrap();
    let found = rows(at, "digits_kfac.csv");
    assert_eq!(found.len(), 2 * 4);
    assert!(found.iter().all(|row| row.ratio_standard_error.is_finite()));

    for (picture, names) in [
        ("stages", ["EF", "SF", "iEF", "imbalance"]),
        ("sweep", ["relative λ", "γ of SGD", "λ on K", "epoch 2"]),
        ("kfac", ["eKFAC", "KFAC", "ieKFAC", "relative λ"]),
    ] {
        let path = at.join(format!("digits_{picture}.svg"));
        let svg = std::fs::read_to_string(path).unwrap();
        for name in names {
            assert!(svg.contains(name), "{picture}: {name}");
        }
    }
}
