//! Embedding tables: look-ups, look-ups that all samples share, and tied output heads.

use burn::module::Param;
use burn::nn::Embedding;
use burn::tensor::module::embedding;
use burn::tensor::{Int, Tensor, assert_shape};

use super::ForwardRecorded;
use super::linear::adapted_base;
use crate::record::{
    Recorder, constant, is_composed, is_empty_batch, positioned, recorder, without_samples,
};
use crate::rows::{Lookup, Rows};

/// Records the indices and the output errors: the memory does not grow with the table.
///
/// The same table may be looked up several times, and may also be the output head (see
/// [`unembed`]). Its gradient is the sum over all uses. Burn's LoRA adapters on the table are
/// applied to the vectors that are read, without composing the dense table.
///
/// # Shapes
///
/// - ids: `[M, T]`
/// - output: `[M, T, d_model]`
///
/// ```
/// use burn::nn::EmbeddingConfig;
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let table = EmbeddingConfig::new(10, 4).init(&device);
/// let ids = Tensor::<2, Int>::from_data([[1, 2, 3], [3, 2, 9]], &device);
/// assert_eq!(table.forward_recorded(ids).dims(), [2, 3, 4]);
/// ```
impl ForwardRecorded<Tensor<2, Int>> for Embedding {
    type Output = Tensor<3>;

    fn forward_recorded(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        if is_empty_batch(ids.dims()[0]) {
            let [_, positions] = ids.dims();
            let [_, width] = self.weight.shape().dims();
            return without_samples([0, positions, width], &self.weight.val());
        }
        let Some(recorder) = recorder() else {
            return self.forward(ids);
        };
        let ids = recorder.batch(ids);
        look_up(&recorder, self, ids)
    }
}

/// Look up indices that all samples share (positions, say), one copy of the vectors per sample.
///
/// Records the same as the embedding's `forward_recorded`. In a recording with drawn labels, axis 0
/// of the result also holds the copies of the samples.
///
/// # Shapes
///
/// - ids: `[1, T]`
/// - output: `[batch, T, d_model]`
///
/// # Panics
///
/// Panics if axis 0 of `ids` is not 1.
///
/// ```
/// use burn::nn::EmbeddingConfig;
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_ief::nn::embed_shared;
///
/// let device = Device::flex().autodiff();
/// let table = EmbeddingConfig::new(10, 4).init(&device);
/// let positions = Tensor::<1, Int>::arange(0..3, &device).unsqueeze();
/// assert_eq!(embed_shared(&table, positions, 2).dims(), [2, 3, 4]);
/// ```
pub fn embed_shared(table: &Embedding, ids: Tensor<2, Int>, batch: usize) -> Tensor<3> {
    let [shared, positions] = ids.dims();
    assert_eq!(shared, 1, "ids shared by the batch have an axis 0 of 1");
    if is_empty_batch(batch) || batch == 0 {
        let [_, width] = table.weight.shape().dims();
        return without_samples([0, positions, width], &table.weight.val());
    }
    let Some(recorder) = recorder() else {
        let vectors = table.forward(ids);
        let [_, _, width] = vectors.dims();
        return vectors.expand([batch, positions, width]);
    };
    let batch = recorder.batch_size(batch);
    look_up(&recorder, table, ids.expand([batch, positions]))
}

/// Use an embedding table as output head: `hidden · weightᵀ` (tied weights).
///
/// Records the inputs and output errors, like a linear layer.
///
/// # Shapes
///
/// - hidden: `[M, …, d_model]`
/// - output: `[M, …, n_embedding]`
///
/// # Panics
///
/// Panics if the last axis of `hidden` is not `d_model`.
///
/// ```
/// use burn::nn::EmbeddingConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::unembed;
///
/// let device = Device::flex().autodiff();
/// let table = EmbeddingConfig::new(10, 4).init(&device);
/// let hidden = Tensor::<3>::ones([2, 3, 4], &device);
/// assert_eq!(unembed(&table, hidden).dims(), [2, 3, 10]);
/// ```
pub fn unembed<const D: usize>(table: &Embedding, hidden: Tensor<D>) -> Tensor<D> {
    if is_empty_batch(hidden.dims()[0]) {
        let mut dims = hidden.dims();
        dims[D - 1] = table.weight.shape()[0];
        return without_samples(dims, &hidden);
    }
    let recorder = recorder();
    let hidden = match &recorder {
        Some(recorder) => recorder.batch(hidden),
        None => hidden,
    };
    let [entries, width] = table.weight.shape().dims();
    assert_shape!(hidden, [.., width]);
    let mut dims = hidden.dims();
    let batch = dims[0];
    let positions = dims[1..].iter().product::<usize>() / width;
    let x = hidden.reshape([batch * positions, width]);
    let logits = match &recorder {
        Some(recorder) => project_adapted(recorder, table, x, (batch, positions)),
        None => x.matmul(table.weight.val().transpose()),
    };
    dims[D - 1] = entries;
    logits.reshape(dims)
}

fn look_up(recorder: &Recorder, layer: &Embedding, ids: Tensor<2, Int>) -> Tensor<3> {
    let [entries, _] = layer.weight.shape().dims();
    let ids =
        recorder.checked_indices(format!("an index into `{}`", layer.weight.id), ids, entries);
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
    let base = adapted_base(&layer.weight, update.dtype());
    let ids = if base.is_tracked() { ids } else { ids.inner() };
    let base = embedding(base, ids);
    positioned(update * adapter.scale, dims) + base
}

/// Read vectors of a table; the use is recorded if the table trains.
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

/// `x Wᵀ` for `x [M * T, d]`, with the adapters on the table.
fn project_adapted(
    recorder: &Recorder,
    layer: &Embedding,
    x: Tensor<2>,
    dims: (usize, usize),
) -> Tensor<2> {
    let Some(adapter) = layer.weight.adapter() else {
        return project(recorder, &layer.weight, x, dims);
    };
    // x Wᵀ + s (x Bᵀ) Aᵀ
    let hidden = project(recorder, &adapter.b, x.clone(), dims);
    let update = project(recorder, &adapter.a, hidden * adapter.scale, dims);
    let base = adapted_base(&layer.weight, update.dtype());
    update + x.matmul(base.transpose())
}

/// `x pᵀ` for a parameter `p [o, i]`; the use is recorded if `p` trains.
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
