//! All methods.

use burn_ief::methods::AnyConfig;
use burn_ief::solve::Damping;

/// Every registered method for three classes, with its defaults but for the damping of Fisher matrices:
/// batches of a few random samples span few directions, and it is at the scale of the matrix.
pub fn all() -> Vec<AnyConfig> {
    let named = AnyConfig::NAMES.iter().map(|name| {
        let mut config: AnyConfig = name.parse().unwrap();
        match &mut config {
            AnyConfig::Sf(sf) => sf.solve.damping = Damping::relative(1.0),
            AnyConfig::Ngd(ngd) => {
                ngd.classes = 3;
                ngd.solve.damping = Damping::relative(1.0);
            }
            _ => {}
        }
        config
    });
    named.collect()
}
