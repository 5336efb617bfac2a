//! The factors of a low-rank update of a linear layer.

use burn::module::Param;
use burn::tensor::Tensor;

use crate::record::{Recorder, Tap, constant, positioned};
use crate::rows::Rows;

/// Record the uses of A and B in `y = … + s (x A) B`, as far as they train.
///
/// With e the error at y, the rows of A are its inputs x times `s e Bᵀ`, and those of B are
/// `s (x A)` times e: one tap at the output serves both factors, and the layer's own bias as well.
/// This is for layers that apply low-rank adapters along the activations. For Burn's own
/// `LoraAdapter` on a `Linear`, call [`forward_recorded`](super::ForwardRecorded::forward_recorded).
///
/// # Shapes
///
/// - `[a, b]`: A `[d_input, r]` and B `[r, d_output]`
/// - `input`: x, `[M, T, d_input]`
/// - `tap`: at y, `[M * T, d_output]`
///
/// ```
/// use burn::module::Param;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::jacobian::RecordedBatch;
/// use burn_ief::nn::record_low_rank;
/// use burn_ief::{Tape, recorder};
///
/// let device = Device::flex().autodiff();
/// let a = Param::from_tensor(Tensor::<2>::ones([3, 1], &device));
/// let b = Param::from_tensor(Tensor::<2>::ones([1, 2], &device));
///
/// let tape = Tape::start();
/// let recorder = recorder().expect("a tape is alive");
/// let x = Tensor::<2>::ones([4, 3], &device);
/// // The factors are constants in the forward pass: no gradient of them is formed.
/// let y = x.clone().matmul(a.val().inner()).matmul(b.val().inner()) * 0.5;
/// let (y, tap) = recorder.tap(y, &a);
/// record_low_rank(&recorder, [&a, &b], 0.5, x.unsqueeze_dim(1), tap);
///
/// let grads = y.sum_dim(1).mean().backward();
/// let jacobian = RecordedBatch::collect(tape, grads, &vec![a, b], None)?.jacobian();
/// // Rows of ones for A (0.5 * 2), and of 1.5 for B: 3 + 2 * 2.25.
/// assert!((jacobian.gram()?.get(0, 1) - 7.5).abs() < 1e-6);
/// # Ok::<(), burn_ief::Error>(())
/// ```
pub fn record_low_rank(
    recorder: &Recorder,
    [a, b]: [&Param<Tensor<2>>; 2],
    scale: f64,
    input: Tensor<3>,
    tap: Tap<2>,
) {
    let [batch, positions, _] = input.dims();
    let dims = (batch, positions);
    let input = constant(&input);
    if a.is_require_grad() {
        let (input, tap) = (input.clone(), tap.clone());
        let b = b.val().inner();
        recorder.record(a, batch, move |grads| {
            let error = tap.error(grads)?;
            let b = b.cast(error.dtype());
            let error = error.matmul(b.transpose()) * scale;
            Some(Rows::outer(input, positioned(error, dims)))
        });
    }
    if b.is_require_grad() {
        let a = a.val().inner();
        recorder.record(b, batch, move |grads| {
            let error = tap.error(grads)?;
            let [_, _, d_input] = input.dims();
            let hidden = input.reshape([batch * positions, d_input]);
            let a = a.cast(hidden.dtype());
            let hidden = hidden.matmul(a) * scale;
            Some(Rows::outer(
                positioned(hidden, dims),
                positioned(error, dims),
            ))
        });
    }
}
