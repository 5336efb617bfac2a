//! Pruned models in `burn::train` learners.
use crate::three_classes;

use std::path::Path;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::InMemDataset;
use burn::optim::AdamWConfig;
use burn::tensor::Device;
use burn::train::renderer::CliMetricsRenderer;
use burn::train::{Interrupter, Learner, SupervisedTraining, TrainStep};
use burn_ief::Error;
use burn_ief::error::PruneError;
use burn_ief::prelude::*;
use burn_ief::prune::{CubicScheduleConfig, PruneScope, SparsityMask, prune_by_magnitude};
use burn_ief::train::{EpochLoader, NaturalModel, Sparse};

use three_classes::{Batch, Batches, Net, Shape, alone, directory, items, weights};

fn net(device: &Device) -> Net {
    let shape = Shape {
        width: 10,
        norm: false,
        dropout: 0.0,
    };
    Net::new(shape, device)
}

fn batch(device: &Device) -> Batch {
    Batches.batch(items(64), device)
}

fn zeros(net: &Net) -> usize {
    weights(net).iter().filter(|&&w| w == 0.0).count()
}

/// Eight batches an epoch; pruned at steps 4, 8, 12, 16 and 20.
fn sparse(device: &Device) -> Sparse<Net> {
    device.seed(5);
    let net = net(device);
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

#[test]
fn a_learner_prunes_by_its_schedule_and_resumes_in_the_middle_of_it() {
    let _turn = alone();
    let [whole, broken] = ["pruning-whole", "pruning-broken"].map(directory);
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
    let plain = SolveOptions::plain(Damping::default());
    let ief = IefConfig::new().with_solve(plain).build();
    let net = net(&device);
    let pruned = |net: Net| {
        let dense = SparsityMask::weights(&net).unwrap();
        prune_by_magnitude(net, &dense, 0.5, PruneScope::Global).unwrap()
    };

    let inside = pruned(net.clone());
    let mut model = NaturalModel::new(Sparse::new(inside.model, inside.mask).unwrap(), ief.clone());
    let mut optim = ief.optimizer();
    for _ in 0..5 {
        let output = TrainStep::step(&model, batch(&device));
        model = model.optimize(&mut optim, 0.1.into(), output.grads);
        assert_eq!(zeros(model.model().model()), 35);
    }
    assert_eq!((model.steps(), model.model().steps()), (5, 5));

    // A mask of the wrapped module covers `model.first.weight`.
    let natural = NaturalModel::new(net.clone(), ief.clone());
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
    let error = Sparse::new(NaturalModel::new(net, ief), plain).unwrap_err();
    assert!(
        matches!(error, Error::Prune(PruneError::ForeignMask { .. })),
        "{error}"
    );
}

#[test]
fn a_run_whose_weights_are_no_longer_finite_is_stopped() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    let stop = Interrupter::new();
    let net = net(&device);
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
