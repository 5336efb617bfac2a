//! A small language model with every kind of head, and its loss in both forms.

use burn::module::{Lora, Module, ModuleMapper, ModuleVisitor, Param};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use burn_ief::nn::unembed;
use burn_ief::prelude::*;
use burn_ief::tokens::{IGNORED, TokenLosses};
use proptest::prelude::*;

/// Which head, and what of it trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Frozen,
    Trained,
    Biased,
    BiasAlone,
    LowRank,
    Tied,
    TiedFrozen,
    TiedLowRank,
}

#[derive(Debug, Clone)]
pub struct Case {
    pub kind: Kind,
    pub samples: usize,
    pub positions: usize,
    pub vocabulary: usize,
    pub features: usize,
    pub slice: usize,
    pub cap: Option<f64>,
    pub seed: u64,
    /// A label, or none, of every position.
    pub labels: Vec<Option<usize>>,
}

pub fn cases() -> impl Strategy<Value = Case> {
    use Kind::*;
    let kinds = [
        Frozen,
        Trained,
        Biased,
        BiasAlone,
        LowRank,
        Tied,
        TiedFrozen,
        TiedLowRank,
    ];
    let sizes = (1..5usize, 1..7usize, 2..9usize, 1..5usize, 1..40usize);
    let cap = prop_oneof![Just(None), (0.5..4.0f64).prop_map(Some)];
    (
        proptest::sample::select(kinds.to_vec()),
        sizes,
        cap,
        any::<u64>(),
        0..5u32,
    )
        .prop_flat_map(
            |(kind, (samples, positions, vocabulary, features, slice), cap, seed, rare)| {
                // From every token labelled to none.
                let label = (0..4u32, 0..vocabulary);
                let label = label.prop_map(move |(skip, label)| (skip >= rare).then_some(label));
                proptest::collection::vec(label, samples * positions).prop_map(move |labels| Case {
                    kind,
                    samples,
                    positions,
                    vocabulary,
                    features,
                    slice,
                    cap,
                    seed,
                    labels,
                })
            },
        )
}

#[derive(Module, Debug)]
pub struct Lm {
    pub table: Embedding,
    pub mix: Linear,
    pub head: Option<Linear>,
}

/// Other values for everything, so that no factor is zero.
struct Noise;

impl ModuleMapper for Noise {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        noisy(param)
    }
}

fn noisy<const D: usize>(param: Param<Tensor<D>>) -> Param<Tensor<D>> {
    let trains = param.is_require_grad();
    let noise = param.map(|value| value.random_like(Distribution::Normal(0.0, 0.8)));
    noise.set_require_grad(trains)
}

impl Case {
    pub fn model(&self, device: &Device) -> Lm {
        device.seed(self.seed);
        let (v, d) = (self.vocabulary, self.features);
        let table = EmbeddingConfig::new(v, d).init(device).map(&mut Noise);
        let linear = |bias| {
            LinearConfig::new(d, v)
                .with_bias(bias)
                .init(device)
                .map(&mut Noise)
        };
        let lora = || Lora::new(2, 3.0);
        let head = match self.kind {
            Kind::Frozen => Some(linear(true).no_grad()),
            Kind::Trained => Some(linear(false)),
            Kind::Biased => Some(linear(true)),
            Kind::BiasAlone => {
                let layer: Linear = linear(true);
                let weight = layer.weight.set_require_grad(false);
                Some(Linear { weight, ..layer })
            }
            Kind::LowRank => Some(linear(true).no_grad().apply_lora(lora())),
            _ => None,
        };
        let table = match self.kind {
            Kind::TiedFrozen => table.no_grad(),
            Kind::TiedLowRank => table.no_grad().apply_lora(lora()),
            _ => table,
        };
        let mix = LinearConfig::new(d, d).init(device).map(&mut Noise);
        let model = Lm { table, mix, head };
        // B of an adapter starts at zero.
        struct Started;
        impl ModuleMapper for Started {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                if param.is_require_grad() {
                    noisy(param)
                } else {
                    param
                }
            }
        }
        Lm {
            table: model.table.map(&mut Started),
            mix: model.mix,
            head: model.head.map(|head| head.map(&mut Started)),
        }
    }

    pub fn ids(&self, device: &Device) -> Tensor<2, Int> {
        let ids = (0..self.samples * self.positions).map(|at| {
            let mixed = (at as u64 + 7).wrapping_mul(self.seed | 1);
            (mixed >> 33) as i64 % self.vocabulary as i64
        });
        let data = TensorData::new(ids.collect::<Vec<_>>(), [self.samples, self.positions]);
        Tensor::from_data(data, device)
    }

    pub fn labels(&self, device: &Device) -> Tensor<2, Int> {
        let labels = self.labels.iter();
        let labels = labels.map(|label| label.map_or(IGNORED, |label| label as i64));
        let data = TensorData::new(labels.collect::<Vec<_>>(), [self.samples, self.positions]);
        Tensor::from_data(data, device)
    }

    /// Positions that predict a label, and the label, of every sample.
    pub fn answers(&self) -> Vec<Vec<(usize, usize)>> {
        let lines = self.labels.chunks(self.positions);
        let lines = lines.map(|line| {
            let next = line.iter().enumerate().skip(1);
            let known = next.filter_map(|(at, label)| Some((at - 1, (*label)?)));
            known.collect()
        });
        lines.collect()
    }

    pub fn head(&self, model: &Lm) -> VocabularyHead {
        let head = match &model.head {
            Some(head) => VocabularyHead::linear(head),
            None => VocabularyHead::tied(&model.table),
        };
        let head = head.with_slice(self.slice);
        match self.cap {
            Some(cap) => head.with_soft_cap(cap),
            None => head,
        }
    }

    pub fn hidden(&self, model: &Lm, ids: Tensor<2, Int>) -> Tensor<3> {
        let hidden = model.table.forward_recorded(ids);
        model.mix.forward_recorded(hidden).tanh()
    }

    /// The losses in slices.
    pub fn sliced(&self, model: &Lm, device: &Device) -> TokenLosses {
        let hidden = self.hidden(model, self.ids(device));
        let head = self.head(model);
        token_cross_entropy(hidden, self.labels(device), &head).unwrap()
    }

    /// The same losses of some samples from all logits of their answers, marked as outputs.
    pub fn whole(&self, model: &Lm, device: &Device, from: usize, count: usize) -> Tensor<1> {
        let hidden = self.hidden(model, self.ids(device).narrow(0, from, count));
        let [rows, positions, features] = hidden.dims();
        let answers = &self.answers()[from..from + count];
        let width = answers.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let (mut places, mut labels, mut mask) = (Vec::new(), Vec::new(), Vec::new());
        for copy in 0..rows / count {
            for (n, line) in answers.iter().enumerate() {
                for at in 0..width {
                    let answer = line.get(at);
                    let (position, label) = answer.copied().unwrap_or((0, 0));
                    places.push((((copy * count) + n) * positions + position) as i64);
                    mask.push(f64::from(u8::from(answer.is_some())));
                    if copy == 0 {
                        labels.push(label as i64);
                    }
                }
            }
        }
        let indices = |values: Vec<i64>| {
            let size = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [size]), device)
        };
        let flat: Tensor<2> = hidden.reshape([rows * positions, features]);
        let own = flat
            .select(0, indices(places))
            .reshape([rows, width, features]);
        let logits = match &model.head {
            Some(head) => head.forward_recorded(own),
            None => unembed(&model.table, own),
        };
        let logits = match self.cap {
            // Burn's gradient of a division by a number rounds to f32.
            Some(cap) => (logits * (1.0 / cap)).tanh() * cap,
            None => logits,
        };
        let mask = TensorData::new(mask, [rows, width, 1]);
        let mask = Tensor::<3>::from_data(mask, device);
        let logits = mark_output(logits * mask.clone());
        let labels = indices(labels).reshape([count, width, 1]);
        let losses = burn::tensor::activation::log_softmax(logits, 2).gather(2, labels);
        // A place without an answer has a constant loss, which is taken off.
        let losses: Tensor<3> = losses.neg() * mask.narrow(0, 0, count);
        losses.reshape([count, width]).sum_dim(1).squeeze_dim(1)
    }
}

/// All entries of the parameters of a module.
pub fn entries<M: Module>(module: &M) -> Vec<f64> {
    struct Entries(Vec<f64>);
    impl ModuleVisitor for Entries {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.extend(values(param.base()));
        }
    }
    let mut entries = Entries(Vec::new());
    module.visit(&mut entries);
    entries.0
}

pub fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().convert::<f64>().try_to_vec().unwrap()
}
