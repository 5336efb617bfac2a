//! Natural-gradient methods in `burn::train` learners.
#![cfg(feature = "train")]

mod three_classes;

use std::path::Path;
use std::sync::Arc;

use burn::data::dataloader::DataLoader;
use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::InMemDataset;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::optim::GradientsAccumulator;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor};
use burn::train::metric::LossMetric;
use burn::train::renderer::CliMetricsRenderer;
use burn::train::{
    ClassificationOutput, ExecutionStrategy, InferenceStep, Learner, LearningResult,
    MultiDeviceOptim, SupervisedTraining, TrainOutput, TrainStep,
};
use burn_ief::nn::ForwardRecorded;
use burn_ief::optim::PreviousUpdate;
use burn_ief::train::{EpochLoader, Natural, Reduction, SolveMetric, SolveQuantity, train_output};
use burn_ief::update::Damping;
use burn_ief::{EfConfig, IefConfig, NaturalGradient, SfConfig, mark_loss, mark_output};

use three_classes::{Batch, Batches, alone, items};

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    dropout: Dropout,
    last: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        Self {
            first: LinearConfig::new(4, 16).init(device),
            dropout: DropoutConfig::new(0.1).init(),
            last: LinearConfig::new(16, 3).init(device),
        }
    }

    fn forward(&self, batch: Batch) -> ClassificationOutput {
        let x = relu(self.first.forward_recorded(batch.x));
        let x = self.dropout.forward_recorded(x);
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

fn valid_loader() -> Arc<dyn DataLoader<Batch>> {
    EpochLoader::new(Batches, InMemDataset::new(items(48)), 48, 0).build()
}

struct Run<'a> {
    directory: &'a Path,
    epochs: usize,
    resume: Option<usize>,
    accumulation: Option<usize>,
    devices: usize,
    reduction: Reduction,
}

impl<'a> Run<'a> {
    fn new(directory: &'a Path, epochs: usize) -> Self {
        Self {
            directory,
            epochs,
            resume: None,
            accumulation: None,
            devices: 1,
            reduction: Reduction::Mean,
        }
    }

    fn launch(&self, method: &NaturalGradient, lr: f64) -> LearningResult<Natural<Net>> {
        let device = Device::flex().autodiff();
        device.seed(11);
        let net = Net::new(&device);
        let train = EpochLoader::new(Batches, InMemDataset::new(items(96)), 16, 5)
            .resume_after(self.resume.unwrap_or(0) as u64);
        let mut training = SupervisedTraining::new(self.directory, train.build(), valid_loader())
            .metric_train_numeric(LossMetric::new())
            .metric_valid_numeric(LossMetric::new())
            .with_default_checkpointers()
            .with_application_logger(None)
            .renderer(Box::new(CliMetricsRenderer::new()))
            .num_epochs(self.epochs);
        let natural = Natural::new(net, method.clone())
            .with_reduction(self.reduction)
            .with_interrupter(training.interrupter());
        training =
            training.metric_train_numeric(SolveMetric::new(&natural, SolveQuantity::Condition));
        training = training.with_training_strategy(match self.devices {
            1 => ExecutionStrategy::single(device).into(),
            n => {
                let devices = vec![device; n];
                ExecutionStrategy::multi(devices, MultiDeviceOptim::OptimMainDevice).into()
            }
        });
        if let Some(accumulation) = self.accumulation {
            training = training.grads_accumulation(accumulation);
        }
        if let Some(epoch) = self.resume {
            training = training.checkpoint(epoch);
        }
        training.launch(Learner::new(natural, method.optimizer(), lr))
    }
}

fn weights(natural: &Natural<Net>) -> Vec<f32> {
    let net = natural.model();
    let first = net
        .first
        .weight
        .val()
        .into_data()
        .try_to_vec::<f32>()
        .unwrap();
    let last = net
        .last
        .weight
        .val()
        .into_data()
        .try_to_vec::<f32>()
        .unwrap();
    first.into_iter().chain(last).collect()
}

fn accuracy(natural: &Natural<Net>) -> f64 {
    let batch = Batches.batch(items(96), &Device::flex());
    let labels = batch.y.clone();
    let output = natural.model().forward(batch);
    let predicted: Tensor<1, Int> = output.output.argmax(1).squeeze_dim(1);
    let right = predicted.equal(labels).int().sum().into_scalar::<i64>();
    right as f64 / 96.0
}

fn directory(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("burn-ief-learner-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn every_method_trains_in_a_learner() {
    let _turn = alone();
    let methods = [
        ("ief", IefConfig::new().build(), 1.0),
        ("ef", EfConfig::new().with_normalize(Some(1.0)).build(), 0.1),
        (
            "sf",
            // One drawn label per sample spans few directions: damp at the scale of the matrix.
            SfConfig::new()
                .with_damping(Damping::relative(1.0))
                .with_normalize(Some(1.0))
                .build(),
            0.1,
        ),
    ];
    for (name, method, lr) in methods {
        let path = directory(name);
        let result = Run::new(&path, 6).launch(&method, lr);
        assert!(result.error.is_none() && result.interrupted.is_none());
        assert_eq!(result.model.steps(), 36);
        assert!(result.model.last_report().is_some());
        let reached = accuracy(&result.model);
        assert!(reached > 0.85, "{name}: {reached}");
        std::fs::remove_dir_all(path).unwrap();
    }
}

#[test]
fn a_resumed_run_continues_bit_for_bit() {
    let _turn = alone();
    let methods = [
        IefConfig::new()
            .with_momentum(Some(burn::optim::momentum::MomentumConfig::new()))
            .build(),
        SfConfig::new().with_normalize(Some(1.0)).build(),
        IefConfig::new().with_solve_momentum(0.9).build(),
    ];
    for (index, method) in methods.iter().enumerate() {
        let path = directory(&format!("unbroken-{index}"));
        let unbroken = Run::new(&path, 4).launch(method, 0.3);
        std::fs::remove_dir_all(path).unwrap();

        let path = directory(&format!("broken-{index}"));
        Run::new(&path, 2).launch(method, 0.3);
        let mut resumed = Run::new(&path, 4);
        resumed.resume = Some(2);
        let resumed = resumed.launch(method, 0.3);
        std::fs::remove_dir_all(path).unwrap();

        assert_eq!(resumed.model.steps(), unbroken.model.steps());
        assert_eq!(weights(&resumed.model), weights(&unbroken.model));
    }
}

#[test]
fn accumulated_and_multi_device_shards_are_reduced() {
    let _turn = alone();
    // One step over two shards against the two directions computed by hand. Dropout is off.
    let device = Device::flex().autodiff();
    let method = IefConfig::new().build();
    device.seed(11);
    let mut net = Net::new(&device);
    net.dropout.prob = 0.0;
    let shards =
        [&items(32)[..16], &items(32)[16..]].map(|items| Batches.batch(items.to_vec(), &device));
    let direction = |batch: &Batch| {
        let tape = method.start();
        let grads = net.forward(batch.clone()).loss.backward();
        let grads = method.gradients(tape, grads, &net).unwrap();
        grads.get::<2>(net.last.weight.id).unwrap()
    };
    let sum = direction(&shards[0]) + direction(&shards[1]);
    for (reduction, factor) in [(Reduction::Sum, 1.0), (Reduction::Mean, 0.5)] {
        let natural = Natural::new(net.clone(), method.clone()).with_reduction(reduction);
        let mut accumulator = GradientsAccumulator::new();
        for batch in &shards {
            accumulator.accumulate(&natural, TrainStep::step(&natural, batch.clone()).grads);
        }
        let mut optim = method.optimizer();
        let stepped = natural.optimize(&mut optim, 0.5.into(), accumulator.grads());
        let moved = net.last.weight.val().inner() - stepped.model().last.weight.val().inner();
        let expected = sum.clone() * (0.5 * factor);
        let difference = (moved - expected).abs().max().into_scalar::<f32>();
        assert!(difference < 1e-5, "{reduction:?}: {difference}");
        assert_eq!(stepped.steps(), 1);
    }
}

#[test]
fn shards_start_from_the_previous_update_once() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    device.seed(11);
    let mut net = Net::new(&device);
    net.dropout.prob = 0.0;
    let batches =
        [0..16, 16..32, 32..48].map(|range| Batches.batch(items(48)[range].to_vec(), &device));
    for radius in [None, Some(0.02)] {
        let config = IefConfig::new().with_solve_momentum(0.8);
        let method = config.with_trust_region(radius).build();
        // One step of one batch, and what each of two would do after it.
        let start = |batch: &Batch, previous: &mut PreviousUpdate| {
            let tape = method.start();
            let grads = net.forward(batch.clone()).loss.backward();
            let step = method.step_with(previous, tape, grads, &net).unwrap();
            let update = step.gradients.get::<2>(net.last.weight.id).unwrap();
            // Of the whole update, before the trust region.
            (update / step.report.scale, step.report.scale)
        };
        let mut previous = method.new_state(&net);
        let (first, _) = start(&batches[0], &mut previous);
        let [a, b] = [1, 2].map(|k| start(&batches[k], &mut previous.clone()));
        let scale = (a.1 + b.1) / 2.0;
        assert_eq!(scale < 1.0, radius.is_some());
        let mean = (a.0.clone() + b.0.clone()) * 0.5;
        // (Δ_a − μΔ) + (Δ_b − μΔ) + μΔ.
        let sum = a.0 + b.0 - first * 0.8;

        for (reduction, expected) in [(Reduction::Mean, mean), (Reduction::Sum, sum)] {
            let natural = Natural::new(net.clone(), method.clone()).with_reduction(reduction);
            let mut optim = method.optimizer();
            let grads = TrainStep::step(&natural, batches[0].clone()).grads;
            // A step size of zero: only the state moves.
            let natural = natural.optimize(&mut optim, 0.0.into(), grads);
            let mut accumulator = GradientsAccumulator::new();
            for batch in &batches[1..] {
                accumulator.accumulate(&natural, TrainStep::step(&natural, batch.clone()).grads);
            }
            let stepped = natural.optimize(&mut optim, 0.5.into(), accumulator.grads());
            let moved = net.last.weight.val().inner() - stepped.model().last.weight.val().inner();
            let difference = (moved - expected * (0.5 * scale)).abs().max();
            let difference = difference.into_scalar::<f32>();
            assert!(difference < 2e-5, "{reduction:?} {radius:?}: {difference}");
        }
    }
}

#[test]
fn accumulation_and_two_devices_run_through_the_learner() {
    let _turn = alone();
    // The second with state that each device has to find.
    let methods = [(0.0, 0.5), (0.5, 0.3)];
    for (name, accumulation, devices) in [("accumulated", Some(2), 1), ("devices", None, 2)] {
        for (reduction, (momentum, lr)) in [Reduction::Mean, Reduction::Sum]
            .into_iter()
            .flat_map(|reduction| methods.map(|method| (reduction, method)))
        {
            let path = directory(&format!("{name}-{reduction:?}-{momentum}"));
            let mut run = Run::new(&path, 6);
            run.accumulation = accumulation;
            run.devices = devices;
            run.reduction = reduction;
            let config = IefConfig::new().with_solve_momentum(momentum);
            let result = run.launch(&config.build(), lr);
            assert!(result.error.is_none(), "{:?}", result.error);
            assert_eq!(result.model.steps(), 18);
            let reached = accuracy(&result.model);
            assert!(reached > 0.85, "{name} {reduction:?}: {reached}");
            std::fs::remove_dir_all(path).unwrap();
        }
    }
}

/// Forgets to use `train_output`.
#[derive(Module, Debug)]
struct Plain {
    net: Net,
}

impl TrainStep for Plain {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> TrainOutput<ClassificationOutput> {
        let output = self.net.forward(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

#[test]
fn a_failing_step_stops_the_training_with_its_error() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    let interrupter = burn::train::Interrupter::new();
    let plain = Plain {
        net: Net::new(&device),
    };
    let before = plain.net.last.weight.val().into_data();
    let method = IefConfig::new().build();
    let natural = Natural::new(plain, method.clone()).with_interrupter(interrupter.clone());
    let output = TrainStep::step(&natural, Batches.batch(items(8), &device));
    assert!(output.grads.is_empty());
    assert!(interrupter.should_stop());
    let message = interrupter.get_message().unwrap();
    assert!(message.contains("train_output"), "{message}");
    let natural = natural.optimize(&mut method.optimizer(), 1.0.into(), output.grads);
    assert_eq!(natural.model().net.last.weight.val().into_data(), before);
    assert_eq!(natural.steps(), 0);
}

#[test]
#[should_panic(expected = "train_output")]
fn a_failing_step_without_an_interrupter_panics() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    let plain = Plain {
        net: Net::new(&device),
    };
    let natural = Natural::new(plain, IefConfig::new().build());
    TrainStep::step(&natural, Batches.batch(items(8), &device));
}

#[test]
fn the_record_keeps_the_steps() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    let method = IefConfig::new().build();
    let natural = Natural::new(Net::new(&device), method.clone());
    let output = TrainStep::step(&natural, Batches.batch(items(8), &device));
    let natural = natural.optimize(&mut method.optimizer(), 1.0.into(), output.grads);
    let record = natural.clone().into_record();
    let fresh = Natural::new(Net::new(&device), method).load_record(record);
    assert_eq!(fresh.steps(), 1);
    assert_eq!(weights(&fresh), weights(&natural));
}
