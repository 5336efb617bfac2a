//! The optimizers on small models: options, groups, errors, and identities of the updates.

use burn::module::{Module, Param, ParamGroup};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::activation::{softmax, tanh};
use burn::tensor::{Device, Distribution, Int, Tensor};
use burn_ief::jacobian::Jacobian;
use burn_ief::linalg::{Cholesky, Symmetric};
use burn_ief::nn::ForwardRecorded;
use burn_ief::update::{Amount, Damping, On};
use burn_ief::{
    EfConfig, Error, IefConfig, Likelihood, LossScale, NaturalGradient, NgdConfig, SfConfig, Tape,
    mark_loss, mark_mean_loss, mark_output, mark_output_as,
};

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    last: Linear,
}

impl Net {
    fn new(outputs: usize, device: &Device) -> Self {
        device.seed(3);
        Self {
            first: LinearConfig::new(5, 4).init(device),
            last: LinearConfig::new(4, outputs).init(device),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = tanh(self.first.forward_recorded(x));
        self.last.forward_recorded(x)
    }
}

fn batch(samples: usize, device: &Device) -> (Tensor<2>, Tensor<1, Int>) {
    device.seed(4);
    let x = Tensor::random([samples, 5], Distribution::Normal(0.0, 1.0), device);
    let y: Vec<i64> = (0..samples as i64).map(|n| n % 3).collect();
    (x, Tensor::from_data(y.as_slice(), device))
}

fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    let config = CrossEntropyLossConfig::new();
    config.init(&logits.device()).forward(logits, labels)
}

fn flat(model: &Net, grads: &GradientsParams) -> Vec<f64> {
    let mut all = Vec::new();
    for layer in [&model.first, &model.last] {
        let weight = grads.get::<2>(layer.weight.id).unwrap();
        let bias = grads.get::<1>(layer.bias.as_ref().unwrap().id).unwrap();
        all.extend(
            weight
                .into_data()
                .convert::<f64>()
                .try_to_vec::<f64>()
                .unwrap(),
        );
        all.extend(
            bias.into_data()
                .convert::<f64>()
                .try_to_vec::<f64>()
                .unwrap(),
        );
    }
    all
}

fn update(method: &NaturalGradient, model: &Net, samples: usize) -> Vec<f64> {
    let (x, y) = batch(samples, &model.first.weight.device());
    let tape = method.start();
    let logits = mark_output(model.forward(x));
    let grads = mark_loss(cross_entropy(logits, y)).backward();
    flat(model, &method.gradients(tape, grads, model).unwrap())
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    norm(&difference) / norm(b)
}

fn device() -> Device {
    Device::flex().autodiff()
}

#[test]
fn configurations_are_validated_by_field() {
    let field = |error: Result<(), Error>| match error {
        Err(Error::Config { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let damped = IefConfig::new().with_damping(Damping::absolute(-1.0));
    assert_eq!(field(damped.validate()), "damping");
    let nan = IefConfig::new().with_damping(Damping::relative(f64::NAN));
    assert_eq!(field(nan.validate()), "damping");
    assert_eq!(
        field(EfConfig::new().with_normalize(Some(0.0)).validate()),
        "normalize"
    );
    assert_eq!(
        field(EfConfig::new().with_weight_decay(-0.1).validate()),
        "weight_decay"
    );
    assert_eq!(
        field(IefConfig::new().with_trust_region(Some(-1.0)).validate()),
        "trust_region"
    );
    assert_eq!(
        field(IefConfig::new().with_cosine_filter(Some(1.5)).validate()),
        "cosine_filter"
    );
    assert_eq!(field(SfConfig::new().with_draws(0).validate()), "draws");
    assert_eq!(field(NgdConfig::new(0).validate()), "classes");
    let momentum = MomentumConfig::new().with_momentum(1.0);
    assert_eq!(
        field(IefConfig::new().with_momentum(Some(momentum)).validate()),
        "momentum"
    );
}

#[test]
#[should_panic(expected = "configuration field `weight_decay`: expected")]
fn build_panics_with_the_text_of_the_error() {
    IefConfig::new().with_weight_decay(-1.0).build();
}

#[test]
fn configurations_survive_json() {
    use burn::config::Config;
    let config = IefConfig::new()
        .with_damping(Damping::absolute(4e-4).on(On::Gram).without_floor())
        .with_normalize(Some(1.0))
        .with_momentum(Some(MomentumConfig::new()));
    let path = std::env::temp_dir().join(format!("burn-ief-config-{}.json", std::process::id()));
    config.save(&path).unwrap();
    let loaded = IefConfig::load(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(loaded.damping, config.damping);
    assert_eq!(loaded.damping.amount, Amount::Absolute(4e-4));
    assert_eq!(loaded.normalize, Some(1.0));
    assert!(loaded.momentum.is_some());
}

#[test]
fn updates_are_normalised_over_all_parameters() {
    let model = Net::new(3, &device());
    for method in [
        IefConfig::new().with_normalize(Some(0.5)).build(),
        EfConfig::new().with_normalize(Some(0.5)).build(),
        SfConfig::new().with_normalize(Some(0.5)).build(),
    ] {
        assert!((norm(&update(&method, &model, 9)) - 0.5).abs() < 1e-5);
    }
}

#[test]
fn the_trust_region_bounds_the_quadratic_form() {
    let model = Net::new(3, &device());
    let (x, y) = batch(9, &model.first.weight.device());
    let step = |config: EfConfig| {
        let method = config.build();
        let tape = method.start();
        let grads = cross_entropy(model.forward(x.clone()), y.clone()).backward();
        method.step(tape, grads, &model).unwrap()
    };
    // For EF ΔᵀF̃Δ = ‖JΔ‖².
    let free = step(EfConfig::new());
    let form = |decrease: &[f64]| 0.5 * decrease.iter().map(|d| d * d).sum::<f64>();
    let radius = 0.1 * form(&free.decrease);
    let clipped = step(EfConfig::new().with_trust_region(Some(radius)));
    assert!((form(&clipped.decrease) / radius - 1.0).abs() < 1e-9);
    assert!((clipped.report.scale - 0.1f64.sqrt()).abs() < 1e-9);
    let ratio = norm(&flat(&model, &clipped.gradients)) / norm(&flat(&model, &free.gradients));
    assert!((ratio - 0.1f64.sqrt()).abs() < 1e-5, "{ratio}");
}

#[test]
fn a_group_takes_the_natural_gradient_and_the_rest_its_plain_one() {
    let device = device();
    let model = Net::new(3, &device);
    let (x, y) = batch(9, &device);
    let group = ParamGroup::from_predicate("first");
    let ief = IefConfig::new().with_group(Some(group)).build();
    let tape = ief.start();
    let grads = cross_entropy(mark_output(model.forward(x.clone())), y.clone()).backward();
    let grads = ief.gradients(tape, grads, &model).unwrap();

    let plain = cross_entropy(model.forward(x), y).backward();
    let plain = GradientsParams::from_grads(plain, &model);
    let last = grads.get::<2>(model.last.weight.id).unwrap();
    let expected = plain.get::<2>(model.last.weight.id).unwrap();
    assert!((last - expected).abs().max().into_scalar::<f32>() < 1e-6);
    let first = grads.get::<2>(model.first.weight.id).unwrap();
    let expected = plain.get::<2>(model.first.weight.id).unwrap();
    assert!((first - expected).abs().max().into_scalar::<f32>() > 1e-2);

    // AdamW's first step moves every entry by its step size.
    let mut optim = ief.optimizer_with(AdamWConfig::new().with_weight_decay(0.0).build());
    let before = model.last.weight.val().inner();
    let stepped = optim.step(1e-3, model, grads);
    let moved = (stepped.last.weight.val().inner() - before).abs();
    assert!((moved.mean().into_scalar::<f32>() - 1e-3).abs() < 1e-5);
}

#[test]
fn a_group_may_take_an_unrecorded_layer_out() {
    let device = device();
    let model = Net::new(3, &device);
    let (x, y) = batch(9, &device);
    let ief = IefConfig::new()
        .with_group(Some(ParamGroup::from_predicate("last")))
        .build();
    let tape = ief.start();
    let hidden = tanh(model.first.forward(x));
    let grads = cross_entropy(mark_output(model.last.forward_recorded(hidden)), y).backward();
    let grads = ief.gradients(tape, grads, &model).unwrap();
    assert_eq!(grads.len(), 4);
}

#[test]
fn weight_decay_is_decoupled() {
    let device = device();
    let model = Net::new(3, &device);
    let method = IefConfig::new().with_weight_decay(0.1).build();
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
fn momentum_survives_a_record() {
    let device = device();
    let method = IefConfig::new()
        .with_momentum(Some(MomentumConfig::new()))
        .build();
    let mut model = Net::new(3, &device);
    let step = |optim: &mut ModuleOptimizer, model: Net| {
        let (x, y) = batch(9, &device);
        let tape = method.start();
        let grads = cross_entropy(mark_output(model.forward(x)), y).backward();
        let grads = method.gradients(tape, grads, &model).unwrap();
        optim.step(0.2, model, grads)
    };
    let mut optim = method.optimizer();
    model = step(&mut optim, model);
    let mut restored = method
        .optimizer()
        .from_bytes(optim.into_bytes().unwrap())
        .unwrap();
    let a = step(&mut optim, model.clone());
    let b = step(&mut restored, model.clone());
    assert_eq!(
        a.last.weight.val().into_data(),
        b.last.weight.val().into_data()
    );
    let c = step(&mut method.optimizer(), model);
    assert_ne!(
        a.last.weight.val().into_data(),
        c.last.weight.val().into_data()
    );
}

#[test]
fn ief_lowers_the_loss_at_a_step_size_of_one() {
    let device = device();
    let method = IefConfig::new().build();
    let mut optim = method.optimizer();
    let mut model = Net::new(3, &device);
    let mut losses = Vec::new();
    for _ in 0..20 {
        let (x, y) = batch(9, &device);
        let tape = method.start();
        let loss = cross_entropy(mark_output(model.forward(x)), y);
        losses.push(loss.clone().into_scalar::<f32>());
        let grads = method.gradients(tape, loss.backward(), &model).unwrap();
        model = optim.step(1.0, model, grads);
    }
    assert!(losses[19] < 0.05 * losses[0], "{losses:?}");
}

#[test]
fn every_loss_scale_gives_the_same_update() {
    let device = device();
    let model = Net::new(3, &device);
    let (x, y) = batch(9, &device);
    for method in [
        IefConfig::new().build(),
        EfConfig::new()
            .with_damping(Damping::absolute(1e-2))
            .build(),
        SfConfig::new()
            .with_damping(Damping::absolute(1e-1))
            .build(),
    ] {
        let update = |scale: LossScale, factor: f64| {
            let tape = method.start_at(0).with_loss_scale(scale);
            let mean = cross_entropy(mark_output(model.forward(x.clone())), y.clone());
            let grads = mark_loss(mean * factor).backward();
            flat(&model, &method.gradients(tape, grads, &model).unwrap())
        };
        let mean = update(LossScale::Mean, 1.0);
        assert!(distance(&update(LossScale::Sum, 9.0), &mean) < 1e-4);
        assert!(distance(&update(LossScale::Factor(0.5), 4.5), &mean) < 1e-4);

        let tape = method.start_at(0);
        let logits = mark_output(model.forward(x.clone()));
        let picked = burn::tensor::activation::log_softmax(logits, 1);
        let losses = picked
            .gather(1, y.clone().unsqueeze_dim(1))
            .neg()
            .squeeze_dim(1);
        let grads = mark_mean_loss(losses).backward();
        let handed = flat(&model, &method.gradients(tape, grads, &model).unwrap());
        assert!(distance(&handed, &mean) < 1e-4);
    }
}

#[test]
fn ief_is_the_natural_gradient_for_least_squares() {
    // App. A of the paper: one output and ½(z − y)² make iEF, Gauss-Newton and the natural
    // gradient one, at any λ on the Fisher matrix.
    let device = device();
    let model = Net::new(1, &device);
    let (x, _) = batch(7, &device);
    let y = x.clone().narrow(1, 0, 1);
    for lambda in [1e-3, 1e-1, 10.0] {
        let damping = Damping::absolute(lambda);
        let update = |method: &NaturalGradient| {
            let tape = method.start();
            let z = mark_output_as(model.forward(x.clone()), Likelihood::Gaussian);
            let losses = (z - y.clone()).square() * 0.5;
            let grads = mark_mean_loss(losses.squeeze_dim(1)).backward();
            flat(&model, &method.gradients(tape, grads, &model).unwrap())
        };
        let ief = update(&IefConfig::new().with_damping(damping).build());
        let exact = update(&NgdConfig::new(1).with_damping(damping).build());
        let error = distance(&ief, &exact);
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
        let (x, y) = batch(samples, &device);
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
                        let curvature = match c == d {
                            true => p[n * 3 + c] * (1.0 - p[n * 3 + c]),
                            false => -p[n * 3 + c] * p[n * 3 + d],
                        };
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
        let expected = Cholesky::new(&fisher).unwrap().solve(&gradient);
        let method = NgdConfig::new(3)
            .with_damping(Damping::absolute(lambda))
            .build();
        let found = update(&method, &model, samples);
        let error = distance(&found, &expected);
        assert!(error < 1e-3, "{samples}: {error}");
    }
}

#[test]
fn sampled_labels_come_closer_to_the_exact_fisher_with_more_draws() {
    let model = Net::new(3, &device());
    let damping = Damping::absolute(1.0);
    let exact = update(&NgdConfig::new(3).with_damping(damping).build(), &model, 9);
    let error = |draws| {
        let method = SfConfig::new()
            .with_draws(draws)
            .with_damping(damping)
            .build();
        // The mean over a few seeds of the draws.
        (0..8)
            .map(|_| distance(&update(&method, &model, 9), &exact))
            .sum::<f64>()
            / 8.0
    };
    let (few, many) = (error(1), error(64));
    // The error of a mean of 64 draws is about an eighth of that of one.
    assert!(many < 0.35 * few, "{few} {many}");
}

#[test]
fn draws_repeat_by_step_and_differ_between_steps() {
    let model = Net::new(3, &device());
    let (x, y) = batch(9, &model.first.weight.device());
    let method = SfConfig::new().with_seed(5).build();
    let update = |step| {
        let tape = method.start_at(step);
        let grads = mark_loss(cross_entropy(
            mark_output(model.forward(x.clone())),
            y.clone(),
        ))
        .backward();
        flat(&model, &method.gradients(tape, grads, &model).unwrap())
    };
    assert_eq!(update(0), update(0));
    assert_ne!(update(0), update(1));
}

#[test]
fn marking_the_loss_does_not_change_its_value() {
    let model = Net::new(3, &device());
    let (x, y) = batch(9, &model.first.weight.device());
    let plain = cross_entropy(model.forward(x.clone()), y.clone()).into_scalar::<f32>();
    let tape = SfConfig::new().build().start();
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
    let (x, y) = batch(9, &device);
    let ief = IefConfig::new().build();
    let tape = ief.start();
    let grads = cross_entropy(model.forward(x.clone()), y.clone()).backward();
    assert_eq!(
        ief.gradients(tape, grads, &model).unwrap_err(),
        Error::NoOutput
    );

    let sf = SfConfig::new().build();
    let tape = sf.start();
    let grads = cross_entropy(mark_output(model.forward(x.clone())), y.clone()).backward();
    assert_eq!(
        sf.gradients(tape, grads, &model).unwrap_err(),
        Error::NoLoss
    );

    let tape = Tape::start();
    let grads = mark_loss(cross_entropy(mark_output(model.forward(x)), y)).backward();
    assert_eq!(
        sf.gradients(tape, grads, &model).unwrap_err(),
        Error::NoSampledLabels
    );
}

#[test]
fn non_finite_samples_are_named() {
    let device = device();
    let model = Net::new(3, &device);
    let (x, y) = batch(9, &device);
    let poison = Tensor::<2>::full([1, 5], f32::NAN, &device);
    let x = x.slice_assign([4..5, 0..5], poison);
    for method in [IefConfig::new().build(), EfConfig::new().build()] {
        let tape = method.start();
        let grads = cross_entropy(mark_output(model.forward(x.clone())), y.clone()).backward();
        match method.gradients(tape, grads, &model) {
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
    let (x, y) = batch(9, &device);
    let ief = IefConfig::new().build();
    let tape = ief.start();
    let grads = cross_entropy(mark_output(model.net.forward(x)), y).backward();
    let step = ief.step(tape, grads, &model).unwrap();
    assert_eq!(step.report.unused, ["spare"]);
    assert!(step.gradients.get::<1>(model.spare.id).is_none());
}

#[test]
fn a_foreign_module_is_an_error() {
    let device = device();
    let (model, other) = (Net::new(3, &device), Net::new(3, &device));
    let (x, y) = batch(9, &device);
    let ief = IefConfig::new().build();
    let tape = ief.start();
    let grads = cross_entropy(mark_output(model.forward(x)), y).backward();
    let error = ief.gradients(tape, grads, &other).unwrap_err();
    assert!(matches!(error, Error::ForeignParameter { .. }), "{error}");
}

#[test]
fn a_validation_module_records_nothing() {
    let device = device();
    let model = Net::new(3, &device);
    let (x, _) = batch(9, &device);
    let tape = Tape::start();
    let recorded = model.valid().forward(x.clone().inner());
    drop(tape);
    let plain = model.valid().forward(x.inner());
    assert_eq!(recorded.into_data(), plain.into_data());
}
