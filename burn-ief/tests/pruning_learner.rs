//! Pruned models in `burn::train` learners.
#![cfg(feature = "train")]

mod three_classes;

use std::path::{Path, PathBuf};

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::InMemDataset;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::optim::AdamWConfig;
use burn::tensor::Device;
use burn::tensor::activation::relu;
use burn::train::renderer::CliMetricsRenderer;
use burn::train::{
    ClassificationOutput, InferenceStep, Interrupter, Learner, SupervisedTraining, TrainOutput,
    TrainStep,
};
use burn_ief::nn::ForwardRecorded;
use burn_ief::prune::{CubicScheduleConfig, PruneScope, SparsityMask, prune_by_magnitude};
use burn_ief::train::{EpochLoader, Natural, Sparse, train_output};
use burn_ief::{Error, IefConfig, mark_output};

use three_classes::{Batch, Batches, alone, items};

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    last: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        Self {
            first: LinearConfig::new(4, 10).init(device),
            last: LinearConfig::new(10, 3).init(device),
        }
    }

    fn forward(&self, Batch { x, y }: Batch) -> ClassificationOutput {
        let x = relu(self.first.forward_recorded(x));
        let logits = mark_output(self.last.forward_recorded(x));
        let loss = CrossEntropyLossConfig::new().init(&logits.device());
        ClassificationOutput::new(loss.forward(logits.clone(), y.clone()), logits, y)
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

fn batch(device: &Device) -> Batch {
    Batches.batch(items(64), device)
}

fn weights(net: &Net) -> Vec<f32> {
    let parts = [&net.first, &net.last].map(|layer| layer.weight.val().into_data());
    let parts = parts.map(|data| data.try_to_vec::<f32>().unwrap());
    parts.concat()
}

fn zeros(net: &Net) -> usize {
    weights(net).iter().filter(|&&w| w == 0.0).count()
}

/// Eight batches an epoch; pruned at steps 4, 8, 12, 16 and 20.
fn sparse(device: &Device) -> Sparse<Net> {
    device.seed(5);
    let net = Net::new(device);
    let mask = SparsityMask::weights(&net).unwrap();
    let schedule = CubicScheduleConfig::new(0.6, 4, 4).with_begin(4);
    let sparse = Sparse::new(net, mask).unwrap();
    sparse.with_schedule(schedule, PruneScope::Global).unwrap()
}

fn launch(directory: &Path, epochs: usize, resume: Option<usize>) -> Sparse<Net> {
    let device = Device::flex().autodiff();
    let loader = |batch| {
        EpochLoader::new(Batches, InMemDataset::new(items(64)), batch, 9)
            .resume_after(resume.unwrap_or(0) as u64)
            .build()
    };
    let mut training = SupervisedTraining::new(directory, loader(8), loader(64))
        .with_default_checkpointers()
        .with_application_logger(None)
        .renderer(Box::new(CliMetricsRenderer::new()))
        .num_epochs(epochs);
    if let Some(epoch) = resume {
        training = training.checkpoint(epoch);
    }
    let optim = AdamWConfig::new().with_weight_decay(0.1).init();
    let result = training.launch(Learner::new(sparse(&device), optim, 1e-2));
    assert!(result.error.is_none() && result.interrupted.is_none());
    result.model
}

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("burn-ief-pruning-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn a_learner_prunes_by_its_schedule_and_resumes_in_the_middle_of_it() {
    let _turn = alone();
    let [whole, broken] = ["whole", "broken"].map(directory);
    let unbroken = launch(&whole, 4, None);
    assert_eq!(unbroken.steps(), 32);
    assert_eq!(
        (unbroken.mask().pruned(), unbroken.mask().total()),
        (42, 70)
    );
    assert_eq!(zeros(unbroken.model()), 42);

    // Ends at step 8, between two prunings.
    let first = launch(&broken, 1, None);
    assert!((1..42).contains(&first.mask().pruned()));
    assert_eq!(zeros(first.model()), first.mask().pruned());
    let resumed = launch(&broken, 4, Some(1));
    assert_eq!(resumed.steps(), 32);
    assert_eq!(weights(resumed.model()), weights(unbroken.model()));
    for path in [whole, broken] {
        std::fs::remove_dir_all(path).unwrap();
    }
}

#[test]
fn either_wrapper_may_be_the_outer_one() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    let ief = IefConfig::new().build();
    let net = Net::new(&device);
    let pruned = |net: Net| {
        let dense = SparsityMask::weights(&net).unwrap();
        prune_by_magnitude(net, &dense, 0.5, PruneScope::Global).unwrap()
    };

    let inside = pruned(net.clone());
    let mut model = Natural::new(Sparse::new(inside.model, inside.mask).unwrap(), ief.clone());
    let mut optim = ief.optimizer();
    for _ in 0..5 {
        let output = TrainStep::step(&model, batch(&device));
        model = model.optimize(&mut optim, 0.1.into(), output.grads);
        assert_eq!(zeros(model.model().model()), 35);
    }
    assert_eq!((model.steps(), model.model().steps()), (5, 5));

    // A mask of the wrapped module covers `model.first.weight`.
    let natural = Natural::new(net.clone(), ief.clone());
    let dense = SparsityMask::weights(&natural).unwrap();
    assert_eq!(dense.layers()[0].path, "model.first.weight");
    let outside = prune_by_magnitude(natural, &dense, 0.5, PruneScope::Global).unwrap();
    let mut model = Sparse::new(outside.model, outside.mask).unwrap();
    let mut optim = ief.optimizer();
    for _ in 0..5 {
        let output = TrainStep::step(&model, batch(&device));
        model = model.optimize(&mut optim, 0.1.into(), output.grads);
        assert_eq!(zeros(model.model().model()), 35);
    }
    let plain = pruned(net.clone()).mask;
    let error = Sparse::new(Natural::new(net, ief), plain).unwrap_err();
    assert!(matches!(error, Error::ForeignMask { .. }), "{error}");
}

#[test]
fn a_run_whose_weights_are_no_longer_finite_is_stopped() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    let stop = Interrupter::new();
    let net = Net::new(&device);
    let mask = SparsityMask::weights(&net).unwrap();
    let schedule = CubicScheduleConfig::new(0.5, 1, 1).with_begin(1);
    let model = Sparse::new(net, mask).unwrap();
    let model = model.with_schedule(schedule, PruneScope::Global).unwrap();
    let model = model.with_interrupter(stop.clone());
    let output = TrainStep::step(&model, batch(&device));
    let mut optim = AdamWConfig::new().init();
    let model = model.optimize(&mut optim, f64::NAN.into(), output.grads);
    assert!(stop.should_stop());
    let reason = stop.get_message().unwrap();
    assert!(reason.contains("`first.weight`"), "{reason}");
    assert_eq!(model.mask().pruned(), 0);

    let bad = CubicScheduleConfig::new(2.0, 1, 1);
    let error = model.with_schedule(bad, PruneScope::Global).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Config {
                field: "target",
                ..
            }
        ),
        "{error}"
    );
}
