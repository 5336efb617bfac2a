//! `validate` on models that are right and on models that are not.

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::{Device, Distribution, Tensor};
use burn_ief::jacobian::{ValidationReport, validate};
use burn_ief::nn::ForwardRecorded;
use burn_ief::{Error, Rows, recorder};

const SAMPLES: usize = 6;

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    dropout: Dropout,
    last: Linear,
    spare: Linear,
}

impl Net {
    fn new(dropout: f64, device: &Device) -> Self {
        Self {
            first: LinearConfig::new(4, 5).init(device),
            dropout: DropoutConfig::new(dropout).init(),
            last: LinearConfig::new(5, 3).init(device),
            spare: LinearConfig::new(2, 2).with_bias(false).init(device),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.first.forward_recorded(x).tanh();
        self.last.forward_recorded(self.dropout.forward_recorded(x))
    }
}

fn device() -> Device {
    Device::flex().autodiff()
}

fn inputs(device: &Device) -> Tensor<2> {
    Tensor::random([SAMPLES, 4], Distribution::Normal(0.0, 1.0), device)
}

fn check(
    model: &Net,
    loss: impl Fn(Tensor<2>) -> Tensor<1>,
    x: &Tensor<2>,
) -> Result<ValidationReport, Error> {
    validate(model, SAMPLES, 1e-4, |model, range| {
        loss(model.forward(x.clone().slice([range])))
    })
}

#[test]
fn independent_samples_pass() {
    let device = device();
    let (model, x) = (Net::new(0.0, &device), inputs(&device));
    let report = check(&model, |y| y.square().sum(), &x).unwrap();
    let paths: Vec<&str> = report.parameters.iter().map(|p| p.path.as_str()).collect();
    let expected = [
        "first.weight",
        "first.bias",
        "last.weight",
        "last.bias",
        "spare.weight",
    ];
    assert_eq!(paths, expected);
    assert_eq!(report.unused, ["spare.weight"]);
    assert!(report.worst().unwrap().difference < 1e-5);
    assert!(report.to_string().starts_with("5 parameters agree"));
}

#[test]
fn subtracting_the_batch_mean_fails() {
    let device = device();
    let (model, x) = (Net::new(0.0, &device), inputs(&device));
    let loss = |y: Tensor<2>| (y.clone() - y.mean_dim(0)).square().sum();
    match check(&model, loss, &x).unwrap_err() {
        Error::Validation {
            parameter,
            sample,
            difference,
            ..
        } => {
            assert!(parameter.starts_with("first") || parameter.starts_with("last"));
            assert!(sample < SAMPLES);
            assert!(difference > 1e-2, "{difference}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_mean_in_the_place_of_the_sum_fails() {
    let device = device();
    let (model, x) = (Net::new(0.0, &device), inputs(&device));
    let error = check(&model, |y| y.square().mean(), &x).unwrap_err();
    assert!(matches!(error, Error::Validation { .. }), "{error}");
}

#[test]
fn dropout_fails() {
    let device = device();
    let (model, x) = (Net::new(0.5, &device), inputs(&device));
    let error = check(&model, |y| y.square().sum(), &x).unwrap_err();
    assert!(matches!(error, Error::Validation { .. }), "{error}");
}

/// `y = x ∘ scale` with a rule that forgets the input.
#[derive(Module, Debug)]
struct Wrong {
    linear: Linear,
    scale: Param<Tensor<1>>,
}

impl Wrong {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.linear.forward_recorded(x);
        let Some(recorder) = recorder() else {
            return x * self.scale.val().unsqueeze();
        };
        let y = x * self.scale.val().inner().unsqueeze();
        let (y, tap) = recorder.tap(y, &self.scale);
        recorder.record(&self.scale, SAMPLES, move |grads| {
            tap.error(grads).map(Rows::dense)
        });
        y
    }
}

#[test]
fn a_wrong_rule_is_named() {
    let device = device();
    let model = Wrong {
        linear: LinearConfig::new(4, 3).init(&device),
        scale: Param::from_tensor(Tensor::ones([3], &device)),
    };
    let x = inputs(&device);
    let error = validate(&model, SAMPLES, 1e-4, |model, range| {
        model.forward(x.clone().slice([range])).square().sum()
    })
    .unwrap_err();
    assert!(
        matches!(&error, Error::Validation { parameter, .. } if parameter == "scale"),
        "{error}"
    );
}

#[test]
fn an_unrecorded_use_is_an_error() {
    let device = device();
    let model = Net::new(0.0, &device);
    let x = inputs(&device);
    let error = validate(&model, SAMPLES, 1e-4, |model, range| {
        model.first.forward(x.clone().slice([range])).square().sum()
            + model
                .last
                .forward_recorded(Tensor::<2>::ones([SAMPLES, 5], &device))
                .sum()
    })
    .unwrap_err();
    assert!(matches!(error, Error::UnrecordedUse { .. }), "{error}");
}

#[test]
fn another_batch_size_is_an_error() {
    let device = device();
    let (model, x) = (Net::new(0.0, &device), inputs(&device));
    let error = validate(&model, SAMPLES - 1, 1e-4, |model, range| {
        match range.len() {
            1 => model.forward(x.clone().slice([range])).sum(),
            _ => model.forward(x.clone()).sum(),
        }
    })
    .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Size {
                expected: 5,
                found: 6,
                ..
            }
        ),
        "{error}"
    );
}
