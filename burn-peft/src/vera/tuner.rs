//! VeRA as a method of the table.

use std::ops::ControlFlow;

use burn::nn::{Embedding, Linear};
use burn::tensor::{DType, Device, Distribution, Tensor};

use super::config::VeraConfig;
use super::projection;
use super::scales::VeraScales;
use crate::adapters::{
    AdapterPart, Carrier, Fresh, Layer, Shared, Unadapted, Weight, at, carrier, forward_linear,
    like, place, tensor,
};
use crate::error::Error;
use crate::settings::Bias;
use crate::targets::{Selection, Target};
use crate::tuner::{
    ForwardLayers, LayerTensors, LayerTuner, ModelTensors, Stored, TableAsHead, Tuner,
};

impl AdapterPart {
    /// VeRA's scales of the rank, `[r]`.
    pub const VERA_LAMBDA_D: Self = Self::new("vera_lambda_d");
    /// VeRA's scales of a layer's outputs, `[out]`.
    pub const VERA_LAMBDA_B: Self = Self::new("vera_lambda_b");
    /// VeRA's shared A `[r, in]`, as wide as the widest layer.
    pub const VERA_A: Self = Self::new("base_model.vera_A");
    /// VeRA's shared B `[out, r]`, as high as the widest layer.
    pub const VERA_B: Self = Self::new("base_model.vera_B");
}

const PARTS: [AdapterPart; 2] = [AdapterPart::VERA_LAMBDA_D, AdapterPart::VERA_LAMBDA_B];

impl Tuner for VeraConfig {
    fn bias(&self) -> Bias {
        self.bias.into()
    }

    fn marker(&self) -> &'static str {
        Self::MARKER
    }

    fn part(&self, suffix: &str) -> Option<AdapterPart> {
        PARTS.into_iter().find(|part| part.suffix() == suffix)
    }

    fn model_parts(&self) -> &'static [AdapterPart] {
        &[AdapterPart::VERA_A, AdapterPart::VERA_B]
    }

    fn check_model_tensors(&self, tensors: &ModelTensors<'_>) -> Result<(), Error> {
        // [r, in] and [out, r].
        for (part, axis) in [(AdapterPart::VERA_A, 0), (AdapterPart::VERA_B, 1)] {
            let key = part.suffix().to_string();
            match tensors.get(&part) {
                None if self.save_projection => return Err(Error::MissingKey { key }),
                Some(data) if data.rank() != 2 || data.shape()[axis] != self.r => {
                    let expected = ["[r, in]", "[out, r]"][axis];
                    return Err(Error::Shape {
                        key,
                        shape: data.shape().to_vec(),
                        expected: format!("{expected} with r = {}", self.r),
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn layers(&self) -> Result<Option<Box<dyn LayerTuner + '_>>, Error> {
        Ok(Some(Box::new(VeraLayers(self))))
    }
}

impl ForwardLayers for VeraConfig {
    fn tied_head(table: &Embedding) -> Option<TableAsHead> {
        TableAsHead::of::<VeraScales>(table)
    }

    fn forward_linear<const D: usize>(
        layer: &Linear,
        input: Tensor<D>,
    ) -> ControlFlow<Tensor<D>, Tensor<D>> {
        forward_linear::<VeraScales, D>(layer, input)
    }
}

struct VeraLayers<'a>(&'a VeraConfig);

impl VeraLayers<'_> {
    /// The adapter of a layer with these scales.
    fn adapter(
        &self,
        layer: &Layer,
        shared: &Shared,
        scales: impl FnOnce([usize; 2], &Device, DType) -> Result<[Tensor<1>; 2], Error>,
    ) -> Result<Fresh, Error> {
        let Weight::Two(weight) = &layer.weight else {
            return Err(self.selection().wrong_kind(&layer.path));
        };
        let (device, dtype) = place(weight);
        let inner = device.clone().inner();
        let [width_in, width_out] = weight.lazy_shape().dims();
        let r = self.0.r;
        let part = |part: AdapterPart, shape: [usize; 2]| {
            let Some(whole) = shared.get(part) else {
                unreachable!("`shared` gives both matrices");
            };
            // Layers of one width share the memory.
            let used = if whole.dims() == shape {
                whole.clone()
            } else {
                whole.clone().slice([0..shape[0], 0..shape[1]])
            };
            at(used.to_device(&inner), dtype)
        };
        let matrices = [
            part(AdapterPart::VERA_A, [r, width_in]),
            part(AdapterPart::VERA_B, [width_out, r]),
        ];
        let on_graph = Tensor::<1>::zeros([1], &device);
        let scales = scales([r, width_out], &inner, dtype)?;
        let scales = scales.map(|scales| like(scales, &on_graph));
        let adapter = VeraScales::new(scales, matrices, self.0.vera_dropout);
        Ok(Fresh::new::<_, 2>(adapter))
    }
}

impl LayerTuner for VeraLayers<'_> {
    fn selection(&self) -> Selection<'_> {
        self.0.selection()
    }

    fn first_part(&self) -> AdapterPart {
        AdapterPart::VERA_LAMBDA_B
    }

    fn check(&self, tensors: &LayerTensors<'_>) -> Result<(), Error> {
        let b = tensors.needed(AdapterPart::VERA_LAMBDA_B)?;
        if b.rank() != 1 {
            return Err(tensors.wrong_shape(AdapterPart::VERA_LAMBDA_B, b, "[out]".into()));
        }
        tensors.of_shape(AdapterPart::VERA_LAMBDA_D, &[self.0.r])?;
        Ok(())
    }

    fn carrier(&self, layer: &Layer) -> Box<dyn Carrier> {
        match &layer.weight {
            Weight::Two(_) => carrier::<VeraScales, 2>(),
            Weight::Four(_) => carrier::<Unadapted, 4>(),
        }
    }

    fn shared(&self, layers: &[&Layer], stored: &ModelTensors<'_>) -> Result<Shared, Error> {
        let weights = layers.iter().filter_map(|layer| match &layer.weight {
            Weight::Two(weight) => Some(weight),
            Weight::Four(_) => None,
        });
        let mut first = None;
        let (mut width_in, mut width_out) = (0, 0);
        for weight in weights {
            let [this_in, this_out] = weight.lazy_shape().dims();
            width_in = width_in.max(this_in);
            width_out = width_out.max(this_out);
            first = first.or(Some(weight));
        }
        let Some(first) = first else {
            return Ok(Shared::default());
        };
        let parts = [AdapterPart::VERA_A, AdapterPart::VERA_B];
        let matrices = match parts.map(|part| stored.get(&part)) {
            [Some(a), Some(b)] => [(*a).clone(), (*b).clone()],
            _ => projection::drawn(self.0.projection_prng_key, self.0.r, width_in, width_out),
        };
        let smallest = [[self.0.r, width_in], [width_out, self.0.r]];
        for ((part, data), [rows, columns]) in parts.iter().zip(&matrices).zip(smallest) {
            if data.shape()[0] < rows || data.shape()[1] < columns {
                return Err(Error::Shape {
                    key: part.suffix().into(),
                    shape: data.shape().to_vec(),
                    expected: format!("at least [{rows}, {columns}], for the model's layers"),
                });
            }
        }
        let (device, dtype) = place(first);
        let matrices = matrices.map(|data| tensor::<2>(data, &device, dtype));
        Ok(Shared::new(parts.into_iter().zip(matrices)))
    }

    fn fresh(&self, _target: &Target, layer: &Layer, shared: &Shared) -> Result<Fresh, Error> {
        self.adapter(layer, shared, |[r, width_out], device, dtype| {
            Ok(if self.0.init_weights {
                let d = Tensor::full([r], self.0.d_initial, (device, dtype));
                [d, Tensor::zeros([width_out], (device, dtype))]
            } else {
                let unit = Distribution::Normal(0.0, 1.0);
                let d = Tensor::<1>::random([r], unit, device).cast(dtype);
                [d, Tensor::ones([width_out], (device, dtype))]
            })
        })
    }

    fn loaded(
        &self,
        _target: &Target,
        layer: &Layer,
        tensors: &LayerTensors<'_>,
        shared: &Shared,
    ) -> Result<Fresh, Error> {
        self.adapter(layer, shared, |[r, width_out], device, dtype| {
            let d = tensors.of_shape(AdapterPart::VERA_LAMBDA_D, &[r])?;
            let b = tensors.of_shape(AdapterPart::VERA_LAMBDA_B, &[width_out])?;
            Ok([d, b].map(|data| tensor(data, device, dtype)))
        })
    }

    fn stored(
        &self,
        _target: &str,
        _layer: &Layer,
        parameter: &str,
    ) -> Result<Option<Stored>, Error> {
        let part = match parameter {
            "d" => AdapterPart::VERA_LAMBDA_D,
            "b" => AdapterPart::VERA_LAMBDA_B,
            _ => return Ok(None),
        };
        Ok(Some(Stored {
            part,
            transposed: false,
            shape: None,
            plus: None,
        }))
    }

    fn stores_shared(&self) -> bool {
        self.0.save_projection
    }
}
