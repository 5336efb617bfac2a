//! SGD with momentum.

use burn::optim::SgdConfig;
use burn::optim::momentum::MomentumConfig;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Budget, Contender, Model, Options, everywhere, read, write};
use crate::definition::Trained;
use crate::error::Error;
use crate::stepper::Recipe;

/// The options of SGD.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SgdOptions {
    /// Without dampening, as in PyTorch.
    momentum: f64,
}

/// SGD with a momentum of 0.9: five step sizes.
pub(super) fn contender() -> Contender {
    Contender {
        name: "sgd",
        title: "SGD, momentum 0.9",
        applies: everywhere,
        budget: Budget::five_sizes(first),
        options: Options::Same(write(&SgdOptions { momentum: 0.9 })),
        build,
        half: None,
    }
}

fn first(trained: Trained) -> f64 {
    match trained {
        Trained::FromScratch => 0.0125,
        Trained::Lora => 0.025,
        Trained::Head | Trained::Prompt => 0.1,
    }
}

fn build(options: &Value, _model: &Model<'_>) -> Result<Recipe, Error> {
    let options: SgdOptions = read("sgd", options)?;
    let momentum = MomentumConfig::new()
        .with_momentum(options.momentum)
        .with_dampening(0.0);
    let optim = SgdConfig::new().with_momentum(Some(momentum)).build();
    Ok(Recipe::FirstOrder(optim.into()))
}
