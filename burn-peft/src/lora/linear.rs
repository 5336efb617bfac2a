//! A linear layer with a low-rank adapter.

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig, Initializer, Linear};
use burn::tensor::{DType, Tensor, assert_shape};
use burn_ief::nn::{DropoutRecorded, LinearRecorded};
use burn_ief::tape::Tap;
use burn_ief::{Recorder, Rows, recorder};

use super::config::LoraConfig;

/// A frozen [`Linear`] and a trainable low-rank adapter beside it, `x W + b + s (drop(x) A) B`.
///
/// The product is taken along the activations, folded to 2-D: the dense `W + s A B` is never
/// formed, neither forward nor backward. Inside a recording the uses of A and B are recorded per
/// sample, and those of the base layer's parameters if they are trainable.
///
/// Made by [`LoraConfig`].
///
/// ```
/// use burn::module::Module;
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_peft::LoraConfig;
///
/// let device = Device::flex().autodiff();
/// let layer = LinearConfig::new(16, 16).init(&device);
/// let x = Tensor::<2>::ones([2, 16], &device);
/// let before = layer.forward(x.clone());
/// let adapted = LoraConfig::new().init(layer);
/// // B starts at zero: nothing changes until it is trained.
/// assert!((adapted.forward(x) - before).abs().max().into_scalar::<f32>() < 1e-6);
/// assert!(!adapted.base.weight.is_require_grad() && adapted.a.is_require_grad());
/// ```
#[derive(Module, Debug)]
pub struct LoraLinear {
    /// The adapted layer, frozen.
    pub base: Linear,
    /// A, `[d_input, rank]`.
    pub a: Param<Tensor<2>>,
    /// B, `[rank, d_output]`.
    pub b: Param<Tensor<2>>,
    /// Scale s of the adapter, `alpha / rank`.
    pub scale: f64,
    /// Dropout on the adapter's input.
    pub dropout: Dropout,
    /// Whether the adapter takes part; without it the layer is its base.
    pub enabled: bool,
}

impl LoraLinear {
    pub(super) fn new(base: Linear, config: &LoraConfig) -> Self {
        let [d_input, d_output] = base.weight.shape().dims();
        let device = base.weight.lazy_device();
        // As PEFT (Kaiming with a = √5) and Burn's own Linear: uniform within ±1/√d_input.
        let uniform = Initializer::KaimingUniform {
            gain: 1.0 / 3f64.sqrt(),
            fan_out_only: false,
        };
        let shape = [d_input, config.rank];
        Self {
            a: uniform.init_with(shape, Some(d_input), Some(config.rank), &device),
            b: Initializer::Zeros.init([config.rank, d_output], &device),
            base: base.no_grad(),
            scale: config.alpha / config.rank as f64,
            dropout: DropoutConfig::new(config.dropout).init(),
            enabled: true,
        }
    }

    /// Switch the adapter on or off.
    pub fn with_enabled(self, enabled: bool) -> Self {
        Self { enabled, ..self }
    }

    /// Apply the layer.
    ///
    /// # Shapes
    ///
    /// - input: `[M, …, d_input]`
    /// - output: `[M, …, d_output]`
    ///
    /// # Panics
    ///
    /// Panics if the last axis of `input` is not `d_input`.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        if !self.enabled {
            return self.base.forward_recorded(input);
        }
        let recorder = recorder();
        let input = match &recorder {
            Some(recorder) => recorder.batch(input),
            None => input,
        };
        let [d_input, d_output] = self.base.weight.shape().dims();
        assert_shape!(input, [.., d_input]);
        let mut shape = input.dims();
        let batch = shape[0];
        let positions = shape[1..D - 1].iter().product();
        shape[D - 1] = d_output;
        let y = match recorder {
            None => self.plain(input.reshape([batch * positions, d_input])),
            Some(recorder) => {
                let call = Call {
                    recorder,
                    dims: (batch, positions),
                };
                call.recorded(self, input.reshape([batch, positions, d_input]))
            }
        };
        y.reshape(shape)
    }

    /// Outside a recording, on `[M * T, d_input]`.
    fn plain(&self, x: Tensor<2>) -> Tensor<2> {
        let y = self.base.forward(x.clone());
        let hidden = self.dropout.forward(self.entering(x)).matmul(self.a.val());
        let delta = hidden.matmul(self.b.val()) * self.scale;
        y.clone() + at(delta, y.dtype())
    }

    /// The adapter's input at the dtype of its factors, which may be wider than the base's.
    fn entering(&self, x: Tensor<2>) -> Tensor<2> {
        at(x, self.a.val().dtype())
    }

    /// The base layer with the adapter folded into its weight, `W + s A B`; it computes what this
    /// layer does, up to rounding and without dropout.
    ///
    /// A switched-off adapter is left out. The result keeps the base's parameter ids and training
    /// state (frozen).
    pub fn merge(self) -> Linear {
        if !self.enabled {
            return self.base;
        }
        let [a, b] = [self.a.val().inner(), self.b.val().inner()];
        let delta = a.matmul(b) * self.scale;
        let Linear { weight, bias } = self.base;
        let trains = weight.is_require_grad();
        let weight = weight.map(|weight| {
            let dtype = weight.dtype();
            let autodiff = weight.is_autodiff();
            let plain = if autodiff { weight.inner() } else { weight };
            // Added in the wider type, rounded once.
            let merged = at(at(plain, delta.dtype()) + delta, dtype);
            match autodiff {
                true => merged.autodiff().set_require_grad(trains),
                false => merged,
            }
        });
        Linear { weight, bias }
    }
}

/// One recorded use.
struct Call {
    recorder: Recorder,
    /// Rows on the batch axis, positions.
    dims: (usize, usize),
}

impl Call {
    /// On `[M, T, d_input]`, to `[M * T, d_output]`.
    fn recorded(&self, layer: &LoraLinear, x: Tensor<3>) -> Tensor<2> {
        let (batch, positions) = self.dims;
        let [_, _, d_input] = x.dims();
        let folded: Tensor<2> = x.clone().reshape([batch * positions, d_input]);
        let dropped = layer
            .dropout
            .forward_recorded(layer.entering(folded.clone()));

        let mut hidden = dropped.clone().matmul(layer.a.val().inner());
        if layer.a.is_require_grad() {
            let (tapped, tap) = self.recorder.tap(hidden, &layer.a);
            hidden = tapped;
            self.record(&layer.a, dropped, 1.0, tap);
        }
        let delta = hidden.clone().matmul(layer.b.val().inner()) * layer.scale;

        let base = &layer.base;
        let [_, d_output] = delta.dims();
        let base_trains = base.weight.is_require_grad()
            || base
                .bias
                .as_ref()
                .is_some_and(|bias| bias.is_require_grad());
        if base_trains {
            // The base records its own parameters.
            let y = base
                .forward_recorded(x)
                .reshape([batch * positions, d_output]);
            let dtype = y.dtype();
            return self.tapped(layer, y + at(delta, dtype), hidden);
        }
        let y = folded.matmul(base.weight.val().inner());
        let dtype = y.dtype();
        let y = y + at(delta, dtype);
        match &base.bias {
            None => self.tapped(layer, y, hidden),
            Some(bias) => {
                let bias = bias.val().inner().unsqueeze::<2>();
                if !layer.b.is_require_grad() {
                    return y + bias;
                }
                // The bias, expanded over all positions, is the tap: no zero is added.
                let expanded = bias.expand(y.dims());
                let tap = self.recorder.leaf(expanded, &y, &layer.b);
                let y = y + tap.value();
                self.record(&layer.b, hidden, layer.scale, tap);
                y
            }
        }
    }

    /// Tap the output for the rows of B.
    fn tapped(&self, layer: &LoraLinear, y: Tensor<2>, hidden: Tensor<2>) -> Tensor<2> {
        if !layer.b.is_require_grad() {
            return y;
        }
        let (y, tap) = self.recorder.tap(y, &layer.b);
        self.record(&layer.b, hidden, layer.scale, tap);
        y
    }

    /// Rows of a factor: its scaled input times the error behind it.
    fn record(&self, factor: &Param<Tensor<2>>, input: Tensor<2>, scale: f64, tap: Tap<2>) {
        let (batch, positions) = self.dims;
        let input = input.inner();
        // Rows are kept in f32 or f64: products of f16 rows overflow.
        let input = match input.dtype() {
            DType::F32 | DType::F64 => input,
            _ => input.cast(DType::F32),
        };
        let input = match scale == 1.0 {
            true => input,
            false => input * scale,
        };
        let positioned = move |x: Tensor<2>| {
            let [_, width] = x.dims();
            x.reshape([batch, positions, width])
        };
        let left = positioned(input);
        self.recorder.record(factor, batch, move |grads| {
            Some(Rows::outer(left, positioned(tap.error(grads)?)))
        });
    }
}

/// Cast only where it changes something.
fn at<const D: usize>(x: Tensor<D>, dtype: DType) -> Tensor<D> {
    match x.dtype() == dtype {
        true => x,
        false => x.cast(dtype),
    }
}
