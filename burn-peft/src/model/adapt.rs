//! New adapters by a configuration of PEFT.

use std::collections::HashSet;

use burn::module::Module;

use super::census::{Census, Own};
use super::install::{self, Plan};
use super::merge;
use crate::error::Error;
use crate::methods::PeftConfig;
use crate::name_map::{NameMap, first_that_fits};
use crate::settings::Bias;
use crate::targets::{Target, is_under_saved};
use crate::tuner::LayerTuner;

/// Adapters for every target of the configuration, freshly initialised; only they, the biases that
/// it names and its `modules_to_save` train.
pub(super) fn adapt<M: Module>(
    model: M,
    name: &str,
    config: &PeftConfig,
    names: &[NameMap],
) -> Result<M, Error> {
    config.validate()?;
    let layers = config.layers()?;
    // A new adapter starts from the base weights.
    let model = merge::fold(model, false);
    let (census, targets) = first_that_fits(names, |names| {
        let census = Census::of(&model, names);
        census.check_method(name, config.peft_type())?;
        let targets = targets(layers.as_ref(), &census)?;
        Ok((census, targets))
    })?;
    let mut plan = Plan::new(trains(config, &census, &targets));
    for target in &targets {
        let Some(layer) = census.layer(&target.module) else {
            return Err(layers.selection().wrong_kind(&target.module));
        };
        plan.add(layer, layers.fresh(target, layer)?);
    }
    Ok(install::install(model, name, plan))
}

/// The modules that the configuration chooses.
pub(super) fn targets(layers: &dyn LayerTuner, census: &Census) -> Result<Vec<Target>, Error> {
    let targets = layers.selection().resolve(&census.modules);
    if let Err(Error::TargetKind { module, .. }) = &targets {
        census.check_kind(module)?;
    }
    targets
}

/// Paths of the model's own parameters that train.
pub(super) fn trains(config: &PeftConfig, census: &Census, targets: &[Target]) -> HashSet<String> {
    let adapted: HashSet<&str> = targets
        .iter()
        .map(|target| target.module.as_str())
        .collect();
    let own = census
        .parameters
        .iter()
        .filter(|own| trains_with(config, own, |module| adapted.contains(module)));
    own.map(Own::full_path).collect()
}

/// Whether a parameter of the model trains, where `adapted` says which modules have an adapter.
pub(super) fn trains_with(config: &PeftConfig, own: &Own, adapted: impl Fn(&str) -> bool) -> bool {
    let bias = own.key == "bias";
    is_under_saved(config.modules_to_save(), &own.module)
        || match config.tuner().bias() {
            Bias::None => false,
            Bias::All => bias,
            Bias::LoraOnly => bias && adapted(&own.module),
        }
}
