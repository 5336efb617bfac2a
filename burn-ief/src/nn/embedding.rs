//! Embedding tables: look-ups, look-ups shared by the batch, and tied output heads.

use burn::module::Param;
use burn::nn::Embedding;
use burn::tensor::module::embedding;
use burn::tensor::{Int, Tensor, assert_shape};

use super::linear::{base_at, positioned};
use crate::record::{Recorder, constant, is_composed, recorder};
use crate::rows::{Lookup, Rows};

/// Recorded form of [`Embedding`].
///
/// A look-up keeps its indices and the error at the vectors it read, never an error of the size of
/// the table for each sample. The same table may be looked up several times and also be the output
/// head ([`attend_recorded`](Self::attend_recorded)): its row is the sum of all uses. Burn's LoRA
/// adapters on the table take the activation path.
///
/// ```
/// use burn::nn::EmbeddingConfig;
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_ief::nn::EmbeddingRecorded;
///
/// let device = Device::flex().autodiff();
/// let table = EmbeddingConfig::new(10, 4).init(&device);
/// let ids = Tensor::<2, Int>::from_data([[1, 2, 3], [3, 2, 9]], &device);
/// let hidden = table.forward_recorded(ids);
/// assert_eq!(hidden.dims(), [2, 3, 4]);
/// let logits = table.attend_recorded(hidden);
/// assert_eq!(logits.dims(), [2, 3, 10]);
///
/// let positions = Tensor::<1, Int>::arange(0..3, &device).unsqueeze();
/// assert_eq!(table.forward_shared_recorded(positions, 2).dims(), [2, 3, 4]);
/// ```
pub trait EmbeddingRecorded {
    /// Look vectors up, see [`Embedding::forward`].
    ///
    /// # Shapes
    ///
    /// - ids: `[M, T]`
    /// - output: `[M, T, d_model]`
    fn forward_recorded(&self, ids: Tensor<2, Int>) -> Tensor<3>;

    /// Look up ids that all samples share (positions), one copy of the vectors per sample.
    ///
    /// # Shapes
    ///
    /// - ids: `[1, T]`
    /// - output: `[batch, T, d_model]`; in a recording with drawn labels axis 0 also holds the
    ///   copies
    ///
    /// # Panics
    ///
    /// Panics if axis 0 of `ids` is not 1.
    fn forward_shared_recorded(&self, ids: Tensor<2, Int>, batch: usize) -> Tensor<3>;

    /// Use the table as an output head: `hidden · weightᵀ`.
    ///
    /// # Shapes
    ///
    /// - hidden: `[M, …, d_model]`
    /// - output: `[M, …, n_embedding]`
    ///
    /// # Panics
    ///
    /// Panics if the last axis of `hidden` is not `d_model`.
    fn attend_recorded<const D: usize>(&self, hidden: Tensor<D>) -> Tensor<D>;
}

impl EmbeddingRecorded for Embedding {
    fn forward_recorded(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        match recorder() {
            Some(recorder) => {
                let ids = recorder.batch(ids);
                look_up(&recorder, self, ids)
            }
            None => self.forward(ids),
        }
    }

    fn forward_shared_recorded(&self, ids: Tensor<2, Int>, batch: usize) -> Tensor<3> {
        let [shared, positions] = ids.dims();
        assert_eq!(shared, 1, "ids shared by the batch have an axis 0 of 1");
        match recorder() {
            Some(recorder) => {
                let batch = recorder.batch_size(batch);
                look_up(&recorder, self, ids.expand([batch, positions]))
            }
            None => {
                let vectors = self.forward(ids);
                let [_, _, width] = vectors.dims();
                vectors.expand([batch, positions, width])
            }
        }
    }

    fn attend_recorded<const D: usize>(&self, hidden: Tensor<D>) -> Tensor<D> {
        let recorder = recorder();
        let hidden = match &recorder {
            Some(recorder) => recorder.batch(hidden),
            None => hidden,
        };
        let [entries, width] = self.weight.shape().dims();
        assert_shape!(hidden, [.., width]);
        let mut dims = hidden.dims();
        let batch = dims[0];
        let positions = dims[1..].iter().product::<usize>() / width;
        let x = hidden.reshape([batch * positions, width]);
        let logits = match &recorder {
            Some(recorder) => attend(recorder, self, x, (batch, positions)),
            None => x.matmul(self.weight.val().transpose()),
        };
        dims[D - 1] = entries;
        logits.reshape(dims)
    }
}

fn look_up(recorder: &Recorder, layer: &Embedding, ids: Tensor<2, Int>) -> Tensor<3> {
    let Some(adapter) = layer.weight.adapter() else {
        return read(recorder, &layer.weight, ids);
    };
    // W[ids] + s A[ids] B
    let [batch, positions] = ids.dims();
    let dims = (batch, positions);
    let hidden = read(recorder, &adapter.a, ids.clone());
    let [_, _, rank] = hidden.dims();
    let hidden = hidden.reshape([batch * positions, rank]);
    let mut update = hidden.clone().matmul(adapter.b.val().inner());
    if adapter.b.is_require_grad() {
        let (tapped, tap) = recorder.tap(update, &adapter.b);
        update = tapped;
        let left = positioned(constant(&hidden), dims);
        recorder.record(&adapter.b, batch, move |grads| {
            Some(Rows::outer(left, positioned(tap.error(grads)?, dims)))
        });
    }
    let base = base_at(layer.weight.base().inner(), update.dtype());
    let base = embedding(base, ids.inner());
    positioned(update * adapter.scale, dims) + base
}

/// Read vectors of a table, recorded if it trains.
fn read(recorder: &Recorder, table: &Param<Tensor<2>>, ids: Tensor<2, Int>) -> Tensor<3> {
    if is_composed(table) {
        return embedding(table.val(), ids);
    }
    if !table.is_require_grad() {
        return embedding(table.base(), ids);
    }
    let ids = ids.inner();
    let [batch, _] = ids.dims();
    let [entries, _] = table.shape().dims();
    let vectors = embedding(table.base().inner(), ids.clone());
    let (vectors, tap) = recorder.tap(vectors, table);
    recorder.record(table, batch, move |grads| {
        let error = tap.error(grads)?;
        Some(Rows::Lookup(Lookup::new(ids, error, entries)))
    });
    vectors
}

/// `x Wᵀ` for `x [M * T, d]`.
fn attend(recorder: &Recorder, layer: &Embedding, x: Tensor<2>, dims: (usize, usize)) -> Tensor<2> {
    let Some(adapter) = layer.weight.adapter() else {
        return project(recorder, &layer.weight, x, dims);
    };
    // x Wᵀ + s (x Bᵀ) Aᵀ
    let hidden = project(recorder, &adapter.b, x.clone(), dims);
    let update = project(recorder, &adapter.a, hidden * adapter.scale, dims);
    let base = base_at(layer.weight.base().inner(), update.dtype());
    update + x.matmul(base.transpose())
}

/// `x pᵀ` for a parameter `p [o, i]`, recorded if it trains.
fn project(
    recorder: &Recorder,
    parameter: &Param<Tensor<2>>,
    x: Tensor<2>,
    dims: (usize, usize),
) -> Tensor<2> {
    if is_composed(parameter) {
        return x.matmul(parameter.val().transpose());
    }
    let product = x.clone().matmul(parameter.base().inner().transpose());
    if !parameter.is_require_grad() {
        return product;
    }
    let (y, tap) = recorder.tap(product, parameter);
    let right = positioned(constant(&x), dims);
    recorder.record(parameter, dims.0, move |grads| {
        Some(Rows::outer_transposed(
            positioned(tap.error(grads)?, dims),
            right,
        ))
    });
    y
}
