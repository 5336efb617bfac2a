//! New adapters by a configuration of PEFT.

use std::collections::HashSet;

use burn::module::Module;

use super::census::{Census, Own, TiedTo};
use super::install::{self, Plan};
use super::switch;
use super::tied::{self, Need};
use crate::adapters::{Carrier, CopyKind, Layer, Unadapted};
use crate::error::Error;
use crate::methods::PeftConfig;
use crate::name_map::{NameMap, first_that_fits};
use crate::settings::Bias;
use crate::targets::{Target, is_under_saved};
use crate::tuner::{LayerTuner, ModelTensors};

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
    let layers = layers.as_ref();
    // A new adapter starts from the base weights.
    let model = switch::base(model, name);
    let (prepared, census, targets) = first_that_fits(names, |names| {
        let needs = |census: &Census, tied: &TiedTo| need(config, layers, census, tied);
        let (prepared, census) = tied::prepared(&model, names, carrier(layers), needs)?;
        census.check_method(name, config.peft_type())?;
        check_shared(config, Some(layers), &census)?;
        let targets = targets(layers, &census)?;
        Ok((prepared, census, targets))
    })?;
    let mut plan = Plan::new(config.peft_type());
    for own in trains(config, &census, &targets) {
        plan.copy(own.full_path(), None, CopyKind::Trained);
    }
    for (_, layer) in &census.layers {
        plan.carry(layer, layers.carrier(layer));
    }
    let chosen = chosen(layers, &census, &targets)?;
    let shared = layers.shared(&chosen, &ModelTensors::new())?;
    for (target, layer) in targets.iter().zip(chosen) {
        plan.add(&layer.path, layers.fresh(target, layer, &shared)?);
    }
    plan.check(&model)?;
    Ok(install::install(prepared.unwrap_or(model), name, plan))
}

/// Puts a stack for the method's adapters on a table.
pub(super) fn carrier(
    layers: &dyn LayerTuner,
) -> impl Fn(&Census, &TiedTo) -> Box<dyn Carrier> + '_ {
    |census, tied| match census.layer(&tied.table) {
        Some(table) => layers.carrier(table),
        None => crate::adapters::carrier::<Unadapted, 2>(),
    }
}

/// What a configuration needs of a head that shares a table.
pub(super) fn need(
    config: &PeftConfig,
    layers: &dyn LayerTuner,
    census: &Census,
    tied: &TiedTo,
) -> Result<Need, Error> {
    let saved = |module: &str| is_under_saved(config.modules_to_save(), module);
    if saved(&tied.head) {
        return Ok(Need::Layer);
    }
    // What is wrong with the targets is found when they are chosen.
    let targets = layers.resolve(&census.with_tied());
    let targets = targets.unwrap_or_default();
    let chosen = |module: &str| targets.iter().any(|target| target.module == module);
    if chosen(&tied.table) {
        layers.check_tied(&tied.table, &tied.head)?;
    }
    Ok(if chosen(&tied.head) {
        Need::Layer
    } else if chosen(&tied.table) || saved(&tied.table) {
        Need::Note
    } else {
        Need::Nothing
    })
}

/// Fail if the configuration adapts or saves a look-up of a table that stands for several.
pub(super) fn check_shared(
    config: &PeftConfig,
    layers: Option<&(dyn LayerTuner + '_)>,
    census: &Census,
) -> Result<(), Error> {
    if census.shared.is_empty() {
        return Ok(());
    }
    let targets = layers.map(|layers| layers.resolve(&census.with_tied()));
    // What is wrong with the targets is found when they are chosen.
    let targets = targets.and_then(Result::ok).unwrap_or_default();
    census.check_shared(|module| {
        is_under_saved(config.modules_to_save(), module)
            || targets.iter().any(|target| target.module == module)
    })
}

/// The modules that the configuration chooses.
pub(super) fn targets(layers: &dyn LayerTuner, census: &Census) -> Result<Vec<Target>, Error> {
    let targets = layers.resolve(&census.modules);
    if let Err(Error::TargetKind { module, .. }) = &targets {
        census.check_kind(module)?;
    }
    targets
}

/// The layers of these modules.
pub(super) fn chosen<'a>(
    layers: &dyn LayerTuner,
    census: &'a Census,
    targets: &[Target],
) -> Result<Vec<&'a Layer>, Error> {
    let layer = |target: &Target| {
        let layer = census.layer(&target.module);
        layer.ok_or_else(|| layers.selection().wrong_kind(&target.module))
    };
    targets.iter().map(layer).collect()
}

/// The model's own parameters that train.
pub(super) fn trains<'a>(
    config: &'a PeftConfig,
    census: &'a Census,
    targets: &[Target],
) -> impl Iterator<Item = &'a Own> {
    let adapted: HashSet<String> = targets.iter().map(|target| target.module.clone()).collect();
    let own = census.parameters.iter();
    own.filter(move |own| trains_with(config, own, |module| adapted.contains(module)))
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
