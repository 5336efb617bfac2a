//! A transposed convolution: its input and the patches of its output error, by loops.

use burn::module::Module;
use burn::nn::conv::{ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor};
use burn_ief::methods::kfac::{FactorDamping, FactorLabels, WeightSharing};
use burn_ief::prelude::*;

use super::dense::{Layer, distance, values};
use super::nets::{labels, noise};
use super::{TOLERANCE, dampings, double, method};

const SAMPLES: usize = 4;
const STRIDE: usize = 2;
const KERNEL: [usize; 2] = [2, 3];
const PADDING: [usize; 2] = [1, 0];
const PADDING_OUT: [usize; 2] = [0, 1];
const SIZE: [usize; 2] = [3, 2];
const INPUTS: usize = 2;
const OUTPUTS: usize = 3;

#[derive(Module, Debug)]
struct Net {
    conv: ConvTranspose2d,
    head: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        Self {
            conv: ConvTranspose2dConfig::new([INPUTS, OUTPUTS], KERNEL)
                .with_stride([STRIDE; 2])
                .with_padding(PADDING)
                .with_padding_out(PADDING_OUT)
                .init(device),
            head: LinearConfig::new(OUTPUTS, 3).init(device),
        }
    }

    fn loss(&self, y: Tensor<4>, labels: Tensor<1, Int>) -> Tensor<1> {
        // Squares, because a mean of the outputs themselves would not need the kernel's positions.
        let x: Tensor<2> = y
            .tanh()
            .square()
            .sum_dim(3)
            .sum_dim(2)
            .squeeze_dims(&[2, 3]);
        let logits = mark_output(self.head.forward_recorded(x));
        let loss = CrossEntropyLossConfig::new().init(&logits.device());
        loss.forward(logits, labels)
    }
}

/// The dense form of the kernel: inputs at every position, and the patches of the output error there.
fn layer(net: &Net, x: &Tensor<4>, labels: &Tensor<1, Int>) -> Layer {
    let y = net.conv.forward(x.clone());
    let [_, _, height, width] = y.dims();
    let leaf = Tensor::zeros(y.dims(), &y.device()).require_grad();
    let loss = net.loss(y + leaf.clone(), labels.clone()) * SAMPLES as f64;
    let error = values(leaf.grad(&loss.backward()).unwrap());
    let input = values(x.clone());
    let at = |n: usize, channel: usize, row: isize, column: isize| {
        let inside = (0..height as isize).contains(&row) && (0..width as isize).contains(&column);
        let line = (n * OUTPUTS + channel) * height;
        if inside {
            error[(line + row as usize) * width + column as usize]
        } else {
            0.0
        }
    };
    let mut layer = Layer {
        weight: net.conv.weight.id,
        bias: None,
        convolution: false,
        inputs: INPUTS,
        outputs: OUTPUTS * KERNEL[0] * KERNEL[1],
        a: Vec::new(),
        e: Vec::new(),
        scale: vec![1.0; SAMPLES],
    };
    for n in 0..SAMPLES {
        let (mut inputs, mut patches) = (Vec::new(), Vec::new());
        for row in 0..SIZE[0] {
            for column in 0..SIZE[1] {
                let cell = |channel| ((n * INPUTS + channel) * SIZE[0] + row) * SIZE[1] + column;
                inputs.push((0..INPUTS).map(|channel| input[cell(channel)]).collect());
                let mut patch = Vec::new();
                for channel in 0..OUTPUTS {
                    for i in 0..KERNEL[0] {
                        for j in 0..KERNEL[1] {
                            let row = (row * STRIDE + i) as isize - PADDING[0] as isize;
                            let column = (column * STRIDE + j) as isize - PADDING[1] as isize;
                            patch.push(at(n, channel, row, column));
                        }
                    }
                }
                patches.push(patch);
            }
        }
        layer.a.push(inputs);
        layer.e.push(patches);
    }
    layer
}

#[test]
fn the_kernel_has_factors_and_the_bias_a_diagonal() {
    let device = double::device();
    device.seed(9);
    let net = Net::new(&device);
    let x = noise([SAMPLES, INPUTS, SIZE[0], SIZE[1]], 31, &device);
    let labels = labels(SAMPLES, &device);
    let dense = layer(&net, &x, &labels);
    let update = |sharing: WeightSharing, damping: FactorDamping| {
        let method = method(FactorLabels::Empirical, sharing, damping, 0.0);
        let mut kfac = NaturalOptimizer::new(method, &net);
        let tape = kfac.start();
        let loss = net.loss(net.conv.forward_recorded(x.clone()), labels.clone());
        kfac.gradients(tape, loss.backward(), &net).unwrap()
    };
    for sharing in [WeightSharing::Expand, WeightSharing::Reduce] {
        for damping in dampings() {
            let found = update(sharing, damping);
            let found = values(found.get::<4>(dense.weight).unwrap());
            let error = distance(&found, &dense.update(sharing, &damping));
            assert!(error < TOLERANCE, "{sharing:?} {damping:?}: {error:e}");
        }
    }
    // The bias: g / (d + λ) with d the mean of the squared gradients of the samples.
    let lambda = 1e-2;
    let found = update(WeightSharing::Expand, FactorDamping::absolute(lambda));
    let bias = net.conv.bias.as_ref().unwrap();
    let found = values(found.get::<1>(bias.id).unwrap());
    let rows = (0..SAMPLES).map(|n| {
        let x = x.clone().narrow(0, n, 1);
        let loss = net.loss(net.conv.forward(x), labels.clone().narrow(0, n, 1));
        values(bias.val().grad(&loss.backward()).unwrap())
    });
    let rows: Vec<Vec<f64>> = rows.collect();
    let mean = |power: i32, k: usize| {
        let powers = rows.iter().map(|row| row[k].powi(power));
        powers.sum::<f64>() / SAMPLES as f64
    };
    let expected = (0..OUTPUTS).map(|k| mean(1, k) / (mean(2, k) + lambda));
    let error = distance(&found, &expected.collect::<Vec<f64>>());
    assert!(error < TOLERANCE, "bias: {error:e}");
}
