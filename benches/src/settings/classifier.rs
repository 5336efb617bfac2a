//! Models of this crate that put sequences into classes.

use std::marker::PhantomData;

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use burn_ief::{mark_loss, mark_output};
use ports::Form;

use super::Net;
use crate::call::Call;
use crate::operations::Operations;

/// A classifier of sequences.
pub trait Classifier: Module + Sized {
    /// With random weights on an autodiff device, the frozen ones frozen.
    fn new(device: &Device, operations: Operations) -> Self;

    /// Shape of an input without the batch, `[T, i]`.
    const INPUT: [usize; 2];

    /// Number of classes.
    const CLASSES: usize;

    /// Inputs `[M, T, i]` to logits `[M, CLASSES]`.
    fn logits(&self, x: Tensor<3>, call: &Call) -> Tensor<2>;
}

/// One batch.
#[derive(Clone)]
pub struct Sequences {
    /// `[M, T, i]`.
    pub inputs: Tensor<3>,
    /// `[M]`.
    pub labels: Tensor<1, Int>,
}

/// A [`Classifier`] under cross-entropy.
pub struct Classified<C>(PhantomData<C>);

impl<C: Classifier> Net for Classified<C> {
    type Model = C;
    type Batch = Sequences;

    const CLASSES: usize = C::CLASSES;

    fn model(_form: Form, operations: Operations, device: &Device) -> C {
        C::new(device, operations)
    }

    /// Random inputs, labels in turn.
    fn batch(samples: usize, device: &Device) -> Sequences {
        let [t, i] = C::INPUT;
        let labels: Vec<i64> = (0..samples).map(|n| (n % C::CLASSES) as i64).collect();
        Sequences {
            inputs: Tensor::random([samples, t, i], Distribution::Normal(0.0, 1.0), device),
            labels: Tensor::from_data(TensorData::new(labels, [samples]), device),
        }
    }

    fn samples(batch: &Sequences) -> usize {
        batch.labels.dims()[0]
    }

    fn sample(batch: &Sequences, n: usize) -> Sequences {
        Sequences {
            inputs: batch.inputs.clone().narrow(0, n, 1),
            labels: batch.labels.clone().narrow(0, n, 1),
        }
    }

    fn loss(model: &C, batch: Sequences, call: &Call) -> Tensor<1> {
        let Sequences { inputs, labels } = batch;
        let logits = mark_output(model.logits(inputs, call));
        call.keep_output_norms(&logits, &labels);
        let cross_entropy = CrossEntropyLossConfig::new().init(&logits.device());
        mark_loss(cross_entropy.forward(logits, labels))
    }
}
