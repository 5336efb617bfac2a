//! Adafactor at an absolute step size.

use burn::optim::AdafactorConfig;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Budget, Contender, Model, Options, adamw, everywhere, read, write};
use crate::definition::Trained;
use crate::error::Error;
use crate::stepper::Recipe;

/// The options of Adafactor that differ from its paper, and the weight decay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdafactorOptions {
    relative_step: bool,
    scale_parameter: bool,
    weight_decay: f32,
}

/// Adafactor at an absolute step size, as it is used for fine-tuning: five step sizes.
pub(super) fn contender() -> Contender {
    let options = AdafactorOptions {
        relative_step: false,
        scale_parameter: false,
        weight_decay: 0.0,
    };
    Contender {
        name: "adafactor",
        title: "Adafactor",
        applies: everywhere,
        budget: Budget::five_sizes(first),
        options: Options::Same(write(&options)),
        build,
        half: None,
    }
}

/// Its updates have the size of those of AdamW: the upper five of six step sizes.
fn first(trained: Trained) -> f64 {
    2.0 * adamw::first(trained)
}

fn build(options: &Value, _model: &Model<'_>) -> Result<Recipe, Error> {
    let options: AdafactorOptions = read("adafactor", options)?;
    let optim = AdafactorConfig::new()
        .with_relative_step(options.relative_step)
        .with_scale_parameter(options.scale_parameter)
        .with_weight_decay(options.weight_decay)
        .build();
    Ok(Recipe::FirstOrder(optim.into()))
}
