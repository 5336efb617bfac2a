//! One low-rank adapter: two factors, a scale, a dropout, and with DoRA a magnitude vector.

use burn::module::{Module, Param};
use burn::nn::Dropout;
use burn::tensor::Tensor;
use burn_ief::nn::expand_param;

use super::config::LoraConfig;
use crate::adapters::{Adapters, LayerAdapter, at, like};

/// A low-rank adapter of a weight of rank `D`.
///
/// | weight | A | B | update of the weight |
/// | --- | --- | --- | --- |
/// | linear `[d_in, d_out]` | `[d_in, r]` | `[r, d_out]` | `s A B` |
/// | embedding `[entries, d]` | `[entries, r]` | `[r, d]` | `s A B` |
/// | conv2d `[out, in, k1, k2]` | `[r, in, k1, k2]` | `[out, r, 1, 1]` | `s B A`, contracted over r |
///
/// [`LoraConfig::adapter`](crate::LoraConfig::adapter) makes a new one; loading a PEFT folder makes
/// one for every target.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_peft::LoraConfig;
///
/// let device = Device::flex().autodiff();
/// let layer = LinearConfig::new(16, 32).init(&device);
/// let adapter = LoraConfig::new().with_r(4).adapter(&layer.weight)?;
/// assert_eq!(adapter.a.val().dims(), [16, 4]);
/// assert_eq!(adapter.delta().dims(), [16, 32]);
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct LoraFactors<const D: usize> {
    /// The factor at the input.
    pub a: Param<Tensor<D>>,
    /// The factor at the output.
    pub b: Param<Tensor<D>>,
    /// Lengths m of the weight's columns (DoRA, Liu et al. 2024, arXiv 2402.09353), `[d_out]`: of an
    /// embedding's dimensions over all entries, of a convolution's kernels.
    pub magnitude: Option<Param<Tensor<1>>>,
    /// Scale s: `lora_alpha / r`, or `lora_alpha / √r` with rsLoRA.
    pub scale: f64,
    /// Dropout on the adapter's input (not on the base layer's).
    pub dropout: Dropout,
    /// Whether A picks rows of an embedding table and does not train (`trainable_token_indices`).
    pub picks_rows: bool,
}

/// The LoRA adapters on a weight of rank `D`.
pub type LoraAdapters<const D: usize> = Adapters<LoraFactors<D>, D>;

impl<const D: usize> LoraFactors<D> {
    /// Rank r of the factors.
    pub fn rank(&self) -> usize {
        match D {
            2 => self.a.lazy_shape()[1],
            _ => self.a.lazy_shape()[0],
        }
    }

    /// The update of the weight, `s A B` at the weight's shape (DoRA's magnitudes left out).
    pub fn delta(&self) -> Tensor<D> {
        delta(self.a.val(), self.b.val()) * self.scale
    }

    /// Whether the adapter's dropout changes its input.
    pub(super) fn drops(&self) -> bool {
        self.dropout.prob > 0.0 && self.dropout.training.is_enabled()
    }

    /// DoRA's ratios `m / ‖W + s A B‖` for the samples of a batch, `[M, d_out]`, with one copy of
    /// the magnitudes per sample, so that their use is recorded, and the norms as constants; `None`
    /// without magnitudes. `base` is W.
    pub(super) fn ratios(&self, base: Tensor<D>, factor: f64, batch: usize) -> Option<Tensor<2>> {
        let magnitude = self.magnitude.as_ref()?;
        let [a, b] = [self.a.val(), self.b.val()].map(Tensor::inner);
        let base = at(base.inner(), a.dtype());
        let norms = column_norms(base + delta(a, b) * (self.scale * factor));
        let magnitudes = expand_param::<_, 2>(magnitude, batch);
        let norms = like(norms.unsqueeze(), &magnitudes);
        Some(magnitudes / norms)
    }
}

impl<const D: usize> LayerAdapter<D> for LoraFactors<D> {
    const PEFT_TYPE: &'static str = LoraConfig::PEFT_TYPE;

    fn set_trains(self, trains: bool) -> Self {
        let picks = self.picks_rows;
        let mut factors = self.set_require_grad(trains);
        if picks {
            factors.a = factors.a.set_require_grad(false);
        }
        factors
    }

    fn compose(&self, weight: Tensor<D>, factor: f64) -> Tensor<D> {
        let delta = self.delta() * factor;
        let sum = at(weight, delta.dtype()) + delta;
        match &self.magnitude {
            None => sum,
            Some(magnitude) => {
                // DoRA treats the norm as a constant in the gradient (sec. 4.3 of the paper).
                let ratio = magnitude.val() / column_norms(sum.clone().detach());
                sum * over_columns(ratio)
            }
        }
    }
}

fn delta<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    if D == 2 {
        return a.matmul(b);
    }
    // [out, r, 1, 1] and [r, in, k1, k2]
    let (rank, out) = (a.dims()[0], b.dims()[0]);
    let mut shape = a.dims();
    let width = shape[1..].iter().product();
    shape[0] = out;
    let product = b.reshape([out, rank]).matmul(a.reshape([rank, width]));
    product.reshape(shape)
}

/// Norm of the weights that lead to each output: columns of a linear weight, kernels of a
/// convolution.
pub(crate) fn column_norms<const D: usize>(weight: Tensor<D>) -> Tensor<1> {
    let dims = weight.dims();
    let squares = weight.powi_scalar(2);
    let sums: Tensor<1> = match D {
        2 => squares.sum_dim(0).reshape([dims[1]]),
        _ => {
            let width = dims[1..].iter().product::<usize>();
            squares
                .reshape([dims[0], width])
                .sum_dim(1)
                .reshape([dims[0]])
        }
    };
    sums.sqrt()
}

/// `[d_out]` at the rank of the weight, along its outputs.
fn over_columns<const D: usize>(x: Tensor<1>) -> Tensor<D> {
    let mut shape = [1; D];
    let axis = if D == 2 { 1 } else { 0 };
    shape[axis] = x.dims()[0];
    x.reshape(shape)
}
