//! Linear layers with low-rank adapters, along the activations.

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::{DType, Tensor, assert_shape};
use burn_ief::nn::{ForwardRecorded, expand_param};
use burn_ief::record::Tap;
use burn_ief::{Recorder, Rows, recorder};

use super::adapter::{Adapter, at};
use super::adapters::{Adapters, bare};
use super::product::{self, Update};
use super::replace::replace;

/// The adapters that take part, with the factors on their updates.
type Parts<'a> = [(&'a Adapter<2>, f64)];

/// A [`Linear`] with the adapters on its weight.
///
/// Without adapters this is [`ForwardRecorded::forward_recorded`]. With them the product is taken
/// along the activations, folded to 2-D, `x W + b + s (drop(x) A) B`: the dense weight is never
/// composed, neither forward nor backward. Inside a recording the uses of A, B and DoRA's
/// magnitudes are recorded per sample, and those of the layer's own parameters if they train.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_peft::{Adapters, LinearAdapted, LoraConfig};
///
/// let device = Device::flex().autodiff();
/// let mut layer = LinearConfig::new(16, 32).init(&device);
/// let adapter = LoraConfig::new().adapter(&layer.weight)?;
/// layer.weight = Adapters::new("default", adapter).attach(layer.weight);
/// let x = Tensor::<3>::ones([2, 5, 16], &device);
/// assert_eq!(layer.forward_adapted(x).dims(), [2, 5, 32]);
/// # Ok::<(), burn_peft::Error>(())
/// ```
pub trait LinearAdapted {
    /// Apply the layer and its active adapters.
    ///
    /// # Shapes
    ///
    /// - input: `[M, …, d_input]`
    /// - output: `[M, …, d_output]`
    ///
    /// # Panics
    ///
    /// Panics if the last axis of `input` is not `d_input`.
    fn forward_adapted<const D: usize>(&self, input: Tensor<D>) -> Tensor<D>;
}

impl LinearAdapted for Linear {
    fn forward_adapted<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let Some(adapters) = Adapters::of(&self.weight) else {
            return self.forward_recorded(input);
        };
        let base = Linear {
            weight: bare(&self.weight),
            bias: self.bias.clone(),
        };
        forward(&base, &adapters.parts(), input)
    }
}

/// A frozen [`Linear`] and a trainable low-rank adapter beside it, as a module of its own: for
/// models whose struct names the adapted layers. [`Adapters`] hang on a layer without changing
/// the struct.
///
/// Made by [`LoraConfig::init`](crate::LoraConfig::init).
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
/// assert!(!adapted.base.weight.is_require_grad() && adapted.adapter.a.is_require_grad());
/// ```
#[derive(Module, Debug)]
pub struct LoraLinear {
    /// The adapted layer, frozen.
    pub base: Linear,
    /// The adapter beside it.
    pub adapter: Adapter<2>,
    /// Whether the adapter takes part; without it the layer is its base.
    pub enabled: bool,
}

impl LoraLinear {
    /// Switch the adapter on or off.
    pub fn with_enabled(self, enabled: bool) -> Self {
        Self { enabled, ..self }
    }

    /// Apply the layer, see [`LinearAdapted`].
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
        let parts = [(&self.adapter, 1.0)];
        let count = if self.enabled { 1 } else { 0 };
        forward(&self.base, &parts[..count], input)
    }

    /// The base layer with the adapter folded into its weight; it computes what this layer does,
    /// up to rounding and without dropout.
    ///
    /// A switched-off adapter is left out. The result keeps the base's parameter ids and training
    /// state (frozen).
    pub fn merge(self) -> Linear {
        if !self.enabled {
            return self.base;
        }
        let Linear { weight, bias } = self.base;
        let adapters = Adapters::new("merged", self.adapter);
        let weight = replace(weight, |weight| adapters.merge(weight).1);
        Linear { weight, bias }
    }
}

fn forward<const D: usize>(base: &Linear, parts: &Parts<'_>, input: Tensor<D>) -> Tensor<D> {
    let recorder = recorder();
    let input = match &recorder {
        Some(recorder) => recorder.batch(input),
        None => input,
    };
    let [d_input, d_output] = base.weight.lazy_shape().dims();
    assert_shape!(input, [.., d_input]);
    let mut shape = input.dims();
    let batch = shape[0];
    let positions = shape[1..D - 1].iter().product();
    shape[D - 1] = d_output;
    let x = input.reshape([batch, positions, d_input]);
    if parts.iter().any(|(adapter, _)| adapter.magnitude.is_some()) {
        return decomposed(base, parts, x).reshape(shape);
    }
    let dims = (batch, positions);
    let y = match recorder {
        None => plain(base, parts, x.reshape([batch * positions, d_input])),
        Some(recorder) => Call { recorder, dims }.recorded(base, parts, x),
    };
    y.reshape(shape)
}

/// Outside a recording, on `[M * T, d_input]`.
fn plain(base: &Linear, parts: &Parts<'_>, x: Tensor<2>) -> Tensor<2> {
    let weight = dense(base.weight.val(), x.dtype());
    let update = |&(adapter, factor): &(&Adapter<2>, f64)| Update {
        entering: adapter.drops().then(|| adapter.dropout.forward(x.clone())),
        a: adapter.a.val(),
        b: adapter.b.val(),
        scale: adapter.scale * factor,
    };
    let updates: Vec<Update> = parts.iter().map(update).collect();
    let y = product::of(x, weight, &updates);
    match &base.bias {
        Some(bias) => y + bias.val().unsqueeze(),
        None => y,
    }
}

/// The weight, unpacked to the dtype of its input where it is quantised.
fn dense(weight: Tensor<2>, dtype: DType) -> Tensor<2> {
    match weight.dtype().is_float() {
        true => weight,
        false => at(weight, dtype),
    }
}

/// With DoRA, on `[M, T, d_input]`, recorded or not: `(m / ‖W + s A B‖) (x (W + s A B)) + b`.
fn decomposed(base: &Linear, parts: &Parts<'_>, x: Tensor<3>) -> Tensor<3> {
    let [batch, _, _] = x.dims();
    let through = without_bias(&base.weight, x.clone());
    let mut y = through.clone();
    for (adapter, factor) in parts {
        let scale = adapter.scale * factor;
        let entering = adapter
            .dropout
            .forward_recorded(at(x.clone(), adapter.a.val().dtype()));
        let hidden = without_bias(&adapter.a, entering.clone());
        let delta = at(without_bias(&adapter.b, hidden) * scale, y.dtype());
        let Some(ratios) = adapter.ratios(base.weight.val(), *factor, batch) else {
            y = y + delta;
            continue;
        };
        let ratios = at(ratios.unsqueeze_dim(1), y.dtype());
        let base_part = match adapter.drops() {
            true => without_bias(&base.weight, at(entering, x.dtype())),
            false => through.clone(),
        };
        y = y - base_part.clone() + (base_part + delta) * ratios;
    }
    match &base.bias {
        Some(bias) => y + expand_param::<_, 2>(bias, batch).unsqueeze_dim(1),
        None => y,
    }
}

/// `x W` without a bias, folded to 2-D.
pub(super) fn without_bias(weight: &Param<Tensor<2>>, x: Tensor<3>) -> Tensor<3> {
    let packed = !weight.base().dtype().is_float();
    if recorder().is_some() && !packed {
        let layer = Linear {
            weight: weight.clone(),
            bias: None,
        };
        return layer.forward_recorded(x);
    }
    let [batch, positions, d_input] = x.dims();
    let dtype = x.dtype();
    let y = x
        .reshape([batch * positions, d_input])
        .matmul(dense(weight.val(), dtype));
    let [_, width] = y.dims();
    y.reshape([batch, positions, width])
}

/// One recorded use.
struct Call {
    recorder: Recorder,
    /// Rows on the batch axis, positions.
    dims: (usize, usize),
}

impl Call {
    /// On `[M, T, d_input]`, to `[M * T, d_output]`.
    fn recorded(&self, base: &Linear, parts: &Parts<'_>, x: Tensor<3>) -> Tensor<2> {
        let (batch, positions) = self.dims;
        let [_, _, d_input] = x.dims();
        let [_, d_output] = base.weight.lazy_shape().dims();
        let folded: Tensor<2> = x.clone().reshape([batch * positions, d_input]);
        // The factors are constants: their rows come from inputs and output errors.
        let update = |&(adapter, factor): &(&Adapter<2>, f64)| Update {
            entering: adapter
                .drops()
                .then(|| adapter.dropout.forward_recorded(folded.clone())),
            a: adapter.a.val().inner(),
            b: adapter.b.val().inner(),
            scale: adapter.scale * factor,
        };
        let updates: Vec<Update> = parts.iter().map(update).collect();

        let trains = |bias: &Param<Tensor<1>>| bias.is_require_grad();
        let base_trains = base.weight.is_require_grad() || base.bias.as_ref().is_some_and(trains);
        let y = match base_trains {
            // The base records its own parameters.
            true => {
                let y = base
                    .forward_recorded(x)
                    .reshape([batch * positions, d_output]);
                product::add(y, folded.clone(), &updates)
            }
            false => {
                let weight = dense(base.weight.val().inner(), folded.dtype());
                product::of(folded.clone(), weight, &updates)
            }
        };
        let frozen_bias = base.bias.as_ref().filter(|_| !base_trains);
        let frozen_bias = frozen_bias.map(|bias| bias.val().inner().unsqueeze::<2>());
        let factors = parts
            .iter()
            .flat_map(|(adapter, _)| [&adapter.a, &adapter.b]);
        let Some(first) = factors.into_iter().find(|factor| factor.is_require_grad()) else {
            return match frozen_bias {
                Some(bias) => y + bias,
                None => y,
            };
        };
        let (y, tap) = match frozen_bias {
            None => self.recorder.tap(y, first),
            // The bias, expanded over all positions, is the tap: no zero is added.
            Some(bias) => {
                let tap = self.recorder.leaf(bias.expand(y.dims()), &y, first);
                (y + tap.value(), tap)
            }
        };
        for ((adapter, _), update) in parts.iter().zip(updates) {
            self.record(adapter, update, folded.clone(), tap.clone());
        }
        y
    }

    /// Rows of both factors, from what enters the adapter and the error e at the layer's output:
    /// that of A is its input times `s e Bᵀ`, that of B is `s (x A)` times e.
    fn record(&self, adapter: &Adapter<2>, update: Update, x: Tensor<2>, tap: Tap<2>) {
        let Update {
            entering,
            a,
            b,
            scale,
        } = update;
        let (batch, positions) = self.dims;
        let positioned = move |x: Tensor<2>| {
            let [_, width] = x.dims();
            x.reshape([batch, positions, width])
        };
        let input = at_least_f32(entering.unwrap_or(x).inner());
        if adapter.a.is_require_grad() {
            let (input, tap) = (input.clone(), tap.clone());
            self.recorder.record(&adapter.a, batch, move |grads| {
                let error = tap.error(grads)?;
                let b = at(b, error.dtype());
                let error = error.matmul(b.transpose()) * scale;
                Some(Rows::outer(positioned(input), positioned(error)))
            });
        }
        if adapter.b.is_require_grad() {
            self.recorder.record(&adapter.b, batch, move |grads| {
                let error = tap.error(grads)?;
                let a = at(a, input.dtype());
                let input = input.matmul(a) * scale;
                Some(Rows::outer(positioned(input), positioned(error)))
            });
        }
    }
}

/// Per-sample rows are kept in f32 or f64: products of f16 rows overflow.
fn at_least_f32(x: Tensor<2>) -> Tensor<2> {
    match x.dtype() {
        DType::F32 | DType::F64 => x,
        _ => x.cast(DType::F32),
    }
}
