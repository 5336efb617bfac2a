//! Recordings that carry copies of the batch with other labels.

use burn::module::Module;
use burn::nn::conv::{Conv1d, Conv1dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::transformer::{TransformerEncoder, TransformerEncoderConfig};
use burn::nn::{
    Embedding, EmbeddingConfig, GroupNorm, GroupNormConfig, Linear, LinearConfig, RmsNorm,
    RmsNormConfig,
};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use burn_ief::jacobian::RecordedBatch;
use burn_ief::nn::{EncoderInput, ForwardRecorded, embed_shared};
use burn_ief::{LabelDraw, mark_loss, mark_output};

use super::*;

const CLASSES: usize = 3;
const POSITIONS: usize = 4;

/// Every recorded layer: tokens and positions, an encoder with masks, a convolution over the
/// sequence, group norm, RMS norm, a linear head.
#[derive(Module, Debug)]
pub(super) struct Classifier {
    tokens: Embedding,
    positions: Embedding,
    encoder: TransformerEncoder,
    conv: Conv1d,
    group: GroupNorm,
    rms: RmsNorm,
    head: Linear,
}

impl Classifier {
    pub(super) fn new(device: &Device) -> Self {
        let encoder = TransformerEncoderConfig::new(6, 8, 2, 1).with_dropout(0.0);
        let model = Self {
            tokens: EmbeddingConfig::new(9, 6).init(device),
            positions: EmbeddingConfig::new(POSITIONS, 6).init(device),
            encoder: encoder.init(device),
            conv: Conv1dConfig::new(6, 4, 2).init(device),
            group: GroupNormConfig::new(2, 4).init(device),
            rms: RmsNormConfig::new(3).init(device),
            head: LinearConfig::new(12, CLASSES).init(device),
        };
        filled(model, 60)
    }

    pub(super) fn forward(&self, ids: Tensor<2, Int>, pad: Tensor<2, Bool>) -> Tensor<2> {
        let [batch, positions] = ids.dims();
        let order = Tensor::arange(0..positions as i64, &ids.device()).unsqueeze();
        let x = self.tokens.forward_recorded(ids) + embed_shared(&self.positions, order, batch);
        let x = self
            .encoder
            .forward_recorded(EncoderInput::new(x).mask_pad(pad));
        let x = self.conv.forward_recorded(x.swap_dims(1, 2));
        let x = self.rms.forward_recorded(self.group.forward_recorded(x));
        self.head.forward_recorded(x.flatten(1, 2))
    }
}

pub(super) struct Batch {
    pub ids: Tensor<2, Int>,
    pub pad: Tensor<2, Bool>,
    labels: Vec<i64>,
}

pub(super) fn batch(device: &Device) -> Batch {
    let ids: Vec<i64> = (0..(SAMPLES * POSITIONS) as i64)
        .map(|i| (i * i + 2 * i) % 9)
        .collect();
    let pad: Vec<bool> = (0..SAMPLES * POSITIONS)
        .map(|i| i % POSITIONS >= POSITIONS - (i / POSITIONS) % 3)
        .collect();
    Batch {
        ids: Tensor::from_data(TensorData::new(ids, [SAMPLES, POSITIONS]), device),
        pad: Tensor::from_data(TensorData::new(pad, [SAMPLES, POSITIONS]), device),
        labels: vec![0, 2, 1, 1, 0],
    }
}

fn cross_entropy(logits: Tensor<2>, labels: &[i64]) -> Tensor<1> {
    let labels = Tensor::from_data(labels, &logits.device());
    CrossEntropyLossConfig::new()
        .init(&logits.device())
        .forward(logits, labels)
}

fn record(model: &Classifier, batch: &Batch, draw: LabelDraw) -> RecordedBatch {
    let tape = Tape::with_drawn_labels(draw);
    let logits = mark_output(model.forward(batch.ids.clone(), batch.pad.clone()));
    assert_eq!(logits.dims(), [SAMPLES, CLASSES]);
    let grads = mark_loss(cross_entropy(logits, &batch.labels)).backward();
    RecordedBatch::collect(tape, grads, model, None).unwrap()
}

/// Rows for one label per sample, one backward pass each.
fn oracle(model: &Classifier, batch: &Batch, labels: &[i64]) -> Vec<Vec<f64>> {
    let rows = Jacobian::by_sample(model, SAMPLES, |model, n| {
        let ids = batch.ids.clone().narrow(0, n, 1);
        let pad = batch.pad.clone().narrow(0, n, 1);
        cross_entropy(model.forward(ids, pad), &labels[n..n + 1])
    });
    rows.unwrap().to_dense()
}

fn scaled(row: &[f64], factor: f64) -> Vec<f64> {
    row.iter().map(|x| x * factor).collect()
}

#[test]
fn copies_for_every_class_carry_their_probability() {
    for device in devices() {
        let (model, batch) = (Classifier::new(&device), batch(&device));
        let draw = LabelDraw::Enumerate { classes: CLASSES };
        let recorded = record(&model, &batch, draw);
        let rows = recorded.all_rows().to_dense();
        assert_eq!(rows.len(), SAMPLES * (1 + CLASSES));
        for (row, expected) in rows.iter().zip(oracle(&model, &batch, &batch.labels)) {
            close(row, &expected);
        }
        let logits = model.forward(batch.ids.clone(), batch.pad.clone());
        let p = values(softmax(logits, 1));
        for class in 0..CLASSES {
            let expected = oracle(&model, &batch, &[class as i64; SAMPLES]);
            for (n, expected) in expected.iter().enumerate() {
                let row = &rows[SAMPLES * (1 + class) + n];
                close(row, &scaled(expected, p[n * CLASSES + class].sqrt()));
            }
        }
    }
}

#[test]
fn drawn_copies_are_rows_of_some_label() {
    let device = Device::flex().autodiff();
    let (model, batch) = (Classifier::new(&device), batch(&device));
    let draws = 6;
    let recorded = record(&model, &batch, LabelDraw::sample(draws, 5, 0));
    let rows = recorded.all_rows().to_dense();
    let matches = recorded.label_matches().unwrap();
    let by_class: Vec<_> = (0..CLASSES as i64)
        .map(|class| oracle(&model, &batch, &[class; SAMPLES]))
        .collect();
    let mut seen = [0; 2];
    for (copy, row) in rows[SAMPLES..].iter().enumerate() {
        let n = copy % SAMPLES;
        let row = scaled(row, (draws as f64).sqrt());
        let distances = by_class.iter().map(|rows| distance(&row, &rows[n]));
        let (class, nearest) = distances
            .enumerate()
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap();
        assert!(nearest < 1e-5, "{nearest:e}");
        assert_eq!(matches[copy], class as i64 == batch.labels[n]);
        seen[usize::from(matches[copy])] += 1;
    }
    // Both kinds occur, so the test distinguishes them.
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

#[test]
fn a_model_for_validation_records_nothing() {
    let device = Device::flex().autodiff();
    let (model, batch) = (Classifier::new(&device), batch(&device));
    let valid = model.valid();
    let plain = Batch {
        ids: batch.ids.inner(),
        pad: batch.pad.inner(),
        ..batch
    };
    let forward = || valid.forward(plain.ids.clone(), plain.pad.clone());
    let outside = forward();
    let tape = Tape::start();
    let inside = forward();
    assert!(!inside.is_tracked());
    close(&values(inside), &values(outside));
    let other = noise([1], 61, &device).require_grad();
    let error = Jacobian::from_tape(tape, other.backward(), &model).unwrap_err();
    assert_eq!(error, burn_ief::Error::NothingRecorded);
}
