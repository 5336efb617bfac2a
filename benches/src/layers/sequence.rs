//! Layers over vectors and sequences.

use burn::nn::activation::{SwiGlu, SwiGluConfig};
use burn::nn::attention::{MhaInput, MultiHeadAttentionConfig};
use burn::nn::transformer::{
    PositionWiseFeedForward, PositionWiseFeedForwardConfig, TransformerEncoderConfig,
    TransformerEncoderInput,
};
use burn::nn::{
    EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig, RmsNorm, RmsNormConfig,
};
use burn::tensor::{Device, Distribution, Int, Tensor};
use burn_ief::nn::{AttentionInput, ForwardRecorded};

use super::Size;
use super::entry::{Entry, half_square, normal};

/// A transformer of width 384 over 64 positions.
pub fn entries(size: Size, device: &Device) -> Vec<Entry> {
    let m = size.batch;
    let (positions, width, wide) = (size.of(64), size.of(384).next_multiple_of(2), size.of(1536));
    let sequence = [m, positions, width];
    vec![
        Entry::of_tensor(
            "Linear",
            sequence,
            LinearConfig::new(width, width).init(device),
            device,
            Linear::forward,
        ),
        embedding([m, positions], size.of(8192), width, device),
        Entry::of_tensor(
            "LayerNorm",
            sequence,
            LayerNormConfig::new(width).init(device),
            device,
            LayerNorm::forward,
        ),
        Entry::of_tensor(
            "RmsNorm",
            sequence,
            RmsNormConfig::new(width).init(device),
            device,
            RmsNorm::forward,
        ),
        Entry::of_tensor(
            "SwiGlu",
            sequence,
            SwiGluConfig::new(width, wide).init(device),
            device,
            SwiGlu::forward,
        ),
        attention(sequence, device),
        Entry::of_tensor(
            "PositionWiseFeedForward",
            sequence,
            PositionWiseFeedForwardConfig::new(width, wide)
                .with_dropout(0.0)
                .init(device),
            device,
            PositionWiseFeedForward::forward,
        ),
        encoder(sequence, wide, device),
    ]
}

/// Ids have no gradient.
fn embedding(dims: [usize; 2], entries: usize, width: usize, device: &Device) -> Entry {
    let ids = Tensor::<2>::random(dims, Distribution::Uniform(0.0, entries as f64), device);
    let ids: Tensor<2, Int> = ids.inner().int().clamp(0, entries as i64 - 1);
    let table = EmbeddingConfig::new(entries, width).init(device);
    let ids = Tensor::<2, Int>::from_inner(ids);
    Entry::new(
        "Embedding",
        dims.to_vec(),
        table,
        device,
        move |table, recorded| {
            half_square(if recorded {
                table.forward_recorded(ids.clone())
            } else {
                table.forward(ids.clone())
            })
        },
    )
}

/// The heads of a width.
fn heads(width: usize) -> usize {
    if width.is_multiple_of(6) { 6 } else { 2 }
}

fn attention(dims: [usize; 3], device: &Device) -> Entry {
    let width = dims[2];
    let attention = MultiHeadAttentionConfig::new(width, heads(width))
        .with_dropout(0.0)
        .init(device);
    let x = normal(dims, device).require_grad();
    let name = "MultiHeadAttention";
    Entry::new(
        name,
        dims.to_vec(),
        attention,
        device,
        move |attention, recorded| {
            half_square(if recorded {
                let input = AttentionInput::self_attn(x.clone());
                attention.forward_recorded(input).context
            } else {
                attention.forward(MhaInput::self_attn(x.clone())).context
            })
        },
    )
}

/// One layer, which is all that a `TransformerEncoderLayer` is in a model.
fn encoder(dims: [usize; 3], wide: usize, device: &Device) -> Entry {
    let width = dims[2];
    let encoder = TransformerEncoderConfig::new(width, wide, heads(width), 1)
        .with_dropout(0.0)
        .init(device);
    let x = normal(dims, device).require_grad();
    let name = "TransformerEncoder";
    Entry::new(
        name,
        dims.to_vec(),
        encoder,
        device,
        move |encoder, recorded| {
            half_square(if recorded {
                encoder.forward_recorded(x.clone())
            } else {
                encoder.forward(TransformerEncoderInput::new(x.clone()))
            })
        },
    )
}
