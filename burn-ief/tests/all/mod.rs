//! All methods.

use burn_ief::methods::AnyConfig;

/// Every registered method with its defaults, for three classes.
pub fn all() -> Vec<AnyConfig> {
    let named = AnyConfig::NAMES.iter().map(|name| {
        let mut config: AnyConfig = name.parse().unwrap();
        if let AnyConfig::Ngd(ngd) = &mut config {
            ngd.classes = 3;
        }
        config
    });
    named.collect()
}
