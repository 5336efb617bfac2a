//! Gradient rows of a T5 that trains whole, in f64: recorded for a batch, and sample by sample.
//!
//! A device takes its precision once per process, so this is a test binary of its own.

use crate::reference;

use burn::module::{Module, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::{Device, Distribution, Int, Tensor};
use burn_hf_models::t5::{T5Config, T5ForConditionalGeneration, T5Input};
use burn_ief::jacobian::{Jacobian, RecordedBatch, validate};
use burn_ief::nn::expand_param;
use burn_ief::{LabelDraw, Tape, mark_loss, mark_output};
use reference::device_f64;

const SAMPLES: usize = 3;
const VOCABULARY: usize = 13;
const PROJECTIONS: [&str; 3] = ["relu", "gated-gelu", "gated-silu"];

fn device() -> Device {
    device_f64().autodiff()
}

/// A model with a soft prompt.
#[derive(Module, Debug)]
struct Prompted {
    t5: T5ForConditionalGeneration,
    prompt: Param<Tensor<2>>,
}

impl Prompted {
    /// Tied with ReLU, untied with a gate; the decoder is shorter than the encoder.
    fn new(projection: &str, device: &Device) -> Self {
        device.seed(3);
        let json = format!(
            r#"{{"vocab_size": {VOCABULARY}, "d_model": 8, "d_kv": 3, "d_ff": 10, "num_layers": 2,
                "num_decoder_layers": 1, "num_heads": 2, "relative_attention_num_buckets": 4,
                "relative_attention_max_distance": 6, "dropout_rate": 0.0,
                "feed_forward_proj": "{projection}", "tie_word_embeddings": {}}}"#,
            projection == "relu",
        );
        let prompt = Tensor::random([2, 8], Distribution::Normal(0.0, 1.0), device);
        Self {
            t5: T5Config::from_json(&json).unwrap().init(device).unwrap(),
            prompt: Param::from_tensor(prompt),
        }
    }

    /// Logits of samples from `first` on.
    fn forward(&self, first: usize, samples: usize) -> Tensor<3> {
        let device = &self.prompt.val().device();
        let rows = |ids: [[i64; 4]; SAMPLES]| {
            Tensor::<2, Int>::from_data(ids, device).narrow(0, first, samples)
        };
        let input_ids = rows([[3, 4, 5, 1], [6, 3, 1, 0], [1, 0, 0, 0]]);
        let input = T5Input {
            attention_mask: Some(input_ids.clone().not_equal_elem(0).int()),
            input_ids,
            decoder_input_ids: rows([[0, 7, 3, 3], [0, 8, 8, 2], [0, 2, 12, 5]]),
            prompt: Some(expand_param::<_, 3>(&self.prompt, samples)),
        };
        self.t5.forward(input).unwrap().logits
    }
}

/// The mean over samples of the loss of all their tokens.
fn cross_entropy(logits: Tensor<3>, first: usize) -> Tensor<1> {
    let labels = [[7, 3, 3, 1], [8, 8, 2, 1], [2, 12, 5, 1]];
    let labels = Tensor::<2, Int>::from_data(labels, &logits.device());
    let [samples, positions, classes] = logits.dims();
    let labels = labels
        .narrow(0, first, samples)
        .reshape([samples * positions]);
    let logits = logits.reshape([samples * positions, classes]);
    let token = CrossEntropyLossConfig::new().init(&logits.device());
    token.forward(logits, labels) * positions as f64
}

fn oracle(model: &Prompted) -> Jacobian {
    let rows = Jacobian::by_sample(model, SAMPLES, |model, n| {
        cross_entropy(model.forward(n, 1), n)
    });
    rows.unwrap()
}

#[test]
fn recorded_rows_are_those_of_single_samples() {
    let device = device();
    for projection in PROJECTIONS {
        let model = Prompted::new(projection, &device);
        let report = validate(&model, SAMPLES, 1e-10, |model, range| {
            let logits = model.forward(range.start, range.len());
            cross_entropy(logits, range.start) * range.len() as f64
        })
        .unwrap();
        println!("{projection}: {report}");
        assert!(report.unused.is_empty(), "{report}");
    }
}

#[test]
fn every_parameter_has_a_gradient() {
    let device = device();
    for projection in PROJECTIONS {
        let model = Prompted::new(projection, &device);
        let jacobian = oracle(&model);
        let rows = jacobian.to_dense();
        let mut start = 0;
        for param in jacobian.params() {
            let columns = start..start + param.shape.num_elements();
            start = columns.end;
            let largest = rows.iter().flat_map(|row| &row[columns.clone()]);
            let largest = largest.fold(0.0, |max: f64, g| max.max(g.abs()));
            assert!(largest > 1e-6, "{projection} {}: {largest:e}", param.path);
        }
    }
}

#[test]
fn copies_with_drawn_labels_are_the_same_network() {
    let device = device();
    for projection in PROJECTIONS {
        let model = Prompted::new(projection, &device);
        let draws = 2;
        let tape = Tape::with_drawn_labels(LabelDraw::sample(draws, 5, 0));
        let logits = model.forward(0, SAMPLES);
        assert_eq!(logits.dims(), [SAMPLES * (1 + draws), 4, VOCABULARY]);
        let copies: Vec<f64> = logits.clone().inner().try_to_vec_as().unwrap();
        let truth = copies.len() / (1 + draws);
        for copy in copies.chunks_exact(truth) {
            close(copy, &copies[..truth]);
        }
        let grads = mark_loss(cross_entropy(mark_output(logits), 0)).backward();
        let recorded = RecordedBatch::collect(tape, grads, &model, None).unwrap();
        let (rows, expected) = (recorded.jacobian().to_dense(), oracle(&model).to_dense());
        for (row, expected) in rows.iter().zip(&expected) {
            close(row, expected);
        }
        assert_eq!(recorded.all_rows().to_dense().len(), SAMPLES * (1 + draws));
    }
}

fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let size = expected.iter().fold(0.0, |max: f64, e| max.max(e.abs()));
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() <= 1e-10 * size, "{f} {e}");
    }
}
