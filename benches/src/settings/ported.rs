//! Burn's examples.

use std::marker::PhantomData;

use burn::tensor::{Device, Tensor};
use ports::batch::Batch;
use ports::{Form, Port};

use super::{Net, Sizes};
use crate::call::Call;
use crate::operations::Operations;

/// A port under its own loss: plain calls are Burn's own layers, as in the example.
pub struct Ported<P>(PhantomData<P>);

impl<P: Port> Net for Ported<P> {
    type Model = P::Model;
    type Batch = P::Batch;

    /// The methods that need it are not among those of the ports.
    const CLASSES: usize = 1;

    /// The fused operations are part of the recorded layers, and of those alone.
    fn model(form: Form, _operations: Operations, device: &Device) -> P::Model {
        P::model(form, device)
    }

    fn batch(samples: usize, device: &Device) -> P::Batch {
        P::random_batch(samples, device)
    }

    fn samples(batch: &P::Batch) -> usize {
        batch.samples()
    }

    fn sample(batch: &P::Batch, n: usize) -> P::Batch {
        batch.narrow(n, 1)
    }

    fn loss(model: &P::Model, batch: P::Batch, call: &Call) -> Tensor<1> {
        match call {
            Call::Recorded => P::loss_recorded(model, batch),
            _ => P::loss(model, batch),
        }
    }
}

const fn linear(input: usize, output: usize) -> usize {
    (input + 1) * output
}

const fn conv(input: usize, output: usize) -> usize {
    (9 * input + 1) * output
}

const fn encoder(layers: usize, width: usize, inner: usize) -> usize {
    let attention = 4 * linear(width, width);
    layers * (attention + linear(width, inner) + linear(inner, width) + 4 * width)
}

/// What an encoder keeps of a sample: twelve tensors of its width, four of the inner one, three maps of each head.
const fn kept(layers: usize, width: usize, inner: usize, heads: usize, length: usize) -> usize {
    layers * length * (12 * width + 4 * inner + 3 * heads * length)
}

const fn all(parameters: usize, largest: usize, activations: usize) -> Sizes {
    Sizes {
        parameters,
        trainable: parameters,
        largest,
        activations,
    }
}

const fn digits(hidden: usize) -> Sizes {
    let convolutions = conv(1, 8) + conv(8, 16);
    all(
        convolutions + linear(1024, hidden) + linear(hidden, 10),
        1024 * hidden,
        // Maps of the convolutions, after dropout and ReLU; the pooled ones; the hidden layer.
        3 * (8 * 26 * 26 + 16 * 24 * 24) + 1024 + 3 * hidden,
    )
}

pub(super) const GUIDE: Sizes = digits(512);
pub(super) const CUSTOM_TRAINING_LOOP: Sizes = digits(1024);

pub(super) const MNIST: Sizes = all(
    conv(1, 64) + conv(64, 64) + 4 * 64 + linear(1600, 128) + linear(128, 128) + linear(128, 10),
    1600 * 128,
    // Maps of the convolutions, in the norm and after ReLU.
    6 * 64 * (26 * 26 + 11 * 11) + 64 * (13 * 13 + 5 * 5),
);

pub(super) const SIMPLE_REGRESSION: Sizes = all(linear(8, 64) + linear(64, 1), 8 * 64, 8 + 2 * 64);

pub(super) const TEXT_CLASSIFICATION: Sizes = all(
    (28_996 + 256) * 128 + encoder(4, 128, 512) + linear(128, 4),
    28_996 * 128,
    kept(4, 128, 512, 4, 256),
);

pub(super) const TEXT_GENERATION: Sizes = all(
    (50_260 + 512) * 384 + encoder(6, 384, 1536) + linear(384, 50_260),
    384 * 50_260,
    // Logits, their logarithms and gradients.
    kept(6, 384, 1536, 12, ports::text_generation::LENGTH)
        + 3 * ports::text_generation::LENGTH * 50_260,
);

const fn cell(input: usize) -> usize {
    linear(input, 128) + linear(32, 128) + 2 * (128 + 32 + 32)
}

pub(super) const MODERN_LSTM: Sizes = all(
    2 * (cell(1) + cell(32)) + linear(64, 1),
    32 * 128,
    // As in the setting `cells`, for two directions.
    2 * 2 * ports::modern_lstm::LENGTH * 32 * 32,
);

pub(super) const WGAN: Sizes = all(
    linear(784, 512) + linear(512, 256) + linear(256, 1),
    784 * 512,
    2 * (784 + 2 * (512 + 256)),
);

pub(super) const CUSTOM_IMAGE_DATASET: Sizes = all(
    conv(3, 32)
        + conv(32, 32)
        + conv(32, 64)
        + conv(64, 64)
        + conv(64, 128)
        + conv(128, 128)
        + linear(2048, 128)
        + linear(128, 10),
    2048 * 128,
    // Two maps of each convolution, and what comes out of pooling and dropout.
    (4 + 1) * (32 * 32 * 32 + 64 * 16 * 16 + 128 * 8 * 8),
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Setting;
    use burn::module::{Module, ModuleVisitor, Param};

    /// Parameters that train: BatchNorm also holds statistics.
    struct Trained(usize);

    impl ModuleVisitor for Trained {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.is_require_grad() {
                self.0 += param.shape().num_elements();
            }
        }
    }

    fn check<P: Port>(setting: Setting) {
        let _random = crate::settings::random_state();
        let device = Device::flex().autodiff();
        for form in [Form::Burn, Form::Recorded] {
            let model = P::model(form, &device);
            let (sizes, name) = (setting.sizes(), P::NAME);
            let mut trained = Trained(0);
            model.visit(&mut trained);
            assert_eq!(trained.0, sizes.trainable, "{name} {form:?}");
            assert!(setting.is_port() && setting.batch() == P::BATCH);
        }
    }

    #[test]
    fn the_models_have_the_sizes_that_memory_is_predicted_from() {
        check::<ports::Guide>(Setting::Guide);
        check::<ports::Mnist>(Setting::Mnist);
        check::<ports::SimpleRegression>(Setting::SimpleRegression);
        check::<ports::TextClassification>(Setting::TextClassification);
        check::<ports::TextGeneration>(Setting::TextGeneration);
        check::<ports::CustomTrainingLoop>(Setting::CustomTrainingLoop);
        check::<ports::ModernLstm>(Setting::ModernLstm);
        check::<ports::Wgan>(Setting::Wgan);
        check::<ports::CustomImageDataset>(Setting::CustomImageDataset);
    }
}
