//! `text-generation`: a causal transformer of six layers that writes DBpedia's descriptions.

use burn::config::Config;
use burn::module::Module;
use burn::nn::attention::generate_autoregressive_mask;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::transformer::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use burn_ief::nn::EncoderInput;
use burn_ief::prelude::*;

use crate::batch::{Batch, indices};
use crate::port::{Evaluation, Form, Port};
use crate::text_classification::random_tokens;

/// Positions of the random batches: texts are padded to the longest of their batch, 512 at most, and most of
/// DBpedia's are below this.
pub const LENGTH: usize = 128;

/// Texts, and the token that comes next at every position.
#[derive(Debug, Clone)]
pub struct Sequences {
    /// `[M, T]`.
    pub inputs: Tensor<2, Int>,
    /// `[M, T]`.
    pub targets: Tensor<2, Int>,
    /// True for padding among the inputs, `[M, T]`.
    pub mask_pad: Tensor<2, Bool>,
    /// Targets of each sample that are no padding.
    pub real: Vec<usize>,
}

impl Sequences {
    /// Of token ids, padded to the longest of them.
    pub fn new(texts: &[Vec<usize>], pad: usize, device: &Device) -> Self {
        let length = texts.iter().map(Vec::len).max().unwrap_or(0).max(2);
        let mut padded = Vec::with_capacity(texts.len() * length);
        for text in texts {
            padded.extend(text.iter().map(|&id| id as i64));
            padded.resize(padded.len() + length - text.len(), pad as i64);
        }
        let data = TensorData::new(padded, [texts.len(), length]);
        let real = texts
            .iter()
            .map(|text| text.len().saturating_sub(1))
            .collect();
        Self::of_tokens(Tensor::from_data(data, device), real, pad)
    }

    fn of_tokens(tokens: Tensor<2, Int>, real: Vec<usize>, pad: usize) -> Self {
        let [_, length] = tokens.dims();
        let inputs = tokens.clone().narrow(1, 0, length - 1);
        Self {
            mask_pad: inputs.clone().equal_elem(pad as i64),
            targets: tokens.narrow(1, 1, length - 1),
            inputs,
            real,
        }
    }
}

impl Batch for Sequences {
    fn samples(&self) -> usize {
        self.real.len()
    }

    /// As long as the longest of them.
    fn select(&self, places: &[usize]) -> Self {
        let real: Vec<usize> = places.iter().map(|&place| self.real[place]).collect();
        let length = real.iter().copied().max().unwrap_or(0).max(1);
        let places = indices(places, &self.inputs.device());
        let part = |tokens: &Tensor<2, Int>| {
            let all = tokens.clone().narrow(1, 0, length);
            all.select(0, places.clone())
        };
        Self {
            inputs: part(&self.inputs),
            targets: part(&self.targets),
            mask_pad: self
                .mask_pad
                .clone()
                .narrow(1, 0, length)
                .select(0, places.clone()),
            real,
        }
    }
}

/// Embeddings, an encoder with a causal mask, and a head over the vocabulary.
#[derive(Module, Debug)]
pub struct Model {
    transformer: TransformerEncoder,
    embedding_token: Embedding,
    embedding_pos: Embedding,
    output: Linear,
    vocabulary: usize,
    pad: usize,
}

/// Sizes of a [`Model`].
#[derive(Config, Debug)]
pub struct ModelConfig {
    /// The encoder.
    pub transformer: TransformerEncoderConfig,
    /// Number of tokens.
    pub vocabulary: usize,
    /// The token of padding.
    pub pad: usize,
    /// Largest length.
    pub length: usize,
}

impl ModelConfig {
    /// The example's sizes: the vocabulary of GPT-2's tokenizer with three more tokens, the last of which is
    /// padding.
    pub fn of_example() -> Self {
        Self::new(encoder(), 50_260, 50_259, 512)
    }

    /// A new model.
    pub fn init(&self, device: &Device) -> Model {
        let width = self.transformer.d_model;
        Model {
            transformer: self.transformer.init(device),
            embedding_token: EmbeddingConfig::new(self.vocabulary, width).init(device),
            embedding_pos: EmbeddingConfig::new(self.length, width).init(device),
            output: LinearConfig::new(width, self.vocabulary).init(device),
            vocabulary: self.vocabulary,
            pad: self.pad,
        }
    }
}

/// The example's encoder.
pub fn encoder() -> TransformerEncoderConfig {
    TransformerEncoderConfig::new(384, 1536, 12, 6).with_norm_first(true)
}

impl Model {
    /// Tokens `[M, T]` and their padding to logits `[M, T, vocabulary]`.
    pub fn forward(&self, tokens: Tensor<2, Int>, mask_pad: Tensor<2, Bool>) -> Tensor<3> {
        let [samples, length] = tokens.dims();
        let device = tokens.device();
        let positions = Tensor::arange(0..length as i64, &device)
            .reshape([1, length])
            .repeat_dim(0, samples);
        let positions = self.embedding_pos.forward(positions);
        let embedded = (positions + self.embedding_token.forward(tokens)) / 2;
        let causal = generate_autoregressive_mask(samples, length, &device);
        let input = TransformerEncoderInput::new(embedded)
            .mask_pad(mask_pad)
            .mask_attn(causal);
        let encoded = self.transformer.forward(input);
        self.output.forward(encoded)
    }

    /// [`forward`](Self::forward), recorded.
    pub fn forward_recorded(&self, tokens: Tensor<2, Int>, mask_pad: Tensor<2, Bool>) -> Tensor<3> {
        let [samples, length] = tokens.dims();
        let device = tokens.device();
        let positions = Tensor::arange(0..length as i64, &device)
            .reshape([1, length])
            .repeat_dim(0, samples);
        let positions = self.embedding_pos.forward_recorded(positions);
        let embedded = (positions + self.embedding_token.forward_recorded(tokens)) / 2;
        let causal = generate_autoregressive_mask(samples, length, &device);
        let input = EncoderInput::new(embedded)
            .mask_pad(mask_pad)
            .mask_attn(causal);
        let encoded = self.transformer.forward_recorded(input);
        self.output.forward_recorded(encoded)
    }

    /// The mean cross-entropy over the tokens that are no padding.
    pub fn loss(&self, batch: Sequences) -> Tensor<1> {
        let logits = self.forward(batch.inputs, batch.mask_pad);
        let loss = CrossEntropyLossConfig::new()
            .with_pad_tokens(Some(vec![self.pad]))
            .init(&logits.device());
        loss.forward(logits.flatten(0, 1), batch.targets.flatten(0, 1))
    }

    /// [`loss`](Self::loss), recorded.
    pub fn loss_recorded(&self, batch: Sequences) -> Tensor<1> {
        let tokens: usize = batch.real.iter().sum();
        declare_loss_scale(LossScale::Factor(1.0 / tokens as f64));
        let logits = mark_output(self.forward_recorded(batch.inputs, batch.mask_pad));
        let loss = CrossEntropyLossConfig::new()
            .with_pad_tokens(Some(vec![self.pad]))
            .init(&logits.device());
        loss.forward(logits.flatten(0, 1), batch.targets.flatten(0, 1))
    }
}

/// The example `text-generation`.
#[derive(Debug)]
pub struct TextGeneration;

impl Port for TextGeneration {
    type Model = Model;
    type Batch = Sequences;

    const NAME: &'static str = "text-generation";
    const BATCH: usize = 6;
    const CLASSIFIES: bool = true;

    fn model(_form: Form, device: &Device) -> Model {
        ModelConfig::of_example().init(device)
    }

    /// Texts of 32 to 129 tokens, one of which comes next at each of 128 positions.
    fn random_batch(samples: usize, device: &Device) -> Sequences {
        let config = ModelConfig::of_example();
        random_sequences(samples, 32..LENGTH + 2, &config, device)
    }

    fn loss(model: &Model, batch: Sequences) -> Tensor<1> {
        model.loss(batch)
    }

    fn loss_recorded(model: &Model, batch: Sequences) -> Tensor<1> {
        model.loss_recorded(batch)
    }

    /// The sum over its tokens.
    fn loss_of_sample(model: &Model, batch: Sequences) -> Tensor<1> {
        let tokens = batch.real[0];
        model.loss(batch) * tokens as f64
    }

    fn evaluate(model: &Model, batch: Sequences) -> Evaluation {
        let logits = model.valid().forward(batch.inputs, batch.mask_pad);
        let targets = batch.targets.flatten(0, 1);
        Evaluation::of_classes(logits.flatten(0, 1), targets, Some(model.pad))
    }
}

/// Random tokens for a model, the lengths spread over a range.
pub fn random_sequences(
    samples: usize,
    lengths: std::ops::Range<usize>,
    config: &ModelConfig,
    device: &Device,
) -> Sequences {
    let length = lengths.end - 1;
    let (tokens, mask) = random_tokens(
        samples,
        lengths,
        length,
        config.vocabulary,
        config.pad,
        device,
    );
    let real = mask.bool_not().int().sum_dim(1).into_data();
    let real = real
        .iter::<i64>()
        .map(|tokens| tokens as usize - 1)
        .collect();
    Sequences::of_tokens(tokens, real, config.pad)
}
