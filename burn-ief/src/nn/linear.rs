//! Linear layers: dense weights, frozen weights, and Burn's own LoRA adapters.

use burn::module::{LoraAdapter, Param};
use burn::nn::Linear;
use burn::tensor::{DType, Tensor, assert_shape};
use burn_flex_fused::{ForwardFused, linear, linear_add};

use super::ForwardRecorded;
use super::low_rank::record_low_rank;
use crate::record::{
    Recorder, Tap, constant, is_composed, is_empty_batch, positioned, recorder, without_samples,
};
use crate::rows::{Outer, Rows};

/// Records the inputs and output errors of the weight, with the bias included.
///
/// Inside a recording, the input is folded to 2-D, so that the layer is one matrix product instead
/// of a batched one. The output error is the gradient of the bias, expanded to one copy per sample.
/// A weight with Burn's [`LoraAdapter`] is not composed: the layer computes `x W + s (x A) B`.
///
/// # Shapes
///
/// - input: `[M, …, d_input]`
/// - output: `[M, …, d_output]`
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let layer = LinearConfig::new(8, 2).init(&device);
/// let x = Tensor::<3>::ones([4, 7, 8], &device);
/// assert_eq!(layer.forward_recorded(x).dims(), [4, 7, 2]);
/// ```
impl<const D: usize> ForwardRecorded<Tensor<D>> for Linear {
    type Output = Tensor<D>;

    fn forward_recorded(&self, input: Tensor<D>) -> Tensor<D> {
        if is_empty_batch(input.dims()[0]) {
            let mut dims = input.dims();
            dims[D - 1] = self.weight.shape()[1];
            return without_samples(dims, &input);
        }
        let Some(recorder) = recorder() else {
            return self.forward_fused(input);
        };
        let dims = input.dims();
        let [d_input, d_output] = self.weight.shape().dims();
        assert_shape!(input, [.., d_input]);
        let batch = recorder.batch_size(dims[0]);
        let positions = dims[1..D - 1].iter().product();
        let x = input.reshape([dims[0] * positions, d_input]);
        let call = Call {
            recorder: &recorder,
            layer: self,
            copies: batch / dims[0].max(1),
            batch,
            positions,
        };
        let y = match self.weight.adapter() {
            Some(adapter) => call.adapted(x, adapter),
            None => call.plain(x),
        };
        let mut shape = dims;
        shape[0] = batch;
        shape[D - 1] = d_output;
        y.reshape(shape)
    }
}

/// One use of a layer, with the input folded to `[M * T, d_input]`.
struct Call<'a> {
    recorder: &'a Recorder,
    layer: &'a Linear,
    /// How often the rows still have to be repeated. This is 1 except in the first layer of a
    /// recording with drawn labels: it multiplies one row per sample and repeats the product.
    copies: usize,
    batch: usize,
    positions: usize,
}

impl Call<'_> {
    fn plain(&self, x: Tensor<2>) -> Tensor<2> {
        let (weight, bias) = (&self.layer.weight, self.layer.bias.as_ref());
        let composed = is_composed(weight);
        let trains_weight = weight.is_require_grad() && !composed;
        let trains_bias = bias.is_some_and(|bias| bias.is_require_grad());
        let value = if composed {
            weight.val()
        } else {
            weight.val().inner()
        };
        if !trains_weight && !trains_bias {
            return self.repeated(linear(x, value, bias.map(|bias| bias.val().inner())));
        }
        let (y, tap) = self.tapped(x.clone(), value, None);
        let left = self.positioned(self.repeated(constant(&x)));
        match (bias.filter(|_| trains_bias), trains_weight) {
            (bias, true) => {
                let bias = bias.map(|bias| bias.id);
                let dims = (self.batch, self.positions);
                self.recorder
                    .push(weight.id, bias, self.batch, move |grads| {
                        let rows = Outer::new(left, positioned(tap.error(grads)?, dims));
                        Some(Rows::Outer(if bias.is_some() {
                            rows.with_bias()
                        } else {
                            rows
                        }))
                    });
            }
            (Some(bias), false) => self.record_bias(bias, tap),
            (None, false) => unreachable!("the weight or the bias trains"),
        }
        y
    }

    /// `x W + b + s (x A) B`, with one tap at the output for the factors and the bias.
    fn adapted(&self, x: Tensor<2>, adapter: &LoraAdapter) -> Tensor<2> {
        let base = adapted_base(&self.layer.weight, x.dtype());
        let factors = [&adapter.a, &adapter.b];
        let [a, b] = factors.map(|factor| factor.val().inner());
        let hidden = x.clone().matmul(a) * adapter.scale;
        let bias = self.layer.bias.as_ref();
        let trained_bias = bias.filter(|bias| bias.is_require_grad());
        if trained_bias.is_none() && !factors.iter().any(|factor| factor.is_require_grad()) {
            let update = linear(hidden, b, bias.map(|bias| bias.val().inner()));
            return self.repeated(linear_add(x, base, None, update));
        }
        let (y, tap) = self.tapped(x.clone(), base, Some((hidden, b)));
        if let Some(bias) = trained_bias {
            self.record_bias(bias, tap.clone());
        }
        let input = self.positioned(self.repeated(x));
        record_low_rank(self.recorder, factors, adapter.scale, input, tap);
        y
    }

    /// `x W`, plus the product of an update, plus the bias as a leaf with one copy per row, or a leaf of
    /// zeros if there is no bias.
    fn tapped(
        &self,
        x: Tensor<2>,
        weight: Tensor<2>,
        update: Option<(Tensor<2>, Tensor<2>)>,
    ) -> (Tensor<2>, Tap<2>) {
        if self.copies > 1 {
            let update = update.map(|(hidden, b)| linear(hidden, b, None));
            let product = self.repeated(match update {
                Some(update) => linear_add(x, weight, None, update),
                None => linear(x, weight, None),
            });
            let tap = self.bias_leaf(product.dims(), &product);
            return (product + tap.value(), tap);
        }
        let [_, d_output] = weight.dims();
        let tap = self.bias_leaf([x.dims()[0], d_output], &x);
        let start = match update {
            Some((hidden, b)) => linear_add(hidden, b, None, tap.value()),
            None => tap.value(),
        };
        (linear_add(x, weight, None, start), tap)
    }

    /// A leaf of this size, whose rows are the bias or zeros.
    fn bias_leaf(&self, size: [usize; 2], like: &Tensor<2>) -> Tap<2> {
        let parameter = &self.layer.weight;
        match &self.layer.bias {
            Some(bias) => {
                let value = bias.val().inner().unsqueeze::<2>().expand(size);
                self.recorder.leaf(value, like, bias)
            }
            None => {
                let zeros = Tensor::<2>::zeros([1, 1], (&like.device().inner(), like.dtype()));
                self.recorder.leaf(zeros.expand(size), like, parameter)
            }
        }
    }

    fn record_bias(&self, bias: &Param<Tensor<1>>, tap: Tap<2>) {
        let dims = (self.batch, self.positions);
        self.recorder.record(bias, self.batch, move |grads| {
            let error = positioned(tap.error(grads)?, dims);
            Some(Rows::dense(error.sum_dim(1).squeeze_dim(1)))
        });
    }

    /// Bring the samples on axis 0 to the batch of the recording.
    fn repeated(&self, x: Tensor<2>) -> Tensor<2> {
        if self.copies == 1 {
            x
        } else {
            x.repeat_dim(0, self.copies)
        }
    }

    fn positioned(&self, x: Tensor<2>) -> Tensor<3> {
        positioned(x, (self.batch, self.positions))
    }
}

/// The base of an adapted weight as Burn's own composition uses it: cast to the dtype of the
/// factors, and dequantized if it is quantized.
///
/// There is no rule for a base that trains next to its adapter. It stays on the graph, so that its
/// gradient shows as an unrecorded use.
pub(super) fn adapted_base(weight: &Param<Tensor<2>>, dtype: DType) -> Tensor<2> {
    let base = weight.base();
    let base = if base.is_require_grad() {
        base
    } else {
        base.inner()
    };
    match base.dtype() {
        own if own == dtype => base,
        own if own.is_float() => base.cast(dtype),
        _ => base.dequantize(),
    }
}
