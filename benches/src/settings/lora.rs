//! LoRA on a small transformer encoder.

use burn::module::{Lora, Module, ModuleMapper, Param, ParamGroup};
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::{gelu, softmax};
use burn::tensor::{Device, Distribution, Tensor};
use burn_flex_fused::{AttentionOptions, ForwardFused};

use super::{Classifier, Sizes};
use crate::call::Call;
use crate::operations::Operations;

const LAYERS: usize = 6;
const WIDTH: usize = 384;
const HEADS: usize = 12;
const FEED_FORWARD: usize = 1536;
const POSITIONS: usize = 64;
const CLASSES: usize = 4;
const RANK: usize = 8;

const BLOCK: usize = 4 * (WIDTH + 1) * WIDTH
    + (WIDTH + 1) * FEED_FORWARD
    + (FEED_FORWARD + 1) * WIDTH
    + 2 * 2 * WIDTH;
const TRAINABLE: usize = LAYERS * 2 * 2 * WIDTH * RANK;

pub(super) const SIZES: Sizes = Sizes {
    parameters: LAYERS * BLOCK + (WIDTH + 1) * CLASSES + TRAINABLE,
    trainable: TRAINABLE,
    largest: WIDTH * RANK,
    // Per block and position: twelve tensors of the model's width (norms, projections, residuals),
    // four of the feed-forward's, three maps of attention.
    activations: LAYERS * POSITIONS * (12 * WIDTH + 4 * FEED_FORWARD + 3 * HEADS * POSITIONS),
};

/// Pre-norm encoder of 6 layers, width 384, 12 heads, over 64 positions, with a mean-pooled head.
///
/// The q and v projections carry LoRA adapters of rank 8; everything else is frozen, the head too.
#[derive(Module, Debug)]
pub struct Transformer {
    blocks: Vec<Block>,
    head: Linear,
    #[module(skip)]
    operations: Operations,
}

#[derive(Module, Debug)]
struct Block {
    norm_attention: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    norm_feed_forward: LayerNorm,
    inner: Linear,
    outer: Linear,
}

impl Block {
    fn new(device: &Device) -> Self {
        let norm = || LayerNormConfig::new(WIDTH).init(device);
        let linear = |i, o| LinearConfig::new(i, o).init(device);
        Self {
            norm_attention: norm(),
            query: linear(WIDTH, WIDTH),
            key: linear(WIDTH, WIDTH),
            value: linear(WIDTH, WIDTH),
            output: linear(WIDTH, WIDTH),
            norm_feed_forward: norm(),
            inner: linear(WIDTH, FEED_FORWARD),
            outer: linear(FEED_FORWARD, WIDTH),
        }
    }

    fn forward(&self, x: Tensor<3>, call: &Call, operations: Operations) -> Tensor<3> {
        let y = operations.norm(&self.norm_attention, x.clone());
        let query = call.linear(&self.query, y.clone());
        let value = call.linear(&self.value, y.clone());
        let key = call.linear(&self.key, y);
        let mixed = operations.attention(query, key, value);
        let x = x + call.linear(&self.output, mixed);
        let y = operations.norm(&self.norm_feed_forward, x.clone());
        let y = operations.gelu(call.linear(&self.inner, y));
        x + call.linear(&self.outer, y)
    }
}

impl Operations {
    fn norm(self, norm: &LayerNorm, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Fused => norm.forward_fused(x),
            Self::Burn => norm.forward(x),
        }
    }

    fn gelu(self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Fused => burn_flex_fused::gelu(x),
            Self::Burn => gelu(x),
        }
    }

    fn attention(self, query: Tensor<3>, key: Tensor<3>, value: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Fused => {
                let options = AttentionOptions::new(HEADS);
                burn_flex_fused::attention(query, key, value, &options)
            }
            Self::Burn => {
                let shape = query.dims();
                let [query, key, value] = [query, key, value].map(heads);
                let scores = query.matmul(key.swap_dims(2, 3)) / ((WIDTH / HEADS) as f64).sqrt();
                let mixed = softmax(scores, 3).matmul(value).swap_dims(1, 2);
                mixed.reshape(shape)
            }
        }
    }
}

/// `[M, T, WIDTH]` to `[M, HEADS, T, WIDTH / HEADS]`.
fn heads(x: Tensor<3>) -> Tensor<4> {
    let [m, t, width] = x.dims();
    x.reshape([m, t, HEADS, width / HEADS]).swap_dims(1, 2)
}

impl Transformer {
    /// With random weights on an autodiff device, everything but the adapters frozen.
    pub fn adapted(device: &Device, operations: Operations) -> Self {
        let model = Self {
            operations,
            blocks: (0..LAYERS).map(|_| Block::new(device)).collect(),
            head: LinearConfig::new(WIDTH, CLASSES).init(device),
        };
        let adapted = ParamGroup::from_any_predicates(vec!["query.weight", "value.weight"]);
        let lora = Lora::new(RANK, 2.0 * RANK as f64).set_param_group(adapted);
        model.apply_lora(lora).map(&mut Shake)
    }

    /// `[M, T, WIDTH]` to `[M, T, WIDTH]`, below the head.
    pub fn hidden(&self, x: Tensor<3>, call: &Call) -> Tensor<3> {
        let x = burn_ief::expand_input(x);
        self.blocks
            .iter()
            .fold(x, |x, block| block.forward(x, call, self.operations))
    }
}

impl Classifier for Transformer {
    fn new(device: &Device, operations: Operations) -> Self {
        Self::adapted(device, operations)
    }

    const INPUT: [usize; 2] = [POSITIONS, WIDTH];
    const CLASSES: usize = CLASSES;

    fn logits(&self, x: Tensor<3>, call: &Call) -> Tensor<2> {
        let x = self.hidden(x, call);
        call.linear(&self.head, x.mean_dim(1)).squeeze_dim(1)
    }
}

/// Moves what is trained: B starts at zero, and A would have no gradient.
struct Shake;

impl ModuleMapper for Shake {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !param.is_require_grad() {
            return param;
        }
        param.map(|value| {
            let noise = value.random_like(Distribution::Normal(0.0, 0.05));
            (value + noise).detach().require_grad()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::ModuleVisitor;

    #[derive(Default)]
    struct Count {
        trainable: usize,
        largest: usize,
    }

    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.is_require_grad() {
                let entries = param.base().shape().num_elements();
                self.trainable += entries;
                self.largest = self.largest.max(entries);
            }
        }
    }

    #[test]
    fn the_model_has_the_sizes_that_memory_is_predicted_from() {
        let _random = crate::settings::random_state();
        let model = Transformer::new(&Device::flex().autodiff(), Operations::Fused);
        let mut count = Count::default();
        model.visit(&mut count);
        assert_eq!(count.trainable, SIZES.trainable);
        assert_eq!(count.largest, SIZES.largest);
        assert_eq!(model.num_params(), SIZES.parameters);
    }
}
