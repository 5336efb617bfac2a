//! Momentum in the solve: what it is at its ends, what it keeps, and what it refuses.

use burn::module::{Module, Param, ParamGroup};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::store::ModuleRecord;
use burn::tensor::activation::tanh;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_ief::nn::ForwardRecorded;
use burn_ief::optim::{NaturalStep, PreviousUpdate};
use burn_ief::update::{Damping, On};
use burn_ief::{
    EfConfig, Error, IefConfig, Likelihood, NaturalGradient, NgdConfig, SfConfig, mark_loss,
    mark_mean_loss, mark_output, mark_output_as,
};

/// Numbers that need no generator: tests share the device's.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    let value = |i: usize| {
        let x = (i as f64 + 1.3) * 12.9898 + seed as f64 * 78.233;
        (2.0 * (x.sin() * 43_758.547).fract().abs() - 1.0) as f32
    };
    (0..count).map(value).collect()
}

fn linear(inputs: usize, outputs: usize, seed: usize, device: &Device) -> Linear {
    let tensor = |dims: Vec<usize>| {
        let values = numbers(dims.iter().product(), seed);
        TensorData::new(values, dims)
    };
    let layer = LinearConfig::new(inputs, outputs).init(device);
    let weight = Tensor::from_data(tensor(vec![inputs, outputs]), device);
    let bias = Tensor::from_data(tensor(vec![outputs]), device);
    Linear {
        weight: layer.weight.map(|_| weight.require_grad()),
        bias: layer.bias.map(|b| b.map(|_| bias.require_grad())),
    }
}

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    last: Linear,
    spare: Param<Tensor<1>>,
}

impl Net {
    fn new(device: &Device) -> Self {
        Self {
            first: linear(5, 4, 1, device),
            last: linear(4, 3, 2, device),
            spare: Param::from_tensor(Tensor::ones([2], device)),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.last
            .forward_recorded(tanh(self.first.forward_recorded(x)))
    }
}

const SAMPLES: usize = 9;

fn device() -> Device {
    Device::flex().autodiff()
}

fn batch(samples: usize, seed: usize) -> (Tensor<2>, Tensor<1, Int>) {
    let device = device();
    let x = TensorData::new(numbers(samples * 5, seed + 10), [samples, 5]);
    let y: Vec<i64> = (0..samples).map(|n| ((n + seed) % 3) as i64).collect();
    (
        Tensor::from_data(x, &device),
        Tensor::from_data(y.as_slice(), &device),
    )
}

fn flat(model: &Net, grads: &GradientsParams) -> Vec<f32> {
    let mut all = Vec::new();
    for layer in [&model.first, &model.last] {
        let weight = grads.get::<2>(layer.weight.id).unwrap();
        let bias = grads.get::<1>(layer.bias.as_ref().unwrap().id).unwrap();
        all.extend(weight.into_data().try_to_vec::<f32>().unwrap());
        all.extend(bias.into_data().try_to_vec::<f32>().unwrap());
    }
    all
}

fn weights(model: &Net) -> Vec<f32> {
    let values = |layer: &Linear| layer.weight.val().into_data().try_to_vec::<f32>().unwrap();
    [values(&model.first), values(&model.last)].concat()
}

/// Step `step` of a method, on batch `seed`.
fn take(
    method: &NaturalGradient,
    previous: Option<&mut PreviousUpdate>,
    model: &Net,
    (step, samples, seed): (u64, usize, usize),
) -> Result<NaturalStep, Error> {
    let (x, y) = batch(samples, seed);
    let tape = method.start_at(step);
    let logits = mark_output(model.forward(x));
    let cross_entropy = CrossEntropyLossConfig::new().init(&device());
    let grads = mark_loss(cross_entropy.forward(logits, y)).backward();
    match previous {
        Some(previous) => method.step_with(previous, tape, grads, model),
        None => method.step(tape, grads, model),
    }
}

/// Every method with this λ and momentum.
fn methods(lambda: f64, momentum: f64) -> Vec<NaturalGradient> {
    let damping = Damping::absolute(lambda);
    vec![
        IefConfig::new()
            .with_damping(damping)
            .with_solve_momentum(momentum)
            .build(),
        IefConfig::new()
            .with_damping(damping.on(On::Gram))
            .with_solve_momentum(momentum)
            .build(),
        EfConfig::new()
            .with_damping(damping)
            .with_solve_momentum(momentum)
            .build(),
        SfConfig::new()
            .with_damping(damping)
            .with_solve_momentum(momentum)
            .build(),
        NgdConfig::new(3)
            .with_damping(damping)
            .with_solve_momentum(momentum)
            .build(),
    ]
}

fn norm(x: &[f32]) -> f64 {
    x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let difference: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    norm(&difference) / norm(b)
}

fn scaled(x: &[f32], factor: f64) -> Vec<f32> {
    x.iter().map(|x| (f64::from(*x) * factor) as f32).collect()
}

#[test]
fn momentum_is_at_least_zero_and_below_one() {
    let refused = |error: Result<(), Error>| {
        matches!(
            error,
            Err(Error::Config {
                field: "solve_momentum",
                ..
            })
        )
    };
    for value in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
        assert!(refused(
            IefConfig::new().with_solve_momentum(value).validate()
        ));
        assert!(refused(
            EfConfig::new().with_solve_momentum(value).validate()
        ));
        assert!(refused(
            SfConfig::new().with_solve_momentum(value).validate()
        ));
        assert!(refused(
            NgdConfig::new(3).with_solve_momentum(value).validate()
        ));
    }
    assert!(
        IefConfig::new()
            .with_solve_momentum(0.99)
            .validate()
            .is_ok()
    );
}

#[test]
fn no_momentum_and_a_first_step_are_the_plain_update_bit_for_bit() {
    let model = Net::new(&device());
    // The exact natural gradient solves M x M for 9 samples and P x P for 15.
    for samples in [SAMPLES, 15] {
        let first = (0, samples, 0);
        for (plain, with) in methods(1e-2, 0.0).iter().zip(methods(1e-2, 0.9)) {
            let expected = take(plain, None, &model, first).unwrap();
            let expected = flat(&model, &expected.gradients);
            let mut nothing = plain.new_state(&model);
            let mut previous = with.new_state(&model);
            for (method, state) in [(plain, &mut nothing), (&with, &mut previous)] {
                let found = take(method, Some(state), &model, first).unwrap();
                assert_eq!(flat(&model, &found.gradients), expected, "{method:?}");
            }
            // The second step of the one has moved away, that of the other has not.
            let found = take(&with, Some(&mut previous), &model, first).unwrap();
            assert_ne!(flat(&model, &found.gradients), expected, "{with:?}");
            let found = take(plain, Some(&mut nothing), &model, first).unwrap();
            assert_eq!(flat(&model, &found.gradients), expected, "{plain:?}");
        }
    }
}

#[test]
fn a_batch_that_repeats_tends_to_less_damping() {
    let model = Net::new(&device());
    let (lambda, momentum) = (0.1, 0.8);
    let less = methods(lambda * (1.0 - momentum), 0.0);
    for (method, less) in methods(lambda, momentum).iter().zip(less) {
        let mut previous = method.new_state(&model);
        let mut found = Vec::new();
        for _ in 0..80 {
            // One and the same batch, with the same drawn labels.
            let step = take(method, Some(&mut previous), &model, (0, SAMPLES, 0)).unwrap();
            found = flat(&model, &step.gradients);
        }
        let expected = take(&less, None, &model, (0, SAMPLES, 0)).unwrap();
        let error = distance(&found, &flat(&model, &expected.gradients));
        assert!(error < 1e-3, "{method:?}: {error:e}");
    }
}

#[test]
fn least_squares_has_the_same_solution() {
    let device = device();
    let x = Tensor::<2>::from_data(TensorData::new(numbers(32 * 5, 7), [32, 5]), &device);
    let truth = linear(5, 1, 3, &device);
    let y = truth.forward(x.clone()).detach();
    for momentum in [0.0, 0.5, 0.8] {
        let method = IefConfig::new()
            .with_damping(Damping::relative(1e-4))
            .with_solve_momentum(momentum)
            .build();
        let mut model = linear(5, 1, 4, &device);
        let mut previous = method.new_state(&model);
        let mut optim = method.optimizer();
        for step in 0..120 {
            let rows = |x: &Tensor<2>| x.clone().narrow(0, step * 4 % 32, 4);
            let tape = method.start();
            let z = model.forward_recorded(rows(&x));
            let z = mark_output_as(z, Likelihood::Gaussian);
            let losses = (z - rows(&y)).square() * 0.5;
            let grads = mark_mean_loss(losses.squeeze_dim(1)).backward();
            let grads = method
                .gradients_with(&mut previous, tape, grads, &model)
                .unwrap();
            model = optim.step(0.5, model, grads);
        }
        let error = (model.weight.val() - truth.weight.val()).abs().max();
        let error = error.into_scalar::<f32>();
        assert!(error < 1e-3, "{momentum}: {error}");
    }
}

#[test]
fn a_loop_continues_from_records_bit_for_bit() {
    let method = IefConfig::new().with_solve_momentum(0.9).build();
    let run = |mut model: Net, mut previous: PreviousUpdate, steps: std::ops::Range<usize>| {
        let mut optim = method.optimizer();
        for step in steps {
            let place = (step as u64, SAMPLES, step);
            let taken = take(&method, Some(&mut previous), &model, place).unwrap();
            model = optim.step(0.3, model, taken.gradients);
        }
        (model, previous)
    };
    let start = Net::new(&device());
    let fresh = method.new_state(&start);
    let (unbroken, _) = run(start.clone(), fresh.clone(), 0..6);

    let (model, previous) = run(start.clone(), fresh, 0..3);
    let bytes = [
        model.into_record().into_bytes().unwrap(),
        previous.into_record().into_bytes().unwrap(),
    ];
    let [model, previous] = bytes.map(|bytes| ModuleRecord::from_bytes(bytes).unwrap());
    let model = Net::new(&device()).load_record(model);
    let restored = method.new_state(&model).load_record(previous);
    let forgotten = method.new_state(&model);
    let (resumed, _) = run(model.clone(), restored, 3..6);
    assert_eq!(weights(&resumed), weights(&unbroken));
    let (other, _) = run(model, forgotten, 3..6);
    assert_ne!(weights(&other), weights(&unbroken));
}

#[test]
fn the_trust_region_and_normalisation_are_not_kept() {
    let model = Net::new(&device());
    let config = || IefConfig::new().with_solve_momentum(0.8);
    let free = config().build();
    let bounded = config().with_trust_region(Some(0.05)).build();
    let normal = config().with_normalize(Some(0.5)).build();
    let mut states = [&free, &bounded, &normal].map(|method| method.new_state(&model));
    for step in 0..4 {
        let place = (step as u64, SAMPLES, step);
        let [a, b, c] = &mut states;
        let plain = take(&free, Some(a), &model, place).unwrap();
        let clipped = take(&bounded, Some(b), &model, place).unwrap();
        let unit = take(&normal, Some(c), &model, place).unwrap();
        let expected = flat(&model, &plain.gradients);

        let scale = clipped.report.scale;
        assert!(scale < 0.9, "{scale}");
        let found = flat(&model, &clipped.gradients);
        assert!(distance(&found, &scaled(&expected, scale)) < 1e-6);
        for (clipped, plain) in clipped.decrease.iter().zip(&plain.decrease) {
            assert!((clipped - scale * plain).abs() < 1e-6);
        }

        let found = flat(&model, &unit.gradients);
        assert!((norm(&found) - 0.5).abs() < 1e-5);
        assert!(distance(&found, &scaled(&expected, 0.5 / norm(&expected))) < 1e-5);
    }
}

#[test]
fn a_group_keeps_its_own_parameters_alone() {
    let model = Net::new(&device());
    let method = |momentum: f64| {
        IefConfig::new()
            .with_group(Some(ParamGroup::from_predicate("first")))
            .with_solve_momentum(momentum)
            .build()
    };
    let mut previous = method(0.9).new_state(&model);
    assert_eq!(previous.num_params(), 5 * 4 + 4);
    for step in 0..2 {
        let place = (step as u64, SAMPLES, step);
        let with = take(&method(0.9), Some(&mut previous), &model, place).unwrap();
        let plain = take(&method(0.0), None, &model, place).unwrap();
        let [with, plain] = [with, plain].map(|step| flat(&model, &step.gradients));
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
    }
    let device = device();
    let model = Two {
        net: Net::new(&device),
        extra: linear(5, 3, 5, &device),
    };
    let method = IefConfig::new().with_solve_momentum(0.5).build();
    let mut previous = method.new_state(&model);
    let mut step = |seed: usize, extra: bool| {
        let (x, y) = batch(SAMPLES, seed);
        let tape = method.start();
        let logits = match extra {
            true => model.net.forward(x.clone()) + model.extra.forward_recorded(x),
            false => model.net.forward(x),
        };
        let cross_entropy = CrossEntropyLossConfig::new().init(&device);
        let grads = cross_entropy.forward(mark_output(logits), y).backward();
        method
            .step_with(&mut previous, tape, grads, &model)
            .unwrap()
    };
    let unused = step(0, false);
    assert!(unused.gradients.get::<2>(model.extra.weight.id).is_none());
    let used = step(1, true).gradients.get::<2>(model.extra.weight.id);
    let coasting = step(2, false);
    assert!(coasting.report.unused.contains(&"extra.weight".to_string()));
    let last = coasting.gradients;
    let coasting = last.get::<2>(model.extra.weight.id);
    let difference = (coasting.unwrap() - used.unwrap() * 0.5).abs().max();
    assert_eq!(difference.into_scalar::<f32>(), 0.0);
    // What nothing ever used is not touched, so that weight decay leaves it alone too.
    assert!(unused.gradients.get::<1>(model.net.spare.id).is_none());
    assert!(last.get::<1>(model.net.spare.id).is_none());
}

#[test]
fn what_does_not_fit_is_refused() {
    let model = Net::new(&device());
    let first = (0, SAMPLES, 0);
    let method = IefConfig::new().with_solve_momentum(0.9).build();
    let error = take(&method, None, &model, first).err().unwrap();
    assert_eq!(error, Error::NoState);
    assert!(error.to_string().contains("gradients_with"), "{error}");

    // Of another module.
    let mut foreign = method.new_state(&linear(5, 4, 0, &device()));
    let error = take(&method, Some(&mut foreign), &model, first).err();
    let Some(Error::ForeignState { expected, found }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(expected, "`first.weight` [5, 4]");
    assert_eq!(found, "`weight` [5, 4]");
    // Of a method that keeps nothing, and of a group.
    let mut nothing = IefConfig::new().build().new_state(&model);
    let mut group = IefConfig::new()
        .with_group(Some(ParamGroup::from_predicate("first")))
        .with_solve_momentum(0.9)
        .build()
        .new_state(&model);
    for state in [&mut nothing, &mut group] {
        let error = take(&method, Some(state), &model, first).err();
        let refused =
            matches!(&error, Some(Error::ForeignState { found, .. }) if found == "nothing more");
        assert!(refused, "{error:?}");
    }

    // A step that fails leaves the state as it was.
    let mut previous = method.new_state(&model);
    take(&method, Some(&mut previous), &model, first).unwrap();
    let mut same = previous.clone();
    let tape = method.start();
    let bad = model.forward(batch(SAMPLES, 1).0 * f32::NAN);
    let grads = mark_output(bad).sum().backward();
    let error = method.step_with(&mut previous, tape, grads, &model).err();
    assert!(matches!(error, Some(Error::NonFinite { .. })), "{error:?}");
    let [a, b] = [&mut previous, &mut same].map(|state| {
        let step = take(&method, Some(state), &model, (1, SAMPLES, 1)).unwrap();
        flat(&model, &step.gradients)
    });
    assert_eq!(a, b);
}
