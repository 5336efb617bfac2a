//! What is refused, and the check of the loss scale.

use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Distribution, Int, Tensor};
use burn_ief::jacobian::RecordedBatch;
use burn_ief::prelude::*;
use burn_ief::{Error, Tape};

use super::double;

fn layer(device: &Device) -> Linear {
    device.seed(3);
    LinearConfig::new(3, 6).init(device)
}

fn hidden(dims: [usize; 3], device: &Device) -> Tensor<3> {
    Tensor::random(dims, Distribution::Normal(0.0, 1.0), device)
}

#[test]
fn what_does_not_fit_is_an_error() {
    let device = double::device();
    let layer = layer(&device);
    let head = VocabularyHead::linear(&layer);
    let labels = |labels: [[i64; 4]; 2]| Tensor::<2, Int>::from_data(labels, &device);
    let good = [[-100, 1, 2, 3], [-100, -100, 5, 0]];
    let run = |dims, labels, head: &VocabularyHead| {
        token_cross_entropy(hidden(dims, &device), labels, head).map(|losses| losses.tokens())
    };
    assert_eq!(run([2, 4, 3], labels(good), &head), Ok(5));
    let size = |what, expected, found| {
        Err(Error::Size {
            what,
            expected,
            found,
        })
    };
    let positions = size("positions of the labels", 5, 4);
    assert_eq!(run([2, 5, 3], labels(good), &head), positions);
    let features = size("features of the hidden states", 3, 2);
    assert_eq!(run([2, 4, 2], labels(good), &head), features);
    let samples = run([3, 4, 3], labels(good), &head);
    assert!(matches!(
        samples,
        Err(Error::BatchMismatch {
            expected: 3,
            found: 2,
            ..
        })
    ));
    for wrong in [6, -1, i64::from(i32::MAX)] {
        let mut bad = good;
        bad[1][2] = wrong;
        let found = run([2, 4, 3], labels(bad), &head);
        assert!(matches!(found, Err(Error::IndexRange { size: 6, found, .. }) if found == wrong));
    }
    let empty = Tensor::<2, Int>::zeros([0, 4], &device);
    let none = Tensor::<3>::zeros([0, 4, 3], &device);
    let found = token_cross_entropy(none, empty, &head).err();
    assert_eq!(found, Some(Error::EmptyBatch));
    let none = Tensor::<3>::zeros([2, 0, 3], &device);
    let empty = Tensor::<2, Int>::zeros([2, 0], &device);
    assert!(token_cross_entropy(none, empty, &head).is_err());
    let field = |head| match run([2, 4, 3], labels(good), &head) {
        Err(Error::Config { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(head.clone().with_slice(0)), "slice");
    for cap in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(field(head.clone().with_soft_cap(cap)), "soft_cap");
    }
}

#[test]
fn a_recording_of_other_samples_is_refused() {
    let device = double::device();
    let layer = layer(&device);
    let _tape = Tape::start();
    let _three = layer.forward_recorded(hidden([3, 2, 3], &device));
    let labels = Tensor::<2, Int>::from_data([[-100, 1], [-100, 2]], &device);
    let head = VocabularyHead::linear(&layer);
    let found = token_cross_entropy(hidden([2, 2, 3], &device), labels, &head);
    assert!(matches!(found, Err(Error::BatchMismatch { .. })));
}

/// What a recording says to a loss made of the losses of two samples with three answer tokens.
fn collect(make: impl Fn(&burn_ief::tokens::TokenLosses) -> Tensor<1>) -> Result<Vec<f64>, Error> {
    let device = double::device();
    let layer = layer(&device);
    let labels = Tensor::<2, Int>::from_data([[-100, 1, 2], [-100, -100, 2]], &device);
    let tape = Tape::start();
    let losses = token_cross_entropy(
        hidden([2, 3, 3], &device),
        labels,
        &VocabularyHead::linear(&layer),
    )?;
    let loss = make(&losses);
    let recorded = RecordedBatch::collect(tape, loss.backward(), &layer, None)?;
    recorded.output_norms()
}

#[test]
fn a_wrong_loss_scale_is_found() {
    let good = collect(|losses| losses.sum()).unwrap();
    for right in [
        collect(|losses| losses.token_mean()),
        collect(|losses| losses.mean()),
        collect(|losses| mark_mean_loss(losses.per_sample())),
    ] {
        super::close(&right.unwrap(), &good, 1e-12);
    }
    // A sum, a mean over the tokens and a mean over all positions, where a mean over samples is declared.
    for wrong in [1.0, 1.0 / 3.0, 1.0 / 6.0] {
        let found = collect(|losses| losses.per_sample().sum() * wrong);
        let Err(Error::LossScale { declared, found }) = found else {
            panic!("{found:?}");
        };
        assert_eq!(declared, 0.5);
        assert!((found - wrong).abs() < 1e-9);
    }
    // Weights of the samples are no scale; s has their squares.
    let weighted = collect(|losses| {
        let weights = Tensor::from_floats([1.0, 0.5], &losses.output_norms().device());
        (losses.per_sample() * weights).mean()
    });
    super::close(&weighted.unwrap(), &[good[0], 0.25 * good[1]], 1e-6);
}
