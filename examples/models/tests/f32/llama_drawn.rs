//! Recordings that carry copies of the batch with other labels: masks, positions and prompts go
//! along with the copies.

use burn::module::{Module, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor};
use burn_hf_models::llama::{LlamaConfig, LlamaForCausalLM, LlamaInput};
use burn_ief::jacobian::{Jacobian, RecordedBatch};
use burn_ief::nn::expand_param;
use burn_ief::{LabelDraw, Tape, mark_loss, mark_output};

const SAMPLES: usize = 3;
const VOCABULARY: usize = 5;
const TARGETS: [i64; SAMPLES] = [0, 3, 1];

#[derive(Module, Debug)]
struct Prompted {
    llama: LlamaForCausalLM,
    prompt: Param<Tensor<2>>,
}

impl Prompted {
    fn new(tied: bool, device: &Device) -> Self {
        let config = LlamaConfig::new(VOCABULARY, 8, 12, 2, 4)
            .with_num_key_value_heads(Some(2))
            .with_qkv_bias(true)
            .with_tie_word_embeddings(tied)
            .with_initializer_range(0.4);
        let virtual_tokens = [[0.5, -1.0, 0.3, 0.8, -0.2, 0.1, 1.2, -0.7]; 2];
        Self {
            llama: config.init(device).unwrap(),
            prompt: Param::from_tensor(Tensor::from_data(virtual_tokens, device)),
        }
    }

    /// Logits of the next token of the samples from `start` on.
    fn forward(&self, start: usize, count: usize) -> Tensor<2> {
        let device = self.prompt.base().device();
        let rows = |all: [[i64; 4]; SAMPLES]| {
            Tensor::<2, Int>::from_data(all, &device).narrow(0, start, count)
        };
        let positions: [[i64; 6]; SAMPLES] =
            [[0, 1, 2, 3, 4, 5], [0, 1, 1, 2, 3, 4], [0, 1, 1, 1, 2, 3]];
        let positions = Tensor::<2, Int>::from_data(positions, &device);
        let input = LlamaInput::new(rows([[1, 2, 3, 4], [0, 4, 1, 2], [0, 0, 3, 3]]))
            .with_attention_mask(rows([[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1]]))
            .with_position_ids(positions.narrow(0, start, count))
            .with_prompt(expand_param(&self.prompt, count));
        let logits = self.llama.forward(input).unwrap().logits;
        logits.narrow(1, 5, 1).squeeze_dim(1)
    }
}

fn cross_entropy(logits: Tensor<2>, labels: &[i64]) -> Tensor<1> {
    let labels = Tensor::from_data(labels, &logits.device());
    let cross_entropy = CrossEntropyLossConfig::new().init(&logits.device());
    cross_entropy.forward(logits, labels)
}

/// Rows for one label per sample, one backward pass each.
fn oracle(model: &Prompted, labels: &[i64]) -> Vec<Vec<f64>> {
    let rows = Jacobian::by_sample(model, SAMPLES, |model, n| {
        cross_entropy(model.forward(n, 1), &labels[n..n + 1])
    });
    rows.unwrap().to_dense()
}

fn close(row: &[f64], expected: impl Iterator<Item = f64>) {
    let expected: Vec<f64> = expected.collect();
    let size = expected.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    for (found, expected) in row.iter().zip(&expected) {
        assert!(
            (found - expected).abs() <= 1e-4 * size,
            "{found} {expected}"
        );
    }
}

#[test]
fn copies_for_every_label_carry_their_probability() {
    let device = Device::flex().autodiff();
    for (tied, frozen) in [(false, false), (true, false), (false, true)] {
        let mut model = Prompted::new(tied, &device);
        if frozen {
            model.llama = model.llama.no_grad();
        }
        let draw = LabelDraw::Enumerate {
            classes: VOCABULARY,
        };
        let tape = Tape::with_drawn_labels(draw);
        let logits = mark_output(model.forward(0, SAMPLES));
        assert_eq!(logits.dims(), [SAMPLES, VOCABULARY]);
        let grads = mark_loss(cross_entropy(logits, &TARGETS)).backward();
        let recorded = RecordedBatch::collect(tape, grads, &model, None).unwrap();
        let rows = recorded.all_rows().to_dense();
        assert_eq!(rows.len(), SAMPLES * (1 + VOCABULARY));
        for (row, expected) in rows.iter().zip(oracle(&model, &TARGETS)) {
            close(row, expected.into_iter());
        }
        let p = softmax(model.forward(0, SAMPLES), 1);
        let p = p.try_to_vec_as::<f64>().unwrap();
        for label in 0..VOCABULARY {
            let expected = oracle(&model, &[label as i64; SAMPLES]);
            for (n, expected) in expected.into_iter().enumerate() {
                let share = p[n * VOCABULARY + label].sqrt();
                let row = &rows[SAMPLES * (1 + label) + n];
                close(row, expected.into_iter().map(|x| x * share));
            }
        }
    }
}
