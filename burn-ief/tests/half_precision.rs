//! Models in bf16 and f16: every method trains, and counters count. A test binary of its own, because a device
//! takes its precision once per process; f16 has a process of its own.

use std::env;
use std::process::Command;

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig, Relu};
use burn::tensor::{DType, Device, Distribution, FloatDType, Int, Tensor, TensorData};
use burn::train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep};
use burn_ief::methods::AnyConfig;
use burn_ief::prelude::*;
use burn_ief::train::{NaturalModel, train_output};

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    last: Linear,
}

type Batch = (Tensor<2>, Tensor<1, Int>);

impl Net {
    fn logits(&self, x: Tensor<2>) -> Tensor<2> {
        let hidden = Relu::new().forward(self.first.forward_recorded(x));
        mark_output(self.last.forward_recorded(hidden))
    }
}

impl TrainStep for Net {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, (x, y): Batch) -> TrainOutput<ClassificationOutput> {
        let logits = self.logits(x);
        let loss = CrossEntropyLossConfig::new()
            .init(&logits.device())
            .forward(logits.clone(), y.clone());
        let grads = mark_loss(loss.clone()).backward();
        train_output(self, grads, ClassificationOutput::new(loss, logits, y))
    }
}

impl InferenceStep for Net {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, (x, y): Batch) -> ClassificationOutput {
        let logits = self.logits(x);
        ClassificationOutput::new(Tensor::zeros([1], &logits.device()), logits, y)
    }
}

/// Where the process for f16 is told its precision.
const PRECISION: &str = "BURN_IEF_TEST_PRECISION";

#[test]
fn every_method_trains_in_f16_and_counts_beyond_256() {
    let output = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "every_method_trains_in_bf16_and_counts_beyond_256",
        ])
        .env(PRECISION, "f16")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn every_method_trains_in_bf16_and_counts_beyond_256() {
    let (float, dtype) = match env::var(PRECISION).as_deref() {
        Ok("f16") => (FloatDType::F16, DType::F16),
        _ => (FloatDType::BF16, DType::BF16),
    };
    let mut device = Device::flex();
    device.configure(float).expect("before the first tensor");
    let device = device.autodiff();
    device.seed(3);
    let net = || Net {
        first: LinearConfig::new(6, 8).init(&device),
        last: LinearConfig::new(8, 3).init(&device),
    };
    let x = Tensor::<2>::random([12, 6], Distribution::Normal(0.0, 1.0), &device);
    assert_eq!(x.dtype(), dtype);
    let y: Vec<i64> = (0..12).map(|n| n % 3).collect();
    let y = Tensor::<1, Int>::from_data(TensorData::new(y, [12]), &device);

    let factors = FactorOptions::new()
        .with_factor_interval(1)
        .with_inverse_interval(10);
    let configs: Vec<AnyConfig> = vec![
        EfConfig::new().into(),
        IefConfig::new().into(),
        SfConfig::new().into(),
        NgdConfig::new().with_classes(3).into(),
        KfacConfig::new().with_factors(factors.clone()).into(),
        EkfacConfig::new().with_factors(factors.clone()).into(),
        IekfacConfig::new().with_factors(factors).into(),
    ];
    for config in configs {
        let method = config.build();
        let mut optim = method.optimizer();
        let mut model = NaturalModel::new(net(), method);
        let loss = |output: TrainOutput<ClassificationOutput>| {
            let loss = output
                .item
                .loss
                .clone()
                .cast(DType::F32)
                .into_scalar::<f32>();
            (loss, output.grads)
        };
        let mut losses = Vec::new();
        for step in 0..300u64 {
            assert_eq!(model.steps(), step, "{config}");
            let (value, grads) = loss(TrainStep::step(&model, (x.clone(), y.clone())));
            losses.push(value);
            model = model.optimize(&mut optim, 0.05.into(), grads);
            let report = model.last_report().unwrap();
            if let Some(factors) = report.factors {
                // The first steps refresh every time.
                assert!(
                    step < 250 || factors.refreshed == (step % 10 == 0),
                    "{config}, {step}"
                );
            }
        }
        let (first, last) = (losses[0], losses[299]);
        assert!(last < 0.8 * first, "{config}: {first} to {last}");
    }
}
