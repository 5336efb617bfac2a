//! Logits over a large vocabulary as a sum of products, a few rows or a few columns at a time.

use std::ops::Range;

use burn::tensor::{Device, Int, Tensor};

use super::{matmul, to_dtype};
use crate::moves::moved;
use crate::params::widen;

/// A matrix whose one side is the vocabulary.
#[derive(Debug, Clone)]
pub(crate) struct WideWeight {
    value: Tensor<2>,
    /// Whether the vocabulary is on axis 0, as in an embedding table.
    by_entry: bool,
}

impl WideWeight {
    /// From `value`, `[i, V]`, or `[V, i]` with the vocabulary on axis 0.
    pub fn new(value: Tensor<2>, by_entry: bool) -> Self {
        Self { value, by_entry }
    }

    /// `[i, V]`.
    pub fn dims(&self) -> [usize; 2] {
        let [a, b] = self.value.dims();
        if self.by_entry { [b, a] } else { [a, b] }
    }

    pub fn is_by_entry(&self) -> bool {
        self.by_entry
    }

    pub fn is_tracked(&self) -> bool {
        self.value.is_tracked()
    }

    /// The inner product with a gradient of the same layout, in f32 or f64, `[1]`. As a product of vectors,
    /// it needs no tensor of the size of the weight.
    pub fn inner_product(&self, gradient: Tensor<2>) -> Tensor<1> {
        let size = self.value.shape().num_elements();
        let gradient = to_dtype(gradient, self.value.dtype()).reshape([size, 1]);
        let product = self.value.clone().reshape([1, size]).matmul(gradient);
        widen(product.reshape([1]))
    }

    /// These columns, `[i, count]`.
    fn columns(&self, columns: Range<usize>) -> Self {
        let axis = usize::from(!self.by_entry);
        let value = if columns.len() == self.value.dims()[axis] {
            self.value.clone()
        } else {
            self.value
                .clone()
                .narrow(axis, columns.start, columns.len())
        };
        Self { value, ..*self }
    }

    /// The columns of these entries, which may repeat.
    fn columns_at(&self, entries: Tensor<1, Int>) -> Self {
        let axis = usize::from(!self.by_entry);
        Self {
            value: self.value.clone().select(axis, entries),
            ..*self
        }
    }

    /// The matrix `[i, V]`.
    fn matrix(&self) -> Tensor<2> {
        if self.by_entry {
            self.value.clone().transpose()
        } else {
            self.value.clone()
        }
    }

    /// `x W` for `x [n, i]`, in f32 or f64.
    fn product(&self, x: Tensor<2>) -> Tensor<2> {
        let x = to_dtype(x, self.value.dtype());
        let on_graph = x.is_tracked() || self.value.is_tracked();
        widen(if on_graph {
            x.matmul(self.matrix())
        } else {
            matmul(x, self.matrix())
        })
    }

    /// `e Wᵀ` for `e [n, V]`, in f32 or f64.
    pub fn product_back(&self, e: Tensor<2>) -> Tensor<2> {
        let e = to_dtype(e, self.value.dtype());
        widen(matmul(e, self.matrix().transpose()))
    }

    /// `xᵀ e` in the layout of the weight, for `x [n, i]` and `e [n, V]`.
    pub fn gradient(&self, x: Tensor<2>, e: Tensor<2>) -> Tensor<2> {
        if self.by_entry {
            matmul(e.transpose(), x)
        } else {
            matmul(x.transpose(), e)
        }
    }
}

/// A share of the logits: what enters, times a wide matrix.
#[derive(Debug, Clone)]
pub(crate) struct WideTerm {
    /// `[n, i]`; `None` for a bias, whose input is 1.
    pub input: Option<Tensor<2>>,
    pub weight: WideWeight,
}

impl WideTerm {
    /// The input `[n, i]` for `n` rows, of the dtype of `like`.
    pub fn entering(&self, n: usize, like: &Tensor<2>) -> Tensor<2> {
        match &self.input {
            Some(input) => to_dtype(input.clone(), like.dtype()),
            None => Tensor::ones([n, 1], (&like.device(), like.dtype())),
        }
    }
}

/// The logits `[n, V]` of n positions, `cap tanh(Σ x W / cap)`, or without a cap `Σ x W`. They are never
/// formed as a whole.
#[derive(Debug, Clone)]
pub(crate) struct WideLogits {
    pub terms: Vec<WideTerm>,
    pub cap: Option<f64>,
}

impl WideLogits {
    /// V.
    pub fn width(&self) -> usize {
        self.terms[0].weight.dims()[1]
    }

    /// Where the logits are formed.
    pub fn values_device(&self) -> Device {
        let inputs = self.terms.iter().filter_map(|term| term.input.as_ref());
        let devices = inputs.map(Tensor::device);
        devices
            .reduce(|a, b| if b.is_autodiff() { b } else { a })
            .expect("an input")
    }

    /// The same positions in another dtype.
    pub fn cast(self, dtype: burn::tensor::DType) -> Self {
        self.map_terms(|term| WideTerm {
            input: term.input.map(|input| to_dtype(input, dtype)),
            weight: WideWeight {
                value: to_dtype(term.weight.value, dtype),
                ..term.weight
            },
        })
    }

    /// The size of all inputs and weights.
    pub fn bytes(&self) -> usize {
        let size = |x: &Tensor<2>| x.shape().num_elements() * x.dtype().size();
        let terms = self.terms.iter();
        terms
            .map(|term| term.input.as_ref().map_or(0, size) + size(&term.weight.value))
            .sum()
    }

    pub fn moved_to(self, device: &Device) -> Self {
        self.map_terms(|term| WideTerm {
            input: term.input.map(|input| moved(input, device)),
            weight: WideWeight {
                value: moved(term.weight.value, device),
                ..term.weight
            },
        })
    }

    fn map_terms(self, f: impl FnMut(WideTerm) -> WideTerm) -> Self {
        Self {
            terms: self.terms.into_iter().map(f).collect(),
            ..self
        }
    }

    /// Off the autodiff graph.
    pub fn constant(&self) -> Self {
        self.clone().map_terms(|term| WideTerm {
            input: term.input.map(Tensor::inner),
            weight: WideWeight {
                value: term.weight.value.inner(),
                ..term.weight
            },
        })
    }

    /// With the positions `places` of each input, which may repeat.
    pub fn select(&self, places: &Tensor<1, Int>) -> Self {
        self.clone().map_terms(|term| WideTerm {
            input: term.input.map(|input| input.select(0, places.clone())),
            ..term
        })
    }

    /// Only these positions.
    pub fn narrow(&self, start: usize, count: usize) -> Self {
        self.clone().map_terms(|term| WideTerm {
            input: term.input.map(|input| input.narrow(0, start, count)),
            ..term
        })
    }

    /// Only these classes.
    pub fn columns(&self, columns: Range<usize>) -> Self {
        self.clone().map_terms(|term| WideTerm {
            weight: term.weight.columns(columns.clone()),
            ..term
        })
    }

    /// Only the classes `entries`.
    pub fn columns_at(&self, entries: &Tensor<1, Int>) -> Self {
        self.clone().map_terms(|term| WideTerm {
            weight: term.weight.columns_at(entries.clone()),
            ..term
        })
    }

    /// The logits of all positions and classes, `[n, V]`, in f32 or f64.
    pub fn values(&self) -> Tensor<2> {
        let products = self.terms.iter().filter_map(|term| {
            let input = term.input.clone()?;
            Some(term.weight.product(input))
        });
        let sum = products.reduce(|a, b| {
            let dtype = a.dtype();
            a + to_dtype(b, dtype)
        });
        let mut sum = sum.expect("the hidden states enter the logits");
        for term in &self.terms {
            if term.input.is_none() {
                let bias = to_dtype(term.weight.matrix(), sum.dtype());
                sum = sum + bias;
            }
        }
        match self.cap {
            // Burn's gradient of a division by a number rounds to f32.
            Some(cap) => (sum * (1.0 / cap)).tanh() * cap,
            None => sum,
        }
    }

    /// The errors at the products, from those at the logits `z`: the soft cap's own slope.
    pub fn uncapped(&self, errors: Tensor<2>, z: impl FnOnce() -> Tensor<2>) -> Tensor<2> {
        match self.cap {
            Some(cap) => errors * ((z() * (1.0 / cap)).square().neg() + 1.0),
            None => errors,
        }
    }
}
