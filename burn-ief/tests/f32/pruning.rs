//! Masks through training, records and learners; what is refused.

use std::sync::{Mutex, MutexGuard};

use burn::module::{Module, ParamGroup};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::store::ModuleRecord;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_ief::Error;
use burn_ief::error::PruneError;
use burn_ief::jacobian::Jacobian;
use burn_ief::prelude::*;
use burn_ief::prune::{
    Compensation, CubicScheduleConfig, PruneCurvature, PruneScope, SparsityMask, WoodFisher,
    WoodFisherConfig, prune_by_magnitude,
};
use burn_ief::solve::DampingAmount;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    last: Linear,
}

const CLASSES: usize = 3;
const FEATURES: usize = 6;

type Batch = (Tensor<2>, Tensor<1, Int>);

impl Net {
    fn new(device: &Device) -> Self {
        Self {
            first: LinearConfig::new(FEATURES, 16).init(device),
            last: LinearConfig::new(16, CLASSES).init(device),
        }
    }

    fn loss(&self, (x, y): Batch) -> Tensor<1> {
        let z = mark_output(
            self.last
                .forward_recorded(relu(self.first.forward_recorded(x))),
        );
        let device = z.device();
        CrossEntropyLossConfig::new().init(&device).forward(z, y)
    }
}

/// Flex has one random state per process: tests that draw from it take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn device() -> Device {
    Device::flex().autodiff()
}

/// Samples of classes that a linear map tells apart.
fn batch(seed: u64, samples: usize) -> Batch {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let x: Vec<f32> = (0..samples * FEATURES)
        .map(|_| generator.random_range(-1.0..1.0))
        .collect();
    let label = |row: &[f32]| {
        let scores = [row[0] + row[1], row[2] - row[3], row[4]];
        let best = (0..CLASSES).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        best.expect("classes") as i64
    };
    let y: Vec<i64> = x.chunks(FEATURES).map(label).collect();
    let device = device();
    (
        Tensor::from_data(TensorData::new(x, [samples, FEATURES]), &device),
        Tensor::from_data(TensorData::new(y, [samples]), &device),
    )
}

fn step(net: Net, optim: &mut ModuleOptimizer, lr: f64, seed: u64) -> Net {
    let grads = net.loss(batch(seed, 32)).backward();
    let grads = GradientsParams::from_grads(grads, &net);
    optim.step(lr, net, grads)
}

fn weights(net: &Net) -> Vec<f32> {
    let values = |x: Tensor<2>| x.into_data().try_to_vec::<f32>().unwrap();
    let parts = [&net.first, &net.last].map(|layer| values(layer.weight.val()));
    parts.concat()
}

/// Which weights are zero.
fn zeros(net: &Net) -> Vec<bool> {
    weights(net).iter().map(|&w| w == 0.0).collect()
}

fn flags(mask: &SparsityMask) -> Vec<bool> {
    let layers = mask.layers();
    let flags = layers.iter().map(|layer| mask.at(&layer.path).unwrap());
    flags.collect::<Vec<_>>().concat()
}

/// A net that has learnt a little, and what is pruned of it.
fn trained() -> Net {
    let device = device();
    device.seed(3);
    let mut optim = AdamWConfig::new().init();
    (0..60).fold(Net::new(&device), |net, seed| {
        step(net, &mut optim, 1e-2, seed)
    })
}

fn fisher(net: &Net, mask: &SparsityMask, curvature: PruneCurvature) -> WoodFisher {
    let settings = WoodFisherConfig::new(96).with_curvature(curvature);
    let mut fisher = settings.init(net, mask);
    for seed in 0..3 {
        let tape = Tape::start();
        let grads = net.loss(batch(100 + seed, 32)).backward();
        fisher.record(tape, grads, net).unwrap();
    }
    fisher
}

#[test]
fn pruned_weights_stay_zero_under_adamw_and_momentum_and_through_records() {
    let _turn = alone();
    let net = trained();
    let dense = SparsityMask::weights(&net).unwrap();
    let pruned = fisher(&net, &dense, PruneCurvature::Improved)
        .prune(net, 0.7)
        .unwrap();
    let gone = flags(&pruned.mask);
    assert_eq!(gone.iter().filter(|&&gone| gone).count(), 101); // of 144
    assert_eq!(zeros(&pruned.model), gone);

    let optimizers: [(fn() -> ModuleOptimizer, f64); 2] = [
        (|| AdamWConfig::new().with_weight_decay(0.1).init(), 1e-2),
        (
            || {
                let momentum = MomentumConfig::new().with_momentum(0.9);
                SgdConfig::new().with_momentum(Some(momentum)).init()
            },
            1e-1,
        ),
    ];
    for (optim, lr) in optimizers {
        let mut optim = optim();
        let (mut net, mut mask) = (pruned.model.clone(), pruned.mask.clone());
        let before = weights(&net);
        for seed in 0..50 {
            let moved = step(net, &mut optim, lr, seed);
            // Without the mask it would come back.
            let back = zeros(&moved)
                .iter()
                .zip(&gone)
                .any(|(zero, gone)| *gone && !zero);
            assert!(back, "step {seed}");
            net = mask.apply(moved).unwrap();
            assert_eq!(zeros(&net), gone, "step {seed}");
            if seed == 25 {
                // As in another process.
                let bytes = |record: ModuleRecord| record.into_bytes().unwrap();
                let saved = [
                    bytes(net.clone().into_record()),
                    bytes(mask.clone().into_record()),
                ];
                let [model, kept] = saved.map(|bytes| ModuleRecord::from_bytes(bytes).unwrap());
                let fresh = Net::new(&device());
                mask = SparsityMask::weights(&fresh).unwrap().load_record(kept);
                let loaded = fresh.load_record(model);
                assert_eq!(weights(&loaded), weights(&net));
                assert_eq!(flags(&mask), gone);
                net = loaded;
            }
        }
        // All but those of hidden units that nothing leads to or from any more.
        let moved = weights(&net)
            .iter()
            .zip(&before)
            .filter(|(a, b)| a != b)
            .count();
        assert!((31..=43).contains(&moved), "{moved} of 43");
    }
}

#[test]
fn pruned_weights_stay_zero_under_a_natural_gradient() {
    let _turn = alone();
    let net = trained();
    let dense = SparsityMask::weights(&net).unwrap();
    let pruned = fisher(&net, &dense, PruneCurvature::Improved)
        .prune(net, 0.8)
        .unwrap();
    let (mut net, mask) = (pruned.model, pruned.mask);
    let before = weights(&net);
    let plain = SolveOptions::plain(Damping::default());
    let mut optim = IefConfig::new().with_solve(plain).init(&net);
    for seed in 0..20 {
        let stepped = optim.step_closure(0.1, net, |net| net.loss(batch(seed, 32)));
        net = mask.apply(stepped.unwrap()).unwrap();
        assert_eq!(zeros(&net), flags(&mask));
    }
    assert!(weights(&net) != before);
    assert!(weights(&net).iter().all(|w| w.is_finite()));
}

#[test]
fn gradual_pruning_follows_its_schedule() {
    let _turn = alone();
    let schedule = CubicScheduleConfig::new(0.8, 4, 5).with_begin(2).init();
    let mut net = trained();
    let mut mask = SparsityMask::weights(&net).unwrap();
    let mut optim = AdamWConfig::new().init();
    let mut seen = Vec::new();
    for done in 1..=30u64 {
        net = mask.apply(step(net, &mut optim, 5e-3, done)).unwrap();
        let Some(sparsity) = schedule.due(done) else {
            continue;
        };
        let before = flags(&mask);
        let pruned = fisher(&net, &mask, PruneCurvature::Improved)
            .prune(net, sparsity)
            .unwrap();
        (net, mask) = (pruned.model, pruned.mask);
        assert_eq!(mask.pruned(), (sparsity * 144.0).round() as usize);
        let stays = before
            .iter()
            .zip(flags(&mask))
            .all(|(before, now)| now || !before);
        assert!(stays, "step {done}");
        seen.push(done);
    }
    assert_eq!(seen, [2, 7, 12, 17, 22]);
    assert_eq!(zeros(&net), flags(&mask));
}

#[test]
fn each_parameter_by_itself_has_the_same_sparsity() {
    let _turn = alone();
    let net = trained();
    let dense = SparsityMask::weights(&net).unwrap();
    let pruned = prune_by_magnitude(net.clone(), &dense, 0.5, PruneScope::PerParameter).unwrap();
    let counts = |mask: &SparsityMask| {
        let layers = mask.layers();
        layers.iter().map(|l| l.pruned).collect::<Vec<_>>()
    };
    assert_eq!(counts(&pruned.mask), [48, 24]);
    let settings = WoodFisherConfig::new(32)
        .with_scope(PruneScope::PerParameter)
        .with_compensation(Compensation::None);
    let mut fisher = settings.init(&net, &dense);
    let tape = Tape::start();
    let grads = net.loss(batch(0, 40)).backward();
    assert_eq!(fisher.record(tape, grads, &net).unwrap(), 32);
    let pruned = fisher.prune(net.clone(), 0.5).unwrap();
    assert_eq!(counts(&pruned.mask), [48, 24]);
    // Without compensation what stays keeps its values.
    let pairs = weights(&pruned.model).into_iter().zip(weights(&net));
    let kept = pairs.zip(flags(&pruned.mask)).filter(|(_, gone)| !gone);
    assert!(kept.into_iter().all(|((after, before), _)| after == before));
}

#[test]
fn several_sparsities_each_start_from_the_same_weights() {
    let _turn = alone();
    let net = trained();
    let dense = SparsityMask::weights(&net).unwrap();
    let fisher = fisher(&net, &dense, PruneCurvature::Improved);
    let sparsities = [0.9, 0.25, 0.0];
    let all = fisher.prune_each(&net, &sparsities).unwrap();
    assert_eq!(all.len(), 3);
    for (pruned, sparsity) in all.iter().zip(sparsities) {
        let alone = fisher.prune(net.clone(), sparsity).unwrap();
        assert_eq!(weights(&pruned.model), weights(&alone.model));
        assert_eq!(flags(&pruned.mask), flags(&alone.mask));
        assert_eq!(pruned.cost, alone.cost);
    }
    assert_eq!(all[0].mask.pruned(), 130); // of 144
    assert_eq!(weights(&all[2].model), weights(&net));
    assert!(fisher.prune_each(&net, &[0.5, 1.5]).is_err());
}

#[test]
fn a_group_chooses_what_is_pruned() {
    let _turn = alone();
    let net = trained();
    let last = ParamGroup::from_predicate("last");
    let mask = SparsityMask::group(&net, &last).unwrap();
    let pruned = fisher(&net, &mask, PruneCurvature::Empirical)
        .prune(net.clone(), 0.9)
        .unwrap();
    let paths: Vec<String> = pruned.mask.layers().into_iter().map(|l| l.path).collect();
    assert_eq!(paths, ["last.weight", "last.bias"]);
    assert_eq!((pruned.mask.pruned(), pruned.mask.total()), (46, 51));
    assert_eq!(weights(&pruned.model)[..96], weights(&net)[..96]);
}

#[test]
fn configurations_out_of_range_are_named() {
    let _turn = alone();
    let net = Net::new(&device());
    let mask = SparsityMask::weights(&net).unwrap();
    let good = WoodFisherConfig::new(10);
    let bad = [
        ("gradients", WoodFisherConfig::new(0)),
        ("block_size", good.clone().with_block_size(0)),
        (
            "damping",
            good.clone().with_damping(DampingAmount::Absolute(0.0)),
        ),
        (
            "damping",
            good.clone().with_damping(DampingAmount::Relative(f64::NAN)),
        ),
        ("damping", good.with_damping(DampingAmount::Relative(-1.0))),
    ];
    for (name, settings) in bad {
        let error = settings.try_init(&net, &mask).unwrap_err();
        assert!(
            matches!(error, Error::Config { field, .. } if field == name),
            "{error}"
        );
    }
}

#[test]
fn what_cannot_be_pruned_by_is_refused() {
    let _turn = alone();
    let net = Net::new(&device());
    let mask = SparsityMask::weights(&net).unwrap();
    let settings = WoodFisherConfig::new(32);
    let mut fisher = settings.init(&net, &mask);

    // Too few gradients.
    let error = fisher.prune(net.clone(), 0.5).unwrap_err();
    let few = |found| Error::Size {
        what: "gradients in the Fisher matrix",
        expected: 32,
        found,
    };
    assert_eq!(error, few(0));
    let tape = Tape::start();
    let grads = net.loss(batch(0, 20)).backward();
    assert_eq!(fisher.record(tape, grads, &net).unwrap(), 20);
    assert_eq!(fisher.saliencies(&net).unwrap_err(), few(20));

    // iEF without a marked output.
    let tape = Tape::start();
    let (x, _) = batch(1, 12);
    let z = net
        .last
        .forward_recorded(relu(net.first.forward_recorded(x)));
    let error = fisher.record(tape, z.sum().backward(), &net).unwrap_err();
    assert_eq!(error, Error::NoOutput);

    // Gradients that are not finite: nothing is taken in.
    let tape = Tape::start();
    let (x, y) = batch(1, 12);
    let poisoned = x.slice_fill(3..4, f32::NAN);
    let grads = net.loss((poisoned, y)).backward();
    let error = fisher.record(tape, grads, &net).unwrap_err();
    assert!(matches!(error, Error::NonFinite { .. }), "{error}");
    assert_eq!(fisher.seen(), 20);

    let tape = Tape::start();
    let grads = net.loss(batch(1, 12)).backward();
    fisher.record(tape, grads, &net).unwrap();
    for sparsity in [-0.5, 1.5, f64::NAN] {
        let error = fisher.prune(net.clone(), sparsity).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Config {
                    field: "sparsity",
                    ..
                }
            ),
            "{error}"
        );
    }
    // Another module.
    let other = LinearConfig::new(4, 4).init(&device());
    let error = fisher.prune(other, 0.5).unwrap_err();
    assert!(
        matches!(error, Error::Prune(PruneError::ForeignMask { .. })),
        "{error}"
    );
    let ends = [0.0, 1.0].map(|sparsity| fisher.prune(net.clone(), sparsity).unwrap());
    assert_eq!(ends.each_ref().map(|p| p.mask.pruned()), [0, 144]);
    assert_eq!(weights(&ends[0].model), weights(&net));
}

#[test]
fn rows_of_other_shapes_and_of_frozen_parameters_are_refused() {
    let _turn = alone();
    let net = Net::new(&device());
    let mask = SparsityMask::weights(&net).unwrap();
    let by_sample = |net: &Net, samples: usize| {
        let (x, y) = batch(0, samples);
        Jacobian::by_sample(net, samples, |net, n| {
            net.loss((x.clone().narrow(0, n, 1), y.clone().narrow(0, n, 1)))
        })
        .unwrap()
    };
    let settings = WoodFisherConfig::new(8);
    let mut fisher = settings.init(&net, &mask);
    let rows = by_sample(&net, 4);
    let error = fisher.add_rows(&rows, &[1.0; 3]).unwrap_err();
    let expected = Error::Size {
        what: "weights of per-sample gradients",
        expected: 4,
        found: 3,
    };
    assert_eq!(error, expected);
    let error = fisher
        .add_rows(&rows, &[1.0, -1.0, 1.0, f64::NAN])
        .unwrap_err();
    let expected = Error::NonFinite {
        what: "square roots of s",
        samples: vec![1, 3],
    };
    assert_eq!(error, expected);

    let mut frozen = net.clone();
    frozen.first = frozen.first.no_grad();
    let error = fisher
        .add_rows(&by_sample(&frozen, 4), &[1.0; 4])
        .unwrap_err();
    let expected = Error::Prune(PruneError::NoRows {
        parameter: "first.weight".into(),
    });
    assert_eq!(error, expected);
    // All s are zero: nothing for a relative damping to measure.
    let error = fisher.add_rows(&rows, &[0.0; 4]).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Config {
                field: "damping",
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(fisher.seen(), 0);
}

#[test]
fn weights_that_are_not_finite_are_refused_by_name() {
    let _turn = alone();
    let mut net = Net::new(&device());
    let mask = SparsityMask::weights(&net).unwrap();
    let fisher = fisher(&net, &mask, PruneCurvature::Improved);
    for value in [f32::NAN, f32::INFINITY] {
        net.last.weight = net.last.weight.map(|w| {
            let entry = w.inner().slice_fill([3..4, 1..2], value);
            Tensor::from_inner(entry).require_grad()
        });
        let expected = Error::Prune(PruneError::NonFiniteWeights {
            what: "saliencies",
            parameter: "last.weight".into(),
        });
        let error = prune_by_magnitude(net.clone(), &mask, 0.5, PruneScope::Global).unwrap_err();
        assert_eq!(error, expected);
        let error = fisher.prune(net.clone(), 0.5).unwrap_err();
        assert_eq!(error, expected);
    }
}
