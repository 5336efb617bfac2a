//! Momentum in the solve: what it is at its ends, what it keeps, and what it refuses.

use crate::exact;
use crate::two_layers;

use burn::module::{Module, Param, ParamGroup};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, TensorData};
use burn_ief::Error;
use burn_ief::methods::{AnyConfig, StepReport};
use burn_ief::prelude::*;

use exact::exact;
use two_layers::{Net, batch, cross_entropy, distance, flat, linear, norm, numbers, weights};

const SAMPLES: usize = 9;

fn device() -> Device {
    Device::flex().autodiff()
}

/// The update of the next step, on batch `seed`.
fn take(optim: &mut NaturalOptimizer, model: &Net, samples: usize, seed: usize) -> Vec<f64> {
    let tape = optim.start();
    let grads = model.loss(batch(samples, seed, &device())).backward();
    flat(model, &optim.gradients(tape, grads, model).unwrap())
}

/// The report of the next step; the model stays.
fn report(optim: &mut NaturalOptimizer, model: &Net, seed: usize) -> StepReport {
    let tape = optim.start();
    let grads = model.loss(batch(SAMPLES, seed, &device())).backward();
    let stepped = optim.step_with_report(0.0, model.clone(), tape, grads);
    stepped.unwrap().1
}

/// iEF with the default damping.
fn ief(momentum: f64) -> AnyConfig {
    exact(IefConfig::new(), Damping::default(), momentum)
}

/// Every method with this λ and momentum.
fn methods(lambda: f64, momentum: f64) -> [AnyConfig; 5] {
    let damping = Damping::absolute(lambda);
    let on_gram = damping.on(DampedMatrix::Gram);
    [
        exact(IefConfig::new(), damping, momentum),
        exact(IefConfig::new(), on_gram, momentum),
        exact(EfConfig::new(), damping, momentum),
        exact(SfConfig::new(), damping, momentum),
        exact(NgdConfig::new().with_classes(3), damping, momentum),
    ]
}

fn scaled(x: &[f64], factor: f64) -> Vec<f64> {
    x.iter().map(|x| x * factor).collect()
}

#[test]
fn momentum_is_at_least_zero_and_below_one() {
    for value in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
        for config in methods(1e-2, value) {
            let refused = matches!(
                config.validate(),
                Err(Error::Config {
                    field: "solve.momentum",
                    ..
                })
            );
            assert!(refused, "{config} {value}");
        }
    }
    assert!(ief(0.99).validate().is_ok());
}

#[test]
fn no_momentum_and_a_first_step_are_the_plain_update_bit_for_bit() {
    let model = Net::new(3, &device());
    // The exact natural gradient solves M x M for 9 samples and P x P for 15.
    for samples in [SAMPLES, 15] {
        for (plain, with) in methods(1e-2, 0.0).iter().zip(methods(1e-2, 0.9)) {
            // SF draws other labels in the next step, and is compared at one of the same number.
            let mut plain = plain.init(&model);
            let mut with = with.init(&model);
            let expected = [(); 2].map(|()| take(&mut plain, &model, samples, 0));
            assert_eq!(take(&mut with, &model, samples, 0), expected[0]);
            // The second step of the one has moved away, that of the other has not.
            assert_ne!(take(&mut with, &model, samples, 0), expected[1]);
            if plain.method().name() != "sf" {
                assert_eq!(expected[0], expected[1]);
            }
            assert_eq!(plain.state().num_params(), 0);
        }
    }
}

#[test]
fn a_batch_that_repeats_tends_to_less_damping() {
    let model = Net::new(3, &device());
    let (lambda, momentum) = (0.1, 0.8);
    let less = methods(lambda * (1.0 - momentum), 0.0);
    for (config, less) in methods(lambda, momentum).iter().zip(less) {
        // One and the same batch, with the same drawn labels: those of step 0.
        let step = |optim: &mut NaturalOptimizer| {
            let tape = optim.method().start(0);
            let grads = model.loss(batch(SAMPLES, 0, &device())).backward();
            flat(&model, &optim.gradients(tape, grads, &model).unwrap())
        };
        let mut optim = config.init(&model);
        let mut found = Vec::new();
        for _ in 0..80 {
            found = step(&mut optim);
        }
        let error = distance(&found, &step(&mut less.init(&model)));
        assert!(error < 1e-3, "{config}: {error:e}");
    }
}

#[test]
fn least_squares_has_the_same_solution() {
    let device = device();
    let x = Tensor::<2>::from_data(TensorData::new(numbers(32 * 5, 7), [32, 5]), &device);
    let truth = linear(5, 1, 3, &device);
    let y = truth.forward(x.clone()).detach();
    for momentum in [0.0, 0.5, 0.8] {
        let mut model = linear(5, 1, 4, &device);
        let config = exact(IefConfig::new(), Damping::relative(1e-4), momentum);
        let mut optim = config.init(&model);
        for step in 0..120 {
            let rows = |x: &Tensor<2>| x.clone().narrow(0, step * 4 % 32, 4);
            let stepped = optim.step_closure(0.5, model, |model: &Linear| {
                let z = model.forward_recorded(rows(&x));
                let z = mark_output_as(z, Likelihood::Gaussian);
                let losses = (z - rows(&y)).square() * 0.5;
                mark_mean_loss(losses.squeeze_dim(1))
            });
            model = stepped.unwrap();
        }
        let error = (model.weight.val() - truth.weight.val()).abs().max();
        let error = error.into_scalar::<f32>();
        assert!(error < 1e-3, "{momentum}: {error}");
    }
}

/// The previous update is saved with the record; without it the next steps are others.
#[test]
fn a_loop_that_forgets_the_previous_update_continues_otherwise() {
    let run = |mut model: Net, optim: &mut NaturalOptimizer, seeds: std::ops::Range<usize>| {
        for seed in seeds {
            let stepped = optim.step_closure(0.3, model, |model| {
                model.loss(batch(SAMPLES, seed, &device()))
            });
            model = stepped.unwrap();
        }
        model
    };
    let start = Net::new(3, &device());
    let unbroken = run(start.clone(), &mut ief(0.9).init(&start), 0..6);
    let mut optim = ief(0.9).init(&start);
    let half = run(start, &mut optim, 0..3);
    let mut restored = ief(0.9).init(&half).load_record(optim.to_record()).unwrap();
    assert_eq!(restored.steps(), 3);
    let resumed = run(half.clone(), &mut restored, 3..6);
    assert_eq!(weights(&resumed), weights(&unbroken));
    let other = run(half.clone(), &mut ief(0.9).init(&half), 3..6);
    assert_ne!(weights(&other), weights(&unbroken));
}

#[test]
fn the_trust_region_and_normalisation_are_not_kept() {
    let model = Net::new(3, &device());
    let free = ief(0.8);
    let (mut bounded, mut normal) = (ief(0.8), ief(0.8));
    bounded.solve_mut().unwrap().trust_region = Some(TrustRegion::total(0.05));
    normal.step_mut().normalize = Some(0.5);
    let mut optims = [&free, &bounded, &normal].map(|config| config.init(&model));
    // Twins take the same steps and give their reports.
    let mut twins = [&free, &bounded].map(|config| config.init(&model));
    for seed in 0..4 {
        let [expected, clipped, unit] = optims
            .each_mut()
            .map(|optim| take(optim, &model, SAMPLES, seed));
        let [plain, bound] = twins.each_mut().map(|optim| report(optim, &model, seed));
        let scale = bound.scale;
        assert!(scale < 0.9, "{scale}");
        assert!(distance(&clipped, &scaled(&expected, scale)) < 1e-6);
        let decrease = |report: &StepReport| report.solve().unwrap().decrease.clone();
        for (clipped, plain) in decrease(&bound).iter().zip(decrease(&plain)) {
            assert!((clipped - scale * plain).abs() < 1e-6);
        }
        assert!((norm(&unit) - 0.5).abs() < 1e-5);
        assert!(distance(&unit, &scaled(&expected, 0.5 / norm(&expected))) < 1e-5);
    }
}

#[test]
fn a_group_keeps_its_own_parameters_alone() {
    let model = Net::new(3, &device());
    let [mut with, mut plain] = [0.9, 0.0].map(|momentum| {
        let mut config = ief(momentum);
        config.step_mut().group = Some(ParamGroup::from_predicate("first"));
        config.init(&model)
    });
    assert_eq!(with.state().num_params(), 5 * 4 + 4);
    for step in 0..2 {
        let [with, plain] = [&mut with, &mut plain].map(|optim| take(optim, &model, SAMPLES, step));
        // What is outside has its plain gradient.
        assert_eq!(with[24..], plain[24..]);
        assert_eq!(with[..24] == plain[..24], step == 0);
    }
}

#[test]
fn a_parameter_without_rows_coasts_once_it_has_moved() {
    #[derive(Module, Debug)]
    struct Two {
        net: Net,
        extra: Linear,
        spare: Param<Tensor<1>>,
    }
    let device = device();
    let model = Two {
        net: Net::new(3, &device),
        extra: linear(5, 3, 5, &device),
        spare: Param::from_tensor(Tensor::ones([2], &device)),
    };
    // A twin takes the same steps and gives their reports.
    let [mut optim, mut twin] = [(); 2].map(|()| ief(0.5).init(&model));
    let mut step = |seed: usize, extra: bool| {
        let run = |optim: &NaturalOptimizer| {
            let (x, y) = batch(SAMPLES, seed, &device);
            let tape = optim.start();
            let mut logits = model.net.forward(x.clone());
            if extra {
                logits = logits + model.extra.forward_recorded(x);
            }
            (tape, cross_entropy(mark_output(logits), y).backward())
        };
        let (tape, grads) = run(&twin);
        let stepped = twin.step_with_report(0.0, model.clone(), tape, grads);
        let unused = stepped.unwrap().1.unused;
        let (tape, grads) = run(&optim);
        (optim.gradients(tape, grads, &model).unwrap(), unused)
    };
    let (first, _) = step(0, false);
    assert!(first.get::<2>(model.extra.weight.id).is_none());
    let used = step(1, true).0.get::<2>(model.extra.weight.id);
    let (last, unused) = step(2, false);
    assert!(unused.contains(&"extra.weight".to_string()));
    let coasting = last.get::<2>(model.extra.weight.id);
    let difference = (coasting.unwrap() - used.unwrap() * 0.5).abs().max();
    assert_eq!(difference.into_scalar::<f32>(), 0.0);
    // What nothing ever used is not touched, so that weight decay leaves it alone too.
    assert!(first.get::<1>(model.spare.id).is_none());
    assert!(last.get::<1>(model.spare.id).is_none());
}

#[test]
fn what_does_not_fit_is_refused() {
    #[derive(Module, Debug)]
    struct Group {
        first: Linear,
    }
    let device = device();
    let model = Net::new(3, &device);
    let refused = |mut optim: NaturalOptimizer| {
        let tape = optim.start();
        let grads = model.loss(batch(SAMPLES, 0, &device)).backward();
        match optim.gradients(tape, grads, &model) {
            Err(Error::ForeignState {
                expected, found, ..
            }) => (expected, found),
            other => panic!("{other:?}"),
        }
    };
    // Made for another module.
    let (expected, found) = refused(ief(0.9).init(&linear(5, 4, 0, &device)));
    assert_eq!(expected, "`first.weight` [5, 4]");
    assert_eq!(found, "`weight` [5, 4]");
    // Made for a part of the module.
    let part = Group {
        first: model.first.clone(),
    };
    let (expected, found) = refused(ief(0.9).init(&part));
    assert_eq!(
        (expected.as_str(), found.as_str()),
        ("`last.weight` [4, 3]", "nothing more")
    );

    // A step that fails leaves the state as it was.
    let [mut optim, mut same] = [(); 2].map(|()| ief(0.9).init(&model));
    for optim in [&mut optim, &mut same] {
        take(optim, &model, SAMPLES, 0);
    }
    let tape = optim.start();
    let bad = model.forward(batch(SAMPLES, 1, &device).0 * f32::NAN);
    let grads = mark_output(bad).sum().backward();
    let error = optim.gradients(tape, grads, &model).err();
    assert!(matches!(error, Some(Error::NonFinite { .. })), "{error:?}");
    assert_eq!(optim.steps(), 1);
    let [a, b] = [&mut optim, &mut same].map(|optim| take(optim, &model, SAMPLES, 1));
    assert_eq!(a, b);
}
