//! Cross-attention and transformer decoders.

use std::ops::Range;

use burn::module::{Module, ModuleDisplay};
use burn::nn::attention::{CrossAttention, CrossAttentionConfig, generate_autoregressive_mask};
use burn::nn::transformer::{TransformerDecoder, TransformerDecoderConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Bool, Device, Tensor, TensorData};
use burn_ief::nn::{DecoderInput, ForwardRecorded};
use proptest::prelude::*;

use super::check::{check, close_to, filled, noise, same_outputs, score, values};
use super::{TOLERANCE, config, devices, devices_of_a_case};

/// What is random about a layer and its batch.
#[derive(Debug, Clone)]
struct Case {
    samples: usize,
    targets: usize,
    memories: usize,
    d_model: usize,
    d_context: usize,
    heads: usize,
    /// Heads of the query for every head of key and value.
    shared: usize,
    layers: usize,
    quiet: bool,
    norm_first: bool,
    mask_memory: bool,
    mask_target: bool,
    causal: bool,
    mask_pairs: bool,
    /// A linear layer in front of the memory, so that it is on the autodiff graph.
    first: bool,
    /// Whether the layer is used twice.
    twice: bool,
    trained: u64,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (
        1..5usize,
        1..5usize,
        1..6usize,
        1..4usize,
        1..5usize,
        1..4usize,
        1..3usize,
        1..3usize,
    );
    let flags = prop::array::uniform8(any::<bool>());
    let trained = prop_oneof![Just(u64::MAX), any::<u64>()];
    (sizes, flags, trained, any::<u64>()).prop_map(|(sizes, flags, trained, seed)| Case {
        samples: sizes.0,
        targets: sizes.1,
        memories: sizes.2,
        d_model: 2 * sizes.3,
        d_context: sizes.4,
        heads: sizes.5,
        shared: sizes.6,
        layers: sizes.7,
        quiet: flags[0],
        norm_first: flags[1],
        mask_memory: flags[2],
        mask_target: flags[3],
        causal: flags[4],
        mask_pairs: flags[5],
        first: flags[6],
        twice: flags[7],
        trained,
        seed,
    })
}

/// True for about a quarter of the entries, and never for the first of a row.
fn mask<const D: usize>(dims: [usize; D], seed: u64, device: &Device) -> Tensor<D, Bool> {
    let width = dims[D - 1];
    let mask: Vec<bool> = (0..dims.iter().product::<usize>())
        .map(|i| i % width > 0 && (i as u64 * 7 + seed % 64).is_multiple_of(4))
        .collect();
    Tensor::from_data(TensorData::new(mask, dims), device)
}

#[derive(Module, Debug)]
struct Net<L: Module> {
    first: Option<Linear>,
    layer: L,
    twice: bool,
}

impl<L: Module + ModuleDisplay> Net<L> {
    fn new(case: &Case, width: usize, layer: L, device: &Device) -> Self {
        let first = LinearConfig::new(width, width);
        let net = Self {
            first: case.first.then(|| first.init(device)),
            layer,
            twice: case.twice,
        };
        filled(net, case.seed, case.trained)
    }

    fn memory(&self, memory: Tensor<3>) -> Tensor<3> {
        match &self.first {
            Some(first) => first.forward_recorded(memory),
            None => memory,
        }
    }
}

struct Batch {
    target: Tensor<3>,
    memory: Tensor<3>,
    weights: Tensor<3>,
    memory_pad: Option<Tensor<2, Bool>>,
    target_pad: Option<Tensor<2, Bool>>,
    pairs: Option<Tensor<3, Bool>>,
    causal: bool,
}

impl Batch {
    fn new(case: &Case, d_memory: usize, device: &Device) -> Self {
        let (m, t, u) = (case.samples, case.targets, case.memories);
        let seed = case.seed ^ 0xa77;
        Self {
            target: noise([m, t, case.d_model], seed, device),
            memory: noise([m, u, d_memory], seed + 1, device),
            weights: noise([m, t, case.d_model], seed + 2, device),
            memory_pad: case.mask_memory.then(|| mask([m, u], seed, device)),
            target_pad: case.mask_target.then(|| mask([m, t], seed, device)),
            pairs: case.mask_pairs.then(|| mask([m, t, u], seed, device)),
            causal: case.causal,
        }
    }

    fn cross(&self, net: &Net<CrossAttention>, range: Range<usize>) -> Tensor<3> {
        let rows = || [range.clone()];
        let memory = net.memory(self.memory.clone().slice(rows()));
        let pad = || self.memory_pad.clone().map(|pad| pad.slice(rows()));
        let target = self.target.clone().slice(rows());
        let y = net.layer.forward_recorded((target, memory.clone(), pad()));
        if net.twice {
            net.layer.forward_recorded((y, memory, pad()))
        } else {
            y
        }
    }

    fn decode(&self, net: &Net<TransformerDecoder>, range: Range<usize>) -> Tensor<3> {
        let rows = || [range.clone()];
        let memory = net.memory(self.memory.clone().slice(rows()));
        let mut input = DecoderInput::new(self.target.clone().slice(rows()), memory);
        input.memory_mask_pad = self.memory_pad.clone().map(|mask| mask.slice(rows()));
        input.target_mask_pad = self.target_pad.clone().map(|mask| mask.slice(rows()));
        input.memory_mask_attn = self.pairs.clone().map(|mask| mask.slice(rows()));
        if self.causal {
            // For all samples at once.
            let [_, targets, _] = self.target.dims();
            let causal = generate_autoregressive_mask(1, targets, &self.target.device());
            input = input.target_mask_attn(causal);
        }
        let y = net.layer.forward_recorded(input.clone());
        if net.twice {
            // The first layer once more, alone.
            input.target = y;
            net.layer.layers[0].forward_recorded(input).target
        } else {
            y
        }
    }

    fn score(&self, y: Tensor<3>, range: Range<usize>) -> Tensor<1> {
        score(y, self.weights.clone().slice([range]))
    }
}

/// The target in what Burn's layer returns cannot be read, so the recorded form computes it itself.
#[test]
fn a_decoder_layer_outside_of_a_recording_is_burns() {
    for device in devices() {
        for norm_first in [false, true] {
            let config = TransformerDecoderConfig::new(6, 5, 2, 1).with_norm_first(norm_first);
            // Without autodiff, dropout does nothing.
            let decoder = filled(config.init(&device), 1, u64::MAX).valid();
            let device = device.clone().inner();
            let target = noise([3, 4, 6], 2, &device);
            let input = DecoderInput::new(target, noise([3, 5, 6], 3, &device))
                .target_mask_attn(generate_autoregressive_mask(3, 4, &device))
                .target_mask_pad(mask([3, 4], 4, &device))
                .memory_mask_pad(mask([3, 5], 5, &device))
                .memory_mask_attn(mask([3, 4, 5], 6, &device));
            let expected = decoder.forward(input.clone().into());
            let found = decoder.layers[0].forward_recorded(input).target;
            if device == Device::flex() {
                // Norms are fused there.
                close_to(&values(found), &values(expected), TOLERANCE.min(1e-6));
            } else {
                found.into_data().assert_eq(&expected.into_data(), true);
            }
        }
    }
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn cross_attention(case in cases()) {
        for device in devices_of_a_case() {
            let heads = (case.heads * case.shared, case.heads);
            let layer = CrossAttentionConfig::new(
                case.d_model, case.d_context, heads.0, heads.1, case.layers,
            )
            .with_dropout(0.0)
            .with_quiet_softmax(case.quiet)
            .init(&device);
            let net = Net::new(&case, case.d_context, layer, &device);
            let batch = Batch::new(&case, case.d_context, &device);
            check(&net, case.samples, |net, range| {
                batch.score(batch.cross(net, range.clone()), range)
            });
            same_outputs(|| batch.cross(&net, 0..case.samples));
        }
    }

    #[test]
    fn decoders(case in cases()) {
        for device in devices_of_a_case() {
            let layer = TransformerDecoderConfig::new(case.d_model, 3, 2, case.layers)
                .with_dropout(0.0)
                .with_quiet_softmax(case.quiet)
                .with_norm_first(case.norm_first)
                // Vectors of two entries would otherwise become ±1 whatever they are.
                .with_layer_norm_eps(0.1)
                .init(&device);
            let net = Net::new(&case, case.d_model, layer, &device);
            let batch = Batch::new(&case, case.d_model, &device);
            check(&net, case.samples, |net, range| {
                batch.score(batch.decode(net, range.clone()), range)
            });
            same_outputs(|| batch.decode(&net, 0..case.samples));
        }
    }
}
