//! A random network, its batch and its loss under several scales.

use std::ops::Range;

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{
    Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig, RmsNorm,
    RmsNormConfig,
};
use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use burn_ief::nn::{ForwardRecorded, embed_shared, unembed};
use burn_ief::{LossScale, expand_input};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Labels with this class are padding.
pub const PAD: i64 = 0;

/// What is random about a network and its batch.
#[derive(Debug, Clone)]
pub struct Case {
    pub samples: usize,
    pub positions: usize,
    width: usize,
    pub classes: usize,
    /// How often the hidden layer and its norm are used.
    uses: usize,
    /// Whether the token table is the output head as well.
    tied: bool,
    bias: bool,
    /// A dropout mask that is the same for every pass.
    masked: bool,
    checkpointing: bool,
    pub seed: u64,
}

pub fn cases() -> impl Strategy<Value = Case> {
    let sizes = (2..7usize, 1..5usize, 2..6usize, 3..7usize, 1..4usize);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (sizes, flags, any::<u64>()).prop_map(|(sizes, flags, seed)| Case {
        samples: sizes.0,
        positions: sizes.1,
        width: sizes.2,
        classes: sizes.3,
        uses: sizes.4,
        tied: flags.0,
        bias: flags.1,
        masked: flags.2,
        checkpointing: flags.3,
        seed,
    })
}

#[derive(Module, Debug)]
pub struct Net {
    tokens: Embedding,
    positions: Embedding,
    norm: LayerNorm,
    hidden: Linear,
    rms: RmsNorm,
    head: Option<Linear>,
    uses: usize,
}

#[derive(Debug, Clone)]
pub struct Batch {
    pub ids: Tensor<2, Int>,
    /// Dropout masks, `[M, T, width]`.
    mask: Option<Tensor<3>>,
    /// `[M][T]`.
    pub labels: Vec<Vec<i64>>,
    /// One weight for each class; that of padding is not used.
    weights: Option<Vec<f32>>,
}

impl Case {
    pub fn device(&self) -> Device {
        let device = super::device();
        if self.checkpointing {
            device.gradient_checkpointing()
        } else {
            device
        }
    }

    /// The same sizes with other data.
    pub fn with_seed(&self, seed: u64) -> Self {
        Self {
            seed,
            ..self.clone()
        }
    }

    pub fn net(&self) -> Net {
        let device = self.device();
        let head = LinearConfig::new(self.width, self.classes).with_bias(self.bias);
        let net = Net {
            tokens: EmbeddingConfig::new(self.classes, self.width).init(&device),
            positions: EmbeddingConfig::new(self.positions, self.width).init(&device),
            norm: LayerNormConfig::new(self.width)
                .with_bias(self.bias)
                // Vectors of two entries would otherwise become ±1 whatever they are.
                .with_epsilon(0.1)
                .init(&device),
            hidden: LinearConfig::new(self.width, self.width)
                .with_bias(self.bias)
                .init(&device),
            rms: RmsNormConfig::new(self.width).init(&device),
            head: (!self.tied).then(|| head.init(&device)),
            uses: self.uses,
        };
        net.map(&mut Fill(ChaCha8Rng::seed_from_u64(self.seed)))
    }

    pub fn batch(&self, weighted: bool) -> Batch {
        let mut generator = ChaCha8Rng::seed_from_u64(self.seed ^ 1);
        let (samples, positions) = (self.samples, self.positions);
        let mut draw = || generator.random_range(0..self.classes as i64);
        let ids: Vec<i64> = (0..samples * positions).map(|_| draw()).collect();
        let mut labels: Vec<Vec<i64>> = (0..samples)
            .map(|_| (0..positions).map(|_| draw()).collect())
            .collect();
        // Not padding alone.
        labels[0][0] = 1;
        let device = self.device();
        let mask = self.masked.then(|| {
            let dims = [samples, positions, self.width];
            let mut keep = || {
                if generator.random_bool(0.7) {
                    1.0 / 0.7
                } else {
                    0.0
                }
            };
            let keep = (0..dims.iter().product()).map(|_| keep());
            Tensor::from_data(TensorData::new(keep.collect::<Vec<f32>>(), dims), &device)
        });
        let weights = (0..self.classes).map(|_| generator.random_range(0.2..2.0f32));
        Batch {
            ids: Tensor::from_data(TensorData::new(ids, [samples, positions]), &device),
            mask,
            labels,
            weights: weighted.then(|| weights.collect()),
        }
    }
}

struct Fill(ChaCha8Rng);

impl ModuleMapper for Fill {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| {
            let dims = value.dims();
            let entries: Vec<f32> = (0..dims.iter().product())
                .map(|_| StandardNormal.sample(&mut self.0))
                .collect();
            let data = TensorData::new(entries, dims);
            Tensor::from_data(data, &value.device()).require_grad()
        })
    }
}

impl Net {
    /// Logits `[M, T, classes]`.
    pub fn forward(&self, batch: &Batch) -> Tensor<3> {
        let [samples, positions] = batch.ids.dims();
        let order = Tensor::arange(0..positions as i64, &batch.ids.device()).unsqueeze();
        let mut x = self.tokens.forward_recorded(batch.ids.clone())
            + embed_shared(&self.positions, order, samples);
        for _ in 0..self.uses {
            let path = self.norm.forward_recorded(x.clone());
            x = x + self.hidden.forward_recorded(path).tanh();
        }
        if let Some(mask) = &batch.mask {
            x = x * expand_input(mask.clone());
        }
        // Burn's RMS norm works in f32 inside.
        let x = match x.dtype() {
            DType::F64 => x,
            _ => self.rms.forward_recorded(x),
        };
        match &self.head {
            Some(head) => head.forward_recorded(x),
            None => unembed(&self.tokens, x),
        }
    }

    /// Logits of the sample as a whole, `[M, classes]`.
    pub fn forward_pooled(&self, batch: &Batch) -> Tensor<2> {
        self.forward(batch).mean_dim(1).squeeze_dim(1)
    }
}

/// How the scalar loss is made from the losses of the samples.
#[derive(Debug, Clone, Copy)]
pub enum Reduction {
    Sum,
    Mean,
    /// Burn's cross-entropy over all positions that are not padding: it divides by their number,
    /// or by the sum of their class weights.
    Burn,
}

impl Batch {
    pub fn select(&self, samples: Range<usize>) -> Self {
        let rows = || [samples.clone()];
        Self {
            ids: self.ids.clone().slice(rows()),
            mask: self.mask.clone().map(|mask| mask.slice(rows())),
            labels: self.labels[samples.clone()].to_vec(),
            weights: self.weights.clone(),
        }
    }

    pub fn permute(&self, order: &[usize]) -> Self {
        let indices: Vec<i64> = order.iter().map(|&n| n as i64).collect();
        let indices = Tensor::<1, Int>::from_data(indices.as_slice(), &self.ids.device());
        Self {
            ids: self.ids.clone().select(0, indices.clone()),
            mask: self.mask.clone().map(|mask| mask.select(0, indices)),
            labels: order.iter().map(|&n| self.labels[n].clone()).collect(),
            weights: self.weights.clone(),
        }
    }

    /// The weight of a position in its sample's loss: 0 for padding.
    pub fn weight(&self, label: i64) -> f32 {
        match &self.weights {
            _ if label == PAD => 0.0,
            Some(weights) => weights[label as usize],
            None => 1.0,
        }
    }

    fn total_weight(&self) -> f64 {
        let all = self.labels.iter().flatten();
        all.map(|&label| f64::from(self.weight(label))).sum()
    }

    pub fn scale(&self, reduction: Reduction) -> LossScale {
        match reduction {
            Reduction::Sum => LossScale::Sum,
            Reduction::Mean => LossScale::Mean,
            Reduction::Burn => LossScale::Factor(1.0 / self.total_weight()),
        }
    }

    /// The loss of each sample, `[M]`, from logits `[M, T, classes]`.
    pub fn losses(&self, logits: Tensor<3>) -> Tensor<1> {
        let dims = [self.labels.len(), self.labels[0].len(), 1];
        let device = logits.device();
        let labels = self.labels.concat();
        let weights: Vec<f32> = labels.iter().map(|&label| self.weight(label)).collect();
        let weights = Tensor::<3>::from_data(TensorData::new(weights, dims), &device);
        let labels = Tensor::<3, Int>::from_data(TensorData::new(labels, dims), &device);
        let nll = -log_softmax(logits, 2).gather(2, labels);
        (nll * weights).sum_dim(1).reshape([dims[0]])
    }

    /// The scalar loss.
    pub fn loss(&self, logits: Tensor<3>, reduction: Reduction) -> Tensor<1> {
        match reduction {
            Reduction::Sum => self.losses(logits).sum(),
            Reduction::Mean => self.losses(logits).mean(),
            Reduction::Burn => {
                let device = logits.device();
                let labels = self.labels.concat();
                CrossEntropyLossConfig::new()
                    .with_weights(self.weights.clone())
                    .with_pad_tokens(Some(vec![PAD as usize]))
                    .init(&device)
                    .forward(
                        logits.flatten(0, 1),
                        Tensor::from_data(labels.as_slice(), &device),
                    )
            }
        }
    }
}
