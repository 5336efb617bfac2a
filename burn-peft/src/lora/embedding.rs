//! Embedding tables with low-rank adapters.

use burn::nn::Embedding;
use burn::tensor::{Int, Tensor};
use burn_ief::nn::{ForwardRecorded, unembed};

use super::adapter::at;
use super::adapters::{Adapters, bare};

/// An [`Embedding`] with the adapters on its table, `W[ids] + s A[ids] B`; with DoRA,
/// `(m / ‖W + s A B‖) (W[ids] + s A[ids] B)`.
///
/// Without adapters this is [`ForwardRecorded::forward_recorded`]. Dropout is not applied, as in
/// PEFT.
///
/// ```
/// use burn::nn::EmbeddingConfig;
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_peft::{Adapters, EmbeddingAdapted, LoraConfig};
///
/// let device = Device::flex().autodiff();
/// let mut table = EmbeddingConfig::new(10, 4).init(&device);
/// let adapter = LoraConfig::new().with_rank(2).embedding_adapter(&table.weight)?;
/// table.weight = Adapters::new("default", adapter).attach(table.weight);
/// let ids = Tensor::<2, Int>::from_data([[1, 2, 3], [3, 2, 9]], &device);
/// assert_eq!(table.forward_adapted(ids).dims(), [2, 3, 4]);
/// # Ok::<(), burn_peft::Error>(())
/// ```
pub trait EmbeddingAdapted {
    /// Look vectors up.
    ///
    /// # Shapes
    ///
    /// - ids: `[M, T]`
    /// - output: `[M, T, d_model]`
    fn forward_adapted(&self, ids: Tensor<2, Int>) -> Tensor<3>;

    /// Use the table as a tied output head, `hidden · Wᵀ`. As in PEFT, adapters on the look-up
    /// do not take part: the head is another module that shares the base table.
    ///
    /// # Shapes
    ///
    /// - hidden: `[M, …, d_model]`
    /// - output: `[M, …, n_embedding]`
    fn attend_adapted<const D: usize>(&self, hidden: Tensor<D>) -> Tensor<D>;
}

impl EmbeddingAdapted for Embedding {
    fn forward_adapted(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let Some(adapters) = Adapters::of(&self.weight) else {
            return self.forward_recorded(ids);
        };
        let base = Embedding {
            weight: bare(&self.weight),
        };
        let looked_up = base.forward_recorded(ids.clone());
        let [batch, ..] = looked_up.dims();
        let mut vectors = looked_up.clone();
        for (adapter, factor) in adapters.parts() {
            let read = Embedding {
                weight: adapter.a.clone(),
            };
            let hidden = read.forward_recorded(ids.clone());
            let delta = super::linear::without_bias(&adapter.b, hidden) * (adapter.scale * factor);
            let delta = at(delta, vectors.dtype());
            vectors = match adapter.ratios(base.weight.val(), factor, batch) {
                None => vectors + delta,
                Some(ratios) => {
                    let ratios = at(ratios.unsqueeze_dim(1), delta.dtype());
                    vectors - looked_up.clone() + (looked_up.clone() + delta) * ratios
                }
            };
        }
        vectors
    }

    fn attend_adapted<const D: usize>(&self, hidden: Tensor<D>) -> Tensor<D> {
        let base = Embedding {
            weight: bare(&self.weight),
        };
        unembed(&base, hidden)
    }
}
