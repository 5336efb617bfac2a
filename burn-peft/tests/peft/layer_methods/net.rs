//! A small model, and what its adapters are compared with.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::gelu;
use burn::tensor::{Device, Distribution, Int, Tensor};
use burn_ief::jacobian::{Jacobian, RecordedBatch};
use burn_ief::{Tape, mark_output};
use burn_peft::{ForwardAdapted, Peft, PeftConfig};

#[derive(Module, Debug)]
pub struct Net {
    pub conv: Conv2d,
    pub up: Linear,
    pub down: Linear,
    pub head: Linear,
}

impl Net {
    pub fn new(device: &Device) -> Self {
        Self {
            conv: Conv2dConfig::new([2, 3], [2, 2]).init(device),
            up: LinearConfig::new(3 * 3 * 3, 8).init(device),
            down: LinearConfig::new(8, 5).with_bias(false).init(device),
            head: LinearConfig::new(5, 3).init(device),
        }
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = gelu(self.conv.forward_adapted(x)).flatten::<2>(1, 3);
        let x = gelu(self.up.forward_adapted(x));
        self.head
            .forward_adapted(gelu(self.down.forward_adapted(x)))
    }
}

/// Moves everything that trains.
pub struct Shake;

impl ModuleMapper for Shake {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !param.is_require_grad() {
            return param;
        }
        param.map(|value| {
            let noise = value.random_like(Distribution::Normal(0.0, 0.3));
            (value + noise).detach().require_grad()
        })
    }
}

pub fn images(device: &Device) -> Tensor<4> {
    Tensor::random([5, 2, 4, 4], Distribution::Normal(0.0, 1.0), device)
}

fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    CrossEntropyLossConfig::new()
        .init(&logits.device())
        .forward(logits, labels)
}

pub fn largest<const D: usize>(x: Tensor<D>) -> f64 {
    x.abs().max().into_scalar::<f32>() as f64
}

/// The recorded rows of an adapted model, everything that trains moved, against one backward pass for each
/// sample.
pub fn check_rows(config: &PeftConfig, columns: usize) {
    for device in [
        Device::flex().autodiff(),
        Device::flex().autodiff().gradient_checkpointing(),
    ] {
        device.seed(1);
        let net = Net::new(&device).adapt("default", config, &[]).unwrap();
        let net = net.map(&mut Shake);
        let (x, labels) = (images(&device), Tensor::from_data([0, 2, 1, 1, 0], &device));
        let tape = Tape::start();
        let loss = cross_entropy(mark_output(net.forward(x.clone())), labels.clone());
        let recorded = RecordedBatch::collect(tape, loss.backward(), &net, None).unwrap();
        let jacobian = recorded.jacobian();
        let oracle = Jacobian::by_sample(&net, 5, |net, n| {
            let logits = net.forward(x.clone().narrow(0, n, 1));
            cross_entropy(logits, labels.clone().narrow(0, n, 1))
        })
        .unwrap();
        assert_eq!(jacobian.columns(), columns);
        assert_eq!(oracle.columns(), columns);
        let longest = oracle.row_norms().into_iter().fold(0.0, f64::max);
        for (row, expected) in jacobian.to_dense().iter().zip(oracle.to_dense()) {
            let squares = row.iter().zip(&expected).map(|(a, b)| (a - b).powi(2));
            let difference = squares.sum::<f64>().sqrt() / longest;
            // Rounding of f32.
            assert!(difference < 1e-5, "{difference}");
        }
    }
}
