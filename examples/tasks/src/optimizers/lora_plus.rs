//! LoRA+ (arXiv 2402.12354): AdamW with larger steps for the factors at the output.

use burn::module::{ParamGroup, ParamId};
use burn::optim::{LearningRate, ModuleOptimizer, Optimizer};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::adamw::{self, AdamWOptions};
use super::{Budget, Contender, Model, Options, read, with_lora, write};
use crate::definition::Trained;
use crate::error::Error;
use crate::parameters::{Parameter, lora_pairs};
use crate::stepper::Recipe;

/// The ratio of the step sizes, and AdamW.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoraPlusOptions {
    /// The step size of B over that of A.
    ratio: f64,
    adamw: AdamWOptions,
}

/// LoRA+ as PEFT makes it: B and vectors take steps of `ratio` times the step size, A and other matrices of the
/// step size itself, without weight decay. Five step sizes.
pub(super) fn contender() -> Contender {
    let options = LoraPlusOptions {
        ratio: 16.0,
        adamw: AdamWOptions::without_decay(),
    };
    Contender {
        name: "lora-plus",
        title: "LoRA+ (AdamW, ratio 16)",
        applies: with_lora,
        budget: Budget::five_sizes(first),
        options: Options::Same(write(&options)),
        build,
        half: None,
    }
}

/// The step size of A, which is smaller than that of AdamW.
fn first(trained: Trained) -> f64 {
    adamw::first(trained) / 4.0
}

fn build(options: &Value, model: &Model<'_>) -> Result<Recipe, Error> {
    let options: LoraPlusOptions = read("lora-plus", options)?;
    let adamw = options.adamw.build();
    let faster = Multiplied {
        inner: adamw.clone(),
        ratio: options.ratio,
    };
    let group = ParamGroup::from_ids(faster_ones(model.parameters));
    let optim = ModuleOptimizer::from(adamw).with_group(group, faster, None);
    Ok(Recipe::FirstOrder(optim))
}

/// B of every adapter, and vectors.
fn faster_ones(parameters: &[Parameter]) -> Vec<ParamId> {
    let pairs = lora_pairs(parameters);
    let is_b = |parameter: &Parameter| pairs.iter().any(|pair| pair.b.id == parameter.id);
    let found = parameters
        .iter()
        .filter(|parameter| parameter.shape.len() == 1 || is_b(parameter));
    found.map(|parameter| parameter.id).collect()
}

/// An optimizer with a multiple of the step size.
#[derive(Clone)]
struct Multiplied<O> {
    inner: O,
    ratio: f64,
}

impl<O: Optimizer> Optimizer for Multiplied<O> {
    type State<const D: usize> = O::State<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        self.inner.step(lr * self.ratio, tensor, grad, state)
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        O::to_device(state, device)
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::LinearConfig;
    use burn_peft::{LoraConfig, LoraLinear};

    use super::*;
    use crate::parameters::{matrices, trained};
    use crate::tasks::named;

    /// The first step of AdamW is the step size times the sign of the gradient, where that is large.
    #[test]
    fn b_takes_steps_of_sixteen_times_the_size() {
        let device = Device::flex().autodiff();
        device.seed(1);
        let layer = LoraConfig::new()
            .with_r(2)
            .init(LinearConfig::new(3, 4).init(&device));
        let parameters = trained(&layer);
        let pair = &lora_pairs(&parameters)[0];
        let ids = [pair.a.id, pair.b.id];
        let model = Model {
            parameters: &parameters,
            definition: named("digits-lora").unwrap().definition,
            seed: 1,
        };
        let options = contender().options(model.definition);
        let mut stepper = build(&options, &model).unwrap().init(&layer).unwrap();
        let x = Tensor::<2>::ones([5, 3], &device);
        let loss = |layer: &LoraLinear, _part| layer.forward(x.clone()).powi_scalar(2).sum();
        let before = matrices(&layer, &ids);
        let layer = stepper.step(0.001, layer, loss).unwrap();
        let between = matrices(&layer, &ids);
        // B starts at zero, so A has no gradient in the first step.
        assert_eq!(before[0], between[0]);
        let moved = |before: &faer::Mat<f64>, after: &faer::Mat<f64>| (before - after).norm_max();
        assert!((moved(&before[1], &between[1]) - 0.016).abs() < 1e-5);
        let layer = stepper.step(0.001, layer, loss).unwrap();
        let after = matrices(&layer, &ids);
        let of_a = moved(&between[0], &after[0]);
        // The averages of A are those of two steps, of which the first had no gradient.
        let expected = 0.001 * (0.1 / (1.0 - 0.81)) / (0.001f64 / (1.0 - 0.998_001)).sqrt();
        assert!((of_a - expected).abs() < 1e-5, "{of_a} {expected}");
    }
}
