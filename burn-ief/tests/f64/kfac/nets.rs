//! Small networks, recorded and with leaves at the outputs of their layers.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig, PaddingConfig2d, Rnn, RnnConfig};
use burn::optim::GradientsParams;
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use burn_ief::methods::AnyMethod;
use burn_ief::methods::kfac::FactorLabels;
use burn_ief::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::dense::{Layer, values};

const CLASSES: usize = 3;

pub trait Net {
    /// The optimizer of this network.
    fn optim(&self, method: AnyMethod) -> NaturalOptimizer;
    /// The update of the network's batch.
    fn step(&self, kfac: &mut NaturalOptimizer) -> GradientsParams;
    /// Inputs and output errors of every layer, from Burn's own forward passes.
    fn layers(&self, member: FactorLabels) -> Vec<Layer>;
}

pub fn noise<const D: usize>(dims: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let draw = (0..dims.iter().product()).map(|_| generator.random_range(-1.5..1.5));
    Tensor::from_data(TensorData::new(draw.collect::<Vec<f64>>(), dims), device)
}

pub fn labels(samples: usize, device: &Device) -> Tensor<1, Int> {
    let labels: Vec<i64> = (0..samples).map(|n| (n * n % CLASSES) as i64).collect();
    Tensor::from_data(TensorData::new(labels, [samples]), device)
}

/// Scaled by products alone: the backward pass of a division by a number is in f32 in Burn.
fn summed_loss(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    let samples = logits.dims()[0] as f64;
    let loss = CrossEntropyLossConfig::new().init(&logits.device());
    loss.forward(logits, labels) * samples
}

/// What the errors of each sample are multiplied with.
fn scales(member: FactorLabels, logits: Tensor<2>, labels: Tensor<1, Int>) -> Vec<f64> {
    let [samples, classes] = logits.dims();
    if member != FactorLabels::Improved {
        return vec![1.0; samples];
    }
    let target = labels.one_hot::<2>(classes).float();
    let error = softmax(logits, 1) - target;
    let s = values(error.square().sum_dim(1));
    s.into_iter().map(|s| 1.0 / s.sqrt()).collect()
}

/// `[M, T, d]` on the host, with a constant 1 behind each vector if there is a bias.
fn nested(x: Tensor<3>, constant: bool) -> Vec<Vec<Vec<f64>>> {
    let [_, positions, width] = x.dims();
    let flat = values(x);
    let vectors = flat.chunks(width).map(|vector| {
        let one = constant.then_some(1.0);
        vector.iter().copied().chain(one).collect::<Vec<f64>>()
    });
    let vectors: Vec<_> = vectors.collect();
    vectors.chunks(positions).map(<[_]>::to_vec).collect()
}

/// A zero leaf of this shape.
fn leaf<const D: usize>(dims: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::zeros(dims, device).require_grad()
}

fn error(leaf: &Tensor<3>, grads: &Gradients) -> Tensor<3> {
    leaf.grad(grads).unwrap()
}

/// `[M, T, 4]` through a linear layer, one that is used twice, a mean over T, and a head.
#[derive(Module, Debug)]
struct Sequence {
    first: Linear,
    twice: Linear,
    head: Linear,
}

pub struct SequenceNet {
    net: Sequence,
    x: Tensor<3>,
    device: Device,
}

pub fn sequence_net(device: &Device, samples: usize, positions: usize) -> SequenceNet {
    let linear = |i, o, bias, seed| {
        let mut layer = LinearConfig::new(i, o).with_bias(bias).init(device);
        layer.weight = layer
            .weight
            .map(|_| noise([i, o], seed, device).require_grad());
        layer
    };
    SequenceNet {
        net: Sequence {
            first: linear(4, 5, true, 1),
            twice: linear(5, 5, false, 2),
            head: linear(5, CLASSES, true, 3),
        },
        x: noise([samples, positions, 4], 4, device),
        device: device.clone(),
    }
}

impl SequenceNet {
    /// The same network with other inputs.
    pub fn with_batch(mut self, seed: u64) -> Self {
        self.x = noise(self.x.dims(), 100 + seed, &self.device);
        self
    }

    fn labels(&self) -> Tensor<1, Int> {
        labels(self.x.dims()[0], &self.device)
    }

    pub fn module(&self) -> &impl Module {
        &self.net
    }

    /// Recorded and marked.
    pub fn logits(&self) -> Tensor<2> {
        let x = self
            .net
            .first
            .forward_recorded(burn_ief::expand_input(self.x.clone()));
        let x = self.net.twice.forward_recorded(x.tanh()).tanh();
        let x = self.net.twice.forward_recorded(x).tanh();
        let x = x.mean_dim(1).squeeze_dim::<2>(1);
        mark_output(self.net.head.forward_recorded(x))
    }

    pub fn mean_loss(&self, logits: Tensor<2>) -> Tensor<1> {
        let samples = self.x.dims()[0] as f64;
        summed_loss(logits, self.labels()) * (1.0 / samples)
    }
}

impl Net for SequenceNet {
    fn optim(&self, method: AnyMethod) -> NaturalOptimizer {
        NaturalOptimizer::new(method, &self.net)
    }

    fn step(&self, kfac: &mut NaturalOptimizer) -> GradientsParams {
        let tape = kfac.start();
        let loss = self.mean_loss(self.logits());
        kfac.gradients(tape, loss.backward(), &self.net).unwrap()
    }

    fn layers(&self, member: FactorLabels) -> Vec<Layer> {
        let [samples, positions, _] = self.x.dims();
        let leaves: Vec<Tensor<3>> = (0..3)
            .map(|_| leaf([samples, positions, 5], &self.device))
            .collect();
        let last = leaf([samples, 1, CLASSES], &self.device);
        let one = (self.net.first.forward(self.x.clone()) + leaves[0].clone()).tanh();
        let two = (self.net.twice.forward(one.clone()) + leaves[1].clone()).tanh();
        let three = (self.net.twice.forward(two.clone()) + leaves[2].clone()).tanh();
        let pooled = three.mean_dim(1);
        let logits = self.net.head.forward(pooled.clone()) + last.clone();
        let logits = logits.squeeze_dim::<2>(1);
        let scale = scales(member, logits.clone(), self.labels());
        let grads = summed_loss(logits, self.labels()).backward();
        let layer = |linear: &Linear, a, e| {
            let [inputs, outputs] = linear.weight.dims();
            let constant = linear.bias.is_some();
            Layer {
                weight: linear.weight.id,
                bias: linear.bias.as_ref().map(|bias| bias.id),
                convolution: false,
                inputs: inputs + usize::from(constant),
                outputs,
                a: nested(a, constant),
                e: nested(e, false),
                scale: scale.clone(),
            }
        };
        let errors: Vec<_> = leaves.iter().map(|leaf| error(leaf, &grads)).collect();
        // Two uses are twice the positions.
        let twice_in = Tensor::cat(vec![one, two], 1);
        let twice_out = Tensor::cat(vec![errors[1].clone(), errors[2].clone()], 1);
        vec![
            layer(&self.net.first, self.x.clone(), errors[0].clone()),
            layer(&self.net.twice, twice_in, twice_out),
            layer(&self.net.head, pooled, error(&last, &grads)),
        ]
    }
}

/// A convolution, a mean over its positions, and a head.
#[derive(Module, Debug)]
struct Convolution {
    conv: Conv2d,
    head: Linear,
}

pub struct ConvNet {
    net: Convolution,
    x: Tensor<4>,
    device: Device,
}

pub fn conv_net(device: &Device, samples: usize) -> ConvNet {
    let conv = Conv2dConfig::new([2, 3], [2, 3])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .init(device);
    ConvNet {
        net: Convolution {
            conv,
            head: LinearConfig::new(3, CLASSES).init(device),
        },
        x: noise([samples, 2, 4, 3], 11, device),
        device: device.clone(),
    }
}

impl Net for ConvNet {
    fn optim(&self, method: AnyMethod) -> NaturalOptimizer {
        NaturalOptimizer::new(method, &self.net)
    }

    fn step(&self, kfac: &mut NaturalOptimizer) -> GradientsParams {
        let tape = kfac.start();
        let x = self.net.conv.forward_recorded(self.x.clone()).tanh();
        let x: Tensor<2> = x.mean_dim(3).mean_dim(2).squeeze_dims(&[2, 3]);
        let logits = mark_output(self.net.head.forward_recorded(x));
        let samples = self.x.dims()[0];
        let loss = summed_loss(logits, labels(samples, &self.device)) * (1.0 / samples as f64);
        kfac.gradients(tape, loss.backward(), &self.net).unwrap()
    }

    fn layers(&self, member: FactorLabels) -> Vec<Layer> {
        let [samples, channels, height, width] = self.x.dims();
        let y = self.net.conv.forward(self.x.clone());
        let [_, outputs, rows, columns] = y.dims();
        let taps = leaf([samples, outputs, rows, columns], &self.device);
        let last = leaf([samples, 1, CLASSES], &self.device);
        let x: Tensor<2> = (y + taps.clone())
            .tanh()
            .mean_dim(3)
            .mean_dim(2)
            .squeeze_dims(&[2, 3]);
        let pooled: Tensor<3> = x.unsqueeze_dim(1);
        let logits = self.net.head.forward(pooled.clone()) + last.clone();
        let logits = logits.squeeze_dim::<2>(1);
        let labels = labels(samples, &self.device);
        let scale = scales(member, logits.clone(), labels.clone());
        let grads = summed_loss(logits, labels).backward();
        // Patches, entry by entry.
        let image = values(self.x.clone());
        let at = |n: usize, c: usize, row: isize, column: isize| {
            let inside =
                (0..height as isize).contains(&row) && (0..width as isize).contains(&column);
            if inside {
                let line = (n * channels + c) * height + row as usize;
                image[line * width + column as usize]
            } else {
                0.0
            }
        };
        let patch = |n: usize, position: usize| -> Vec<f64> {
            let (row, column) = ((position / columns) as isize, (position % columns) as isize);
            let mut patch = Vec::new();
            for c in 0..channels {
                for i in 0..2 {
                    for j in 0..3 {
                        patch.push(at(n, c, row + i - 1, column + j - 1));
                    }
                }
            }
            patch.push(1.0);
            patch
        };
        let a = (0..samples).map(|n| (0..rows * columns).map(|t| patch(n, t)).collect());
        let errors = taps.grad(&grads).unwrap();
        let errors = errors.reshape([samples, outputs, rows * columns]);
        let conv = Layer {
            weight: self.net.conv.weight.id,
            bias: self.net.conv.bias.as_ref().map(|bias| bias.id),
            convolution: true,
            inputs: channels * 6 + 1,
            outputs,
            a: a.collect(),
            e: nested(errors.swap_dims(1, 2), false),
            scale: scale.clone(),
        };
        let head = Layer {
            weight: self.net.head.weight.id,
            bias: self.net.head.bias.as_ref().map(|bias| bias.id),
            convolution: false,
            inputs: outputs + 1,
            outputs: CLASSES,
            a: nested(pooled, true),
            e: nested(error(&last, &grads), false),
            scale,
        };
        vec![conv, head]
    }
}

/// A recurrent layer and a head on its last output.
#[derive(Module, Debug)]
struct Recurrence {
    rnn: Rnn,
    head: Linear,
}

pub struct RecurrentNet {
    net: Recurrence,
    x: Tensor<3>,
    device: Device,
}

pub fn recurrent_net(device: &Device, samples: usize) -> RecurrentNet {
    RecurrentNet {
        net: Recurrence {
            rnn: RnnConfig::new(4, 5, true).init(device),
            head: LinearConfig::new(5, CLASSES).init(device),
        },
        x: noise([samples, 3, 4], 31, device),
        device: device.clone(),
    }
}

impl Net for RecurrentNet {
    fn optim(&self, method: AnyMethod) -> NaturalOptimizer {
        NaturalOptimizer::new(method, &self.net)
    }

    fn step(&self, kfac: &mut NaturalOptimizer) -> GradientsParams {
        let tape = kfac.start();
        let (_, last) = self.net.rnn.forward_recorded((self.x.clone(), None));
        let logits = mark_output(self.net.head.forward_recorded(last.hidden));
        let samples = self.x.dims()[0];
        let loss = summed_loss(logits, labels(samples, &self.device)) * (1.0 / samples as f64);
        kfac.gradients(tape, loss.backward(), &self.net).unwrap()
    }

    fn layers(&self, member: FactorLabels) -> Vec<Layer> {
        let [samples, steps, _] = self.x.dims();
        let gate = &self.net.rnn.gate;
        let leaves: Vec<Tensor<3>> = (0..steps)
            .map(|_| leaf([samples, 1, 5], &self.device))
            .collect();
        let mut state = Tensor::<3>::zeros([samples, 1, 5], &self.device);
        let mut states = Vec::new();
        for (t, leaf) in leaves.iter().enumerate() {
            states.push(state.clone());
            let x = gate.input_transform.forward(self.x.clone().narrow(1, t, 1));
            state = (x + gate.hidden_transform.forward(state) + leaf.clone()).tanh();
        }
        let last = leaf([samples, 1, CLASSES], &self.device);
        let logits = self.net.head.forward(state.clone()) + last.clone();
        let logits = logits.squeeze_dim::<2>(1);
        let labels = labels(samples, &self.device);
        let scale = scales(member, logits.clone(), labels.clone());
        let grads = summed_loss(logits, labels).backward();
        let errors = leaves.iter().map(|leaf| error(leaf, &grads)).collect();
        let errors = Tensor::cat(errors, 1);
        let layer = |linear: &Linear, a, e| {
            let [inputs, outputs] = linear.weight.dims();
            Layer {
                weight: linear.weight.id,
                bias: linear.bias.as_ref().map(|bias| bias.id),
                convolution: false,
                inputs: inputs + 1,
                outputs,
                a: nested(a, true),
                e: nested(e, false),
                scale: scale.clone(),
            }
        };
        vec![
            layer(&gate.input_transform, self.x.clone(), errors.clone()),
            layer(&gate.hidden_transform, Tensor::cat(states, 1), errors),
            layer(&self.net.head, state, error(&last, &grads)),
        ]
    }
}

/// One sample through one layer without a bias, half the squared error from zero.
pub struct Sample {
    layer: Linear,
    pub input: Vec<f64>,
    device: Device,
}

impl Sample {
    pub fn new(device: &Device) -> Self {
        let mut layer = LinearConfig::new(4, 2).with_bias(false).init(device);
        layer.weight = layer
            .weight
            .map(|_| noise([4, 2], 22, device).require_grad());
        Self {
            layer,
            input: values(noise([4], 21, device)),
            device: device.clone(),
        }
    }

    fn x(&self) -> Tensor<2> {
        Tensor::from_data(TensorData::new(self.input.clone(), [1, 4]), &self.device)
    }

    /// The output, which is its own error.
    pub fn error(&self) -> Vec<f64> {
        values(self.layer.forward(self.x()))
    }

    /// The update, and the fall of the loss to first order.
    pub fn step(&self, method: AnyMethod) -> (Vec<f64>, f64) {
        let run = || {
            let kfac = NaturalOptimizer::new(method.clone(), &self.layer);
            let tape = kfac.start();
            let z = mark_output_as(self.layer.forward_recorded(self.x()), Likelihood::Gaussian);
            let losses = z.square().sum_dim(1).squeeze_dim::<1>(1) * 0.5;
            (kfac, tape, mark_mean_loss(losses).backward())
        };
        let (mut kfac, tape, grads) = run();
        let update = kfac.gradients(tape, grads, &self.layer).unwrap();
        let update = values(update.get::<2>(self.layer.weight.id).unwrap());
        let (mut kfac, tape, grads) = run();
        let stepped = kfac.step_with_report(0.0, self.layer.clone(), tape, grads);
        (update, stepped.unwrap().1.factors.unwrap().decrease)
    }
}
