//! LoHa as a method of the table.

use std::ops::ControlFlow;

use burn::nn::{Embedding, Linear};
use burn::tensor::{DType, Device, Tensor};

use super::config::LohaConfig;
use super::factors::LohaFactors;
use crate::adapters::{
    AdapterPart, Carrier, DeltaDropout, Fresh, Layer, Shared, Unadapted, Weight, carrier,
    forward_linear, kaiming, like, place, tensor,
};
use crate::error::Error;
use crate::settings::Scales;
use crate::targets::{Selection, Target};
use crate::tuner::{ForwardLayers, LayerTensors, LayerTuner, Stored, TableAsHead, Tuner};

impl AdapterPart {
    /// LoHa's first factor at the output, `[out, r]`.
    pub const HADA_W1_A: Self = Self::new("hada_w1_a");
    /// LoHa's first factor at the input, `[r, in]`.
    pub const HADA_W1_B: Self = Self::new("hada_w1_b");
    /// LoHa's second factor at the output, `[out, r]`.
    pub const HADA_W2_A: Self = Self::new("hada_w2_a");
    /// LoHa's second factor at the input, `[r, in]`.
    pub const HADA_W2_B: Self = Self::new("hada_w2_b");
}

/// With the names of the parameters.
const PARTS: [(AdapterPart, &str); 4] = [
    (AdapterPart::HADA_W1_A, "w1_a"),
    (AdapterPart::HADA_W1_B, "w1_b"),
    (AdapterPart::HADA_W2_A, "w2_a"),
    (AdapterPart::HADA_W2_B, "w2_b"),
];

impl Tuner for LohaConfig {
    fn marker(&self) -> &'static str {
        Self::MARKER
    }

    fn part(&self, suffix: &str) -> Option<AdapterPart> {
        let mut parts = PARTS.into_iter().map(|(part, _)| part);
        parts.find(|part| part.suffix() == suffix)
    }

    fn layers(&self) -> Result<Option<Box<dyn LayerTuner + '_>>, Error> {
        Ok(Some(Box::new(LohaLayers {
            config: self,
            scales: self.scales()?,
        })))
    }
}

impl ForwardLayers for LohaConfig {
    fn tied_head(table: &Embedding) -> Option<TableAsHead> {
        TableAsHead::of::<LohaFactors>(table)
    }

    fn forward_linear<const D: usize>(
        layer: &Linear,
        input: Tensor<D>,
    ) -> ControlFlow<Tensor<D>, Tensor<D>> {
        forward_linear::<LohaFactors, D>(layer, input)
    }
}

/// The configuration with its patterns compiled.
struct LohaLayers<'a> {
    config: &'a LohaConfig,
    scales: Scales,
}

impl LohaLayers<'_> {
    /// The adapter of a layer with these factors, as PEFT has them: each of `[out, r]`, `[r, in]`,
    /// `[out, r]` and `[r, in]`.
    fn adapter(
        &self,
        target: &Target,
        layer: &Layer,
        factor: impl Fn(AdapterPart, [usize; 2], &Device, DType) -> Result<Tensor<2>, Error>,
    ) -> Result<Fresh, Error> {
        let Weight::Two(weight) = &layer.weight else {
            return Err(self.selection().wrong_kind(&target.module));
        };
        let rank = self.scales.rank_of(&target.module)?;
        let [d_in, d_out] = weight.lazy_shape().dims();
        let (device, dtype) = place(weight);
        let inner = device.clone().inner();
        let on_graph = Tensor::<1>::zeros([1], &device);
        let make = |at: usize| {
            let shape = if at.is_multiple_of(2) {
                [d_out, rank]
            } else {
                [rank, d_in]
            };
            let (part, _) = PARTS[at];
            let stored = factor(part, shape, &inner, dtype)?;
            Ok::<_, Error>(like(stored.transpose(), &on_graph))
        };
        let factors = [make(0)?, make(1)?, make(2)?, make(3)?];
        let scale = self.scales.scale_of(&target.module)?;
        let config = self.config;
        // PEFT always divides by the share that stays.
        let dropout = DeltaDropout::new(config.rank_dropout, config.module_dropout, true);
        let adapter = LohaFactors::new(factors, scale, dropout);
        Ok(Fresh::new::<_, 2>(adapter))
    }
}

impl LayerTuner for LohaLayers<'_> {
    fn selection(&self) -> Selection<'_> {
        self.config.selection()
    }

    fn first_part(&self) -> AdapterPart {
        AdapterPart::HADA_W1_A
    }

    fn check(&self, tensors: &LayerTensors<'_>) -> Result<(), Error> {
        let rank = self.scales.rank_of(tensors.module)?;
        for (at, (part, _)) in PARTS.into_iter().enumerate() {
            let data = tensors.needed(part)?;
            let expected = ["[out, r]", "[r, in]"][at % 2];
            if data.rank() != 2 || data.shape()[1 - at % 2] != rank {
                let expected = format!("{expected} with r = {rank}");
                return Err(tensors.wrong_shape(part, data, expected));
            }
        }
        Ok(())
    }

    fn carrier(&self, layer: &Layer) -> Box<dyn Carrier> {
        match &layer.weight {
            Weight::Two(_) => carrier::<LohaFactors, 2>(),
            Weight::Four(_) => carrier::<Unadapted, 4>(),
        }
    }

    fn fresh(&self, target: &Target, layer: &Layer, _shared: &Shared) -> Result<Fresh, Error> {
        self.adapter(target, layer, |part, shape, device, dtype| {
            let zero = part == AdapterPart::HADA_W2_B && self.config.init_weights;
            Ok(if zero {
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
        let part = PARTS.into_iter().find(|(_, name)| *name == parameter);
        Ok(part.map(|(part, _)| Stored {
            part,
            transposed: true,
            shape: None,
            plus: None,
        }))
    }
}
