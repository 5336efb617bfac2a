//! AdamW, with the defaults of PyTorch.

use burn::optim::{AdamW, AdamWConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Budget, Contender, Model, Options, everywhere, read, write};
use crate::definition::Trained;
use crate::error::Error;
use crate::schedule::Schedule;
use crate::stepper::Recipe;

/// The options of AdamW. The defaults are those of PyTorch; Burn's differ in ε (1e-5) and the decay (1e-4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AdamWOptions {
    betas: [f32; 2],
    epsilon: f32,
    weight_decay: f32,
}

impl Default for AdamWOptions {
    fn default() -> Self {
        Self {
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            weight_decay: 0.01,
        }
    }
}

impl AdamWOptions {
    /// Without weight decay.
    pub(super) fn without_decay() -> Self {
        Self {
            weight_decay: 0.0,
            ..Self::default()
        }
    }

    /// AdamW with these options.
    pub(super) fn build(&self) -> AdamW {
        AdamWConfig::new()
            .with_beta_1(self.betas[0])
            .with_beta_2(self.betas[1])
            .with_epsilon(self.epsilon)
            .with_weight_decay(self.weight_decay)
            .build()
    }
}

/// Where grids of AdamW and of optimizers with steps of its size begin.
pub(super) fn first(trained: Trained) -> f64 {
    match trained {
        Trained::FromScratch => 2.5e-4,
        Trained::Lora => 5e-4,
        Trained::Head => 1e-3,
        Trained::Prompt => 2e-3,
    }
}

/// AdamW: six step sizes, constant and with linear decay after a warm-up.
pub(super) fn contender() -> Contender {
    Contender {
        name: super::REFERENCE,
        title: "AdamW",
        applies: everywhere,
        budget: Budget::Searched {
            first,
            sizes: 6,
            schedules: &[Schedule::Constant, Schedule::WarmupLinear],
            seeds: 5,
        },
        options: Options::Same(write(&AdamWOptions::default())),
        build,
        half: None,
    }
}

/// AdamW with the schedule of iEF's default: six step sizes.
pub(super) fn late() -> Contender {
    Contender {
        name: "adamw-late",
        title: "AdamW, falling late",
        budget: Budget::Searched {
            first,
            sizes: 6,
            schedules: &[Schedule::LateLinear],
            seeds: 5,
        },
        ..contender()
    }
}

fn build(options: &Value, _model: &Model<'_>) -> Result<Recipe, Error> {
    let options: AdamWOptions = read("adamw", options)?;
    Ok(Recipe::FirstOrder(options.build().into()))
}
