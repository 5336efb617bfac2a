//! Linear layers: dense weights, frozen ones, and Burn's own LoRA adapters.

use burn::module::{LoraAdapter, Param};
use burn::nn::Linear;
use burn::tensor::{DType, Tensor, assert_shape};

use crate::record::{Recorder, Tap, constant, is_composed, recorder};
use crate::rows::{Outer, Rows};

/// Recorded form of [`Linear`].
///
/// Inside a recording, inputs `[M, …, d_input]` are folded to 2-D: one matrix product instead of
/// a batched one. The weight's rows stay factored into inputs and output errors; the error is
/// captured at the bias, expanded per sample. A weight that carries Burn's [`LoraAdapter`] takes
/// the activation path `x W + s (x A) B`, without composing the dense weight.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::LinearRecorded;
///
/// let device = Device::flex().autodiff();
/// let layer = LinearConfig::new(8, 2).init(&device);
/// let x = Tensor::<3>::ones([4, 7, 8], &device);
/// assert_eq!(layer.forward_recorded(x).dims(), [4, 7, 2]);
/// ```
pub trait LinearRecorded {
    /// Apply the layer, see [`Linear::forward`].
    ///
    /// # Shapes
    ///
    /// - input: `[M, …, d_input]`
    /// - output: `[M, …, d_output]`
    ///
    /// # Panics
    ///
    /// Panics if the last axis of `input` is not `d_input`.
    fn forward_recorded<const D: usize>(&self, input: Tensor<D>) -> Tensor<D>;
}

impl LinearRecorded for Linear {
    fn forward_recorded<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let Some(recorder) = recorder() else {
            return self.forward(input);
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
    /// How often the input still has to be repeated: 1 but for the first layer of a recording
    /// with drawn labels, whose products are those of the samples alone.
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
        let value = match composed {
            true => weight.val(),
            false => weight.val().inner(),
        };
        let product = self.repeated(x.clone().matmul(value));
        if !trains_weight && !trains_bias {
            return match bias {
                Some(bias) => product + bias.val().inner().unsqueeze(),
                None => product,
            };
        }
        let (y, tap) = self.tap(product);
        let left = self.positioned(self.repeated(constant(&x)));
        match (bias.filter(|_| trains_bias), trains_weight) {
            (bias, true) => {
                let bias = bias.map(|bias| bias.id);
                let dims = (self.batch, self.positions);
                self.recorder
                    .push(weight.id, bias, self.batch, move |grads| {
                        let rows = Outer::new(left, positioned(tap.error(grads)?, dims));
                        Some(Rows::Outer(match bias {
                            Some(_) => rows.with_bias(),
                            None => rows,
                        }))
                    });
            }
            (Some(bias), false) => self.record_bias(bias, tap),
            (None, false) => unreachable!("one of both trains"),
        }
        y
    }

    /// `x W + b + s (x A) B`, with a tap at `x A` (for A) and one at the output (for B).
    fn adapted(&self, x: Tensor<2>, adapter: &LoraAdapter) -> Tensor<2> {
        let base = self.layer.weight.base().inner();
        let base = base_at(base, x.dtype());
        let scale = adapter.scale;
        let [a, b] = [adapter.a.val().inner(), adapter.b.val().inner()];
        let dims = (self.batch, self.positions);

        let mut hidden = self.repeated(x.clone().matmul(a));
        if adapter.a.is_require_grad() {
            let (tapped, tap) = self.recorder.tap(hidden, &adapter.a);
            hidden = tapped;
            let left = self.positioned(self.repeated(constant(&x)));
            self.recorder.record(&adapter.a, self.batch, move |grads| {
                Some(Rows::outer(left, positioned(tap.error(grads)?, dims)))
            });
        }
        let product = self.repeated(x.matmul(base)) + hidden.clone().matmul(b) * scale;
        let bias = self.layer.bias.as_ref();
        let bias_trains = bias.is_some_and(|bias| bias.is_require_grad());
        if !adapter.b.is_require_grad() && !bias_trains {
            return match bias {
                Some(bias) => product + bias.val().inner().unsqueeze(),
                None => product,
            };
        }
        let (y, tap) = self.tap(product);
        if let Some(bias) = bias.filter(|_| bias_trains) {
            self.record_bias(bias, tap.clone());
        }
        if adapter.b.is_require_grad() {
            let left = self.positioned(constant(&hidden) * scale);
            self.recorder.record(&adapter.b, self.batch, move |grads| {
                Some(Rows::outer(left, positioned(tap.error(grads)?, dims)))
            });
        }
        y
    }

    /// Add the bias as a per-sample leaf, or a zero leaf where there is none.
    fn tap(&self, product: Tensor<2>) -> (Tensor<2>, Tap<2>) {
        let Some(bias) = &self.layer.bias else {
            return self.recorder.tap(product, &self.layer.weight);
        };
        let expanded = bias.val().inner().unsqueeze::<2>().expand(product.dims());
        let tap = self.recorder.leaf(expanded, &product, bias);
        (product + tap.value(), tap)
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
        match self.copies {
            1 => x,
            copies => x.repeat_dim(0, copies),
        }
    }

    fn positioned(&self, x: Tensor<2>) -> Tensor<3> {
        positioned(x, (self.batch, self.positions))
    }
}

/// The base of an adapted weight as in Burn's own composition: at the factors' dtype, a packed one
/// unpacked.
pub(super) fn base_at(base: Tensor<2>, dtype: DType) -> Tensor<2> {
    match base.dtype() {
        own if own == dtype => base,
        own if own.is_float() => base.cast(dtype),
        _ => base.dequantize(),
    }
}

/// `[M * T, d]` to `[M, T, d]`.
pub(super) fn positioned(x: Tensor<2>, (batch, positions): (usize, usize)) -> Tensor<3> {
    let [_, width] = x.dims();
    x.reshape([batch, positions, width])
}
