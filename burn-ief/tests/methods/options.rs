//! What happens to the update: groups, weight decay, norms, narrow parameters.

use burn::module::{Module, ModuleMapper, Param, ParamGroup};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{DType, Tensor};
use burn_ief::methods::AnyConfig;
use burn_ief::prelude::*;

use super::all::all;
use super::device;
use super::two_layers::{Net, batch, cross_entropy, distance, flat, norm, weights};

const LR: f64 = 1e-2;

/// The first update.
fn update(config: &AnyConfig, net: &Net) -> GradientsParams {
    let mut optim = config.init(net);
    let tape = optim.start();
    let grads = net.loss(batch(9, 0, &device())).backward();
    optim.gradients(tape, grads, net).unwrap()
}

/// The model after one step.
fn stepped(mut optim: NaturalOptimizer, net: &Net, lr: f64) -> Net {
    let stepped = optim.step_closure(lr, net.clone(), |net| net.loss(batch(9, 0, &device())));
    stepped.unwrap()
}

fn moved(before: &Net, after: &Net) -> Vec<f64> {
    let pairs = weights(before).into_iter().zip(weights(after));
    pairs.map(|(before, after)| before - after).collect()
}

/// Entries of the first layer; the others are those of the last.
const FIRST: usize = 24;

#[test]
fn a_group_is_trained_by_the_method_and_the_rest_by_another_optimizer() {
    let net = Net::new(3, &device());
    let plain = GradientsParams::from_grads(net.loss(batch(9, 0, &device())).backward(), &net);
    let plain = flat(&net, &plain);
    for mut config in all() {
        config.step_mut().group = Some(ParamGroup::from_predicate("first"));
        let update = flat(&net, &update(&config, &net));
        // Outside the group everything is as `backward` gives it.
        assert!(
            distance(&update[FIRST..], &plain[FIRST..]) < 1e-5,
            "{config}"
        );
        assert!(
            distance(&update[..FIRST], &plain[..FIRST]) > 1e-2,
            "{config}"
        );

        let adamw = AdamWConfig::new().with_weight_decay(0.0).build();
        let after = stepped(config.init(&net).with_rest(adamw), &net, LR);
        let moved = moved(&net, &after);
        // AdamW's first step moves every entry by its step size.
        let last = &moved[FIRST..];
        let mean = last.iter().map(|x| x.abs()).sum::<f64>() / last.len() as f64;
        assert!((mean / LR - 1.0).abs() < 1e-2, "{config}: {mean}");
        let expected: Vec<f64> = update[..FIRST].iter().map(|x| x * LR).collect();
        assert!(distance(&moved[..FIRST], &expected) < 1e-2, "{config}");
    }
}

#[test]
fn weight_decay_is_decoupled_from_the_update() {
    let net = Net::new(3, &device());
    for mut config in all() {
        let without = weights(&stepped(config.init(&net), &net, 0.5));
        config.step_mut().weight_decay = 0.1;
        let with = weights(&stepped(config.init(&net), &net, 0.5));
        let decayed = without.iter().zip(&with).map(|(a, b)| a - b);
        let decayed: Vec<f64> = decayed.collect();
        let expected: Vec<f64> = weights(&net).iter().map(|w| 0.05 * w).collect();
        assert!(distance(&decayed, &expected) < 1e-5, "{config}");
    }
}

#[test]
fn updates_have_the_norm_that_is_asked_for() {
    let net = Net::new(3, &device());
    for mut config in all() {
        config.step_mut().normalize = Some(0.0);
        let free = flat(&net, &update(&config, &net));
        config.step_mut().normalize = Some(0.5);
        let bound = flat(&net, &update(&config, &net));
        assert!((norm(&bound) - 0.5).abs() < 1e-5, "{config}");
        let scaled: Vec<f64> = free.iter().map(|x| 0.5 * x / norm(&free)).collect();
        assert!(distance(&bound, &scaled) < 1e-5, "{config}");
    }
}

struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| value.inner().cast(self.0).autodiff().require_grad())
    }
}

#[test]
fn parameters_in_half_precision_are_trained_in_it() {
    let net = Net::new(3, &device());
    let loss = |net: &Net, dtype: DType| {
        let (x, y) = batch(9, 0, &device());
        let logits = net.forward(x.cast(dtype)).cast(DType::F32);
        mark_loss(cross_entropy(mark_output(logits), y))
    };
    let half = net.clone().map(&mut Cast(DType::F16));
    // Rounded alike, so that only the computation differs.
    let full = half.clone().map(&mut Cast(DType::F32));
    for config in all() {
        let update = |net: &Net, dtype: DType| {
            let mut optim = config.init(net);
            let tape = optim.start();
            let grads = loss(net, dtype).backward();
            flat(net, &optim.gradients(tape, grads, net).unwrap())
        };
        // Drawn labels may differ where a probability is rounded.
        if !["sf", "kfac"].contains(&config.name()) {
            let error = distance(&update(&half, DType::F16), &update(&full, DType::F32));
            assert!(error < 0.05, "{config}: {error}");
        }
        let mut optim = config.init(&half);
        let stepped = optim.step_closure(0.5, half.clone(), |net| loss(net, DType::F16));
        let after = stepped.unwrap();
        assert_eq!(after.last.weight.val().dtype(), DType::F16, "{config}");
        let entries = weights(&after);
        assert!(entries.iter().all(|x| x.is_finite()), "{config}");
        assert_ne!(entries, weights(&half), "{config}");
    }
}
