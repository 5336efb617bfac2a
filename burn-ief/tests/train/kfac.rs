//! The K-FAC family: intervals, reduction, the parameters that have no factors, and errors.
use crate::three_classes;

use burn::data::dataloader::batcher::Batcher;
use burn::module::{Module, ParamGroup};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Distribution, Int, Tensor};
use burn::train::TrainStep;
use burn_ief::Error;
use burn_ief::methods::FactorReport;
use burn_ief::methods::kfac::{FactorDamping, FallbackCurvature};
use burn_ief::methods::{Method, Reduction, StepReport};
use burn_ief::prelude::*;
use burn_ief::train::NaturalModel;

use three_classes::{Batch, Batches, Net, Shape, alone, items};

fn net(width: usize, device: &Device) -> Net {
    let shape = Shape {
        width,
        norm: true,
        dropout: 0.0,
    };
    Net::new(shape, device)
}

/// Little damping, measured in every step.
fn options() -> FactorOptions {
    FactorOptions::new()
        .with_damping(FactorDamping::relative(1e-3))
        .with_factor_interval(1)
}

fn step<X: Method>(optim: &mut NaturalOptimizer<X>, net: &Net, batch: &Batch) -> GradientsParams {
    let tape = optim.start();
    let grads = net.forward(batch.clone()).loss.backward();
    optim.gradients(tape, grads, net).unwrap()
}

/// The report of a step; the model stays.
fn report(optim: &mut NaturalOptimizer<impl Method>, net: &Net) -> StepReport {
    let batch = Batches.batch(items(16), &net.first.weight.device());
    let tape = optim.start();
    let grads = net.forward(batch).loss.backward();
    let stepped = optim.step_with_report(0.0, net.clone(), tape, grads);
    stepped.unwrap().1
}

fn factors(report: StepReport) -> FactorReport {
    assert!(report.solve().is_none());
    report.factors.unwrap()
}

#[test]
fn accumulated_batches_make_the_update_of_all_of_them() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    device.seed(4);
    let net = net(16, &device);
    let method = IekfacConfig::new().with_factors(options()).build();
    let whole = Batches.batch(items(32), &device);
    let expected = step(
        &mut NaturalOptimizer::new(method.clone(), &net),
        &net,
        &whole,
    );

    let natural = NaturalModel::new(net.clone(), method.clone());
    let mut accumulator = GradientsAccumulator::new();
    for half in items(32).chunks(16) {
        let batch = Batches.batch(half.to_vec(), &device);
        accumulator.accumulate(&natural, TrainStep::step(&natural, batch).grads);
    }
    assert!(natural.last_report().is_none());
    let stepped = natural.optimize(&mut method.optimizer(), 1.0.into(), accumulator.grads());
    let report = stepped.last_report().unwrap();
    assert!(report.unused.is_empty(), "{report:?}");
    let report = factors(report);
    assert!(report.refreshed && report.decrease > 0.0 && report.scale <= 1.0);
    assert!(report.plain.is_empty(), "{report:?}");
    let pairs = [
        (&net.first, &stepped.model().first),
        (&net.last, &stepped.model().last),
    ];
    for (before, after) in pairs {
        let moved = before.weight.val().inner() - after.weight.val().inner();
        let expected = expected.get::<2>(before.weight.id).unwrap();
        let size = expected.clone().abs().max().into_scalar::<f32>();
        let difference = (moved - expected).abs().max().into_scalar::<f32>();
        assert!(difference < 1e-3 * size, "{difference} of {size}");
    }
}

/// In the warm-up every step measures and inverts, then the intervals hold.
#[test]
fn the_first_steps_refresh_every_time() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    device.seed(9);
    let net = net(16, &device);
    let options = options().with_inverse_interval(4).with_warm_up(2);
    let mut optim = IekfacConfig::new().with_factors(options).init(&net);
    let refreshed: Vec<bool> = (0..6)
        .map(|_| factors(report(&mut optim, &net)).refreshed)
        .collect();
    assert_eq!(refreshed, [true, true, false, false, true, false]);
}

/// In steps that keep the inverses a shard of few samples forms its update by itself; a larger one
/// leaves it to the reduced gradient, and then all do.
#[test]
fn shards_of_any_size_make_their_mean_update() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    device.seed(8);
    let net = net(64, &device);
    let options = options()
        .with_factor_interval(10)
        .with_warm_up(0)
        .with_kl_clip(Some(0.0));
    let method = IekfacConfig::new().with_factors(options).build();
    let mut optim = method.optimizer();
    let natural = NaturalModel::new(net.clone(), method.clone());
    let batch = |range: std::ops::Range<usize>| Batches.batch(items(48)[range].to_vec(), &device);
    let grads = TrainStep::step(&natural, batch(0..16)).grads;
    // A step of size zero: the curvature is there, and the weights are what they were.
    let natural = natural.optimize(&mut optim, 0.0.into(), grads);
    // An optimizer in the same place, once for each shard.
    let ready = || {
        let mut optim = NaturalOptimizer::new(method.clone(), &net);
        step(&mut optim, &net, &batch(0..16));
        optim
    };
    for shards in [[16..18, 18..20], [16..18, 18..34], [16..32, 32..48]] {
        for reduction in [Reduction::Mean, Reduction::Sum] {
            let natural = natural.clone().with_reduction(reduction);
            let mut accumulator = GradientsAccumulator::new();
            let mut expected: Option<Tensor<2>> = None;
            for shard in &shards {
                let grads = TrainStep::step(&natural, batch(shard.clone())).grads;
                accumulator.accumulate(&natural, grads);
                let update = step(&mut ready(), &net, &batch(shard.clone()));
                let update = update.get::<2>(net.first.weight.id).unwrap();
                expected = Some(expected.map_or(update.clone(), |sum| sum + update));
            }
            let expected = match reduction {
                Reduction::Mean => expected.unwrap() / 2.0,
                _ => expected.unwrap(),
            };
            let stepped = natural.optimize(&mut optim, 1.0.into(), accumulator.grads());
            let moved = net.first.weight.val() - stepped.model().first.weight.val();
            let size = expected.clone().abs().max().into_scalar::<f32>();
            let off = (moved.inner() - expected).abs().max().into_scalar::<f32>();
            assert!(
                off < 1e-3 * size,
                "{shards:?} {reduction:?}: {off} of {size}"
            );
        }
    }
}

/// An embedding, a convolution in groups, and a wide head.
#[derive(Module, Debug)]
struct Mixed {
    tokens: Embedding,
    conv: Conv2d,
    head: Linear,
}

impl Mixed {
    fn new(device: &Device) -> Self {
        Self {
            tokens: EmbeddingConfig::new(7, 8).init(device),
            conv: Conv2dConfig::new([2, 4], [2, 2])
                .with_groups(2)
                .init(device),
            head: LinearConfig::new(4, 3).init(device),
        }
    }

    fn loss(&self, device: &Device) -> Tensor<1> {
        let ids = Tensor::<2, Int>::from_data([[1, 2, 1], [3, 4, 5], [6, 0, 2], [2, 2, 2]], device);
        let x = self.tokens.forward_recorded(ids).reshape([4, 2, 3, 4]);
        let x = self.conv.forward_recorded(x).tanh();
        let x: Tensor<2> = x.mean_dim(3).mean_dim(2).squeeze_dims(&[2, 3]);
        let logits = mark_output(self.head.forward_recorded(x));
        let labels = Tensor::<1, Int>::from_data([0, 1, 2, 0], device);
        let cross_entropy = CrossEntropyLossConfig::new().init(device);
        cross_entropy.forward(logits, labels)
    }
}

#[test]
fn parameters_without_factors_take_the_diagonal_or_their_gradient() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    device.seed(5);
    let net = Mixed::new(&device);
    let run = |options: FactorOptions, group: Option<&str>| {
        let step = StepOptions::new().with_group(group.map(ParamGroup::from_predicate));
        let config = EkfacConfig::new().with_step(step);
        let config = config.with_factors(options.with_kl_clip(Some(0.0)));
        let start = || {
            let optim = config.init(&net);
            let tape = optim.start();
            (optim, tape, net.loss(&device).backward())
        };
        let (mut optim, tape, grads) = start();
        let update = optim.gradients(tape, grads, &net).unwrap();
        let (mut optim, tape, grads) = start();
        let stepped = optim.step_with_report(0.0, net.clone(), tape, grads);
        (update, factors(stepped.unwrap().1).plain)
    };
    let plain = GradientsParams::from_grads(net.loss(&device).backward(), &net);
    let gradient = plain.get::<2>(net.tokens.weight.id).unwrap();
    let same = |a: Tensor<2>, b: Tensor<2>| (a - b).abs().max().into_scalar::<f32>() < 1e-6;

    let absolute = FactorDamping::absolute(0.5);
    let (update, without) = run(options().with_damping(absolute), None);
    assert_eq!(without, ["conv.weight"]);
    let update = update.get::<2>(net.tokens.weight.id).unwrap();
    // Token 3 occurs once: its diagonal is e²/M, its gradient e/M.
    let row = |x: &Tensor<2>| x.clone().slice([3..4, 0..8]);
    let g = row(&gradient);
    assert!(same(row(&update), g.clone() / (g.square() * 4.0 + 0.5)));

    let flat = options().with_fallback(FallbackCurvature::Gradient);
    let (update, without) = run(flat.clone(), None);
    assert_eq!(without, ["tokens.weight", "conv.weight"]);
    assert!(same(update.get(net.tokens.weight.id).unwrap(), gradient));

    // A head that is too wide is treated as the others.
    let (_, without) = run(flat.with_max_dimension(4), None);
    assert_eq!(without, ["tokens.weight", "conv.weight", "head.weight"]);
    // Outside the group everything is as `backward` gives it.
    let (update, without) = run(options(), Some("head"));
    assert!(without.is_empty());
    let conv = update.get::<4>(net.conv.weight.id).unwrap();
    let expected = plain.get::<4>(net.conv.weight.id).unwrap();
    assert!((conv - expected).abs().max().into_scalar::<f32>() < 1e-6);
}

#[test]
fn the_clip_bounds_the_update() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    device.seed(6);
    let net = net(16, &device);
    let batch = Batches.batch(items(16), &device);
    let run = |bound: Option<f64>| {
        let options = options().with_kl_clip(bound);
        let config = IekfacConfig::new().with_factors(options);
        let report = report(&mut config.init(&net), &net);
        assert_eq!(report.scale, report.factors.unwrap().scale);
        let update = step(&mut config.init(&net), &net, &batch);
        (report.scale, update.get::<2>(net.last.weight.id).unwrap())
    };
    let (scale, free) = run(Some(0.0));
    assert_eq!(scale, 1.0);
    let (scale, bounded) = run(Some(1e-4));
    assert!(scale < 0.5);
    let difference = (free * scale - bounded).abs().max().into_scalar::<f32>();
    assert!(difference < 1e-6, "{difference}");
}

#[test]
fn what_is_missing_is_named() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    let layer = LinearConfig::new(4, 3).init(&device);
    let x = Tensor::<2>::random([5, 4], Distribution::Default, &device);
    let grads = |x: &Tensor<2>| {
        let y = layer.forward_recorded(x.clone());
        y.square().sum_dim(1).mean().backward()
    };

    // ieKFAC needs a marked output.
    let mut iekfac = IekfacConfig::new().init(&layer);
    let tape = iekfac.start();
    let result = iekfac.gradients(tape, grads(&x), &layer);
    assert!(matches!(result, Err(Error::NoOutput)));
    assert_eq!(iekfac.steps(), 0);
    // K-FAC needs its own tape.
    let mut kfac = KfacConfig::new().init(&layer);
    let result = kfac.gradients(Tape::start(), grads(&x), &layer);
    assert!(matches!(result, Err(Error::NoSampledLabels)));
    // A state of another layer.
    let other = LinearConfig::new(4, 2).init(&device);
    let mut ekfac = EkfacConfig::new().init(&other);
    let tape = ekfac.start();
    match ekfac.gradients(tape, grads(&x), &layer) {
        Err(Error::ForeignState {
            expected, found, ..
        }) => {
            assert_eq!(expected, "`weight` with factors [[5, 5], [3, 3]]");
            assert_eq!(found, "factors [[5, 5], [2, 2]]");
        }
        other => panic!("{other:?}"),
    }
    // Inputs that are not numbers.
    let mut ekfac = EkfacConfig::new().init(&layer);
    let tape = ekfac.start();
    let result = ekfac.gradients(tape, grads(&(x * f32::NAN)), &layer);
    assert!(matches!(result, Err(Error::Curvature { .. })));
}

#[test]
fn configurations_are_checked() {
    let with = |options: FactorOptions| KfacConfig::new().with_factors(options);
    let after = |step: StepOptions| KfacConfig::new().with_step(step);
    let negative = FactorDamping::absolute(-1.0);
    for (config, field) in [
        (KfacConfig::new().with_draws(0), "draws"),
        (with(options().with_decay(1.0)), "decay"),
        (with(options().with_factor_interval(0)), "factor_interval"),
        (with(options().with_inverse_interval(0)), "inverse_interval"),
        (with(options().with_max_dimension(0)), "max_dimension"),
        (with(options().with_kl_clip(Some(-1.0))), "kl_clip"),
        (
            after(StepOptions::new().with_normalize(Some(f64::NAN))),
            "normalize",
        ),
        (
            after(StepOptions::new().with_weight_decay(-1.0)),
            "weight_decay",
        ),
        (with(options().with_damping(negative)), "damping"),
    ] {
        let Err(Error::Config { field: found, .. }) = config.validate() else {
            panic!("{field} was accepted");
        };
        assert_eq!(found, field);
    }
}
