//! The ways to take a step, and training.

use burn::module::Module;
use burn::optim::SgdConfig;
use burn_ief::Error;
use burn_ief::methods::{AnyConfig, StepReport};
use burn_ief::prelude::*;

use super::all::all;
use super::device;
use super::two_layers::{Net, batch, cross_entropy, flat, weights};

const SAMPLES: usize = 9;

/// A start, with its optimizer.
fn start(config: &AnyConfig) -> (Net, NaturalOptimizer) {
    let net = Net::new(3, &device());
    let optim = config.init(&net);
    (net, optim)
}

#[test]
fn it_trains() {
    for mut config in all() {
        // The K-FAC family bounds its updates.
        let lr = if config.factors_mut().is_some() {
            1.0
        } else {
            0.1
        };
        let (mut net, mut optim) = start(&config);
        let mut losses = Vec::new();
        for _ in 0..40 {
            losses.push(cross_entropy_of(&net));
            let stepped = optim.step_closure(lr, net, |net| net.loss(batch(SAMPLES, 0, &device())));
            net = stepped.unwrap();
        }
        println!("{config}: {} {}", losses[0], losses[39]);
        assert!(losses[39] < 0.8 * losses[0], "{config}: {losses:?}");
        assert_eq!(optim.steps(), 40);
    }
}

/// The loss of the batch without a recording.
fn cross_entropy_of(net: &Net) -> f32 {
    let (x, y) = batch(SAMPLES, 0, &device());
    let net = net.valid();
    cross_entropy(net.forward(x.inner()), y.inner()).into_scalar()
}

/// `step_closure`, `step` in lines of its own, and `gradients` with Burn's SGD are one.
#[test]
fn the_ways_to_step_agree_bit_for_bit() {
    for config in all() {
        let (mut closed, mut closure) = start(&config);
        let mut open = closed.clone();
        let mut lines = config.init(&open);
        let mut plain = closed.clone();
        let mut gradients = config.init(&plain);
        let mut sgd = SgdConfig::new().init();
        for seed in 0..4 {
            let batch = || batch(SAMPLES, seed, &device());
            closed = closure
                .step_closure(0.3, closed, |net| net.loss(batch()))
                .unwrap();

            let tape = lines.start();
            let grads = open.loss(batch()).backward();
            open = lines.step(0.3, open, tape, grads).unwrap();

            let tape = gradients.start();
            let grads = plain.loss(batch()).backward();
            let grads = gradients.gradients(tape, grads, &plain).unwrap();
            plain = sgd.step(0.3, plain, grads);

            assert!(weights(&closed).iter().all(|x| x.is_finite()), "{config}");
            assert_eq!(weights(&closed), weights(&open), "{config}");
            assert_eq!(weights(&closed), weights(&plain), "{config}");
        }
        let steps = [&closure, &lines, &gradients].map(|optim| optim.steps());
        assert_eq!(steps, [4; 3], "{config}");
    }
}

#[test]
fn a_report_says_what_the_step_did() {
    for mut config in all() {
        let exact = config.solve_mut().is_some();
        let (net, mut optim) = start(&config);
        assert_eq!(optim.last_report(), None, "{config}");
        let tape = optim.start();
        let grads = net.loss(batch(SAMPLES, 0, &device())).backward();
        let stepped = optim.step_with_report(0.3, net.clone(), tape, grads);
        let report: StepReport = stepped.unwrap().1;
        assert_eq!(optim.last_report(), Some(&report), "{config}");
        assert!(report.unused.is_empty(), "{config}: {report:?}");
        assert_eq!(report.solves.len(), usize::from(exact), "{config}");
        assert_eq!(report.factors.is_some(), !exact, "{config}");
        assert!(!report.to_string().is_empty());
        if let Some(solve) = report.solve() {
            // To first order every loss falls, or the sum of them.
            let decrease = &solve.decrease;
            assert_eq!(decrease.len(), SAMPLES, "{config}");
            assert!(decrease.iter().sum::<f64>() > 0.0, "{config}");
            assert!(solve.residual < 1e-6, "{config}: {solve:?}");
        }
        if let Some(factors) = &report.factors {
            assert!(factors.refreshed && factors.decrease > 0.0, "{config}");
        }
    }
}

/// A step that fails leaves everything as it was.
#[test]
fn a_failing_step_changes_nothing() {
    for config in all() {
        let (net, mut optim) = start(&config);
        let mut twin = config.init(&net);
        let update = |optim: &mut NaturalOptimizer, seed| {
            let tape = optim.start();
            let grads = net.loss(batch(SAMPLES, seed, &device())).backward();
            flat(&net, &optim.gradients(tape, grads, &net).unwrap())
        };
        for optim in [&mut optim, &mut twin] {
            update(optim, 0);
        }
        let tape = optim.start();
        let (x, y) = batch(SAMPLES, 1, &device());
        let grads = net.loss((x * f32::NAN, y)).backward();
        let error = optim.gradients(tape, grads, &net).unwrap_err();
        let known = matches!(error, Error::NonFinite { .. } | Error::Curvature { .. });
        assert!(known, "{config}: {error}");
        assert_eq!(optim.steps(), 1, "{config}");
        let [a, b] = [&mut optim, &mut twin].map(|optim| update(optim, 1));
        assert_eq!(a, b, "{config}");
    }
}

#[test]
fn nothing_accumulated_is_an_error() {
    for config in all() {
        let (net, mut optim) = start(&config);
        let error = optim.step_accumulated(0.1, net).unwrap_err();
        assert_eq!(error, Error::NothingAccumulated, "{config}");
    }
}

/// Methods that need the inputs of the layers say so before they run the model.
#[test]
fn one_backward_pass_per_sample_serves_exact_methods() {
    let mut able = Vec::new();
    for config in all() {
        let (net, mut optim) = start(&config);
        let result = optim.step_by_sample(0.1, net, SAMPLES, |net, n| {
            let (x, y) = batch(SAMPLES, 0, &device());
            net.loss((x.narrow(0, n, 1), y.narrow(0, n, 1)))
        });
        match result {
            Ok(_) => able.push(config.name()),
            Err(error) => assert_eq!(error, Error::BySample, "{config}"),
        }
    }
    able.sort();
    able.dedup();
    assert_eq!(able, ["ef", "ggt", "ief", "ngd", "sf"]);
}
