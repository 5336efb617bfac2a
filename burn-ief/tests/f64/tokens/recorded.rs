//! Rows, their products, s, and labels drawn from the model.

use burn::tensor::Device;
use burn_ief::jacobian::{Jacobian, RecordedBatch};
use burn_ief::prelude::*;
use burn_ief::{LabelDraw, Tape};
use proptest::prelude::*;

use super::model::{Case, Lm, cases, values};
use super::{close, config, double};

const TOLERANCE: f64 = 1e-12;

/// A recording with `draws` drawn labels, in slices or from all logits.
fn record(
    case: &Case,
    model: &Lm,
    device: &Device,
    draws: usize,
    sliced: bool,
) -> (RecordedBatch, Vec<f64>) {
    let tape = if draws == 0 {
        Tape::start()
    } else {
        Tape::with_drawn_labels(LabelDraw::sample(draws, case.seed, 3))
    };
    let losses = if sliced {
        case.sliced(model, device).per_sample()
    } else {
        case.whole(model, device, 0, case.samples)
    };
    let loss = mark_mean_loss(losses.clone());
    let batch = RecordedBatch::collect(tape, loss.backward(), model, None).unwrap();
    (batch, values(losses))
}

/// The products of a Jacobian against those of its dense rows.
fn check_products(jacobian: &Jacobian, rows: &[Vec<f64>]) {
    let count = rows.len();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let gram: Vec<f64> = (0..count * count)
        .map(|at| dot(&rows[at / count], &rows[at % count]))
        .collect();
    close(jacobian.gram().unwrap().values(), &gram, TOLERANCE);
    let norms: Vec<f64> = rows.iter().map(|row| dot(row, row).sqrt()).collect();
    close(&jacobian.row_norms(), &norms, 1e-11);
    let cross: Vec<f64> = jacobian.cross_gram(jacobian).unwrap().concat();
    close(&cross, &gram, TOLERANCE);
    let c: Vec<f64> = (0..count).map(|n| (n as f64 * 1.7).cos()).collect();
    let columns = rows[0].len();
    let combination: Vec<f64> = (0..columns)
        .map(|p| rows.iter().zip(&c).map(|(row, c)| row[p] * c).sum())
        .collect();
    let expected: Vec<f64> = rows.iter().map(|row| dot(row, &combination)).collect();
    let direction = jacobian.t_matvec(&c).unwrap();
    close(&jacobian.matvec(&direction).unwrap(), &expected, TOLERANCE);
    let part = jacobian.narrow(count / 2, count - count / 2).unwrap();
    close(
        &part.to_dense().concat(),
        &rows[count / 2..].concat(),
        TOLERANCE,
    );
}

proptest! {
    #![proptest_config(config(160))]

    #[test]
    fn slices_record_what_all_logits_record(case in cases(), draws in 0..3usize) {
        let device = if case.seed % 2 == 0 {
            double::device()
        } else {
            double::device().gradient_checkpointing()
        };
        let model = case.model(&device);
        let (sliced, losses) = record(&case, &model, &device, draws, true);
        let (whole, expected) = record(&case, &model, &device, draws, false);
        close(&losses, &expected, TOLERANCE);
        let s = sliced.output_norms().unwrap();
        close(&s, &whole.output_norms().unwrap(), TOLERANCE);
        let rows = whole.all_rows().to_dense();
        close(&sliced.all_rows().to_dense().concat(), &rows.concat(), TOLERANCE);
        prop_assert!(sliced.all_rows().unused().is_empty() || case.answers().concat().is_empty());
        check_products(sliced.all_rows(), &sliced.all_rows().to_dense());
        // The two forms of rows of one parameter meet in the products of two shards.
        let mixed = sliced.all_rows().cross_gram(whole.all_rows()).unwrap();
        let same = whole.all_rows().cross_gram(whole.all_rows()).unwrap();
        close(&mixed.concat(), &same.concat(), TOLERANCE);
        let counts: Vec<usize> = case.answers().iter().map(Vec::len).collect();
        for (n, &count) in counts.iter().enumerate() {
            // A sample without an answer has nothing to learn.
            prop_assert_eq!(count == 0, s[n] == 0.0 && losses[n] == 0.0);
        }
    }
}

#[test]
fn s_is_that_of_a_single_token() {
    // p = 1/4 for all: s = 3 · 1/16 + 9/16.
    let device = double::device();
    let head = burn::nn::LinearConfig::new(2, 4).init(&device);
    let hidden = burn::tensor::Tensor::zeros([1, 2, 2], &device);
    let head = burn::nn::Linear { bias: None, ..head };
    let labels = burn::tensor::Tensor::from_data([[-100, 2]], &device);
    let losses = token_cross_entropy(hidden, labels, &VocabularyHead::linear(&head)).unwrap();
    close(&values(losses.output_norms()), &[0.75], 1e-15);
    close(&values(losses.sum()), &[4f64.ln()], 1e-15);
    // No logit is above that of the label.
    close(&values(losses.correct()), &[1.0], 0.0);
}
