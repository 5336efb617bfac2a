//! The optimizer on small models: options, groups, errors, and identities of the updates.

use crate::exact;
use crate::host;
use crate::two_layers;

use burn::config::Config;
use burn::module::{Module, Param, ParamGroup};
use burn::nn::LinearConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::activation::{log_softmax, softmax, tanh};
use burn::tensor::{Device, Distribution, Tensor};
use burn_ief::Error;
use burn_ief::jacobian::Jacobian;
use burn_ief::methods::{AnyConfig, RunningSquares, UpdateMetric};
use burn_ief::prelude::*;
use burn_ief::solve::Symmetric;

use exact::exact;
use two_layers::{Net, batch, cross_entropy, distance, flat, norm};

fn device() -> Device {
    Device::flex().autodiff()
}

/// The first update of a method.
fn update(config: &AnyConfig, model: &Net, samples: usize) -> Vec<f64> {
    let mut optim = config.init(model);
    let tape = optim.start();
    let grads = model.loss(batch(samples, 4, &device())).backward();
    flat(model, &optim.gradients(tape, grads, model).unwrap())
}

#[test]
fn configurations_are_validated_by_field() {
    let field = |error: Result<(), Error>| match error {
        Err(Error::Config { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let solve = SolveOptions::new;
    let ief = |solve| field(IefConfig::new().with_solve(solve).validate());
    let negative = solve().with_damping(Some(Damping::absolute(-1.0)));
    assert_eq!(ief(negative), "damping");
    let nan = solve().with_damping(Some(Damping::relative(f64::NAN)));
    assert_eq!(ief(nan), "damping");
    assert_eq!(
        ief(solve().with_trust_region(Some(TrustRegion::per_sample(-1.0)))),
        "trust_region"
    );
    assert_eq!(ief(solve().with_momentum(Some(1.0))), "solve.momentum");
    let step = StepOptions::new;
    let ef = |step| field(EfConfig::new().with_step(step).validate());
    assert_eq!(ef(step().with_normalize(Some(-1.0))), "normalize");
    assert_eq!(ef(step().with_weight_decay(-0.1)), "weight_decay");
    let momentum = MomentumConfig::new().with_momentum(1.0);
    assert_eq!(ef(step().with_momentum(Some(momentum))), "momentum");
    let filtered = IefConfig::new().with_cosine_filter(Some(1.5));
    assert_eq!(field(filtered.validate()), "cosine_filter");
    assert_eq!(field(SfConfig::new().with_draws(0).validate()), "draws");
    assert_eq!(field(NgdConfig::new().validate()), "classes");
    let ggt = GgtConfig::new().with_solve(solve().with_momentum(Some(0.5)));
    assert_eq!(field(ggt.validate()), "solve.momentum");
}

#[test]
#[should_panic(expected = "configuration field `weight_decay`: expected")]
fn build_panics_with_the_text_of_the_error() {
    let step = StepOptions::new().with_weight_decay(-1.0);
    IefConfig::new().with_step(step).build();
}

#[test]
fn configurations_survive_json() {
    let damping = Damping::absolute(4e-4)
        .on(DampedMatrix::Gram)
        .without_floor();
    let step = StepOptions::new()
        .with_normalize(Some(1.0))
        .with_momentum(Some(MomentumConfig::new()));
    let config = IefConfig::new()
        .with_solve(SolveOptions::new().with_damping(Some(damping)))
        .with_step(step);
    let path = std::env::temp_dir().join(format!("burn-ief-config-{}.json", std::process::id()));
    config.save(&path).unwrap();
    let loaded = IefConfig::load(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(loaded.solve.damping, Some(damping));
    assert_eq!(loaded.solve.trust_region, None);
    assert_eq!(loaded.step.normalize, Some(1.0));
    assert!(loaded.step.momentum.is_some());
}

/// What is left open is what the method recommends.
#[test]
fn defaults_are_those_that_the_methods_recommend() {
    let model = Net::new(3, &device());
    let length = |config: AnyConfig| norm(&update(&config, &model, 9));
    assert!((length(EfConfig::new().into()) - 1.0).abs() < 1e-5);
    assert!((length(SfConfig::new().into()) - 1.0).abs() < 1e-5);
    assert!((length(IefConfig::new().into()) - 1.0).abs() > 1e-2);
    let plain = exact(EfConfig::new(), Damping::default(), 0.0);
    assert!((length(plain) - 1.0).abs() > 1e-2);
    let solve = |config: AnyConfig| config.resolved().solve_mut().cloned().unwrap();
    let ief = solve(IefConfig::new().into());
    assert_eq!(ief.damping, Some(Damping::relative(0.1)));
    assert_eq!(ief.trust_region, Some(TrustRegion::per_sample(0.015)));
    assert_eq!(ief.momentum, Some(0.9));
    let separable = UpdateMetric::Separable(RunningSquares::default().with_power(0.25));
    assert_eq!(ief.metric, Some(separable));
    let ef = solve(EfConfig::new().into());
    assert_eq!(ef.damping, Some(Damping::relative(1e-3)));
    assert_eq!(ef.trust_region, Some(TrustRegion::Unbounded));
    assert_eq!(
        (ef.momentum, ef.metric),
        (Some(0.0), Some(UpdateMetric::Identity))
    );
    let of_ief = update(&IefConfig::new().into(), &model, 9);
    let resolved = AnyConfig::from(IefConfig::new()).resolved();
    assert_eq!(of_ief, update(&resolved, &model, 9));
    // Momentum in the solve keeps a state.
    let moving = exact(IefConfig::new(), Damping::default(), 0.9);
    assert_eq!(moving.init(&model).state().num_params(), 39);
    assert_eq!(EfConfig::new().init(&model).state().num_params(), 0);
}

#[test]
fn updates_are_normalised_over_all_parameters() {
    let model = Net::new(3, &device());
    let step = StepOptions::new().with_normalize(Some(0.5));
    let configs: [AnyConfig; 3] = [
        IefConfig::new().with_step(step.clone()).into(),
        EfConfig::new().with_step(step.clone()).into(),
        SfConfig::new().with_step(step).into(),
    ];
    for config in configs {
        assert!((norm(&update(&config, &model, 9)) - 0.5).abs() < 1e-5);
    }
}

#[test]
fn the_trust_region_bounds_the_quadratic_form() {
    let model = Net::new(3, &device());
    let ef = |radius: Option<f64>| {
        let mut config = exact(EfConfig::new(), Damping::default(), 0.0);
        config.solve_mut().unwrap().trust_region =
            Some(radius.map_or(TrustRegion::Unbounded, TrustRegion::total));
        config
    };
    let decrease = |config: &AnyConfig| {
        let mut optim = config.init(&model);
        let tape = optim.start();
        let grads = model.loss(batch(9, 4, &device())).backward();
        let stepped = optim.step_with_report(0.0, model.clone(), tape, grads);
        let report = stepped.unwrap().1;
        let solve = report.solve().unwrap();
        assert_eq!(solve.scale, report.scale);
        (solve.decrease.clone(), report.scale)
    };
    // For EF ΔᵀF̃Δ = ‖JΔ‖².
    let form = |decrease: &[f64]| 0.5 * decrease.iter().map(|d| d * d).sum::<f64>();
    let radius = 0.1 * form(&decrease(&ef(None)).0);
    let (clipped, scale) = decrease(&ef(Some(radius)));
    assert!((form(&clipped) / radius - 1.0).abs() < 1e-9);
    assert!((scale - 0.1f64.sqrt()).abs() < 1e-9);
    let ratio = norm(&update(&ef(Some(radius)), &model, 9)) / norm(&update(&ef(None), &model, 9));
    assert!((ratio - 0.1f64.sqrt()).abs() < 1e-5, "{ratio}");
}

#[test]
fn the_trust_region_of_a_sample_does_not_depend_on_the_scale_of_the_targets() {
    let device = device();
    let model = LinearConfig::new(4, 1).init(&device);
    let x = Tensor::<2>::random([9, 4], Distribution::Normal(0.0, 1.0), &device);
    let y = Tensor::<2>::random([9, 1], Distribution::Normal(5.0, 1.0), &device);
    let solve = SolveOptions::new().with_trust_region(Some(TrustRegion::per_sample(0.015)));
    let factor = |scale: f64| {
        let mut optim = IefConfig::new().with_solve(solve.clone()).init(&model);
        let tape = optim.start();
        let z = mark_output(model.forward_recorded(x.clone()) * scale);
        let loss = mark_loss((z - y.clone() * scale).square().mean() * 0.5);
        let stepped = optim.step_with_report(0.1, model.clone(), tape, loss.backward());
        stepped.unwrap().1.scale
    };
    let (own, larger) = (factor(1.0), factor(300.0));
    assert!(own < 0.9, "{own}");
    assert!((larger / own - 1.0).abs() < 1e-4, "{own}, {larger}");
    // Squared norms below 1 do not make the region smaller.
    assert_eq!(factor(1e-3), 1.0);
}

#[test]
fn a_group_takes_the_natural_gradient_and_the_rest_its_plain_one() {
    let device = device();
    let model = Net::new(3, &device);
    let step = StepOptions::new().with_group(Some(ParamGroup::from_predicate("first")));
    let config = IefConfig::new().with_step(step);
    let run = || {
        let optim = config.init(&model);
        let tape = optim.start();
        let grads = model.loss(batch(9, 4, &device)).backward();
        (optim, tape, grads)
    };
    let (mut optim, tape, grads) = run();
    let grads = optim.gradients(tape, grads, &model).unwrap();

    let plain = model.loss(batch(9, 4, &device)).backward();
    let plain = GradientsParams::from_grads(plain, &model);
    let last = grads.get::<2>(model.last.weight.id).unwrap();
    let expected = plain.get::<2>(model.last.weight.id).unwrap();
    assert!((last - expected).abs().max().into_scalar::<f32>() < 1e-6);
    let first = grads.get::<2>(model.first.weight.id).unwrap();
    let expected = plain.get::<2>(model.first.weight.id).unwrap();
    assert!((first - expected).abs().max().into_scalar::<f32>() > 1e-2);

    // AdamW's first step moves every entry by its step size.
    let adamw = AdamWConfig::new().with_weight_decay(0.0).build();
    let (optim, tape, grads) = run();
    let before = model.last.weight.val().inner();
    let stepped = optim.with_rest(adamw).step(1e-3, model, tape, grads);
    let moved = (stepped.unwrap().last.weight.val().inner() - before).abs();
    assert!((moved.mean().into_scalar::<f32>() - 1e-3).abs() < 1e-5);
}

#[test]
fn a_group_may_take_an_unrecorded_layer_out() {
    let device = device();
    let model = Net::new(3, &device);
    let (x, y) = batch(9, 4, &device);
    let step = StepOptions::new().with_group(Some(ParamGroup::from_predicate("last")));
    let mut optim = IefConfig::new().with_step(step).init(&model);
    let tape = optim.start();
    let hidden = tanh(model.first.forward(x));
    let grads = cross_entropy(mark_output(model.last.forward_recorded(hidden)), y).backward();
    let grads = optim.gradients(tape, grads, &model).unwrap();
    assert_eq!(grads.len(), 4);
}

#[test]
fn weight_decay_is_decoupled() {
    let device = device();
    let model = Net::new(3, &device);
    let step = StepOptions::new().with_weight_decay(0.1);
    let method = IefConfig::new().with_step(step).build();
    let mut grads = GradientsParams::new();
    grads.register(
        model.last.weight.id,
        Tensor::<2>::zeros([4, 3], &device.clone().inner()),
    );
    let before = model.last.weight.val().inner();
    let stepped = method.optimizer().step(0.5, model, grads);
    let expected = before * 0.95;
    let difference = (stepped.last.weight.val().inner() - expected).abs().max();
    assert!(difference.into_scalar::<f32>() < 1e-7);
}

#[test]
fn ief_lowers_the_loss_at_a_step_size_of_one() {
    let device = device();
    let mut model = Net::new(3, &device);
    let plain = SolveOptions::plain(Damping::default());
    let mut optim = IefConfig::new().with_solve(plain).init(&model);
    let mut losses = Vec::new();
    for _ in 0..20 {
        let stepped = optim.step_closure(1.0, model, |model| {
            let loss = model.loss(batch(9, 4, &device));
            losses.push(loss.clone().into_scalar::<f32>());
            loss
        });
        model = stepped.unwrap();
    }
    assert!(losses[19] < 0.05 * losses[0], "{losses:?}");
}

#[test]
fn every_loss_scale_gives_the_same_update() {
    let device = device();
    let model = Net::new(3, &device);
    let (x, y) = batch(9, 4, &device);
    for config in [
        exact(IefConfig::new(), Damping::default(), 0.0),
        exact(EfConfig::new(), Damping::absolute(1e-2), 0.0),
        exact(SfConfig::new(), Damping::absolute(1e-1), 0.0),
    ] {
        let update = |scale: LossScale, factor: f64| {
            let mut optim = config.init(&model);
            let tape = optim.start().with_loss_scale(scale);
            let mean = cross_entropy(mark_output(model.forward(x.clone())), y.clone());
            let grads = mark_loss(mean * factor).backward();
            flat(&model, &optim.gradients(tape, grads, &model).unwrap())
        };
        let mean = update(LossScale::Mean, 1.0);
        assert!(distance(&update(LossScale::Sum, 9.0), &mean) < 1e-4);
        assert!(distance(&update(LossScale::Factor(0.5), 4.5), &mean) < 1e-4);

        let mut optim = config.init(&model);
        let tape = optim.start();
        let logits = mark_output(model.forward(x.clone()));
        let picked = log_softmax(logits, 1);
        let losses = picked
            .gather(1, y.clone().unsqueeze_dim(1))
            .neg()
            .squeeze_dim(1);
        let grads = mark_mean_loss(losses).backward();
        let handed = flat(&model, &optim.gradients(tape, grads, &model).unwrap());
        assert!(distance(&handed, &mean) < 1e-4);
    }
}

#[test]
fn ief_is_the_natural_gradient_for_least_squares() {
    // App. A of the paper: one output and ½(z − y)² make iEF, Gauss-Newton and the natural
    // gradient one, at any λ on the Fisher matrix.
    let device = device();
    let model = Net::new(1, &device);
    let (x, _) = batch(7, 4, &device);
    let y = x.clone().narrow(1, 0, 1);
    for lambda in [1e-3, 1e-1, 10.0] {
        let damping = Damping::absolute(lambda);
        let update = |config: AnyConfig| {
            let mut optim = config.init(&model);
            let tape = optim.start();
            let z = mark_output_as(model.forward(x.clone()), Likelihood::Gaussian);
            let losses = (z - y.clone()).square() * 0.5;
            let grads = mark_mean_loss(losses.squeeze_dim(1)).backward();
            flat(&model, &optim.gradients(tape, grads, &model).unwrap())
        };
        let ief = update(exact(IefConfig::new(), damping, 0.0));
        let ngd = update(exact(NgdConfig::new().with_classes(1), damping, 0.0));
        let error = distance(&ief, &ngd);
        assert!(error < 1e-3, "{lambda}: {error}");
    }
}

#[test]
fn the_exact_natural_gradient_is_the_dense_solve() {
    let device = device();
    let model = Net::new(3, &device);
    // With 9 samples P = 39 is more than M = 9 but not more than the 27 enumerated rows: the dual
    // route for 9 samples, the primal one for 15.
    for samples in [9, 15] {
        let (x, y) = batch(samples, 4, &device);
        let lambda = 1e-2;
        let by_class: Vec<Vec<Vec<f64>>> = (0..3)
            .map(|class| {
                let logit = |model: &Net, n: usize| {
                    model
                        .forward(x.clone().narrow(0, n, 1))
                        .narrow(1, class, 1)
                        .sum()
                };
                Jacobian::by_sample(&model, samples, logit)
                    .unwrap()
                    .to_dense()
            })
            .collect();
        let p = softmax(model.forward(x.clone()).inner(), 1);
        let p = p.into_data().convert::<f64>().try_to_vec::<f64>().unwrap();
        let width = by_class[0][0].len();
        let fisher = Symmetric::from_fn(width, |a, b| {
            let mut sum = if a == b { lambda } else { 0.0 };
            for n in 0..samples {
                for c in 0..3 {
                    for d in 0..3 {
                        let diagonal = if c == d { p[n * 3 + c] } else { 0.0 };
                        let curvature = diagonal - p[n * 3 + c] * p[n * 3 + d];
                        sum += by_class[c][n][a] * curvature * by_class[d][n][b];
                    }
                }
            }
            sum
        });
        let gradient = Jacobian::by_sample(&model, samples, |model, n| {
            cross_entropy(
                model.forward(x.clone().narrow(0, n, 1)),
                y.clone().narrow(0, n, 1),
            )
        })
        .unwrap()
        .to_dense()
        .into_iter()
        .reduce(|a, b| a.iter().zip(&b).map(|(a, b)| a + b).collect())
        .unwrap();
        let expected = host::solve(&fisher, &gradient);
        let ngd = NgdConfig::new().with_classes(3);
        let found = update(&exact(ngd, Damping::absolute(lambda), 0.0), &model, samples);
        let error = distance(&found, &expected);
        assert!(error < 1e-3, "{samples}: {error}");
    }
}

#[test]
fn sampled_labels_come_closer_to_the_exact_fisher_with_more_draws() {
    let model = Net::new(3, &device());
    let damping = Damping::absolute(1.0);
    let ngd = NgdConfig::new().with_classes(3);
    let expected = update(&exact(ngd, damping, 0.0), &model, 9);
    let error = |draws| {
        // The mean over a few seeds of the draws.
        let errors = (0..8).map(|seed| {
            let sf = SfConfig::new().with_draws(draws).with_seed(seed);
            distance(&update(&exact(sf, damping, 0.0), &model, 9), &expected)
        });
        errors.sum::<f64>() / 8.0
    };
    let (few, many) = (error(1), error(64));
    // The error of a mean of 64 draws is about an eighth of that of one.
    assert!(many < 0.35 * few, "{few} {many}");
}

#[test]
fn draws_repeat_by_step_and_differ_between_steps() {
    let model = Net::new(3, &device());
    let updates = || {
        let mut optim = SfConfig::new().with_seed(5).init(&model);
        // The model stays, so that only the labels differ.
        [(); 2].map(|()| {
            let tape = optim.start();
            let grads = model.loss(batch(9, 4, &device())).backward();
            flat(&model, &optim.gradients(tape, grads, &model).unwrap())
        })
    };
    let [first, second] = updates();
    assert_eq!(updates(), [first.clone(), second.clone()]);
    assert_ne!(first, second);
}

#[test]
fn marking_the_loss_does_not_change_its_value() {
    let model = Net::new(3, &device());
    let (x, y) = batch(9, 4, &device());
    let plain = cross_entropy(model.forward(x.clone()), y.clone()).into_scalar::<f32>();
    let tape = SfConfig::new().init(&model).start();
    let logits = mark_output(model.forward(x));
    assert_eq!(logits.dims(), [9, 3]);
    let marked = mark_loss(cross_entropy(logits, y)).into_scalar::<f32>();
    assert!((plain - marked).abs() < 1e-6);
    drop(tape);
}

#[test]
fn missing_marks_are_errors() {
    let device = device();
    let model = Net::new(3, &device);
    let (x, y) = batch(9, 4, &device);
    let mut ief = IefConfig::new().init(&model);
    let tape = ief.start();
    let grads = cross_entropy(model.forward(x.clone()), y.clone()).backward();
    assert_eq!(
        ief.gradients(tape, grads, &model).unwrap_err(),
        Error::NoOutput
    );

    let mut sf = SfConfig::new().init(&model);
    let tape = sf.start();
    let grads = cross_entropy(mark_output(model.forward(x.clone())), y.clone()).backward();
    assert_eq!(
        sf.gradients(tape, grads, &model).unwrap_err(),
        Error::NoLoss
    );

    let tape = Tape::start();
    let grads = model.loss((x, y)).backward();
    assert_eq!(
        sf.gradients(tape, grads, &model).unwrap_err(),
        Error::NoSampledLabels
    );
}

#[test]
fn non_finite_samples_are_named() {
    let device = device();
    let model = Net::new(3, &device);
    let (x, y) = batch(9, 4, &device);
    let poison = Tensor::<2>::full([1, 5], f32::NAN, &device);
    let x = x.slice_assign([4..5, 0..5], poison);
    for config in ["ief", "ef", "ggt"].map(|name| name.parse::<AnyConfig>().unwrap()) {
        let mut optim = config.init(&model);
        let tape = optim.start();
        let grads = model.loss((x.clone(), y.clone())).backward();
        match optim.gradients(tape, grads, &model) {
            Err(Error::NonFinite { samples, .. }) => assert_eq!(samples, [4]),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("an update from NaN"),
        }
    }
}

#[test]
fn an_unused_parameter_has_zero_columns_and_is_reported() {
    #[derive(Module, Debug)]
    struct Spare {
        net: Net,
        spare: Param<Tensor<1>>,
    }
    let device = device();
    let model = Spare {
        net: Net::new(3, &device),
        spare: Param::from_tensor(Tensor::ones([2], &device)),
    };
    let run = || {
        let optim = IefConfig::new().init(&model);
        let tape = optim.start();
        (optim, tape, model.net.loss(batch(9, 4, &device)).backward())
    };
    let (mut optim, tape, grads) = run();
    let grads = optim.gradients(tape, grads, &model).unwrap();
    assert!(grads.get::<1>(model.spare.id).is_none());
    let (mut optim, tape, grads) = run();
    let (stepped, report) = optim
        .step_with_report(1.0, model.clone(), tape, grads)
        .unwrap();
    assert_eq!(report.unused, ["spare"]);
    assert_eq!(
        stepped.spare.val().into_data(),
        model.spare.val().into_data()
    );
}

#[test]
fn a_foreign_module_is_an_error() {
    let device = device();
    let (model, other) = (Net::new(3, &device), Net::new(3, &device));
    let mut optim = IefConfig::new().init(&model);
    let tape = optim.start();
    let grads = model.loss(batch(9, 4, &device)).backward();
    let error = optim.gradients(tape, grads, &other).unwrap_err();
    assert!(matches!(error, Error::ForeignParameter { .. }), "{error}");
}

#[test]
fn a_validation_module_records_nothing() {
    let device = device();
    let model = Net::new(3, &device);
    let (x, _) = batch(9, 4, &device);
    let tape = Tape::start();
    let recorded = model.valid().forward(x.clone().inner());
    drop(tape);
    let plain = model.valid().forward(x.inner());
    assert_eq!(recorded.into_data(), plain.into_data());
}
