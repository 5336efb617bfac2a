//! Muon for hidden matrices, and AdamW for everything else.

use burn::module::{ParamGroup, ParamId};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::{AdjustLrFn, ModuleOptimizer, MuonConfig};
use programs::optimizer::FlatMuon;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::adamw::{self, AdamWOptions};
use super::{Budget, Contender, Model, Options, read, write};
use crate::definition::{Definition, Trained};
use crate::error::Error;
use crate::parameters::Parameter;
use crate::stepper::Recipe;

/// The options of both optimizers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MuonOptions {
    /// Nesterov's, without dampening.
    momentum: f64,
    /// Newton-Schulz iterations.
    iterations: usize,
    weight_decay: f32,
    /// How steps of matrices of different shapes compare.
    scale: String,
    /// Vectors, embeddings and the head, at the same step size.
    rest: AdamWOptions,
}

/// Muon with the step sizes of AdamW (Moonshot's scale `0.2 √max(rows, columns)`): five step sizes. Kernels of
/// convolutions are matrices of output channels by everything else. Vectors, embeddings and the head are left
/// to AdamW, as in the papers.
pub(super) fn contender() -> Contender {
    let options = MuonOptions {
        momentum: 0.95,
        iterations: 5,
        weight_decay: 0.01,
        scale: MATCH_ADAMW.into(),
        rest: AdamWOptions::default(),
    };
    Contender {
        name: "muon",
        title: "Muon",
        applies: has_hidden_matrices,
        budget: Budget::five_sizes(first),
        options: Options::Same(write(&options)),
        build,
        half: None,
    }
}

const MATCH_ADAMW: &str = "match_rms_adamw";

/// Prompts and heads have no hidden matrices: Muon would be AdamW there.
fn has_hidden_matrices(definition: &Definition) -> bool {
    matches!(definition.trained, Trained::FromScratch | Trained::Lora)
}

fn first(trained: Trained) -> f64 {
    2.0 * adamw::first(trained)
}

fn build(options: &Value, model: &Model<'_>) -> Result<Recipe, Error> {
    let options: MuonOptions = read("muon", options)?;
    if options.scale != MATCH_ADAMW {
        let problem = format!("scale: expected `{MATCH_ADAMW}`, found `{}`", options.scale);
        return Err(Error::settings("muon", problem));
    }
    let momentum = burn::optim::momentum::MomentumConfig {
        momentum: options.momentum,
        dampening: 0.0,
        nesterov: true,
    };
    let muon = MuonConfig::new()
        .with_momentum(momentum)
        .with_ns_steps(options.iterations)
        .with_weight_decay(Some(WeightDecayConfig::new(options.weight_decay)))
        .with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW)
        .build();
    let matrices = hidden_matrices(model.parameters, model.definition);
    let optim = ModuleOptimizer::from(options.rest.build());
    let group = ParamGroup::from_ids(matrices);
    Ok(Recipe::FirstOrder(optim.with_group(
        group,
        FlatMuon::new(muon),
        None,
    )))
}

/// Matrices and kernels that are neither embeddings nor the head.
fn hidden_matrices(parameters: &[Parameter], definition: &Definition) -> Vec<ParamId> {
    let hidden = parameters.iter().filter(|parameter| {
        let other = |part: &&str| parameter.path.contains(*part);
        matches!(parameter.shape.len(), 2 | 4) && !definition.not_hidden.iter().any(other)
    });
    hidden.map(|parameter| parameter.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::named;

    #[test]
    fn embeddings_vectors_and_the_head_are_left_out() {
        let definition = named("digits-vit").unwrap().definition;
        let parameter = |path: &str, shape: &[usize]| Parameter {
            id: ParamId::new(),
            path: path.into(),
            shape: shape.to_vec(),
        };
        let parameters = [
            parameter("patch_embedding.weight", &[4, 64]),
            parameter("patch_embedding.bias", &[64]),
            parameter("position", &[1, 17, 64]),
            parameter("encoder.blocks.layers.0.mha.query.weight", &[64, 64]),
            parameter("encoder.head.weight", &[64, 10]),
        ];
        let found = hidden_matrices(&parameters, definition);
        assert_eq!(found, [parameters[0].id, parameters[3].id]);
    }
}
