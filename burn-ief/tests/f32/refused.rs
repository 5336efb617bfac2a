//! What an optimizer refuses, and what it must not mix up.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{DType, Device, Distribution, Tensor};
use burn_ief::Error;
use burn_ief::methods::{Exact, Ggt, Ief, Recommended, Solution, System, UpdateRule};
use burn_ief::prelude::*;
use burn_ief::solve::{Coefficients, SolveReport, SolveRoute, Symmetric};

fn device() -> Device {
    Device::flex().autodiff()
}

fn layer(device: &Device) -> Linear {
    device.seed(1);
    LinearConfig::new(3, 2).init(device)
}

fn input(samples: usize, device: &Device) -> Tensor<2> {
    Tensor::random([samples, 3], Distribution::Normal(0.0, 1.0), device)
}

fn loss(layer: &Linear, x: Tensor<2>) -> Tensor<1> {
    let z = mark_output_as(layer.forward_recorded(x), Likelihood::Gaussian);
    mark_loss(z.square().sum_dim(1).mean() * 0.5)
}

#[test]
fn accumulated_batches_are_not_left_for_a_later_step() {
    let device = device();
    let model = layer(&device);
    let mut optim = EfConfig::new().init(&model);
    let tape = optim.start();
    let grads = loss(&model, input(4, &device)).backward();
    optim.accumulate(tape, grads, &model).unwrap();
    let error = optim.step_closure(0.1, model.clone(), |model| loss(model, input(4, &device)));
    assert_eq!(error.err(), Some(Error::PendingBatches { count: 1 }));
    let model = optim.step_accumulated(0.1, model).unwrap();
    let error = optim.step_accumulated(0.1, model);
    assert_eq!(error.err(), Some(Error::NothingAccumulated));
}

#[test]
fn shards_of_a_step_draw_different_labels() {
    let device = device();
    let model = layer(&device);
    let mut optim = SfConfig::new().init(&model);
    let x = input(6, &device);
    let mut rows = Vec::new();
    for _ in 0..2 {
        let tape = optim.start();
        let grads = loss(&model, x.clone()).backward();
        let batch = burn_ief::jacobian::RecordedBatch::collect(tape, grads, &model, None).unwrap();
        rows.push(batch.all_rows().to_dense().split_off(6));
        let tape = optim.start();
        let grads = loss(&model, x.clone()).backward();
        optim.accumulate(tape, grads, &model).unwrap();
    }
    assert_ne!(rows[0], rows[1]);
}

#[test]
fn outputs_of_one_axis_have_one_value_per_sample() {
    let device = device();
    device.seed(2);
    let model = LinearConfig::new(3, 1).init(&device);
    let x = input(5, &device);
    let step = |flat: bool| {
        let mut optim = IefConfig::new().init(&model);
        let tape = optim.start();
        let z = model.forward_recorded(x.clone());
        let squares = if flat {
            mark_output_as(z.squeeze_dim::<1>(1), Likelihood::Gaussian).square()
        } else {
            let z = mark_output_as(z, Likelihood::Gaussian);
            z.square().squeeze_dim::<1>(1)
        };
        let grads = (squares.mean() * 0.5).backward();
        let grads = optim.gradients(tape, grads, &model).unwrap();
        let weight = grads.get::<2>(model.weight.id).unwrap();
        weight.into_data().try_to_vec::<f32>().unwrap()
    };
    assert_eq!(step(true), step(false));
}

#[test]
fn a_batch_without_samples_is_refused_sample_by_sample() {
    let device = device();
    let model = layer(&device);
    let mut optim = EfConfig::new().init(&model);
    let x = input(1, &device);
    let error = optim.step_by_sample(0.1, model, 0, |model, _| loss(model, x.clone()));
    assert!(matches!(error, Err(Error::Size { found: 0, .. })));
}

/// Casts every parameter to f16.
struct Half;

impl ModuleMapper for Half {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| value.inner().cast(DType::F16).autodiff().require_grad())
    }
}

#[test]
fn parameters_in_half_precision_step_sample_by_sample() {
    let device = device();
    let model = layer(&device).map(&mut Half);
    let x = input(3, &device).cast(DType::F16);
    let mut optim = IefConfig::new().init(&model);
    let before = model.weight.val();
    let model = optim
        .step_by_sample(0.5, model, 3, |model, n| {
            loss(model, x.clone().narrow(0, n, 1))
        })
        .unwrap();
    let moved = (model.weight.val() - before).cast(DType::F32).abs().sum();
    let moved: f32 = moved.into_scalar();
    assert!(moved.is_finite() && moved > 0.0, "{moved}");
}

#[derive(Debug, Clone)]
struct NotANumber;

impl UpdateRule for NotANumber {
    fn solve(&self, system: &System<'_>) -> Result<Solution, Error> {
        let c = vec![f64::NAN; system.size()];
        let report = SolveReport::new(0.0, 0.0, SolveRoute::Cholesky, 1.0, c.len(), 0.0);
        Ok(Coefficients::new(c.clone(), c, 0.0, report).into())
    }
}

#[test]
fn updates_that_are_not_finite_are_refused() {
    let device = device();
    let model = layer(&device);
    let (solve, step) = (SolveOptions::new(), StepOptions::new());
    let method = Exact::new(NotANumber, &solve, &step, &Recommended::default()).unwrap();
    let mut optim = NaturalOptimizer::new(method, &model);
    let error = optim.step_closure(0.1, model, |model| loss(model, input(4, &device)));
    assert_eq!(error.err(), Some(Error::NonFiniteUpdate));
    assert_eq!(optim.steps(), 0);
}

#[test]
fn rules_without_a_start_refuse_momentum_in_the_solve() {
    let solve = SolveOptions::new().with_momentum(Some(0.9));
    let error = Exact::new(
        Ggt::default(),
        &solve,
        &StepOptions::new(),
        &Recommended::default(),
    )
    .err();
    let text = error.unwrap().to_string();
    assert!(text.contains("solve.momentum"), "{text}");
}

#[test]
fn rules_of_true_labels_leave_copies_out() {
    let gram = Symmetric::from_fn(3, |i, j| if i == j { 4.0 } else { 0.0 });
    let damping = Damping::absolute(0.0);
    let system = System::from_gram(gram, 2)
        .with_output_norms(vec![1.0; 2])
        .with_damping(damping);
    let update = Ief::default().solve(&system).unwrap();
    assert_eq!(update.into_coefficients().unwrap().values.len(), 2);
    let small = Symmetric::from_fn(1, |_, _| 1.0);
    let system = System::from_gram(small, 2).with_output_norms(vec![1.0; 2]);
    let error = Ief::default().solve(&system);
    assert!(matches!(error, Err(Error::Size { .. })));
}
