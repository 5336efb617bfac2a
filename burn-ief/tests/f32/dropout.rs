//! Recordings under dropout: the same masks as Burn's forward pass, shared by the copies of a
//! sample.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::module::Module;
use burn::nn::attention::{CrossAttention, CrossAttentionConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::transformer::{
    TransformerDecoder, TransformerDecoderConfig, TransformerEncoder, TransformerEncoderConfig,
};
use burn::nn::{DropoutConfig, Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Distribution, Int, Tensor};
use burn_ief::jacobian::{Jacobian, RecordedBatch};
use burn_ief::nn::{DecoderInput, ForwardRecorded};
use burn_ief::{LabelDraw, LossScale, Tape, mark_loss, mark_output};

const SAMPLES: usize = 5;
const CLASSES: usize = 3;

/// Flex has one random state for the process: tests that seed it take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Module, Debug)]
struct Classifier {
    encoder: TransformerEncoder,
    decoder: TransformerDecoder,
    cross: CrossAttention,
    head: Linear,
}

impl Classifier {
    fn new(norm_first: bool, device: &Device) -> Self {
        let encoder = TransformerEncoderConfig::new(6, 8, 2, 2)
            .with_norm_first(norm_first)
            .with_dropout(0.4);
        Self {
            encoder: encoder.init(device),
            decoder: TransformerDecoderConfig::new(6, 8, 2, 1)
                .with_norm_first(norm_first)
                .with_dropout(0.3)
                .init(device),
            cross: CrossAttentionConfig::new(6, 6, 2, 1, 3)
                .with_dropout(0.3)
                .init(device),
            head: LinearConfig::new(6, CLASSES).init(device),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let memory = self.encoder.forward_recorded(x.clone());
        let input = DecoderInput::new(x, memory.clone());
        let x = self.decoder.forward_recorded(input);
        let x = x.clone() + self.cross.forward_recorded((x, memory, None));
        self.head.forward_recorded(x.mean_dim(1).squeeze_dim(1))
    }

    /// Dropout before the first recorded call.
    fn forward_dropped(&self, x: Tensor<3>) -> Tensor<2> {
        let dropout = DropoutConfig::new(0.5).init();
        self.forward(dropout.forward_recorded(x))
    }
}

fn batch(device: &Device) -> (Tensor<3>, Tensor<1, Int>) {
    let x = Tensor::random([SAMPLES, 4, 6], Distribution::Normal(0.0, 1.0), device);
    (x, Tensor::from_data([0, 2, 1, 1, 0], device))
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().convert::<f64>().try_to_vec().unwrap()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

#[test]
fn masks_are_those_of_burns_forward() {
    let _turn = turn();
    for device in [
        Device::flex().autodiff(),
        Device::flex().autodiff().gradient_checkpointing(),
    ] {
        for norm_first in [false, true] {
            device.seed(1);
            let model = Classifier::new(norm_first, &device);
            let (x, y) = batch(&device);
            // The loss of each sample; the same seed gives the same masks.
            let losses = |model: &Classifier| {
                device.seed(2);
                let logits = log_softmax(model.forward(x.clone()), 1);
                -logits
                    .gather(1, y.clone().unsqueeze_dim(1))
                    .squeeze_dim::<1>(1)
            };
            // Burn draws the parameters at their first use.
            losses(&model);
            let outside = values(losses(&model));
            let tape = Tape::start().with_loss_scale(LossScale::Sum);
            let recorded = losses(&model);
            let inside = values(recorded.clone());
            let jacobian = Jacobian::from_tape(tape, recorded.sum().backward(), &model).unwrap();
            assert!(distance(&inside, &outside) < 1e-5);
            assert_eq!(values(losses(&model)), outside, "the seed fixes the masks");

            // Row n, from a backward pass of the whole batch under the same masks.
            for (n, row) in jacobian.to_dense().iter().enumerate() {
                let grads = losses(&model).narrow(0, n, 1).backward();
                let grads = GradientsParams::from_grads(grads, &model);
                assert!(distance(row, &flat(&jacobian, &grads)) < 1e-5);
            }
        }
    }
}

/// A direction's entries in the order of the Jacobian's columns.
fn flat(jacobian: &Jacobian, grads: &GradientsParams) -> Vec<f64> {
    let entries = jacobian
        .params()
        .iter()
        .flat_map(|param| match param.shape.num_dims() {
            1 => values(grads.get::<1>(param.id).unwrap()),
            2 => values(grads.get::<2>(param.id).unwrap()),
            rank => panic!("a parameter of rank {rank}"),
        });
    entries.collect()
}

#[test]
fn copies_of_a_sample_share_its_masks() {
    check_copies(Classifier::forward);
    check_copies(Classifier::forward_dropped);
}

fn check_copies(forward: fn(&Classifier, Tensor<3>) -> Tensor<2>) {
    let _turn = turn();
    let device = Device::flex().autodiff();
    device.seed(4);
    let model = Classifier::new(false, &device);
    let (x, y) = batch(&device);
    let draws = 8;
    let tape = Tape::with_drawn_labels(LabelDraw::sample(draws, 1, 0));
    let logits = mark_output(forward(&model, x));
    let losses = CrossEntropyLossConfig::new()
        .init(&device)
        .forward(logits, y);
    let grads = mark_loss(losses).backward();
    let recorded = RecordedBatch::collect(tape, grads, &model, None).unwrap();
    let rows = recorded.all_rows().to_dense();
    let matches = recorded.label_matches().unwrap();
    let (truth, copies) = rows.split_at(SAMPLES);
    // A copy with the true label has the sample's own row; with another one it has not.
    for (copy, row) in copies.iter().enumerate() {
        let row: Vec<f64> = row.iter().map(|x| x * (draws as f64).sqrt()).collect();
        let distance = distance(&row, &truth[copy % SAMPLES]);
        assert_eq!(distance < 1e-5, matches[copy], "{distance:e}");
    }
    let matching = matches.iter().filter(|&&matching| matching).count();
    assert!(0 < matching && matching < matches.len());
}
