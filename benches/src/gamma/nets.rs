//! Models with many outputs.

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::{gelu, relu, softmax};
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use burn_ief::nn::ForwardRecorded;

use crate::call::Call;

/// A model whose directions are judged, with every parameter trainable.
pub trait Judged: Module + Sized {
    /// Inputs.
    type Batch;

    /// Number of classes.
    const CLASSES: usize;

    /// Outputs of a sample: positions times classes.
    const OUTPUTS: usize;

    /// With random weights.
    fn new(device: &Device) -> Self;

    /// Inputs, and a label for every row of the logits.
    fn batch(&self, device: &Device) -> (Self::Batch, Tensor<1, Int>);

    /// `[M, T, CLASSES]`.
    fn logits(&self, batch: &Self::Batch, call: &Call) -> Tensor<3>;
}

/// MLP 3072-2048-2048-CLASSES with ReLU.
#[derive(Module, Debug)]
pub struct Classifier<const CLASSES: usize> {
    layers: Vec<Linear>,
}

impl<const CLASSES: usize> Judged for Classifier<CLASSES> {
    type Batch = Tensor<2>;

    const CLASSES: usize = CLASSES;
    const OUTPUTS: usize = CLASSES;

    fn new(device: &Device) -> Self {
        let layers = [(3072, 2048), (2048, 2048), (2048, CLASSES)];
        Self {
            layers: layers
                .map(|(i, o)| LinearConfig::new(i, o).init(device))
                .into(),
        }
    }

    fn batch(&self, device: &Device) -> (Tensor<2>, Tensor<1, Int>) {
        const SAMPLES: usize = 64;
        let shape = [SAMPLES, 3072];
        let x = Tensor::random(shape, Distribution::Normal(0.0, 1.0), device);
        (x, labels(SAMPLES, CLASSES, device))
    }

    /// No sequence: there is nothing to fold.
    fn logits(&self, x: &Tensor<2>, _call: &Call) -> Tensor<3> {
        let (last, hidden) = self.layers.split_last().expect("three layers");
        let x = hidden
            .iter()
            .fold(x.clone(), |x, layer| relu(layer.forward_recorded(x)));
        last.forward_recorded(x).unsqueeze_dim(1)
    }
}

const SAMPLES: usize = 16;
const POSITIONS: usize = 64;
const WIDTH: usize = 256;
const HEADS: usize = 8;
const VOCABULARY: usize = 1000;

/// Token embeddings, two pre-norm blocks and a head over the vocabulary at every position.
#[derive(Module, Debug)]
pub struct Tokens {
    embedding: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

#[derive(Module, Debug)]
struct Block {
    norm_attention: LayerNorm,
    projections: Vec<Linear>,
    output: Linear,
    norm_feed_forward: LayerNorm,
    inner: Linear,
    outer: Linear,
}

impl Block {
    fn new(device: &Device) -> Self {
        let norm = || LayerNormConfig::new(WIDTH).init(device);
        let linear = |i, o| LinearConfig::new(i, o).init(device);
        Self {
            norm_attention: norm(),
            projections: (0..3).map(|_| linear(WIDTH, WIDTH)).collect(),
            output: linear(WIDTH, WIDTH),
            norm_feed_forward: norm(),
            inner: linear(WIDTH, 4 * WIDTH),
            outer: linear(4 * WIDTH, WIDTH),
        }
    }

    fn forward(&self, x: Tensor<3>, call: &Call) -> Tensor<3> {
        let [m, t, width] = x.dims();
        let y = self.norm_attention.forward_recorded(x.clone());
        let heads = [0, 1, 2].map(|k| {
            let y = call.linear(&self.projections[k], y.clone());
            y.reshape([m, t, HEADS, width / HEADS]).swap_dims(1, 2)
        });
        let [query, key, value] = heads;
        let scores = query.matmul(key.swap_dims(2, 3)) / ((width / HEADS) as f64).sqrt();
        let mixed = softmax(scores, 3).matmul(value).swap_dims(1, 2);
        let x = x + call.linear(&self.output, mixed.reshape([m, t, width]));
        let y = self.norm_feed_forward.forward_recorded(x.clone());
        x + call.linear(&self.outer, gelu(call.linear(&self.inner, y)))
    }
}

impl Judged for Tokens {
    type Batch = Tensor<2, Int>;

    const CLASSES: usize = VOCABULARY;
    const OUTPUTS: usize = POSITIONS * VOCABULARY;

    fn new(device: &Device) -> Self {
        Self {
            embedding: EmbeddingConfig::new(VOCABULARY, WIDTH).init(device),
            blocks: (0..2).map(|_| Block::new(device)).collect(),
            norm: LayerNormConfig::new(WIDTH).init(device),
            head: LinearConfig::new(WIDTH, VOCABULARY).init(device),
        }
    }

    fn batch(&self, device: &Device) -> (Tensor<2, Int>, Tensor<1, Int>) {
        let rows = SAMPLES * POSITIONS;
        let ids: Vec<i64> = (0..rows)
            .map(|n| (n * n * 31 % VOCABULARY) as i64)
            .collect();
        let ids = Tensor::from_data(TensorData::new(ids, [SAMPLES, POSITIONS]), device);
        (ids, labels(rows, VOCABULARY, device))
    }

    fn logits(&self, ids: &Tensor<2, Int>, call: &Call) -> Tensor<3> {
        let x = self.embedding.forward_recorded(ids.clone());
        let x = self
            .blocks
            .iter()
            .fold(x, |x, block| block.forward(x, call));
        call.linear(&self.head, self.norm.forward_recorded(x))
    }
}

/// Classes in turn.
fn labels(rows: usize, classes: usize, device: &Device) -> Tensor<1, Int> {
    let labels: Vec<i64> = (0..rows).map(|n| (n % classes) as i64).collect();
    Tensor::from_data(TensorData::new(labels, [rows]), device)
}
