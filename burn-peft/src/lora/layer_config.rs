//! Adapters for single layers.

use burn::module::Param;
use burn::nn::conv::Conv2d;
use burn::nn::{DropoutConfig, Embedding, Linear};
use burn::tensor::{DType, Device, Distribution, Tensor};

use super::config::LoraConfig;
use super::factors::{LoraAdapters, LoraFactors, column_norms};
use super::init_weights::InitLoraWeights;
use super::initial_values::{self, Sizes};
use super::lora_linear::LoraLinear;
use crate::adapters::{at, bare, copy_of, place, plain, trainable};
use crate::error::Error;
use crate::settings::ranges::refuse;

/// What of a configuration decides about the adapter of one layer.
#[derive(Debug, Clone)]
pub(crate) struct LayerConfig {
    pub rank: usize,
    pub scale: f64,
    dropout: f64,
    pub dora: bool,
    init: InitLoraWeights,
}

/// Adapters for single layers, by `r`, `lora_alpha`, `lora_dropout`, `use_rslora`, `use_dora` and
/// `init_lora_weights`. The fields that choose modules by name have no effect here.
impl LoraConfig {
    /// Freeze `layer` and put an adapter on its weight. An adapter of that name is replaced.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the field that is out of range or does not fit the layer.
    pub fn linear(&self, name: &str, layer: Linear) -> Result<Linear, Error> {
        let weight = LoraAdapters::frozen(layer.weight);
        let (adapter, rest) = self.layer()?.split(&weight)?;
        let bias = layer.bias.map(|bias| bias.set_require_grad(false));
        Ok(Linear {
            weight: LoraAdapters::added(name, adapter, rest, weight),
            bias,
        })
    }

    /// Freeze `table` and put an adapter on it.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the field that is out of range or does not fit the layer.
    pub fn embedding(&self, name: &str, table: Embedding) -> Result<Embedding, Error> {
        let weight = LoraAdapters::frozen(table.weight);
        let adapter = self.embedding_adapter(&weight)?;
        Ok(Embedding {
            weight: LoraAdapters::added(name, adapter, None, weight),
        })
    }

    /// Freeze `conv` and put an adapter on its kernels.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the field that is out of range or does not fit the layer.
    pub fn conv2d(&self, name: &str, conv: Conv2d) -> Result<Conv2d, Error> {
        let adapter = self.conv2d_adapter(&conv)?;
        let weight = LoraAdapters::frozen(conv.weight);
        let weight = LoraAdapters::added(name, adapter, None, weight);
        let bias = conv.bias.map(|bias| bias.set_require_grad(false));
        Ok(Conv2d {
            weight,
            bias,
            ..conv
        })
    }

    /// Freeze `base` and put it into a module together with an adapter.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the field that is out of range or does not fit the layer.
    pub fn try_init(&self, base: Linear) -> Result<LoraLinear, Error> {
        let weight = LoraAdapters::frozen(base.weight);
        let (adapter, rest) = self.layer()?.split(&weight)?;
        let (weight, whole) = match rest {
            Some(rest) => (copy_of(&weight, Some(rest)), Some(weight)),
            None => (weight, None),
        };
        let bias = base.bias.map(|bias| bias.set_require_grad(false));
        Ok(LoraLinear {
            base: Linear { weight, bias },
            adapter,
            whole,
            enabled: true,
        })
    }

    /// Freeze `base` and put it into a module together with an adapter.
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
    pub fn adapter(&self, weight: &Param<Tensor<2>>) -> Result<LoraFactors<2>, Error> {
        self.layer()?.linear(weight)
    }

    /// A new adapter for an embedding table `[entries, d]`: A starts at zero and B normal,
    /// whatever `init_lora_weights` says (as in PEFT).
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the field that is out of range; initialisations from the weight are
    /// for linear layers.
    pub fn embedding_adapter(&self, table: &Param<Tensor<2>>) -> Result<LoraFactors<2>, Error> {
        self.layer()?.embedding(table)
    }

    /// A new adapter for the kernels of a convolution.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the field that is out of range; initialisations from the weight and
    /// convolutions in groups are not supported.
    pub fn conv2d_adapter(&self, conv: &Conv2d) -> Result<LoraFactors<4>, Error> {
        if conv.groups != 1 {
            return refuse(
                "groups",
                conv.groups,
                "expected 1: convolutions in groups cannot have LoRA adapters",
            );
        }
        self.layer()?.conv2d(&conv.weight)
    }

    /// What decides about one layer, checked.
    pub(crate) fn layer(&self) -> Result<LayerConfig, Error> {
        self.validate()?;
        let rank = self.r as f64;
        let scale = if self.use_rslora {
            self.lora_alpha / rank.sqrt()
        } else {
            self.lora_alpha / rank
        };
        Ok(self.at(self.r, scale))
    }

    /// The same for a module with its own rank and scale.
    pub(super) fn at(&self, rank: usize, scale: f64) -> LayerConfig {
        LayerConfig {
            rank,
            scale,
            dropout: self.lora_dropout,
            dora: self.use_dora,
            init: self.init_lora_weights.clone(),
        }
    }
}

impl LayerConfig {
    /// For the rows of that many tokens.
    pub fn of_rows(count: usize) -> Self {
        Self {
            rank: count,
            scale: 1.0,
            dropout: 0.0,
            dora: false,
            init: InitLoraWeights::Kaiming,
        }
    }

    /// Whether part of the weight moves into the adapter.
    pub fn splits_weight(&self) -> bool {
        self.init.changes_base()
    }

    /// A new adapter for a linear weight, which keeps its value.
    pub fn linear(&self, weight: &Param<Tensor<2>>) -> Result<LoraFactors<2>, Error> {
        let [d_in, d_out] = weight.lazy_shape().dims();
        let sizes = self.sizes(d_in, d_out);
        let (device, dtype) = place(weight);
        let factors = initial_values::factors(&self.init, sizes, &device.clone().inner(), dtype)?;
        let magnitude = self.magnitude(weight, dtype);
        Ok(self.assemble(factors, magnitude, &device))
    }

    /// A new adapter for an embedding table.
    pub fn embedding(&self, table: &Param<Tensor<2>>) -> Result<LoraFactors<2>, Error> {
        self.keeps_weight(
            "expected another initialisation: PiSSA and OLoRA are for linear layers",
        )?;
        let [entries, width] = table.lazy_shape().dims();
        let (device, dtype) = place(table);
        let inner = device.clone().inner();
        let zeros = Tensor::zeros([entries, self.rank], (&inner, dtype));
        let unit = Distribution::Normal(0.0, 1.0);
        let normal = Tensor::<2>::random([self.rank, width], unit, &inner);
        let magnitude = self.magnitude(table, dtype);
        Ok(self.assemble([zeros, normal.cast(dtype)], magnitude, &device))
    }

    /// A new adapter for kernels `[out, in, k1, k2]`.
    pub fn conv2d(&self, kernels: &Param<Tensor<4>>) -> Result<LoraFactors<4>, Error> {
        self.keeps_weight(
            "expected another initialisation: PiSSA and OLoRA are for linear layers",
        )?;
        let [out, channels, k1, k2] = kernels.lazy_shape().dims();
        let (device, dtype) = place(kernels);
        let sizes = self.sizes(channels * k1 * k2, out);
        let [a, b] = initial_values::factors(&self.init, sizes, &device.clone().inner(), dtype)?;
        let a = a.transpose().reshape([self.rank, channels, k1, k2]);
        let b = b.transpose().reshape([out, self.rank, 1, 1]);
        let magnitude = self.magnitude(kernels, dtype);
        Ok(self.assemble([a, b], magnitude, &device))
    }

    /// A new adapter for a linear weight; with PiSSA and OLoRA also what is left of the weight.
    fn split(
        &self,
        weight: &Param<Tensor<2>>,
    ) -> Result<(LoraFactors<2>, Option<Tensor<2>>), Error> {
        if !self.splits_weight() {
            return Ok((self.linear(weight)?, None));
        }
        let (rest, adapter) = self.taken_out(weight)?;
        Ok((adapter, Some(rest)))
    }

    /// With PiSSA and OLoRA, a new adapter and the plain rest of the weight.
    pub fn taken_out(
        &self,
        weight: &Param<Tensor<2>>,
    ) -> Result<(Tensor<2>, LoraFactors<2>), Error> {
        let (device, dtype) = place(weight);
        let value = at(plain(weight), dtype);
        let [a, b] = initial_values::split(&self.init, value.clone(), self.rank, self.scale)?;
        let magnitude = self.dora.then(|| column_norms(value.clone()));
        let rest = value - a.clone().matmul(b.clone()) * self.scale;
        Ok((rest, self.assemble([a, b], magnitude, &device)))
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

    fn sizes(&self, d_in: usize, d_out: usize) -> Sizes {
        Sizes {
            d_in,
            rank: self.rank,
            d_out,
        }
    }

    fn keeps_weight(&self, expected: &'static str) -> Result<(), Error> {
        if self.splits_weight() {
            return refuse("init_lora_weights", &self.init, expected);
        }
        Ok(())
    }

    /// Plain tensors as trainable parameters on the weight's device.
    pub fn assemble<const D: usize>(
        &self,
        [a, b]: [Tensor<D>; 2],
        magnitude: Option<Tensor<1>>,
        device: &Device,
    ) -> LoraFactors<D> {
        self.with_parameters(
            [a, b].map(|factor| trainable(factor, device)),
            magnitude.map(|magnitude| trainable(magnitude, device)),
        )
    }

    /// An adapter of these parameters.
    pub fn with_parameters<const D: usize>(
        &self,
        [a, b]: [Param<Tensor<D>>; 2],
        magnitude: Option<Param<Tensor<1>>>,
    ) -> LoraFactors<D> {
        LoraFactors {
            a,
            b,
            magnitude,
            scale: self.scale,
            dropout: DropoutConfig::new(self.dropout).init(),
            picks_rows: false,
        }
    }
}
