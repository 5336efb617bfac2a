//! The output head of a language model.

use burn::module::{Param, ParamId};
use burn::nn::{Dropout, Embedding, Linear};
use burn::tensor::Tensor;

use crate::error::Error;
use crate::nn::ForwardRecorded;
use crate::record::is_composed;

/// Most logits of a slice, unless the slice is set (16 MiB in f32).
const SLICE: usize = 1 << 22;

/// The output head of a language model: `logits = cap(x W + b + Σ s (x A) B)`.
///
/// It holds the parameters of the layer that it was made from, so make it anew in every step. Parameters
/// that train are recorded per sample in a [`Tape`](crate::Tape), and have gradients as usual outside.
///
/// ```
/// use burn::nn::{EmbeddingConfig, LinearConfig};
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::VocabularyHead;
///
/// let device = Device::flex();
/// let hidden = Tensor::<3>::ones([2, 5, 8], &device);
/// let layer = LinearConfig::new(8, 100).with_bias(false).init(&device);
/// let head = VocabularyHead::linear(&layer);
/// assert_eq!(head.vocabulary(), 100);
/// // The head computes what its layer does.
/// let difference = head.logits(hidden.clone()) - layer.forward(hidden);
/// assert!(difference.abs().max().into_scalar::<f32>() < 1e-5);
///
/// // Tied to the embedding table, with Gemma's soft cap, 64 positions at a time.
/// let table = EmbeddingConfig::new(100, 8).init(&device);
/// let head = VocabularyHead::tied(&table).with_soft_cap(30.0).with_slice(64);
/// assert_eq!(head.vocabulary(), 100);
/// ```
#[derive(Debug, Clone)]
pub struct VocabularyHead {
    pub(super) terms: Vec<HeadTerm>,
    cap: Option<f64>,
    slice: Option<usize>,
}

/// A share of the logits.
#[derive(Debug, Clone)]
pub(super) struct HeadTerm {
    pub entering: Entering,
    pub id: ParamId,
    /// The parameter, or what a reparameterization composes of it, `[i, V]` or `[V, i]`.
    pub value: Tensor<2>,
    /// Whether the vocabulary is on axis 0.
    pub by_entry: bool,
    /// Whether its use is recorded in a recording: it trains, and its value is the parameter itself.
    pub trains: bool,
}

/// What a wide weight is multiplied with.
#[derive(Debug, Clone)]
pub(super) enum Entering {
    /// The hidden states.
    Hidden,
    /// A constant 1: the weight is a bias.
    One,
    /// `s (drop(x) A)`, or with A transposed.
    LowRank(Narrow),
}

/// The narrow factor of a low-rank adapter.
#[derive(Debug, Clone)]
pub(super) struct Narrow {
    factor: Param<Tensor<2>>,
    transposed: bool,
    scale: f64,
    dropout: Option<Dropout>,
}

impl Narrow {
    /// `[…, d]` to `[…, r]`.
    pub fn apply(&self, x: Tensor<3>) -> Tensor<3> {
        let x = match &self.dropout {
            Some(dropout) => dropout.forward_recorded(x),
            None => x,
        };
        let dtype = self.factor.base().dtype();
        let x = if x.dtype() == dtype { x } else { x.cast(dtype) };
        let y = if self.transposed {
            let table = Embedding {
                weight: self.factor.clone(),
            };
            crate::nn::unembed(&table, x)
        } else {
            let layer = Linear {
                weight: self.factor.clone(),
                bias: None,
            };
            layer.forward_recorded(x)
        };
        y * self.scale
    }
}

impl HeadTerm {
    fn of(weight: &Param<Tensor<2>>, entering: Entering, by_entry: bool) -> Self {
        let composed = is_composed(weight);
        let value = if composed {
            weight.val()
        } else {
            weight.base()
        };
        Self {
            entering,
            id: weight.id,
            value: dense(value),
            by_entry,
            trains: weight.is_require_grad() && !composed,
        }
    }

    /// V.
    fn width(&self) -> usize {
        self.value.dims()[usize::from(!self.by_entry)]
    }
}

/// A packed weight as floats.
fn dense(weight: Tensor<2>) -> Tensor<2> {
    if weight.dtype().is_float() {
        weight
    } else {
        weight.dequantize()
    }
}

impl VocabularyHead {
    /// A linear layer `[d, V]`, with its bias and with Burn's own `LoraAdapter` if the weight has one.
    ///
    /// Other reparameterizations of the weight are composed first; their parameters have gradients
    /// outside a recording, and are refused in one.
    pub fn linear(layer: &Linear) -> Self {
        let mut head = Self::of(&layer.weight, false);
        if let Some(bias) = &layer.bias {
            head.terms.push(HeadTerm {
                entering: Entering::One,
                id: bias.id,
                value: bias.val().unsqueeze(),
                by_entry: false,
                trains: bias.is_require_grad(),
            });
        }
        match layer.weight.adapter() {
            Some(adapter) => head.with_low_rank(&adapter.a, &adapter.b, adapter.scale, None),
            None => head,
        }
    }

    /// An embedding table `[V, d]` as output head (tied weights), with Burn's own `LoraAdapter` if the
    /// table has one.
    pub fn tied(table: &Embedding) -> Self {
        let mut head = Self::of(&table.weight, true);
        if let Some(adapter) = table.weight.adapter() {
            // x Wᵀ + s (x Bᵀ) Aᵀ
            let narrow = Narrow {
                factor: adapter.b.clone(),
                transposed: true,
                scale: adapter.scale,
                dropout: None,
            };
            let entering = Entering::LowRank(narrow);
            head.terms.push(HeadTerm::of(&adapter.a, entering, true));
        }
        head
    }

    fn of(weight: &Param<Tensor<2>>, by_entry: bool) -> Self {
        Self {
            terms: vec![HeadTerm::of(weight, Entering::Hidden, by_entry)],
            cap: None,
            slice: None,
        }
    }

    /// Add a low-rank adapter, `s (drop(x) A) B` with A `[d, r]` and B `[r, V]`.
    pub fn with_low_rank(
        mut self,
        a: &Param<Tensor<2>>,
        b: &Param<Tensor<2>>,
        scale: f64,
        dropout: Option<&Dropout>,
    ) -> Self {
        let narrow = Narrow {
            factor: a.clone(),
            transposed: false,
            scale,
            dropout: dropout.cloned(),
        };
        let entering = Entering::LowRank(narrow);
        self.terms.push(HeadTerm::of(b, entering, false));
        self
    }

    /// Cap the logits softly, `cap tanh(z / cap)` (`final_logit_softcapping` of Gemma).
    pub fn with_soft_cap(self, cap: f64) -> Self {
        Self {
            cap: Some(cap),
            ..self
        }
    }

    /// Set how many positions make a slice; by default as many as have 4,194,304 logits.
    ///
    /// The results do not depend on it, except for rounding. A smaller slice takes less memory, a larger
    /// one reads the head less often.
    pub fn with_slice(self, positions: usize) -> Self {
        Self {
            slice: Some(positions),
            ..self
        }
    }

    /// Check what was set.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.slice == Some(0) {
            return Err(Error::config("slice", 0, "at least 1 position"));
        }
        match self.cap {
            Some(cap) if !(cap.is_finite() && cap > 0.0) => {
                Err(Error::config("soft_cap", cap, "a finite number above 0"))
            }
            _ => Ok(()),
        }
    }

    /// V, the entries of the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.terms[0].width()
    }

    /// d, the features of a hidden state.
    pub fn features(&self) -> usize {
        self.terms[0].value.dims()[usize::from(self.terms[0].by_entry)]
    }

    pub(super) fn soft_cap(&self) -> Option<f64> {
        self.cap
    }

    /// Positions of a slice.
    pub(super) fn slice(&self) -> usize {
        let few = (SLICE / self.vocabulary().max(1)).max(1);
        self.slice.unwrap_or(few)
    }

    /// All logits at once, outside a recording: for short texts, and to compare.
    ///
    /// # Shapes
    ///
    /// - hidden: `[M, T, d]`
    /// - output: `[M, T, V]`, in f32 or f64
    ///
    /// # Panics
    ///
    /// Panics if the last axis of `hidden` is not d.
    pub fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        let [batch, positions, width] = hidden.dims();
        let flat = hidden.clone().reshape([batch * positions, width]);
        let terms = self.terms.iter().map(|term| {
            let input = match &term.entering {
                Entering::Hidden => Some(flat.clone()),
                Entering::One => None,
                Entering::LowRank(narrow) => {
                    let hidden = narrow.apply(hidden.clone());
                    let [_, _, rank] = hidden.dims();
                    Some(hidden.reshape([batch * positions, rank]))
                }
            };
            term.with_input(input)
        });
        let logits = crate::rows::WideLogits {
            terms: terms.collect(),
            cap: self.cap,
        };
        logits
            .values()
            .reshape([batch, positions, self.vocabulary()])
    }
}

impl HeadTerm {
    /// With what enters, on the autodiff graph where it is.
    pub fn with_input(&self, input: Option<Tensor<2>>) -> crate::rows::WideTerm {
        crate::rows::WideTerm {
            input,
            weight: crate::rows::WideWeight::new(self.value.clone(), self.by_entry),
        }
    }
}
