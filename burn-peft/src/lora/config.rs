//! Configuration of a low-rank adapter.

use burn::config::Config;
use burn::module::Param;
use burn::nn::conv::Conv2d;
use burn::nn::{DropoutConfig, Embedding, Linear};
use burn::tensor::{DType, Device, Distribution, Tensor};

use super::adapter::{Adapter, at, beside, column_norms};
use super::adapters::{Adapters, bare, frozen};
use super::init::{self, Initialization, Sizes};
use super::linear::LoraLinear;
use super::replace::replace;
use crate::error::Error;

/// Rank, scale, dropout and first values of a low-rank adapter; the defaults are those of Hugging
/// Face PEFT.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_peft::LoraConfig;
///
/// let device = Device::flex().autodiff();
/// let config = LoraConfig::new().with_rank(4).with_alpha(8.0).with_dropout(0.1);
/// let adapted = config.try_init(LinearConfig::new(16, 32).init(&device))?;
/// assert_eq!(adapted.adapter.scale, 2.0);
/// assert!(config.with_dropout(1.0).validate().is_err());
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Config, Debug)]
pub struct LoraConfig {
    /// Rank r of the factors A `[d_input, r]` and B `[r, d_output]`.
    #[config(default = 8)]
    pub rank: usize,
    /// Numerator of the adapter's scale `alpha / rank`.
    #[config(default = 8.0)]
    pub alpha: f64,
    /// Probability of dropping an entry of the adapter's input (not of the base layer's).
    #[config(default = 0.0)]
    pub dropout: f64,
    /// Scale by `alpha / √rank` (Kalajdzievski 2023, arXiv 2312.03732).
    #[config(default = false)]
    pub rslora: bool,
    /// Train the lengths of the weight's columns beside the factors (Liu et al. 2024, arXiv
    /// 2402.09353).
    #[config(default = false)]
    pub dora: bool,
    /// First values of the factors.
    #[config(default = "Initialization::Kaiming")]
    pub init: Initialization,
}

impl LoraConfig {
    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first field that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |field, value: String, expected| {
            Err(Error::Config {
                field,
                value,
                expected,
            })
        };
        if self.rank == 0 {
            return refuse("rank", self.rank.to_string(), "at least 1");
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return refuse("alpha", self.alpha.to_string(), "a finite number above 0");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse(
                "dropout",
                self.dropout.to_string(),
                "at least 0 and below 1",
            );
        }
        Ok(())
    }

    /// The adapter's scale, `alpha / rank` or `alpha / √rank`.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        match self.rslora {
            true => self.alpha / rank.sqrt(),
            false => self.alpha / rank,
        }
    }

    /// Freeze `layer` and hang an adapter on its weight, see
    /// [`LinearAdapted`](crate::LinearAdapted). An adapter of that name is replaced.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the field that is out of range or does not fit the layer.
    pub fn linear(&self, name: &str, layer: Linear) -> Result<Linear, Error> {
        let (weight, adapter) = self.split(layer.weight)?;
        let bias = layer.bias.map(|bias| bias.set_require_grad(false));
        Ok(Linear {
            weight: hang(name, adapter, weight),
            bias,
        })
    }

    /// Freeze `table` and hang an adapter on it, see
    /// [`EmbeddingAdapted`](crate::EmbeddingAdapted).
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the field that is out of range or does not fit the layer.
    pub fn embedding(&self, name: &str, table: Embedding) -> Result<Embedding, Error> {
        let weight = frozen(table.weight);
        let adapter = self.embedding_adapter(&weight)?;
        Ok(Embedding {
            weight: hang(name, adapter, weight),
        })
    }

    /// Freeze `conv` and hang an adapter on its kernels, see
    /// [`Conv2dAdapted`](crate::Conv2dAdapted).
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the field that is out of range or does not fit the layer.
    pub fn conv2d(&self, name: &str, conv: Conv2d) -> Result<Conv2d, Error> {
        let adapter = self.conv2d_adapter(&conv)?;
        let weight = hang(name, adapter, frozen(conv.weight));
        let bias = conv.bias.map(|bias| bias.set_require_grad(false));
        Ok(Conv2d {
            weight,
            bias,
            ..conv
        })
    }

    /// Freeze `base` and put an adapter beside it, as a module of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the field that is out of range or does not fit the layer.
    pub fn try_init(&self, base: Linear) -> Result<LoraLinear, Error> {
        let (weight, adapter) = self.split(base.weight)?;
        let bias = base.bias.map(|bias| bias.set_require_grad(false));
        Ok(LoraLinear {
            base: Linear { weight, bias },
            adapter,
            enabled: true,
        })
    }

    /// Freeze `base` and put an adapter beside it, as a module of its own.
    ///
    /// # Panics
    ///
    /// Panics where [`try_init`](Self::try_init) returns an error.
    pub fn init(&self, base: Linear) -> LoraLinear {
        match self.try_init(base) {
            Ok(adapted) => adapted,
            Err(error) => panic!("{error}"),
        }
    }

    /// A new adapter for a linear weight `[d_in, d_out]`, which keeps its value.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the field that is out of range; PiSSA and OLoRA move part of the
    /// weight into the adapter and need [`linear`](Self::linear).
    pub fn adapter(&self, weight: &Param<Tensor<2>>) -> Result<Adapter<2>, Error> {
        self.validate()?;
        let [d_in, d_out] = weight.lazy_shape().dims();
        let sizes = self.sizes(d_in, d_out);
        let (device, dtype) = place(weight);
        let factors = init::factors(self.init, sizes, &device.clone().inner(), dtype)?;
        let magnitude = self.magnitude(weight, dtype);
        Ok(self.assemble(factors, magnitude, &device))
    }

    /// The magnitudes that DoRA starts from: the lengths in the weight as it is.
    fn magnitude<const D: usize>(
        &self,
        weight: &Param<Tensor<D>>,
        dtype: DType,
    ) -> Option<Tensor<1>> {
        let lengths = || column_norms(at(bare(weight).val().inner(), dtype));
        self.dora.then(lengths)
    }

    /// A new adapter for an embedding table `[entries, d]`: A starts at zero and B normal,
    /// whatever [`init`](Self::init) says (as in PEFT).
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the field that is out of range; initialisations from the weight are
    /// for linear layers.
    pub fn embedding_adapter(&self, table: &Param<Tensor<2>>) -> Result<Adapter<2>, Error> {
        self.validate()?;
        self.keeps_weight("embeddings take LoRA without PiSSA and OLoRA")?;
        let [entries, width] = table.lazy_shape().dims();
        let (device, dtype) = place(table);
        let zeros = Tensor::zeros([entries, self.rank], (&device.clone().inner(), dtype));
        let unit = Distribution::Normal(0.0, 1.0);
        let normal = Tensor::<2>::random([self.rank, width], unit, &device.clone().inner());
        let magnitude = self.magnitude(table, dtype);
        Ok(self.assemble([zeros, normal.cast(dtype)], magnitude, &device))
    }

    /// A new adapter for the kernels of a convolution.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the field that is out of range; initialisations from the weight and
    /// convolutions in groups are not supported.
    pub fn conv2d_adapter(&self, conv: &Conv2d) -> Result<Adapter<4>, Error> {
        if conv.groups != 1 {
            return Err(Error::Config {
                field: "groups",
                value: conv.groups.to_string(),
                expected: "1: convolutions in groups cannot carry adapters",
            });
        }
        self.kernel_adapter(&conv.weight)
    }

    /// As [`conv2d_adapter`](Self::conv2d_adapter), for kernels `[out, in, k1, k2]`.
    pub(crate) fn kernel_adapter(&self, kernels: &Param<Tensor<4>>) -> Result<Adapter<4>, Error> {
        self.validate()?;
        self.keeps_weight("convolutions take LoRA without PiSSA and OLoRA")?;
        let [out, channels, k1, k2] = kernels.lazy_shape().dims();
        let (device, dtype) = place(kernels);
        let sizes = self.sizes(channels * k1 * k2, out);
        let [a, b] = init::factors(self.init, sizes, &device.clone().inner(), dtype)?;
        let a = a.transpose().reshape([self.rank, channels, k1, k2]);
        let b = b.transpose().reshape([out, self.rank, 1, 1]);
        let magnitude = self.magnitude(kernels, dtype);
        Ok(self.assemble([a, b], magnitude, &device))
    }

    /// The frozen weight and a new adapter; with PiSSA and OLoRA part of the one moves into the
    /// other.
    pub(crate) fn split(
        &self,
        weight: Param<Tensor<2>>,
    ) -> Result<(Param<Tensor<2>>, Adapter<2>), Error> {
        let weight = frozen(weight);
        if !self.init.splits_weight() {
            let adapter = self.adapter(&weight)?;
            return Ok((weight, adapter));
        }
        self.validate()?;
        let (device, dtype) = place(&weight);
        let plain = at(bare(&weight).val().inner(), dtype);
        let [a, b] = init::split(self.init, plain.clone(), self.rank, self.scale())?;
        let magnitude = self.dora.then(|| column_norms(plain.clone()));
        let rest = plain - a.clone().matmul(b.clone()) * self.scale();
        let adapter = self.assemble([a, b], magnitude, &device);
        let others = Adapters::of(&weight).cloned();
        let weight = replace(weight, |_| rest);
        let weight = match others {
            Some(others) => others.attach(weight),
            None => weight,
        };
        Ok((weight, adapter))
    }

    fn sizes(&self, d_in: usize, d_out: usize) -> Sizes {
        Sizes {
            d_in,
            rank: self.rank,
            d_out,
        }
    }

    fn keeps_weight(&self, expected: &'static str) -> Result<(), Error> {
        match self.init.splits_weight() {
            true => Err(Error::Config {
                field: "init",
                value: self.init.to_string(),
                expected,
            }),
            false => Ok(()),
        }
    }

    /// Plain tensors as trainable parameters on the weight's device.
    pub(crate) fn assemble<const D: usize>(
        &self,
        [a, b]: [Tensor<D>; 2],
        magnitude: Option<Tensor<1>>,
        device: &Device,
    ) -> Adapter<D> {
        Adapter {
            a: trainable(a, device),
            b: trainable(b, device),
            magnitude: magnitude.map(|magnitude| trainable(magnitude, device)),
            scale: self.scale(),
            dropout: DropoutConfig::new(self.dropout).init(),
        }
    }
}

/// A parameter that trains, also where the model is on a plain device for now.
fn trainable<const D: usize>(value: Tensor<D>, device: &Device) -> Param<Tensor<D>> {
    let there = Tensor::<1>::zeros([1], device);
    Param::from_tensor(beside(value, &there)).set_require_grad(true)
}

/// Device of a weight, and the dtype of its adapter's factors: the weight's own if it is a float.
/// A weight without a value yet is not given one.
pub(crate) fn place<const D: usize>(weight: &Param<Tensor<D>>) -> (Device, DType) {
    let device = weight.lazy_device();
    if weight.is_initialized() && weight.base().dtype().is_float() {
        return (device, weight.base().dtype());
    }
    let dtype = Tensor::<1>::zeros([1], &device).dtype();
    (device, dtype)
}

/// Add an adapter to those of a weight.
pub(crate) fn hang<const D: usize>(
    name: &str,
    adapter: Adapter<D>,
    weight: Param<Tensor<D>>,
) -> Param<Tensor<D>> {
    let adapters = match Adapters::of(&weight) {
        Some(present) => present.clone().with(name, adapter),
        None => Adapters::new(name, adapter),
    };
    adapters.attach(weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_checked_by_name() {
        let config = LoraConfig::new;
        assert_eq!(config().validate(), Ok(()));
        for (config, name) in [
            (config().with_rank(0), "rank"),
            (config().with_alpha(0.0), "alpha"),
            (config().with_alpha(f64::NAN), "alpha"),
            (config().with_dropout(-0.1), "dropout"),
            (config().with_dropout(1.0), "dropout"),
            (config().with_dropout(f64::NAN), "dropout"),
        ] {
            let Err(Error::Config { field, .. }) = config.validate() else {
                panic!("{config} was accepted");
            };
            assert_eq!(field, name);
        }
    }
}
