//! LoKr as a method of the table.

use std::ops::ControlFlow;

use burn::nn::{Embedding, Linear};
use burn::tensor::{DType, Device, Tensor};

use super::config::LokrConfig;
use super::factors::{KroneckerFactor, LokrFactors};
use super::init_weights::InitLokrWeights;
use super::sizes::{self, FactorSizes, NAMES};
use crate::adapters::{
    AdapterPart, Carrier, DeltaDropout, Fresh, Layer, Shared, Unadapted, Weight, carrier,
    forward_linear, kaiming, like, place, tensor,
};
use crate::error::Error;
use crate::settings::Scales;
use crate::targets::{Selection, Target};
use crate::tuner::{ForwardLayers, LayerTensors, LayerTuner, Stored, TableAsHead, Tuner};

impl AdapterPart {
    /// LoKr's first factor, `[out_1, in_1]`.
    pub const LOKR_W1: Self = Self::new("lokr_w1");
    /// The left of LoKr's first factor as a product, `[out_1, r]`.
    pub const LOKR_W1_A: Self = Self::new("lokr_w1_a");
    /// The right of LoKr's first factor as a product, `[r, in_1]`.
    pub const LOKR_W1_B: Self = Self::new("lokr_w1_b");
    /// LoKr's second factor, `[out_2, in_2]`.
    pub const LOKR_W2: Self = Self::new("lokr_w2");
    /// The left of LoKr's second factor as a product, `[out_2, r]`.
    pub const LOKR_W2_A: Self = Self::new("lokr_w2_a");
    /// The right of LoKr's second factor as a product, `[r, in_2]`.
    pub const LOKR_W2_B: Self = Self::new("lokr_w2_b");
}

impl Tuner for LokrConfig {
    fn marker(&self) -> &'static str {
        Self::MARKER
    }

    fn part(&self, suffix: &str) -> Option<AdapterPart> {
        let mut parts = NAMES.as_flattened().iter().map(|(part, _)| *part);
        parts.find(|part| part.suffix() == suffix)
    }

    fn layers(&self) -> Result<Option<Box<dyn LayerTuner + '_>>, Error> {
        Ok(Some(Box::new(LokrLayers {
            config: self,
            scales: self.scales()?,
        })))
    }
}

impl ForwardLayers for LokrConfig {
    fn tied_head(table: &Embedding) -> Option<TableAsHead> {
        TableAsHead::of::<LokrFactors>(table)
    }

    fn forward_linear<const D: usize>(
        layer: &Linear,
        input: Tensor<D>,
    ) -> ControlFlow<Tensor<D>, Tensor<D>> {
        forward_linear::<LokrFactors, D>(layer, input)
    }
}

/// The configuration with its patterns compiled.
struct LokrLayers<'a> {
    config: &'a LokrConfig,
    scales: Scales,
}

impl LokrLayers<'_> {
    /// The adapter of a layer with these values of its parts.
    fn adapter(
        &self,
        target: &Target,
        layer: &Layer,
        value: impl Fn(AdapterPart, [usize; 2], &Device, DType) -> Result<Tensor<2>, Error>,
    ) -> Result<Fresh, Error> {
        let Weight::Two(weight) = &layer.weight else {
            return Err(self.selection().wrong_kind(&target.module));
        };
        let rank = self.scales.rank_of(&target.module)?;
        let sizes = sizes::of_linear(self.config, rank, weight.lazy_shape().dims());
        let (device, dtype) = place(weight);
        let inner = device.clone().inner();
        let on_graph = Tensor::<1>::zeros([1], &device);
        let make = |at: usize| {
            let [whole, a, b] = NAMES[at].map(|(part, _)| part);
            let value =
                |part, shape| Ok::<_, Error>(like(value(part, shape, &inner, dtype)?, &on_graph));
            Ok::<_, Error>(match sizes[at] {
                FactorSizes::Whole(shape) => KroneckerFactor::whole(value(whole, shape)?),
                FactorSizes::Product(left, right) => {
                    KroneckerFactor::product(value(a, left)?, value(b, right)?)
                }
            })
        };
        let factors = [make(0)?, make(1)?];
        let scale = self.scales.scale_of(&target.module)?;
        let config = self.config;
        let dropout = DeltaDropout::new(
            config.rank_dropout,
            config.module_dropout,
            config.rank_dropout_scale,
        );
        let adapter = LokrFactors::new(factors, scale, dropout);
        Ok(Fresh::new::<_, 2>(adapter))
    }
}

impl LayerTuner for LokrLayers<'_> {
    fn selection(&self) -> Selection<'_> {
        self.config.selection()
    }

    fn first_part(&self) -> AdapterPart {
        AdapterPart::LOKR_W1
    }

    fn check(&self, tensors: &LayerTensors<'_>) -> Result<(), Error> {
        let rank = self.scales.rank_of(tensors.module)?;
        for names in NAMES {
            let [whole, a, b] = names.map(|(part, _)| part);
            if let Some(data) = tensors.get(whole) {
                if let Some(part) = [a, b].into_iter().find(|part| tensors.get(*part).is_some()) {
                    return Err(Error::Key {
                        key: tensors.key(part),
                        reason: "the module has this factor as one matrix too",
                    });
                }
                if data.rank() != 2 {
                    return Err(tensors.wrong_shape(whole, data, "[rows, columns]".into()));
                }
                continue;
            }
            if tensors.get(a).is_none() && tensors.get(b).is_none() {
                let key = tensors.key(whole);
                return Err(Error::MissingKey { key });
            }
            for (axis, part, expected) in [(1, a, "[rows, r]"), (0, b, "[r, columns]")] {
                let data = tensors.needed(part)?;
                if data.rank() != 2 || data.shape()[axis] != rank {
                    let expected = format!("{expected} with r = {rank}");
                    return Err(tensors.wrong_shape(part, data, expected));
                }
            }
        }
        Ok(())
    }

    fn carrier(&self, layer: &Layer) -> Box<dyn Carrier> {
        match &layer.weight {
            Weight::Two(_) => carrier::<LokrFactors, 2>(),
            Weight::Four(_) => carrier::<Unadapted, 4>(),
        }
    }

    fn fresh(&self, target: &Target, layer: &Layer, _shared: &Shared) -> Result<Fresh, Error> {
        let zero: &[AdapterPart] = match self.config.init_weights {
            InitLokrWeights::Zero => &[AdapterPart::LOKR_W1, AdapterPart::LOKR_W1_A],
            InitLokrWeights::Random => &[],
            InitLokrWeights::Lycoris => &[AdapterPart::LOKR_W2, AdapterPart::LOKR_W2_B],
        };
        self.adapter(target, layer, |part, shape, device, dtype| {
            Ok(if zero.contains(&part) {
                Tensor::zeros(shape, (device, dtype))
            } else {
                kaiming(shape, shape[1], device, dtype)
            })
        })
    }

    fn loaded(
        &self,
        target: &Target,
        layer: &Layer,
        tensors: &LayerTensors<'_>,
        _shared: &Shared,
    ) -> Result<Fresh, Error> {
        self.adapter(target, layer, |part, shape, device, dtype| {
            Ok(tensor(tensors.of_shape(part, &shape)?, device, dtype))
        })
    }

    fn stored(
        &self,
        _target: &str,
        _layer: &Layer,
        parameter: &str,
    ) -> Result<Option<Stored>, Error> {
        let mut parts = NAMES.as_flattened().iter();
        let part = parts.find(|(_, name)| *name == parameter);
        Ok(part.map(|(part, _)| Stored {
            part: *part,
            transposed: false,
            shape: None,
            plus: None,
        }))
    }
}
