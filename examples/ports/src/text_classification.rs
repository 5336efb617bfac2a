//! `text-classification`: a transformer encoder of four layers that reads AG News.

use burn::config::Config;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::transformer::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{Bool, Device, Distribution, Int, Tensor, TensorData};
use burn_ief::nn::EncoderInput;
use burn_ief::prelude::*;

use crate::batch::{Batch, indices};
use crate::port::{Evaluation, Form, Port, labels_in_turn};

/// Padding.
const PAD: usize = 0;

/// Texts, padded to one length, and their classes.
#[derive(Debug, Clone)]
pub struct Texts {
    /// `[M, T]`.
    pub tokens: Tensor<2, Int>,
    /// True for padding, `[M, T]`.
    pub mask_pad: Tensor<2, Bool>,
    /// `[M]`.
    pub labels: Tensor<1, Int>,
}

impl Texts {
    /// Of token ids, cut or padded to `length`, and classes.
    pub fn new(texts: &[Vec<usize>], labels: &[usize], length: usize, device: &Device) -> Self {
        let mut padded = Vec::with_capacity(texts.len() * length);
        for text in texts {
            let end = padded.len() + length;
            padded.extend(text.iter().take(length).map(|&id| id as i64));
            padded.resize(end, PAD as i64);
        }
        let data = TensorData::new(padded, [texts.len(), length]);
        let tokens = Tensor::<2, Int>::from_data(data, device);
        Self {
            mask_pad: tokens.clone().equal_elem(PAD as i64),
            tokens,
            labels: indices(labels, device),
        }
    }
}

impl Batch for Texts {
    fn samples(&self) -> usize {
        self.labels.dims()[0]
    }

    fn select(&self, places: &[usize]) -> Self {
        let places = indices(places, &self.labels.device());
        Self {
            tokens: self.tokens.clone().select(0, places.clone()),
            mask_pad: self.mask_pad.clone().select(0, places.clone()),
            labels: self.labels.clone().select(0, places),
        }
    }
}

/// Embeddings, an encoder, and a head that reads the first position.
#[derive(Module, Debug)]
pub struct Model {
    transformer: TransformerEncoder,
    embedding_token: Embedding,
    embedding_pos: Embedding,
    output: Linear,
    classes: usize,
}

/// Sizes of a [`Model`].
#[derive(Config, Debug)]
pub struct ModelConfig {
    /// The encoder.
    pub transformer: TransformerEncoderConfig,
    /// Number of classes.
    pub classes: usize,
    /// Number of tokens.
    pub vocabulary: usize,
    /// Largest length.
    pub length: usize,
}

impl ModelConfig {
    /// The example's sizes, with the vocabulary of BERT's cased tokenizer (28,996) and four classes.
    pub fn of_example() -> Self {
        Self::new(encoder(), 4, 28_996, 256)
    }

    /// A new model.
    pub fn init(&self, device: &Device) -> Model {
        let width = self.transformer.d_model;
        Model {
            transformer: self.transformer.init(device),
            embedding_token: EmbeddingConfig::new(self.vocabulary, width).init(device),
            embedding_pos: EmbeddingConfig::new(self.length, width).init(device),
            output: LinearConfig::new(width, self.classes).init(device),
            classes: self.classes,
        }
    }
}

/// The example's encoder.
pub fn encoder() -> TransformerEncoderConfig {
    TransformerEncoderConfig::new(128, 512, 4, 4)
        .with_norm_first(true)
        .with_quiet_softmax(true)
}

impl Model {
    /// Tokens `[M, T]` and their padding to logits `[M, classes]`.
    pub fn forward(&self, tokens: Tensor<2, Int>, mask_pad: Tensor<2, Bool>) -> Tensor<2> {
        let [samples, length] = tokens.dims();
        let positions = Tensor::arange(0..length as i64, &tokens.device())
            .reshape([1, length])
            .repeat_dim(0, samples);
        let positions = self.embedding_pos.forward(positions);
        let embedded = (positions + self.embedding_token.forward(tokens)) / 2;
        let input = TransformerEncoderInput::new(embedded).mask_pad(mask_pad);
        let encoded = self.transformer.forward(input);
        let output = self.output.forward(encoded);
        output.narrow(1, 0, 1).reshape([samples, self.classes])
    }

    /// [`forward`](Self::forward), recorded.
    pub fn forward_recorded(&self, tokens: Tensor<2, Int>, mask_pad: Tensor<2, Bool>) -> Tensor<2> {
        let [samples, length] = tokens.dims();
        let positions = Tensor::arange(0..length as i64, &tokens.device())
            .reshape([1, length])
            .repeat_dim(0, samples);
        let positions = self.embedding_pos.forward_recorded(positions);
        let embedded = (positions + self.embedding_token.forward_recorded(tokens)) / 2;
        let input = EncoderInput::new(embedded).mask_pad(mask_pad);
        let encoded = self.transformer.forward_recorded(input);
        let output = self.output.forward_recorded(encoded);
        output.narrow(1, 0, 1).reshape([samples, self.classes])
    }

    /// The mean cross-entropy of a batch.
    pub fn loss(&self, batch: Texts) -> Tensor<1> {
        let logits = self.forward(batch.tokens, batch.mask_pad);
        let loss = CrossEntropyLossConfig::new().init(&logits.device());
        loss.forward(logits, batch.labels)
    }

    /// [`loss`](Self::loss), recorded.
    pub fn loss_recorded(&self, batch: Texts) -> Tensor<1> {
        let logits = mark_output(self.forward_recorded(batch.tokens, batch.mask_pad));
        let loss = CrossEntropyLossConfig::new().init(&logits.device());
        loss.forward(logits, batch.labels)
    }
}

/// The example `text-classification`.
#[derive(Debug)]
pub struct TextClassification;

impl Port for TextClassification {
    type Model = Model;
    type Batch = Texts;

    const NAME: &'static str = "text-classification";
    const BATCH: usize = 32;
    const CLASSIFIES: bool = true;

    fn model(_form: Form, device: &Device) -> Model {
        ModelConfig::of_example().init(device)
    }

    /// Texts of 32 to 95 tokens, padded to 256 as in the example.
    fn random_batch(samples: usize, device: &Device) -> Texts {
        let config = ModelConfig::of_example();
        random_texts(samples, 32..96, &config, device)
    }

    fn loss(model: &Model, batch: Texts) -> Tensor<1> {
        model.loss(batch)
    }

    fn loss_recorded(model: &Model, batch: Texts) -> Tensor<1> {
        model.loss_recorded(batch)
    }

    fn evaluate(model: &Model, batch: Texts) -> Evaluation {
        let logits = model.valid().forward(batch.tokens, batch.mask_pad);
        Evaluation::of_classes(logits, batch.labels, None)
    }
}

/// Random tokens for a model, the lengths spread over a range.
pub fn random_texts(
    samples: usize,
    lengths: std::ops::Range<usize>,
    config: &ModelConfig,
    device: &Device,
) -> Texts {
    let (tokens, mask_pad) = random_tokens(
        samples,
        lengths,
        config.length,
        config.vocabulary,
        PAD,
        device,
    );
    Texts {
        tokens,
        mask_pad,
        labels: labels_in_turn(samples, config.classes, device),
    }
}

/// Random tokens `[M, T]`, padding behind the length of each sample, and where the padding is.
pub(crate) fn random_tokens(
    samples: usize,
    lengths: std::ops::Range<usize>,
    length: usize,
    vocabulary: usize,
    pad: usize,
    device: &Device,
) -> (Tensor<2, Int>, Tensor<2, Bool>) {
    // Numbers below `vocabulary - 1`, moved by `pad + 1`: all tokens but `pad`.
    let other = Distribution::Uniform(0.0, (vocabulary - 1) as f64);
    let others = Tensor::<2, Int>::random([samples, length], other, device);
    let tokens = (others + pad as i64 + 1).remainder_scalar(vocabulary as i64);
    let own: Vec<usize> = (0..samples)
        .map(|n| lengths.start + n * lengths.len() / samples)
        .collect();
    let own = indices(&own, device);
    let at = Tensor::<1, Int>::arange(0..length as i64, device);
    let behind = at.unsqueeze_dim::<2>(0).expand([samples, length]);
    let mask = behind.greater_equal(own.unsqueeze_dim::<2>(1).expand([samples, length]));
    (tokens.mask_fill(mask.clone(), pad as i64), mask)
}
