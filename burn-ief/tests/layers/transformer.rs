use burn::nn::attention::{MultiHeadAttentionConfig, generate_autoregressive_mask};
use burn::nn::transformer::{PositionWiseFeedForwardConfig, TransformerEncoderConfig};
use burn::tensor::{Bool, Device, Tensor, TensorData};
use burn_flex_fused::{ForwardFused, is_fused};
use burn_ief::nn::{AttentionInput, EncoderInput, ForwardRecorded};

use super::*;

const POSITIONS: usize = 4;

/// Sample n has n mod 3 padded positions at its end.
fn pad(device: &Device) -> Tensor<2, Bool> {
    let padded: Vec<bool> = (0..SAMPLES * POSITIONS)
        .map(|i| i % POSITIONS >= POSITIONS - (i / POSITIONS) % 3)
        .collect();
    Tensor::from_data(TensorData::new(padded, [SAMPLES, POSITIONS]), device)
}

/// Outside a recording: bit for bit what Burn's layer returns, but on Flex, where kernels round in
/// their own way.
#[track_caller]
fn burns_or_fused<const D: usize>(found: Tensor<D>, burns: Tensor<D>) {
    if is_fused(&found) {
        close(&values(found), &values(burns));
    } else {
        same_bits(found, burns);
    }
}

#[test]
fn self_attention() {
    for device in devices() {
        for (quiet, bias) in [(false, true), (true, true), (true, false)] {
            let config = MultiHeadAttentionConfig::new(6, 2)
                .with_dropout(0.0)
                .with_quiet_softmax(quiet)
                .with_key_bias(bias)
                .with_value_bias(bias)
                .with_output_bias(bias);
            let attention = filled(config.init(&device), 40);
            let x = noise([SAMPLES, POSITIONS, 6], 41, &device);
            let pad = pad(&device);
            // Causal for all samples at once.
            let causal = generate_autoregressive_mask(1, POSITIONS, &device);
            let input = |range: Range<usize>| {
                AttentionInput::self_attn(x.clone().slice([range.clone()]))
                    .mask_pad(pad.clone().slice([range]))
                    .mask_attn(causal.clone())
            };
            check(&attention, |attention, range| {
                let output = attention.forward_recorded(input(range.clone()));
                score(output.context, range.clone()) + score(output.weights, range)
            });
            let all = input(0..SAMPLES);
            let burns = attention.forward(all.clone().into());
            let (outside, inside) = outside_and_inside(|| attention.forward_recorded(all.clone()));
            same_bits(outside.context, burns.context.clone());
            same_bits(outside.weights, burns.weights.clone());
            close(&values(inside.context), &values(burns.context));
            close(&values(inside.weights), &values(burns.weights));
        }
    }
}

#[test]
fn cross_attention() {
    for device in devices() {
        let config = MultiHeadAttentionConfig::new(6, 3).with_dropout(0.0);
        let attention = filled(config.init(&device), 42);
        let query = noise([SAMPLES, 2, 6], 43, &device);
        let memory = noise([SAMPLES, POSITIONS, 6], 44, &device);
        let pad = pad(&device);
        check(&attention, |attention, range| {
            let memory = memory.clone().slice([range.clone()]);
            let query = query.clone().slice([range.clone()]);
            let input = AttentionInput::new(query, memory.clone(), memory)
                .mask_pad(pad.clone().slice([range.clone()]));
            score(attention.forward_recorded(input).context, range)
        });
    }
}

#[test]
fn feed_forward() {
    for device in devices() {
        let config = PositionWiseFeedForwardConfig::new(4, 7).with_dropout(0.0);
        let layer = filled(config.init(&device), 45);
        let x = noise([SAMPLES, POSITIONS, 4], 46, &device);
        check(&layer, |layer, range| {
            score(
                layer.forward_recorded(x.clone().slice([range.clone()])),
                range,
            )
        });
        let fused = layer
            .activation
            .forward_fused(layer.linear_inner.forward(x.clone()));
        let fused = layer.linear_outer.forward(fused);
        same_bits(layer.forward_recorded(x.clone()), fused);
        burns_or_fused(layer.forward_recorded(x.clone()), layer.forward(x));
    }
}

#[test]
fn encoders() {
    for device in devices() {
        for (norm_first, quiet) in [(false, false), (true, true)] {
            let config = TransformerEncoderConfig::new(6, 8, 2, 2)
                .with_dropout(0.0)
                .with_norm_first(norm_first)
                .with_quiet_softmax(quiet)
                .with_layer_norm_eps(1e-2);
            let encoder = filled(config.init(&device), 47);
            let x = noise([SAMPLES, POSITIONS, 6], 48, &device);
            let pad = pad(&device);
            let causal = generate_autoregressive_mask(SAMPLES, POSITIONS, &device);
            check(&encoder, |encoder, range| {
                let rows = || [range.clone()];
                let input = EncoderInput::new(x.clone().slice(rows()))
                    .mask_pad(pad.clone().slice(rows()))
                    .mask_attn(causal.clone().slice(rows()));
                score(encoder.forward_recorded(input), range)
            });
            let input = EncoderInput::new(x.clone())
                .mask_pad(pad.clone())
                .mask_attn(causal.clone());
            let burns = encoder.forward(input.clone().into());
            let (outside, inside) = outside_and_inside(|| encoder.forward_recorded(input.clone()));
            burns_or_fused(outside, burns.clone());
            close(&values(inside), &values(burns));

            let layer = &encoder.layers[0];
            burns_or_fused(
                layer.forward_recorded(EncoderInput::new(x.clone()).mask_pad(pad.clone())),
                layer.forward(x.clone(), Some(pad), None),
            );
            // A tensor is an input without masks.
            burns_or_fused(
                layer.forward_recorded(x.clone()),
                layer.forward(x, None, None),
            );
        }
    }
}
