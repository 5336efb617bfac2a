//! Shards and single samples against one recorded batch, in f64: what is left is rounding.
//!
//! A device takes its precision once per process, so this is a test binary of its own.

use crate::all;
use crate::double;
use crate::two_layers;

use burn::module::{Module, ParamGroup};
use burn::optim::momentum::MomentumConfig;
use burn::tensor::Tensor;
use burn::tensor::activation::tanh;
use burn_ief::methods::AnyConfig;
use burn_ief::prelude::*;

use double::device;
use two_layers::{Batch, Net, batch, cross_entropy, distance, flat, weights};

const TOLERANCE: f64 = 1e-10;

fn part(whole: &Batch, start: usize, count: usize) -> Batch {
    (
        whole.0.clone().narrow(0, start, count),
        whole.1.clone().narrow(0, start, count),
    )
}

fn moved(before: &Net, after: &Net) -> Vec<f64> {
    let pairs = weights(before).into_iter().zip(weights(after));
    pairs.map(|(before, after)| before - after).collect()
}

/// Labels of SF and K-FAC are drawn for each shard, so that theirs are other updates.
fn without_draws() -> Vec<AnyConfig> {
    let mut all = all::all();
    all.retain(|config| !["sf", "kfac"].contains(&config.name()));
    all
}

#[test]
fn three_unequal_batches_are_one() {
    for mut config in without_draws() {
        config.step_mut().momentum = Some(MomentumConfig::new());
        // The exact natural gradient solves M x M for 12 samples and P x P for 16.
        for sizes in [[5, 4, 3], [7, 1, 8]] {
            let samples = sizes.iter().sum();
            let start = Net::new(3, &device());
            let (mut whole, mut parts) = (start.clone(), start);
            let mut joint = config.init(&whole);
            let mut shards = config.init(&parts);
            for seed in 0..3 {
                let all = batch(samples, seed, &device());
                let before = whole.clone();
                whole = joint
                    .step_closure(0.2, whole, |net| net.loss(all.clone()))
                    .unwrap();
                let mut at = 0;
                for size in sizes {
                    let tape = shards.start();
                    let grads = parts.loss(part(&all, at, size)).backward();
                    shards.accumulate(tape, grads, &parts).unwrap();
                    at += size;
                }
                parts = shards.step_accumulated(0.2, parts).unwrap();
                let error = distance(&moved(&before, &parts), &moved(&before, &whole));
                println!("{config} {sizes:?} {seed}: {error:e}");
                assert!(error < TOLERANCE, "{config} {sizes:?} {seed}: {error:e}");
            }
            assert_eq!(shards.steps(), 3);
        }
    }
}

/// The parameters outside the group see the gradient of the whole batch too.
#[test]
fn shards_share_the_gradient_of_other_parameters() {
    let mut config = AnyConfig::from(IefConfig::new());
    config.step_mut().group = Some(ParamGroup::from_predicate("first"));
    let start = Net::new(3, &device());
    let all = batch(9, 0, &device());
    let mut joint = config.init(&start);
    let whole = joint
        .step_closure(0.2, start.clone(), |net| net.loss(all.clone()))
        .unwrap();
    let mut shards = config.init(&start);
    for (at, size) in [(0, 2), (2, 7)] {
        let tape = shards.start();
        let grads = start.loss(part(&all, at, size)).backward();
        shards.accumulate(tape, grads, &start).unwrap();
    }
    let parts = shards.step_accumulated(0.2, start.clone()).unwrap();
    let error = distance(&moved(&start, &parts), &moved(&start, &whole));
    assert!(error < TOLERANCE, "{error:e}");
}

/// The model as it was before anyone recorded it.
fn unedited(net: &Net, x: Tensor<2>) -> Tensor<2> {
    net.last.forward(tanh(net.first.forward(x)))
}

#[test]
fn one_backward_pass_per_sample_gives_the_recorded_step() {
    for config in without_draws() {
        if ["iekfac", "ekfac"].contains(&config.name()) {
            continue;
        }
        let start = Net::new(3, &device());
        let (mut recorded, mut single) = (start.clone(), start);
        let mut with = config.init(&recorded);
        let mut without = config.init(&single);
        for seed in 0..3 {
            let all = batch(7, seed, &device());
            let before = recorded.clone();
            recorded = with
                .step_closure(0.2, recorded, |net| net.loss(all.clone()))
                .unwrap();
            single = without
                .step_by_sample(0.2, single, 7, |net, n| {
                    let (x, y) = part(&all, n, 1);
                    mark_loss(cross_entropy(mark_output(unedited(net, x)), y))
                })
                .unwrap();
            let error = distance(&moved(&before, &single), &moved(&before, &recorded));
            println!("{config} {seed}: {error:e}");
            assert!(error < TOLERANCE, "{config} {seed}: {error:e}");
        }
        assert_eq!(without.steps(), 3);
        assert_eq!(without.state().num_params(), with.state().num_params());
    }
}

/// The labels that a sample draws depend on its row in the whole batch, not on how it is split.
#[test]
fn shards_and_single_samples_draw_the_labels_of_one_batch() {
    let net = Net::new(3, &device());
    let all = batch(9, 0, &device());
    let configs: [AnyConfig; 3] = [
        SfConfig::new().with_draws(2).with_seed(4).into(),
        NgdConfig::new().with_classes(3).into(),
        KfacConfig::new().into(),
    ];
    for config in configs {
        let whole = {
            let mut optim = config.init(&net);
            let tape = optim.start();
            let grads = net.loss(all.clone()).backward();
            optim.step(1.0, net.clone(), tape, grads).unwrap()
        };
        let expected = moved(&net, &whole);
        for sizes in [&[4, 2, 3][..], &[1, 8], &[1; 9]] {
            let mut optim = config.init(&net);
            let mut at = 0;
            for &size in sizes {
                let tape = optim.start();
                let grads = net.loss(part(&all, at, size)).backward();
                optim.accumulate(tape, grads, &net).unwrap();
                at += size;
            }
            let after = optim.step_accumulated(1.0, net.clone()).unwrap();
            let error = distance(&moved(&net, &after), &expected);
            assert!(error < TOLERANCE, "{config} {sizes:?}: {error:e}");
        }
        if config.to_string() == "kfac" {
            continue;
        }
        let mut optim = config.init(&net);
        let loss = |net: &Net, n: usize| net.loss(part(&all, n, 1));
        let after = optim.step_by_sample(1.0, net.clone(), 9, loss).unwrap();
        let error = distance(&moved(&net, &after), &expected);
        assert!(error < TOLERANCE, "{config} by sample: {error:e}");
    }
}

/// Shards and single samples put their copies in the order of one batch: with as many draws as make
/// the noise small, the update is near the exact one.
#[test]
fn drawn_labels_of_shards_and_of_samples_make_one_estimate() {
    let net = Net::new(3, &device());
    let all = batch(9, 0, &device());
    let damping = Damping::absolute(1.0);
    let with = |config: AnyConfig| {
        let mut config = config;
        config.step_mut().normalize = Some(0.0);
        config.solve_mut().unwrap().damping = Some(damping);
        config
    };
    let ngd = with(NgdConfig::new().with_classes(3).into());
    let mut exact = ngd.init(&net);
    let tape = exact.start();
    let grads = net.loss(all.clone()).backward();
    let expected = flat(&net, &exact.gradients(tape, grads, &net).unwrap());
    let shards = |mut optim: NaturalOptimizer| {
        for (at, size) in [(0, 4), (4, 2), (6, 3)] {
            let tape = optim.start();
            let grads = net.loss(part(&all, at, size)).backward();
            optim.accumulate(tape, grads, &net).unwrap();
        }
        optim.step_accumulated(1.0, net.clone()).unwrap()
    };
    let singles = |mut optim: NaturalOptimizer| {
        let loss = |net: &Net, n: usize| net.loss(part(&all, n, 1));
        let stepped = optim.step_by_sample(1.0, net.clone(), 9, loss);
        stepped.unwrap()
    };
    let ways: [&dyn Fn(NaturalOptimizer) -> Net; 2] = [&shards, &singles];
    for step in ways {
        let error = |draws| {
            let errors = (0..6).map(|seed| {
                let sf = SfConfig::new().with_draws(draws).with_seed(seed);
                let after = step(with(sf.into()).init(&net));
                distance(&moved(&net, &after), &expected)
            });
            errors.sum::<f64>() / 6.0
        };
        let (few, many) = (error(1), error(64));
        // The error of a mean of 64 draws is about an eighth of that of one.
        assert!(many < 0.35 * few, "{few} {many}");
    }
}
