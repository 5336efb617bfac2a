//! Accumulated batches and several devices in a learner, against one batch of all their samples, in
//! f64: what is left is rounding.
//!
//! A device takes its precision once per process, so this is a test binary of its own.
#![cfg(feature = "train")]

mod all;
mod double;
#[allow(dead_code)]
mod three_classes;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::InMemDataset;
use burn::lr_scheduler::linear::LinearLrSchedulerConfig;
use burn::optim::GradientsAccumulator;
use burn::tensor::Device;
use burn::train::renderer::CliMetricsRenderer;
use burn::train::{ExecutionStrategy, Learner, MultiDeviceOptim, SupervisedTraining, TrainStep};
use burn_ief::methods::{AnyConfig, Reduction, UpdateMetric};
use burn_ief::prelude::*;
use burn_ief::train::{DataParallel, EpochLoader, NaturalModel};

use three_classes::{Batch, Batches, Item, Net, Shape, alone, directory, items, weights};

const LR: f64 = 0.3;

/// Methods whose updates do not depend on labels that are drawn for each shard.
fn methods() -> Vec<AnyConfig> {
    let mut all = all::all();
    all.retain(|config| !["sf", "kfac"].contains(&config.name()));
    all
}

fn net(device: &Device) -> Net {
    device.seed(3);
    let shape = Shape {
        width: 6,
        norm: true,
        dropout: 0.0,
    };
    Net::new(shape, device)
}

fn batch(items: &[Item], device: &Device) -> Batch {
    Batches.batch(items.to_vec(), device)
}

/// ‖a − b‖ / ‖b − start‖: relative to what training has moved.
fn distance(a: &[f64], b: &[f64], start: &[f64]) -> f64 {
    let norm = |x: &[f64], y: &[f64]| {
        let squares = x.iter().zip(y).map(|(x, y)| (x - y).powi(2));
        squares.sum::<f64>().sqrt()
    };
    norm(a, b) / norm(b, start)
}

/// How a learner splits its data into the shards of a step.
struct Split {
    name: &'static str,
    devices: usize,
    accumulation: Option<usize>,
    strategy: Strategy,
}

#[derive(Clone, Copy)]
enum Strategy {
    Multi(MultiDeviceOptim),
    Parallel,
}

const ITEMS: usize = 37;
const BATCH: usize = 4;

impl Split {
    /// The samples of every step: batches of the parts of the data set, taken in turn.
    fn steps(&self) -> Vec<Vec<Item>> {
        let all = items(ITEMS);
        let each = ITEMS / self.devices;
        let parts: Vec<Vec<Item>> = (0..self.devices)
            .map(|k| {
                let end = if k + 1 == self.devices {
                    ITEMS
                } else {
                    (k + 1) * each
                };
                all[k * each..end].to_vec()
            })
            .collect();
        let longest = parts.iter().map(Vec::len).max().unwrap();
        let rounds: Vec<Vec<Item>> = (0..longest.div_ceil(BATCH))
            .map(|round| {
                let batches = parts
                    .iter()
                    .filter_map(|part| part.chunks(BATCH).nth(round));
                batches.flatten().copied().collect()
            })
            .collect();
        let each = self.accumulation.unwrap_or(1);
        rounds.chunks(each).map(|step| step.concat()).collect()
    }

    fn launch(&self, config: &AnyConfig, device: &Device) -> NaturalModel<Net> {
        let path = directory(&format!("learner-f64-{config}-{}", self.name));
        let loader =
            |batch| EpochLoader::in_order(Batches, InMemDataset::new(items(ITEMS)), batch).build();
        let mut training = SupervisedTraining::new(&path, loader(BATCH), loader(ITEMS))
            .with_application_logger(None)
            .renderer(Box::new(CliMetricsRenderer::new()))
            .num_epochs(1);
        let devices = vec![device.clone(); self.devices];
        training = training.with_training_strategy(match self.strategy {
            Strategy::Parallel => DataParallel::new(devices).into(),
            Strategy::Multi(_) if self.devices == 1 => {
                ExecutionStrategy::single(device.clone()).into()
            }
            Strategy::Multi(optim) => ExecutionStrategy::multi(devices, optim).into(),
        });
        if let Some(accumulation) = self.accumulation {
            training = training.grads_accumulation(accumulation);
        }
        let method = config.build();
        let natural = NaturalModel::new(net(device), method.clone());
        let natural = natural.with_interrupter(training.interrupter());
        let result = training.launch(Learner::new(natural, method.optimizer(), LR));
        std::fs::remove_dir_all(path).unwrap();
        assert!(result.error.is_none(), "{:?}", result.error);
        let reason = result.interrupted.and_then(|stop| stop.reason);
        assert!(reason.is_none(), "{reason:?}");
        result.model
    }
}

#[test]
fn shards_of_a_learner_make_the_update_of_one_batch() {
    let _turn = alone();
    let device = double::device();
    let main = MultiDeviceOptim::OptimMainDevice;
    let split = |name, devices, accumulation, optim| Split {
        name,
        devices,
        accumulation,
        strategy: Strategy::Multi(optim),
    };
    let parallel = |name, devices, accumulation| Split {
        name,
        devices,
        accumulation,
        strategy: Strategy::Parallel,
    };
    let splits = [
        split("accumulated", 1, Some(3), main),
        split("two", 2, None, main),
        split("three", 3, None, main),
        split("sharded", 2, None, MultiDeviceOptim::OptimSharded),
        split("both", 2, Some(2), main),
        parallel("parallel one", 1, None),
        parallel("parallel", 3, None),
        parallel("parallel both", 2, Some(2)),
    ];
    for config in methods() {
        for split in &splits {
            let steps = split.steps();
            // The last step is smaller than the others.
            assert!(steps.last().unwrap().len() < steps[0].len());
            assert_eq!(steps.iter().map(Vec::len).sum::<usize>(), ITEMS);
            let start = net(&device);
            let mut expected = start.clone();
            let mut optim = config.init(&expected);
            for items in &steps {
                let stepped =
                    optim.step_closure(LR, expected, |net| net.forward(batch(items, &device)).loss);
                expected = stepped.unwrap();
            }
            let found = split.launch(&config, &device);
            assert_eq!(found.steps(), steps.len() as u64);
            let error = distance(
                &weights(found.model()),
                &weights(&expected),
                &weights(&start),
            );
            println!("{config}, {}: {error:e}", split.name);
            assert!(error < 1e-9, "{config}, {}: {error:e}", split.name);
        }
    }
}

/// With shared batches the training does not depend on the number of devices, drawn labels included.
#[test]
fn shared_batches_make_the_training_of_one_device() {
    let _turn = alone();
    let device = double::device();
    // GGT takes the square roots of eigenvalues, and with them 1e-8 of rounding where the rows of a batch are dependent.
    let configs = all::all()
        .into_iter()
        .filter(|config| config.name() != "ggt");
    for config in configs {
        let train = |devices: usize| {
            let path = directory(&format!("learner-f64-shared-{config}-{devices}"));
            let data = || InMemDataset::new(items(ITEMS));
            let loader = EpochLoader::new(Batches, data(), 8, 5).share_batches();
            let valid = EpochLoader::in_order(Batches, data(), ITEMS);
            let training = SupervisedTraining::new(&path, loader.build(), valid.build())
                .with_application_logger(None)
                .renderer(Box::new(CliMetricsRenderer::new()))
                .num_epochs(2)
                .with_training_strategy(DataParallel::new(vec![device.clone(); devices]).into());
            let method = config.build();
            let natural = NaturalModel::new(net(&device), method.clone());
            let natural = natural.with_interrupter(training.interrupter());
            let result = training.launch(Learner::new(natural, method.optimizer(), LR));
            std::fs::remove_dir_all(path).unwrap();
            let stop = result.interrupted.and_then(|stop| stop.reason);
            assert!(
                stop.is_none() && result.error.is_none(),
                "{config}: {stop:?}"
            );
            // 37 items in batches of 7 and 8.
            assert_eq!(result.model.steps(), 10);
            weights(result.model.model())
        };
        let (start, expected) = (weights(&net(&device)), train(1));
        for devices in [2, 3] {
            let error = distance(&train(devices), &expected, &start);
            println!("{config}, {devices}: {error:e}");
            assert!(error < 1e-9, "{config}, {devices}: {error:e}");
        }
    }
}

/// A schedule moves once for each step, however many devices and accumulated batches make it.
#[test]
fn a_schedule_moves_once_for_each_step() {
    const STEPS: usize = 8;
    let _turn = alone();
    let device = double::device();
    let config = AnyConfig::from(IefConfig::new());
    let schedule = || {
        let schedule = LinearLrSchedulerConfig::new(LR, 0.0, STEPS);
        schedule.init().unwrap()
    };
    let all = items(32);
    let start = net(&device);
    let mut expected = start.clone();
    let mut optim = config.init(&expected);
    let mut rates = schedule();
    for step in 0..STEPS {
        let rate = rates.step();
        // In the middle, half of the peak.
        assert!((rate.base() - LR * (1.0 - step as f64 / STEPS as f64)).abs() < 1e-12);
        let items = &all[8 * (step % 4)..][..8];
        let stepped = optim.step_closure(rate, expected, |net| {
            net.forward(batch(items, &device)).loss
        });
        expected = stepped.unwrap();
    }
    for (devices, accumulation) in [(1, 1), (2, 1), (4, 1), (1, 2), (2, 2)] {
        let name = format!("learner-f64-schedule-{devices}-{accumulation}");
        let path = directory(&name);
        let data = || InMemDataset::new(all.clone());
        let loader = EpochLoader::in_order(Batches, data(), 8 / accumulation).share_batches();
        let valid = EpochLoader::in_order(Batches, data(), 32);
        let training = SupervisedTraining::new(&path, loader.build(), valid.build())
            .with_application_logger(None)
            .renderer(Box::new(CliMetricsRenderer::new()))
            .num_epochs(2)
            .grads_accumulation(accumulation)
            .with_training_strategy(DataParallel::new(vec![device.clone(); devices]).into());
        let method = config.build();
        let natural = NaturalModel::new(start.clone(), method.clone());
        let natural = natural.with_interrupter(training.interrupter());
        let learner = Learner::new(natural, method.optimizer(), schedule());
        let result = training.launch(learner);
        std::fs::remove_dir_all(path).unwrap();
        let stop = result.interrupted.and_then(|stop| stop.reason);
        assert!(stop.is_none() && result.error.is_none(), "{name}: {stop:?}");
        assert_eq!(result.model.steps(), STEPS as u64, "{name}");
        let found = weights(result.model.model());
        let error = distance(&found, &weights(&expected), &weights(&start));
        assert!(error < 1e-9, "{name}: {error:e}");
    }
}

/// `Joint` is the update of all samples, `Mean` and `Sum` those of the updates of unequal shards.
#[test]
fn reductions_are_what_they_say() {
    let _turn = alone();
    let device = double::device();
    let all = items(12);
    let shards = [&all[..5], &all[5..9], &all[9..]];
    for mut config in methods() {
        // Clip, trust region and norm of an update are not linear in it.
        config.step_mut().normalize = Some(0.0);
        if let Some(solve) = config.solve_mut() {
            solve.trust_region = Some(TrustRegion::Unbounded);
        }
        if let Some(factors) = config.factors_mut() {
            factors.kl_clip = Some(0.0);
        }
        let start = net(&device);
        let moved = |items: &[Item]| {
            let stepped = config.init(&start).step_closure(1.0, start.clone(), |net| {
                net.forward(batch(items, &device)).loss
            });
            let after = weights(&stepped.unwrap());
            let pairs = weights(&start).into_iter().zip(after);
            pairs.map(|(before, after)| before - after).collect()
        };
        let joint: Vec<f64> = moved(&all);
        let mut sum = vec![0.0; joint.len()];
        for shard in shards {
            let update: Vec<f64> = moved(shard);
            sum.iter_mut().zip(update).for_each(|(sum, x)| *sum += x);
        }
        let mean: Vec<f64> = sum.iter().map(|x| x / 3.0).collect();
        // The K-FAC family averages its factors over the shards and has one update. A metric is one
        // for all shards, so that separate steps have others.
        let mut resolved = config.clone().resolved();
        let solve = resolved.solve_mut();
        let separate = solve.is_some_and(|solve| solve.metric == Some(UpdateMetric::Identity));
        for (reduction, expected) in [
            (Reduction::Joint, joint),
            (Reduction::Mean, mean),
            (Reduction::Sum, sum),
        ] {
            if !separate && reduction != Reduction::Joint {
                continue;
            }
            let natural = NaturalModel::new(start.clone(), config.build());
            let natural = natural.with_reduction(reduction);
            let mut accumulator = GradientsAccumulator::new();
            for shard in shards {
                let grads = TrainStep::step(&natural, batch(shard, &device)).grads;
                accumulator.accumulate(&natural, grads);
            }
            let mut optim = config.build().optimizer();
            let stepped = natural.optimize(&mut optim, 1.0.into(), accumulator.grads());
            let zero = weights(&start);
            let expected: Vec<f64> = zero.iter().zip(&expected).map(|(w, x)| w - x).collect();
            let error = distance(&weights(stepped.model()), &expected, &zero);
            assert!(error < 1e-9, "{config} {reduction}: {error:e}");
        }
    }
}
