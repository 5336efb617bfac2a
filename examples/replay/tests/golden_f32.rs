//! Every reference case in f32, against the expectations in f64.

mod reference;

use ::replay::{DeviceKind, Place, Precision};
use reference::{CASES, Replayed, distance, replay};

/// Whole vectors agree to 1e-4, where λ is at least 1e-3 of the mean diagonal of the Gram matrix.
const TOLERANCE: f64 = 1e-4;
const DAMPED: f64 = 1e-3;

/// Mean diagonal of a matrix, at every point.
fn mean_diagonal(replayed: &Replayed, matrix: &str) -> Vec<f64> {
    let tensor = &replayed.expected[matrix];
    let size = *tensor.shape.last().unwrap();
    let matrices = tensor.values.chunks(size * size);
    matrices
        .map(|matrix| matrix.iter().step_by(size + 1).sum::<f64>() / size as f64)
        .collect()
}

/// The points of the grid at which a result is damped enough (one point for other cases).
fn damped(replayed: &Replayed, name: &str) -> Vec<bool> {
    let Some((rule, lambda)) = name.split_once(".lam_") else {
        return vec![true; replayed.points()];
    };
    // Of the K-FAC family, every layer is a vector of its own.
    let lambda = lambda.split(".fc").next().unwrap_or(lambda);
    let lambda: f64 = lambda.parse().unwrap();
    let rule = rule.strip_prefix("gamma.").unwrap_or(rule);
    let scale: Vec<f64> = match rule {
        "sf" => mean_diagonal(replayed, "gram_sampled"),
        // The Fisher matrix is 2 x 2 as well.
        "ngd" => mean_diagonal(replayed, "fisher"),
        _ => mean_diagonal(replayed, "gram"),
    };
    scale.iter().map(|mean| lambda >= DAMPED * mean).collect()
}

/// The points at which a residual is zero but for rounding: on the grids, what is left of the
/// gradient there has no digits, and γ none either.
fn fitted(replayed: &Replayed) -> Vec<bool> {
    if !replayed.case.kind.is_grid() {
        return vec![false];
    }
    let s = &replayed.expected["s"].values;
    let points = s.chunks(s.len() / replayed.points());
    points.map(|s| s.iter().any(|s| *s < 1e-12)).collect()
}

fn compare(device: DeviceKind, case: &str) {
    let place = Place::open(device, Precision::F32).unwrap();
    let replayed = replay(case, &place);
    replayed.check_names();
    let mut wrong = Vec::new();
    let mut updates = 0;
    for (name, (found, expected)) in replayed.vectors() {
        let mut kept = damped(&replayed, &name);
        if name.starts_with("gamma.") {
            let fitted = fitted(&replayed).into_iter();
            kept.iter_mut()
                .zip(fitted)
                .for_each(|(kept, fitted)| *kept &= !fitted);
        }
        let select = |values: &[f64]| -> Vec<f64> {
            let points = values.chunks(values.len() / kept.len());
            let points = points.zip(&kept).filter(|(_, kept)| **kept);
            points.flat_map(|(values, _)| values.to_vec()).collect()
        };
        let (found, expected) = (select(&found), select(&expected));
        if expected.is_empty() {
            continue;
        }
        updates += usize::from(name.contains(".lam_"));
        let error = distance(&found, &expected);
        println!("{case} {name} {error:.2e}");
        if error.is_nan() || error > TOLERANCE {
            wrong.push((name, error));
        }
    }
    assert!(updates >= 3, "{case}: {updates} updates are damped enough");
    assert!(wrong.is_empty(), "{case} on {}: {wrong:?}", device.name());
}

#[test]
fn flex() {
    for case in CASES {
        compare(DeviceKind::Flex, case);
    }
}

#[cfg(feature = "ndarray")]
#[test]
fn ndarray() {
    for case in CASES {
        compare(DeviceKind::Ndarray, case);
    }
}

#[cfg(feature = "wgpu")]
#[test]
fn wgpu() {
    for case in CASES {
        compare(DeviceKind::Wgpu, case);
    }
}
