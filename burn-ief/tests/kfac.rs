//! The K-FAC family in loops and learners: training, resuming, reduction, the parameters that have
//! no factors, and errors.
#![cfg(feature = "train")]

mod three_classes;

use std::path::Path;
use std::sync::Arc;

use burn::data::dataloader::DataLoader;
use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::InMemDataset;
use burn::module::{Module, ParamGroup};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::optim::GradientsAccumulator;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Distribution, Int, Tensor};
use burn::train::metric::LossMetric;
use burn::train::renderer::CliMetricsRenderer;
use burn::train::{
    ClassificationOutput, ExecutionStrategy, InferenceStep, Learner, LearningResult,
    SupervisedTraining, TrainOutput, TrainStep,
};
use burn_ief::kfac::{KroneckerDamping, Others};
use burn_ief::nn::ForwardRecorded;
use burn_ief::train::{EpochLoader, Natural, Reduction, train_output};
use burn_ief::{EkfacConfig, Error, IekfacConfig, Kfac, KfacConfig, Tape, mark_loss, mark_output};

use three_classes::{Batch, Batches, alone, items};

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    norm: LayerNorm,
    last: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        Self::with_width(16, device)
    }

    fn with_width(width: usize, device: &Device) -> Self {
        Self {
            first: LinearConfig::new(4, width).init(device),
            norm: LayerNormConfig::new(width).init(device),
            last: LinearConfig::new(width, 3).init(device),
        }
    }

    fn forward(&self, batch: Batch) -> ClassificationOutput {
        let x = relu(self.first.forward_recorded(batch.x));
        let x = self.norm.forward_recorded(x);
        let logits = mark_output(self.last.forward_recorded(x));
        let cross_entropy = CrossEntropyLossConfig::new().init(&logits.device());
        let loss = mark_loss(cross_entropy.forward(logits.clone(), batch.y.clone()));
        ClassificationOutput::new(loss, logits, batch.y)
    }
}

impl TrainStep for Net {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> TrainOutput<ClassificationOutput> {
        let output = self.forward(batch);
        let grads = output.loss.backward();
        train_output(self, grads, output)
    }
}

impl InferenceStep for Net {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> ClassificationOutput {
        self.forward(batch)
    }
}

fn launch(
    directory: &Path,
    epochs: usize,
    resume: Option<usize>,
    method: &Kfac,
    lr: f64,
) -> LearningResult<Natural<Net>> {
    let device = Device::flex().autodiff();
    device.seed(11);
    let net = Net::new(&device);
    let train = EpochLoader::new(Batches, InMemDataset::new(items(96)), 16, 5)
        .resume_after(resume.unwrap_or(0) as u64);
    let valid: Arc<dyn DataLoader<Batch>> =
        EpochLoader::new(Batches, InMemDataset::new(items(48)), 48, 0).build();
    let mut training = SupervisedTraining::new(directory, train.build(), valid)
        .metric_train_numeric(LossMetric::new())
        .metric_valid_numeric(LossMetric::new())
        .with_default_checkpointers()
        .with_application_logger(None)
        .renderer(Box::new(CliMetricsRenderer::new()))
        .num_epochs(epochs)
        .with_training_strategy(ExecutionStrategy::single(device).into());
    let natural = Natural::new(net, method.clone()).with_interrupter(training.interrupter());
    if let Some(epoch) = resume {
        training = training.checkpoint(epoch);
    }
    training.launch(Learner::new(natural, method.optimizer(), lr))
}

fn weights(net: &Net) -> Vec<f32> {
    let linear = [&net.first, &net.last].map(|layer| layer.weight.val().into_data());
    let norm = net.norm.gamma.val().into_data();
    let all = linear.into_iter().chain([norm]);
    all.flat_map(|data| data.try_to_vec::<f32>().unwrap())
        .collect()
}

fn accuracy(net: &Net) -> f64 {
    let batch = Batches.batch(items(96), &Device::flex());
    let labels = batch.y.clone();
    let predicted: Tensor<1, Int> = net.forward(batch).output.argmax(1).squeeze_dim(1);
    let right = predicted.equal(labels).int().sum().into_scalar::<i64>();
    right as f64 / 96.0
}

fn directory(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("burn-ief-kfac-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// The three members; intervals that do not divide an epoch's six steps.
fn members() -> [(&'static str, Kfac, f64); 3] {
    let damping = KroneckerDamping::relative(1e-2);
    [
        (
            "iekfac",
            IekfacConfig::new()
                .with_damping(damping)
                .with_factor_interval(2)
                .with_inverse_interval(5)
                .with_warm_up(0)
                .build(),
            1.0,
        ),
        (
            "kfac",
            KfacConfig::new()
                .with_damping(damping)
                .with_inverse_interval(5)
                .with_warm_up(3)
                .with_kl_clip(Some(0.05))
                .build(),
            1.0,
        ),
        (
            "ekfac",
            EkfacConfig::new()
                .with_damping(damping)
                .with_inverse_interval(5)
                .with_normalize(Some(1.0))
                .build(),
            0.1,
        ),
    ]
}

#[test]
fn every_member_trains_in_a_learner_and_resumes_bit_for_bit() {
    let _turn = alone();
    for (name, method, lr) in members() {
        let path = directory(&format!("{name}-unbroken"));
        let unbroken = launch(&path, 6, None, &method, lr);
        std::fs::remove_dir_all(path).unwrap();
        assert!(unbroken.error.is_none() && unbroken.interrupted.is_none());
        let reached = accuracy(unbroken.model.model());
        println!("{name}: {reached}");
        assert!(reached > 0.85, "{name}: {reached}");
        let state = unbroken.model.curvature().unwrap();
        assert_eq!((state.steps(), unbroken.model.steps()), (36, 36));

        // 12 steps are a multiple of neither interval of the first member.
        let path = directory(&format!("{name}-broken"));
        launch(&path, 2, None, &method, lr);
        let resumed = launch(&path, 6, Some(2), &method, lr);
        std::fs::remove_dir_all(path).unwrap();
        assert_eq!(resumed.model.steps(), 36);
        let [a, b] = [&resumed, &unbroken].map(|result| weights(result.model.model()));
        assert_eq!(a, b, "{name}");
    }
}

fn step(kfac: &mut Kfac, net: &Net, batch: &Batch) -> burn::optim::GradientsParams {
    let tape = kfac.start();
    let grads = net.forward(batch.clone()).loss.backward();
    kfac.gradients(tape, grads, net).unwrap()
}

#[test]
fn a_loop_continues_from_a_saved_state() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    device.seed(3);
    let batches: Vec<Batch> = items(96)
        .chunks(16)
        .map(|items| Batches.batch(items.to_vec(), &device))
        .collect();
    for (_, fresh, lr) in members() {
        let net = Net::new(&device);
        let train = |mut net: Net, kfac: &mut Kfac, batches: &[Batch]| {
            let mut optim = kfac.optimizer();
            for batch in batches {
                let grads = step(kfac, &net, batch);
                net = optim.step(lr, net, grads);
            }
            net
        };
        let mut unbroken = fresh.clone();
        let expected = train(net.clone(), &mut unbroken, &batches);

        let mut first = fresh.clone();
        let half = train(net, &mut first, &batches[..3]);
        let bytes = first.state().unwrap().clone().into_record().into_bytes();
        let record = burn::store::ModuleRecord::from_bytes(bytes.unwrap()).unwrap();
        let state = fresh.new_state(&half).load_record(record);
        let mut second = fresh.clone().with_state(state);
        assert_eq!(second.state().unwrap().steps(), 3);
        let found = train(half, &mut second, &batches[3..]);
        assert_eq!(weights(&found), weights(&expected));
    }
}

#[test]
fn accumulated_batches_make_the_update_of_all_of_them() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    device.seed(4);
    let net = Net::new(&device);
    let method = IekfacConfig::new().build();
    let whole = Batches.batch(items(32), &device);
    let expected = step(&mut method.clone(), &net, &whole);

    let natural = Natural::new(net.clone(), method.clone());
    let mut accumulator = GradientsAccumulator::new();
    for half in items(32).chunks(16) {
        let batch = Batches.batch(half.to_vec(), &device);
        accumulator.accumulate(&natural, TrainStep::step(&natural, batch).grads);
    }
    assert!(natural.last_kronecker_report().is_none());
    let stepped = natural.optimize(&mut method.optimizer(), 1.0.into(), accumulator.grads());
    let report = stepped.last_kronecker_report().unwrap();
    assert!(report.refreshed && report.decrease > 0.0 && report.scale <= 1.0);
    assert!(
        report.plain.is_empty() && report.unused.is_empty(),
        "{report:?}"
    );
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
    let net = Net::new(&device);
    let mut method = IekfacConfig::new()
        .with_inverse_interval(4)
        .with_warm_up(2)
        .build();
    let refreshed = (0..6).map(|_| {
        let tape = method.start();
        let grads = net
            .forward(Batches.batch(items(16), &device))
            .loss
            .backward();
        method.step(tape, grads, &net).unwrap().report.refreshed
    });
    let refreshed: Vec<bool> = refreshed.collect();
    assert_eq!(refreshed, [true, true, false, false, true, false]);
}

/// In steps that keep the inverses a shard of few samples forms its update by itself; a larger one
/// leaves it to the reduced gradient, and then all do.
#[test]
fn shards_of_any_size_make_their_mean_update() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    device.seed(8);
    let net = Net::with_width(64, &device);
    let method = IekfacConfig::new()
        .with_factor_interval(10)
        .with_warm_up(0)
        .with_kl_clip(None)
        .build();
    let mut optim = method.optimizer();
    let natural = Natural::new(net.clone(), method.clone());
    let batch = |range: std::ops::Range<usize>| Batches.batch(items(48)[range].to_vec(), &device);
    let grads = TrainStep::step(&natural, batch(0..16)).grads;
    // A step of size zero: the curvature is there, and the weights are what they were.
    let natural = natural.optimize(&mut optim, 0.0.into(), grads);
    let state = natural.curvature().unwrap().clone();
    for shards in [[16..18, 18..20], [16..18, 18..34], [16..32, 32..48]] {
        for reduction in [Reduction::Mean, Reduction::Sum] {
            let natural = natural.clone().with_reduction(reduction);
            let mut accumulator = GradientsAccumulator::new();
            let mut expected: Option<Tensor<2>> = None;
            for shard in &shards {
                let grads = TrainStep::step(&natural, batch(shard.clone())).grads;
                accumulator.accumulate(&natural, grads);
                let mut kfac = method.clone().with_state(state.clone());
                let update = step(&mut kfac, &net, &batch(shard.clone()));
                let update = update.get::<2>(net.first.weight.id).unwrap();
                expected = Some(expected.map_or(update.clone(), |sum| sum + update));
            }
            let expected = match reduction {
                Reduction::Mean => expected.unwrap() / 2.0,
                Reduction::Sum => expected.unwrap(),
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
    let run = |config: EkfacConfig| {
        let mut kfac = config.with_kl_clip(None).build();
        let tape = kfac.start();
        let grads = net.loss(&device).backward();
        kfac.step(tape, grads, &net).unwrap()
    };
    let plain = burn::optim::GradientsParams::from_grads(net.loss(&device).backward(), &net);
    let gradient = plain.get::<2>(net.tokens.weight.id).unwrap();
    let same = |a: Tensor<2>, b: Tensor<2>| (a - b).abs().max().into_scalar::<f32>() < 1e-6;

    let absolute = KroneckerDamping::absolute(0.5);
    let step = run(EkfacConfig::new().with_damping(absolute));
    assert_eq!(step.report.plain, ["conv.weight"]);
    let update = step.gradients.get::<2>(net.tokens.weight.id).unwrap();
    // Token 3 occurs once: its diagonal is e²/M, its gradient e/M.
    let row = |x: &Tensor<2>| x.clone().slice([3..4, 0..8]);
    let g = row(&gradient);
    assert!(same(row(&update), g.clone() / (g.square() * 4.0 + 0.5)));

    let step = run(EkfacConfig::new().with_others(Others::Gradient));
    assert_eq!(step.report.plain, ["tokens.weight", "conv.weight"]);
    assert!(same(
        step.gradients.get(net.tokens.weight.id).unwrap(),
        gradient
    ));

    // A head that is too wide is treated as the others.
    let step = run(EkfacConfig::new()
        .with_max_dimension(4)
        .with_others(Others::Gradient));
    assert_eq!(
        step.report.plain,
        ["tokens.weight", "conv.weight", "head.weight"]
    );
    // Outside the group everything is as `backward` gives it.
    let group = ParamGroup::from_predicate("head");
    let step = run(EkfacConfig::new().with_group(Some(group)));
    assert!(step.report.plain.is_empty());
    let conv = step.gradients.get::<4>(net.conv.weight.id).unwrap();
    let expected = plain.get::<4>(net.conv.weight.id).unwrap();
    assert!((conv - expected).abs().max().into_scalar::<f32>() < 1e-6);
}

#[test]
fn the_clip_bounds_the_update() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    device.seed(6);
    let net = Net::new(&device);
    let batch = Batches.batch(items(16), &device);
    let run = |bound: Option<f64>| {
        let mut kfac = IekfacConfig::new().with_kl_clip(bound).build();
        let tape = kfac.start();
        let grads = net.forward(batch.clone()).loss.backward();
        let step = kfac.step(tape, grads, &net).unwrap();
        (
            step.report.scale,
            step.gradients.get::<2>(net.last.weight.id).unwrap(),
        )
    };
    let (scale, free) = run(None);
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
    let grads = || {
        layer
            .forward_recorded(x.clone())
            .square()
            .sum_dim(1)
            .mean()
            .backward()
    };

    // ieKFAC needs a marked output.
    let mut iekfac = IekfacConfig::new().build();
    let tape = iekfac.start();
    let result = iekfac.gradients(tape, grads(), &layer);
    assert!(matches!(result, Err(Error::NoOutput)));
    assert!(iekfac.state().is_none());
    // K-FAC needs its own tape.
    let mut kfac = KfacConfig::new().build();
    let tape = Tape::start();
    let result = kfac.gradients(tape, grads(), &layer);
    assert!(matches!(result, Err(Error::NoSampledLabels)));
    // A state of another layer.
    let other = LinearConfig::new(4, 2).init(&device);
    let ekfac = EkfacConfig::new().build();
    let mut ekfac = ekfac.clone().with_state(ekfac.new_state(&other));
    let tape = ekfac.start();
    let result = ekfac.gradients(tape, grads(), &layer);
    assert!(matches!(result, Err(Error::Size { .. })));
    // Inputs that are not numbers.
    let bad = x.clone() * f32::NAN;
    let mut ekfac = EkfacConfig::new().build();
    let tape = ekfac.start();
    let grads = layer
        .forward_recorded(bad)
        .square()
        .sum_dim(1)
        .mean()
        .backward();
    let result = ekfac.gradients(tape, grads, &layer);
    assert!(matches!(result, Err(Error::Curvature { .. })));
}

#[test]
fn configurations_are_checked() {
    let base = KfacConfig::new;
    for (config, field) in [
        (base().with_draws(0), "draws"),
        (base().with_decay(1.0), "decay"),
        (base().with_factor_interval(0), "factor_interval"),
        (base().with_inverse_interval(0), "inverse_interval"),
        (base().with_max_dimension(0), "max_dimension"),
        (base().with_kl_clip(Some(0.0)), "kl_clip"),
        (base().with_normalize(Some(f64::NAN)), "normalize"),
        (base().with_weight_decay(-1.0), "weight_decay"),
        (
            base().with_damping(KroneckerDamping::absolute(-1.0)),
            "damping",
        ),
    ] {
        let Err(Error::Config { field: found, .. }) = config.validate() else {
            panic!("{field} was accepted");
        };
        assert_eq!(found, field);
    }
}
