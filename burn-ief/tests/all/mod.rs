//! All methods.

use burn_ief::methods::{AnyConfig, RunningSquares, UpdateMetric};
use burn_ief::solve::Damping;

/// Every registered method for three classes, and exact methods with other metrics.
pub fn all() -> Vec<AnyConfig> {
    let running = RunningSquares::default().with_power(0.5);
    let separable = UpdateMetric::Separable(running);
    let metrics = [
        // Its default is separable.
        ("ief", UpdateMetric::Identity),
        ("ief", UpdateMetric::PerTensor(running)),
        ("ief", UpdateMetric::Diagonal(running)),
        ("ef", separable),
        ("sf", separable),
        ("ngd", separable),
        ("ggt", UpdateMetric::Diagonal(running)),
    ];
    let plain = registered();
    let with_metric = metrics.map(|(name, metric)| {
        let named = plain.iter().find(|config| config.name() == name);
        let mut config = named.expect("registered").clone();
        config.solve_mut().expect("exact").metric = Some(metric);
        config
    });
    [plain, with_metric.to_vec()].concat()
}

/// Every registered method, with its defaults but for the damping of Fisher matrices: batches of a few
/// random samples span few directions, and it is at the scale of the matrix.
fn registered() -> Vec<AnyConfig> {
    let named = AnyConfig::NAMES.iter().map(|name| {
        let mut config: AnyConfig = name.parse().unwrap();
        match &mut config {
            AnyConfig::Sf(sf) => sf.solve.damping = Some(Damping::relative(1.0)),
            AnyConfig::Ngd(ngd) => {
                ngd.classes = 3;
                ngd.solve.damping = Some(Damping::relative(1.0));
            }
            _ => {}
        }
        config
    });
    named.collect()
}
