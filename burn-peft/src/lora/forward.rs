//! LoRA in the forward passes of layers.

use std::ops::ControlFlow;

use burn::nn::conv::Conv2d;
use burn::nn::{Embedding, Linear};
use burn::tensor::{Int, Tensor};
use burn_ief::VocabularyHead;
use burn_ief::nn::ForwardRecorded;

use super::config::LoraConfig;
use super::factors::{LoraAdapters, LoraFactors};
use super::{conv, embedding, linear};
use crate::adapters::bare;
use crate::tuner::{ForwardLayers, TableAsHead};

impl ForwardLayers for LoraConfig {
    fn tied_head(table: &Embedding) -> Option<TableAsHead> {
        TableAsHead::of::<LoraFactors<2>>(table)
    }

    fn vocabulary_head(layer: &Linear) -> Option<VocabularyHead> {
        let adapters = LoraAdapters::of(&layer.weight)?;
        let parts = adapters.parts();
        // DoRA rescales the whole weight: the head composes it.
        if parts.iter().any(|(adapter, _)| adapter.magnitude.is_some()) {
            return None;
        }
        let base = Linear {
            weight: bare(&layer.weight),
            bias: layer.bias.clone(),
        };
        let head = VocabularyHead::linear(&base);
        Some(parts.iter().fold(head, |head, (adapter, factor)| {
            let scale = adapter.scale * factor;
            head.with_low_rank(&adapter.a, &adapter.b, scale, Some(&adapter.dropout))
        }))
    }

    fn forward_linear<const D: usize>(
        layer: &Linear,
        input: Tensor<D>,
    ) -> ControlFlow<Tensor<D>, Tensor<D>> {
        let Some(adapters) = LoraAdapters::of(&layer.weight) else {
            return ControlFlow::Continue(input);
        };
        let base = Linear {
            weight: bare(&layer.weight),
            bias: layer.bias.clone(),
        };
        ControlFlow::Break(linear::forward(&base, &adapters.parts(), input))
    }

    fn forward_embedding(
        table: &Embedding,
        ids: Tensor<2, Int>,
    ) -> ControlFlow<Tensor<3>, Tensor<2, Int>> {
        let Some(adapters) = LoraAdapters::of(&table.weight) else {
            return ControlFlow::Continue(ids);
        };
        let base = Embedding {
            weight: bare(&table.weight),
        };
        ControlFlow::Break(embedding::forward(&base, &adapters.parts(), ids))
    }

    fn forward_conv2d(layer: &Conv2d, input: Tensor<4>) -> ControlFlow<Tensor<4>, Tensor<4>> {
        let Some(adapters) = LoraAdapters::of(&layer.weight) else {
            return ControlFlow::Continue(input);
        };
        if layer.groups != 1 {
            // Two convolutions are not the composed one then. A walk over a module does not see
            // groups, so adapters can get here. A recording has no rule for it and says so.
            return ControlFlow::Break(layer.forward_recorded(input));
        }
        let base = Conv2d {
            weight: bare(&layer.weight),
            ..layer.clone()
        };
        ControlFlow::Break(conv::forward(&base, &adapters.parts(), input))
    }
}
