//! Natural-gradient methods in `burn::train` learners.
use crate::three_classes;

use std::path::Path;
use std::sync::Arc;

use burn::data::dataloader::DataLoader;
use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::InMemDataset;
use burn::module::{Module, ModuleDisplay};
use burn::optim::GradientsAccumulator;
use burn::optim::momentum::MomentumConfig;
use burn::tensor::{Device, Int, Tensor};
use burn::train::metric::LossMetric;
use burn::train::renderer::CliMetricsRenderer;
use burn::train::{
    ClassificationOutput, ExecutionStrategy, InferenceStep, Interrupter, Learner, LearningResult,
    MultiDeviceOptim, SupervisedTraining, TrainOutput, TrainStep,
};
use burn_ief::methods::kfac::FactorDamping;
use burn_ief::methods::{AnyConfig, AnyMethod, Reduction};
use burn_ief::prelude::*;
use burn_ief::train::{EpochLoader, NaturalModel, SolveMetric, SolveQuantity};

use three_classes::{Batch, Batches, Net, Shape, alone, directory, items, weights};

/// Training steps of a learner that may fail.
trait Trained:
    Module
    + ModuleDisplay
    + TrainStep<Input = Batch, Output = ClassificationOutput>
    + InferenceStep<Input = Batch, Output = ClassificationOutput>
    + 'static
{
}

impl Trained for Net {}
impl Trained for Plain {}

fn net(dropout: f64, device: &Device) -> Net {
    device.seed(11);
    let shape = Shape {
        width: 16,
        norm: true,
        dropout,
    };
    Net::new(shape, device)
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
    interrupter: bool,
}

impl<'a> Run<'a> {
    fn new(directory: &'a Path, epochs: usize) -> Self {
        Self {
            directory,
            epochs,
            resume: None,
            accumulation: None,
            devices: 1,
            reduction: Reduction::default(),
            interrupter: true,
        }
    }

    fn launch(&self, method: &AnyMethod, lr: f64) -> LearningResult<NaturalModel<Net>> {
        let device = Device::flex().autodiff();
        self.launch_model(net(0.1, &device), method, lr)
    }

    fn launch_model<M: Trained>(
        &self,
        model: M,
        method: &AnyMethod,
        lr: f64,
    ) -> LearningResult<NaturalModel<M>> {
        let device = Device::flex().autodiff();
        let train = EpochLoader::new(Batches, InMemDataset::new(items(96)), 16, 5)
            .resume_after(self.resume.unwrap_or(0) as u64);
        let mut training = SupervisedTraining::new(self.directory, train.build(), valid_loader())
            .metric_train_numeric(LossMetric::new())
            .metric_valid_numeric(LossMetric::new())
            .with_default_checkpointers()
            .with_application_logger(None)
            .renderer(Box::new(CliMetricsRenderer::new()))
            .num_epochs(self.epochs);
        let mut natural = NaturalModel::new(model, method.clone()).with_reduction(self.reduction);
        if self.interrupter {
            natural = natural.with_interrupter(training.interrupter());
        }
        for quantity in [SolveQuantity::Condition, SolveQuantity::Decrease] {
            training = training.metric_train_numeric(SolveMetric::new(&natural, quantity));
        }
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

fn accuracy(natural: &NaturalModel<Net>) -> f64 {
    let batch = Batches.batch(items(96), &Device::flex());
    let labels = batch.y.clone();
    let output = natural.model().forward(batch);
    let predicted: Tensor<1, Int> = output.output.argmax(1).squeeze_dim(1);
    let right = predicted.equal(labels).int().sum().into_scalar::<i64>();
    right as f64 / 96.0
}

/// iEF with this momentum in the solve.
fn ief(momentum: f64) -> AnyMethod {
    let solve = SolveOptions::plain(Damping::default()).with_momentum(Some(momentum));
    IefConfig::new().with_solve(solve).build().into()
}

/// Every method and a step size; intervals that do not divide an epoch's six steps.
fn methods() -> Vec<(String, AnyMethod, f64)> {
    let all = AnyConfig::NAMES.iter().map(|name| {
        let mut config: AnyConfig = name.parse().unwrap();
        if let Some(factors) = config.factors_mut() {
            factors.damping = FactorDamping::relative(1e-2);
            factors.factor_interval = 1;
            factors.inverse_interval = 5;
        }
        let mut lr = 1.0;
        match &mut config {
            AnyConfig::Ief(ief) => ief.solve.momentum = Some(0.0),
            AnyConfig::Ef(_) => lr = 0.1,
            AnyConfig::Sf(sf) => {
                // One drawn label per sample spans few directions: damp at the scale of the matrix.
                sf.solve.damping = Some(Damping::relative(1.0));
                lr = 0.1;
            }
            AnyConfig::Ngd(ngd) => {
                ngd.classes = 3;
                ngd.solve.damping = Some(Damping::relative(1.0));
            }
            AnyConfig::Ggt(ggt) => {
                ggt.step.normalize = Some(1.0);
                lr = 0.1;
            }
            AnyConfig::Iekfac(iekfac) => {
                iekfac.factors.factor_interval = 2;
                iekfac.factors.warm_up = 0;
            }
            AnyConfig::Ekfac(ekfac) => {
                ekfac.step.normalize = Some(1.0);
                lr = 0.1;
            }
            AnyConfig::Kfac(kfac) => {
                kfac.factors.warm_up = 3;
                kfac.factors.kl_clip = Some(0.05);
            }
            _ => panic!("`{name}` has no settings here"),
        }
        (name.to_string(), config.build(), lr)
    });
    let step = StepOptions::new().with_momentum(Some(MomentumConfig::new()));
    let mut moving = AnyConfig::from(IefConfig::new().with_step(step));
    moving.solve_mut().unwrap().momentum = Some(0.0);
    let more = [
        ("moments".to_string(), moving.build(), 0.3),
        ("spring".to_string(), ief(0.9), 0.3),
    ];
    all.chain(more).collect()
}

#[test]
fn every_method_trains_in_a_learner_and_resumes_bit_for_bit() {
    let _turn = alone();
    for (name, method, lr) in methods() {
        let path = directory(&format!("learner-{name}"));
        let unbroken = Run::new(&path, 6).launch(&method, lr);
        std::fs::remove_dir_all(path).unwrap();
        let reason = unbroken.interrupted.as_ref().map(|stop| &stop.reason);
        assert!(
            unbroken.error.is_none() && reason.is_none(),
            "{name}: {reason:?}"
        );
        assert_eq!(unbroken.model.steps(), 36);
        assert!(unbroken.model.last_report().is_some());
        let reached = accuracy(&unbroken.model);
        println!("{name}: {reached}");
        assert!(reached > 0.85, "{name}: {reached}");

        // 12 steps are a multiple of neither interval of ieKFAC.
        let path = directory(&format!("learner-{name}-broken"));
        Run::new(&path, 2).launch(&method, lr);
        let mut resumed = Run::new(&path, 6);
        resumed.resume = Some(2);
        let resumed = resumed.launch(&method, lr);
        std::fs::remove_dir_all(path).unwrap();
        assert_eq!(resumed.model.steps(), 36);
        let [a, b] = [&resumed, &unbroken].map(|result| weights(result.model.model()));
        assert_eq!(a, b, "{name}");
    }
}

#[test]
fn accumulated_and_multi_device_shards_are_reduced() {
    let _turn = alone();
    // One step over two shards against the two directions computed by hand. Dropout is off.
    let device = Device::flex().autodiff();
    let net = net(0.0, &device);
    let shards =
        [&items(32)[..16], &items(32)[16..]].map(|items| Batches.batch(items.to_vec(), &device));
    let direction = |batch: &Batch| {
        let mut optim = NaturalOptimizer::new(ief(0.0), &net);
        let tape = optim.start();
        let grads = net.forward(batch.clone()).loss.backward();
        let grads = optim.gradients(tape, grads, &net).unwrap();
        grads.get::<2>(net.last.weight.id).unwrap()
    };
    let sum = direction(&shards[0]) + direction(&shards[1]);
    for (reduction, factor) in [(Reduction::Sum, 1.0), (Reduction::Mean, 0.5)] {
        let natural = NaturalModel::new(net.clone(), ief(0.0)).with_reduction(reduction);
        let mut accumulator = GradientsAccumulator::new();
        for batch in &shards {
            accumulator.accumulate(&natural, TrainStep::step(&natural, batch.clone()).grads);
        }
        let mut optim = ief(0.0).optimizer();
        let stepped = natural.optimize(&mut optim, 0.5.into(), accumulator.grads());
        let moved = net.last.weight.val().inner() - stepped.model().last.weight.val().inner();
        let expected = sum.clone() * (0.5 * factor);
        let difference = (moved - expected).abs().max().into_scalar::<f32>();
        assert!(difference < 1e-5, "{reduction:?}: {difference}");
        assert_eq!(stepped.steps(), 1);
        assert_eq!(stepped.last_report().unwrap().solves.len(), 2);
    }
}

#[test]
fn shards_start_from_the_previous_update_once() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    let net = net(0.0, &device);
    let batches =
        [0..16, 16..32, 32..48].map(|range| Batches.batch(items(48)[range].to_vec(), &device));
    for radius in [TrustRegion::Unbounded, TrustRegion::total(0.02)] {
        let solve = SolveOptions::plain(Damping::default())
            .with_momentum(Some(0.8))
            .with_trust_region(Some(radius));
        let method = IefConfig::new().with_solve(solve).build();
        let run = |batch: &Batch, optim: &NaturalOptimizer<_>| {
            let tape = optim.start();
            (tape, net.forward(batch.clone()).loss.backward())
        };
        // One step of one batch, and what each of two would do after it: the whole update, before
        // the trust region, and its factor.
        let whole = |batches: &[&Batch]| {
            let mut optim = NaturalOptimizer::new(method.clone(), &net);
            let mut twin = NaturalOptimizer::new(method.clone(), &net);
            let mut last = None;
            for batch in batches {
                let (tape, grads) = run(batch, &twin);
                let stepped = twin.step_with_report(0.0, net.clone(), tape, grads);
                let scale = stepped.unwrap().1.scale;
                let (tape, grads) = run(batch, &optim);
                let update = optim.gradients(tape, grads, &net).unwrap();
                let update = update.get::<2>(net.last.weight.id).unwrap();
                last = Some((update / scale, scale));
            }
            last.unwrap()
        };
        let (first, _) = whole(&[&batches[0]]);
        let [a, b] = [1, 2].map(|k| whole(&[&batches[0], &batches[k]]));
        let scale = (a.1 + b.1) / 2.0;
        assert_eq!(scale < 1.0, radius != TrustRegion::Unbounded);
        let mean = (a.0.clone() + b.0.clone()) * 0.5;
        // (Δ_a − μΔ) + (Δ_b − μΔ) + μΔ.
        let sum = a.0 + b.0 - first * 0.8;

        for (reduction, expected) in [(Reduction::Mean, mean), (Reduction::Sum, sum)] {
            let natural = NaturalModel::new(net.clone(), method.clone()).with_reduction(reduction);
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
        for (reduction, (momentum, lr)) in [Reduction::Joint, Reduction::Mean, Reduction::Sum]
            .into_iter()
            .flat_map(|reduction| methods.map(|method| (reduction, method)))
        {
            let path = directory(&format!("learner-{name}-{reduction:?}-{momentum}"));
            let mut run = Run::new(&path, 6);
            run.accumulation = accumulation;
            run.devices = devices;
            run.reduction = reduction;
            let result = run.launch(&ief(momentum), lr);
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

impl InferenceStep for Plain {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> ClassificationOutput {
        self.net.forward(batch)
    }
}

fn plain() -> Plain {
    Plain {
        net: net(0.0, &Device::flex().autodiff()),
    }
}

#[test]
fn a_failing_step_stops_the_training_with_its_error() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    let interrupter = Interrupter::new();
    let plain = plain();
    let before = weights(&plain.net);
    let natural = NaturalModel::new(plain, ief(0.9)).with_interrupter(interrupter.clone());
    let output = TrainStep::step(&natural, Batches.batch(items(8), &device));
    assert!(output.grads.is_empty());
    assert!(interrupter.should_stop());
    let message = interrupter.get_message().unwrap();
    assert!(message.contains("train_output"), "{message}");
    let natural = natural.optimize(&mut ief(0.9).optimizer(), 1.0.into(), output.grads);
    assert_eq!(weights(&natural.model().net), before);
    assert_eq!(natural.steps(), 0);
}

#[test]
#[should_panic(expected = "train_output")]
fn a_failing_step_without_an_interrupter_panics() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    let natural = NaturalModel::new(plain(), ief(0.9));
    TrainStep::step(&natural, Batches.batch(items(8), &device));
}

#[test]
fn a_learner_ends_with_the_error_of_a_failing_step_and_nothing_is_stepped() {
    let _turn = alone();
    let plain = plain();
    let before = weights(&plain.net);
    for (name, devices, accumulation) in [
        ("single", 1, None),
        ("accumulated", 1, Some(3)),
        ("multi", 2, None),
    ] {
        let path = directory(&format!("learner-failing-{name}"));
        let mut run = Run::new(&path, 2);
        run.devices = devices;
        run.accumulation = accumulation;
        let result = run.launch_model(plain.clone(), &ief(0.9), 1.0);
        std::fs::remove_dir_all(path).unwrap();
        assert!(result.error.is_none(), "{:?}", result.error);
        let reason = result.interrupted.unwrap().reason.unwrap();
        assert!(reason.contains("train_output"), "{name}: {reason}");
        assert_eq!(result.model.steps(), 0, "{name}");
        assert_eq!(weights(&result.model.model().net), before, "{name}");
    }
    // Without an interrupter the step unwinds, and the workers of several devices hand that on.
    let path = directory("learner-unwinding");
    let mut run = Run::new(&path, 2);
    run.devices = 2;
    run.interrupter = false;
    let result = run.launch_model(plain, &ief(0.9), 1.0);
    std::fs::remove_dir_all(path).unwrap();
    let text = result.error.unwrap().to_string();
    assert!(text.contains("train_output"), "{text}");
    assert_eq!(result.model.steps(), 0);
    assert_eq!(weights(&result.model.model().net), before);
}

/// A shard that fails takes the whole step with it, and the next step is a whole one again.
#[test]
fn one_failing_shard_of_several_stops_the_step() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    let net = net(0.0, &device);
    let stop = Interrupter::new();
    let natural = NaturalModel::new(net.clone(), ief(0.9)).with_interrupter(stop.clone());
    let good = || Batches.batch(items(8), &device);
    let bad = Batch {
        x: good().x * f32::NAN,
        y: good().y,
    };
    for batch in [good(), bad, good()] {
        TrainStep::step(&natural, batch);
    }
    assert!(stop.get_message().unwrap().contains("NaN"));
    let mut optim = ief(0.9).optimizer();
    let natural = natural.optimize(&mut optim, 1.0.into(), Default::default());
    assert_eq!(natural.steps(), 0);
    assert_eq!(weights(natural.model()), weights(&net));

    TrainStep::step(&natural, good());
    let natural = natural.optimize(&mut optim, 1.0.into(), Default::default());
    let step = NaturalOptimizer::new(ief(0.9), &net)
        .step_closure(1.0, net, |net| net.forward(good()).loss)
        .unwrap();
    assert_eq!(natural.steps(), 1);
    assert_eq!(weights(natural.model()), weights(&step));
}

/// As under `ddp`, where each device steps by itself.
#[test]
fn replicas_that_step_by_themselves_are_refused() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    let stop = Interrupter::new();
    let natural = NaturalModel::new(net(0.0, &device), ief(0.9)).with_interrupter(stop.clone());
    let before = weights(natural.model());
    let step = |natural: NaturalModel<Net>| {
        let batch = Batches.batch(items(8), &Device::flex().autodiff());
        let grads = TrainStep::step(&natural, batch).grads;
        natural.optimize(&mut ief(0.9).optimizer(), 1.0.into(), grads)
    };
    let replica = natural.clone();
    let first = std::thread::spawn(move || step(replica)).join().unwrap();
    assert_eq!(first.steps(), 1);
    assert!(!stop.should_stop());
    let second = step(natural);
    let message = stop.get_message().unwrap();
    assert_eq!(message, burn_ief::Error::SeparateReplicas.to_string());
    assert!(message.contains("ddp"), "{message}");
    assert_eq!(second.steps(), 0);
    assert_eq!(weights(second.model()), before);
}

#[test]
fn the_record_keeps_the_steps() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    let natural = NaturalModel::new(net(0.1, &device), ief(0.9));
    let output = TrainStep::step(&natural, Batches.batch(items(8), &device));
    let natural = natural.optimize(&mut ief(0.9).optimizer(), 1.0.into(), output.grads);
    let record = natural.clone().into_record();
    let fresh = NaturalModel::new(net(0.1, &device), ief(0.9)).load_record(record);
    assert_eq!(fresh.steps(), 1);
    assert_eq!(weights(fresh.model()), weights(natural.model()));
}
