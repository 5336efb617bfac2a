//! A pre-norm transformer classifier: trained in full, by LoRA, or by a soft prompt.

use std::ops::Range;

use burn::module::{Module, Param};
use burn::nn::{Embedding, LayerNorm, Linear};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Int, Tensor, TensorData};
use burn_ief::nn::{ForwardRecorded, expand_param};

use super::Network;
use crate::case::Case;
use crate::error::Error;
use crate::place::Place;
use crate::weights::Weights;

/// Embedding, blocks, layer norm, mean over the real tokens, linear head. No positions.
#[derive(Module, Debug)]
pub struct Transformer {
    emb: Embedding,
    prompt: Option<Param<Tensor<2>>>,
    blocks: Vec<Block>,
    lnf: LayerNorm,
    head: Linear,
}

/// `x += o(attention(ln1 x))`, `x += ff2(gelu(ff1(ln2 x)))`.
#[derive(Module, Debug)]
pub struct Block {
    ln1: LayerNorm,
    attention: Attention,
    ln2: LayerNorm,
    ff1: Linear,
    ff2: Linear,
}

/// Softmax attention; head h owns an h-th part of the features.
#[derive(Module, Debug)]
pub struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    heads: usize,
}

/// Token ids and which of them are real.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// `[M, T]`.
    pub ids: Tensor<2, Int>,
    /// `[M, T]`, 1 for a real token and 0 for padding.
    pub mask: Tensor<2>,
}

impl Network for Transformer {
    type Input = Tokens;

    const INPUTS: &'static [&'static str] = &["input.ids", "input.mask"];

    fn build(weights: &mut Weights<'_>, case: &Case) -> Result<Self, Error> {
        let emb = weights.embedding("emb")?;
        let [_, d] = emb.weight.dims();
        let prompt = if weights.has("prompt") {
            Some(weights.prompt("prompt", d)?)
        } else {
            None
        };
        let mut blocks = vec![Block::build(weights, "blocks.0", d, case.heads)?];
        while weights.has(&format!("blocks.{}.ln1.weight", blocks.len())) {
            let name = format!("blocks.{}", blocks.len());
            blocks.push(Block::build(weights, &name, d, case.heads)?);
        }
        Ok(Self {
            emb,
            prompt,
            blocks,
            lnf: weights.layer_norm("lnf", d)?,
            head: weights.linear("head", Some(d), None)?,
        })
    }

    fn input(&self, case: &Case, place: &Place, samples: usize) -> Result<Tokens, Error> {
        let ids = case.integers("input.ids", &[Some(samples), None])?;
        let length = ids.len() / samples.max(1);
        let shape = [Some(samples), Some(length)];
        let mask = case.floats("input.mask", &shape)?;
        let [vocabulary, _] = self.emb.weight.dims();
        let value = |tensor: &str, problem: String| Error::Value {
            tensor: tensor.into(),
            problem,
        };
        if let Some(id) = ids.iter().find(|id| !(0..vocabulary as i64).contains(id)) {
            let problem = format!("has the id {id}: expected 0 to {}", vocabulary - 1);
            return Err(value("input.ids", problem));
        }
        if let Some(entry) = mask.iter().find(|m| ![0.0, 1.0].contains(*m)) {
            let problem = format!("has the entry {entry}: expected 0 or 1");
            return Err(value("input.mask", problem));
        }
        let mut rows = mask.chunks(length.max(1));
        if length == 0 || rows.any(|row| row.iter().all(|&m| m == 0.0)) {
            let problem = "has a sample without a real token".into();
            return Err(value("input.mask", problem));
        }
        let ids = TensorData::new(ids.to_vec(), [samples, length]);
        Ok(Tokens {
            ids: Tensor::from_data(ids, &place.device),
            mask: place.tensor(mask, [samples, length]),
        })
    }

    fn part(input: &Tokens, samples: Range<usize>) -> Tokens {
        Tokens {
            ids: input.ids.clone().narrow(0, samples.start, samples.len()),
            mask: input.mask.clone().narrow(0, samples.start, samples.len()),
        }
    }

    fn logits(&self, Tokens { ids, mask }: Tokens) -> Tensor<2> {
        let [samples, length] = ids.dims();
        let mut x = self.emb.forward_recorded(ids);
        let mask = burn_ief::expand_input(mask);
        let mut padding = mask.clone().equal_elem(0.0);
        let mut start = 0;
        if let Some(prompt) = &self.prompt {
            let prompt = expand_param::<_, 3>(prompt, samples);
            let [rows, positions, _] = prompt.dims();
            // All attend to the prompt.
            let seen = mask.clone().narrow(1, 0, 1).zeros_like().bool();
            padding = Tensor::cat(vec![seen.expand([rows, positions]), padding], 1);
            x = Tensor::cat(vec![prompt, x], 1);
            start = positions;
        }
        for block in &self.blocks {
            x = block.forward(x, padding.clone());
        }
        // The prompt is not in the mean.
        let y = self.lnf.forward_recorded(x).narrow(1, start, length);
        let [rows, _, d] = y.dims();
        let count = mask.clone().sum_dim(1).expand([rows, d]);
        let real = mask.unsqueeze_dim::<3>(2).expand([rows, length, d]);
        let mean = (y * real).sum_dim(1).squeeze_dim::<2>(1) / count;
        self.head.forward_recorded(mean)
    }

    fn classes(&self) -> usize {
        self.head.weight.dims()[1]
    }
}

/// x Φ(x). Burn's own GELU has the same values, but on devices that do not override it, the
/// derivative of the tanh approximation.
fn gelu(x: Tensor<3>) -> Tensor<3> {
    let erf = (x.clone() * std::f64::consts::FRAC_1_SQRT_2).erf();
    x * (erf + 1.0) * 0.5
}

impl Block {
    fn build(weights: &mut Weights<'_>, name: &str, d: usize, heads: usize) -> Result<Self, Error> {
        let ff1 = weights.linear(&format!("{name}.ff1"), Some(d), None)?;
        let ff2 = weights.linear(&format!("{name}.ff2"), Some(ff1.weight.dims()[1]), Some(d))?;
        Ok(Self {
            ln1: weights.layer_norm(&format!("{name}.ln1"), d)?,
            attention: Attention::build(weights, name, d, heads)?,
            ln2: weights.layer_norm(&format!("{name}.ln2"), d)?,
            ff1,
            ff2,
        })
    }

    fn forward(&self, x: Tensor<3>, padding: Tensor<2, Bool>) -> Tensor<3> {
        let attended = self
            .attention
            .forward(self.ln1.forward_recorded(x.clone()), padding);
        let x = x + attended;
        let hidden = gelu(
            self.ff1
                .forward_recorded(self.ln2.forward_recorded(x.clone())),
        );
        x + self.ff2.forward_recorded(hidden)
    }
}

impl Attention {
    fn build(weights: &mut Weights<'_>, name: &str, d: usize, heads: usize) -> Result<Self, Error> {
        let q = weights.linear(&format!("{name}.q"), Some(d), None)?;
        let width = q.weight.dims()[1];
        if !width.is_multiple_of(heads) {
            return Err(Error::Metadata {
                key: "heads",
                value: Some(heads.to_string()),
                expected: format!("a divisor of the attention width {width}"),
            });
        }
        Ok(Self {
            q,
            k: weights.linear(&format!("{name}.k"), Some(d), Some(width))?,
            v: weights.linear(&format!("{name}.v"), Some(d), Some(width))?,
            o: weights.linear(&format!("{name}.o"), Some(width), Some(d))?,
            heads,
        })
    }

    /// `padding [M, T]` is true for keys that nobody attends to.
    fn forward(&self, x: Tensor<3>, padding: Tensor<2, Bool>) -> Tensor<3> {
        let [samples, length, _] = x.dims();
        let split = |x: Tensor<3>| {
            let [_, _, width] = x.dims();
            x.reshape([samples, length, self.heads, width / self.heads])
                .swap_dims(1, 2)
        };
        let q = split(self.q.forward_recorded(x.clone()));
        let k = split(self.k.forward_recorded(x.clone()));
        let v = split(self.v.forward_recorded(x));
        let [_, _, _, width] = q.dims();
        // Not divided: Burn takes the derivative of a division by a scalar in f32.
        let scores = q.matmul(k.swap_dims(2, 3)) * (width as f64).sqrt().recip();
        let hidden = padding
            .reshape([samples, 1, 1, length])
            .expand([samples, self.heads, length, length]);
        let weights = softmax(scores.mask_fill(hidden, f64::NEG_INFINITY), 3);
        let context =
            weights
                .matmul(v)
                .swap_dims(1, 2)
                .reshape([samples, length, self.heads * width]);
        self.o.forward_recorded(context)
    }
}
