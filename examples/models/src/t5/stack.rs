//! The encoder's and the decoder's stack of blocks.

use burn::module::Module;
use burn::nn::Dropout;
use burn::tensor::{Int, Tensor};
use burn_ief::nn::ForwardRecorded;

use super::attention::{AttentionLayer, KeyValue};
use super::bias::{Buckets, cross_mask, without_later, without_padding};
use super::feed_forward::FeedForwardLayer;
use super::norm::Norm;

/// Blocks whose positions all see each other.
#[derive(Module, Debug)]
pub(super) struct Encoder {
    pub block: Vec<EncoderBlock>,
    pub final_layer_norm: Norm,
    pub dropout: Dropout,
    #[module(skip)]
    pub buckets: Buckets,
}

#[derive(Module, Debug)]
pub(super) struct EncoderBlock {
    pub self_attention: AttentionLayer,
    pub feed_forward: FeedForwardLayer,
}

/// Blocks whose positions see those before them, and the encoder's.
#[derive(Module, Debug)]
pub(super) struct Decoder {
    pub block: Vec<DecoderBlock>,
    pub final_layer_norm: Norm,
    pub dropout: Dropout,
    #[module(skip)]
    pub buckets: Buckets,
}

#[derive(Module, Debug)]
pub(super) struct DecoderBlock {
    pub self_attention: AttentionLayer,
    pub cross_attention: AttentionLayer,
    pub feed_forward: FeedForwardLayer,
}

/// What a decoder has seen: the encoder's output, and its own positions so far.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    blocks: Vec<BlockCache>,
    cross_mask: Option<Tensor<4>>,
    positions: usize,
}

#[derive(Debug, Clone)]
struct BlockCache {
    encoder: KeyValue,
    own: Option<KeyValue>,
}

impl Encoder {
    /// Hidden states of embeddings.
    ///
    /// # Shapes
    ///
    /// - hidden: `[M, T, d_model]`
    /// - attention_mask: `[M, T]`, 0 at padding
    /// - output: `[M, T, d_model]`
    pub fn forward(&self, hidden: Tensor<3>, attention_mask: Option<Tensor<2, Int>>) -> Tensor<3> {
        let mut hidden = self.dropout.forward_recorded(hidden);
        let first = self.block.first().map(|block| &block.self_attention);
        let bias = biases(first, self.buckets, 0, &hidden);
        let bias = match attention_mask {
            Some(mask) => without_padding(bias, mask),
            None => bias,
        };
        for block in &self.block {
            let (seen, _) = block.self_attention.look_back(hidden, None, bias.clone());
            hidden = block.feed_forward.forward(seen);
        }
        self.dropout
            .forward_recorded(self.final_layer_norm.forward(hidden))
    }
}

impl Decoder {
    /// Look at the encoder's output `[M, U, d_model]`, before the first position.
    pub fn start(&self, encoded: Tensor<3>, attention_mask: Option<Tensor<2, Int>>) -> Cache {
        let cross_mask = attention_mask.map(|mask| cross_mask(mask, &encoded));
        let blocks = self.block.iter().map(|block| BlockCache {
            encoder: block.cross_attention.attention.keys_values(encoded.clone()),
            own: None,
        });
        Cache {
            blocks: blocks.collect(),
            cross_mask,
            positions: 0,
        }
    }

    /// Hidden states of the embeddings that come next, which `cache` then holds too.
    ///
    /// # Shapes
    ///
    /// - hidden: `[M, T, d_model]`
    /// - output: `[M, T, d_model]`
    pub fn advance(&self, hidden: Tensor<3>, cache: &mut Cache) -> Tensor<3> {
        let [_, positions, _] = hidden.dims();
        let mut hidden = self.dropout.forward_recorded(hidden);
        let first = self.block.first().map(|block| &block.self_attention);
        let bias = without_later(biases(first, self.buckets, cache.positions, &hidden));
        for (block, kept) in self.block.iter().zip(&mut cache.blocks) {
            let past = kept.own.take();
            let (context, own) = block.self_attention.look_back(hidden, past, bias.clone());
            kept.own = Some(own);
            let mask = cache.cross_mask.clone();
            let context = block.cross_attention.look_at(context, &kept.encoder, mask);
            hidden = block.feed_forward.forward(context);
        }
        cache.positions += positions;
        self.dropout
            .forward_recorded(self.final_layer_norm.forward(hidden))
    }
}

/// Biases `[M, heads, T, past + T]` of the table in a stack's first block, for all its blocks.
fn biases(
    first: Option<&AttentionLayer>,
    buckets: Buckets,
    past: usize,
    hidden: &Tensor<3>,
) -> Tensor<4> {
    let [batch, queries, _] = hidden.dims();
    let device = hidden.device();
    let table = first.and_then(|layer| layer.attention.relative_attention_bias.as_ref());
    match table {
        Some(table) => buckets.biases(table, past, queries, batch, &device),
        None => Tensor::zeros(
            [batch, 1, queries, past + queries],
            (&device, hidden.dtype()),
        ),
    }
}
