//! Burn's own layers with the adapters they carry.

use burn::nn::{Embedding, Linear};
use burn::tensor::{Int, Tensor};
use burn_ief::nn::{EmbeddingRecorded, LinearRecorded};

/// A [`Linear`] with the adapters on its weight, along the activations.
pub trait LinearAdapted {
    /// Apply the layer and its active adapters.
    fn forward_adapted<const D: usize>(&self, input: Tensor<D>) -> Tensor<D>;
}

impl LinearAdapted for Linear {
    fn forward_adapted<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        self.forward_recorded(input)
    }
}

/// An [`Embedding`] with the adapters on its table, along the activations.
pub trait EmbeddingAdapted {
    /// Look vectors up, `[M, T]` to `[M, T, d_model]`.
    fn forward_adapted(&self, ids: Tensor<2, Int>) -> Tensor<3>;
}

impl EmbeddingAdapted for Embedding {
    fn forward_adapted(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        self.forward_recorded(ids)
    }
}
