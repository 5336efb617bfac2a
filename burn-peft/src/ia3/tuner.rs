//! IA³ as a method of the table.

use burn::tensor::{Distribution, Tensor};

use super::config::Ia3Config;
use super::vector::{Ia3Side, Ia3Vector};
use crate::adapters::AdapterPart;
use crate::adapters::{Carrier, Fresh, Layer, Shared, Weight, carrier, like, place, tensor};
use crate::error::Error;
use crate::settings::{Modules, Pattern};
use crate::targets::{Selection, Target};
use crate::tuner::{LayerTensors, LayerTuner, Stored, Tuner};

impl AdapterPart {
    /// IA³'s vector: of a linear layer `[1, in]` for its inputs and `[out, 1]` for its outputs, of a
    /// convolution `[1, in, 1, 1]` and `[1, out, 1, 1]`.
    pub const IA3_L: Self = Self::new("ia3_l");
}

impl Tuner for Ia3Config {
    fn marker(&self) -> &'static str {
        Self::MARKER
    }

    fn part(&self, suffix: &str) -> Option<AdapterPart> {
        (suffix == AdapterPart::IA3_L.suffix()).then_some(AdapterPart::IA3_L)
    }

    fn layers(&self) -> Result<Option<Box<dyn LayerTuner + '_>>, Error> {
        let feedforward = match &self.feedforward_modules {
            Some(Modules::Pattern(text)) => {
                FeedForward::Pattern(Pattern::whole("feedforward_modules", text)?)
            }
            Some(Modules::Names(names)) => FeedForward::Ends(names),
            None => FeedForward::Unknown,
        };
        Ok(Some(Box::new(Ia3Layers {
            config: self,
            feedforward,
        })))
    }
}

/// The configuration with its pattern compiled.
struct Ia3Layers<'a> {
    config: &'a Ia3Config,
    feedforward: FeedForward<'a>,
}

enum FeedForward<'a> {
    Ends(&'a [String]),
    Pattern(Pattern),
    /// PEFT chooses by the kind of model, which is not known here.
    Unknown,
}

impl Ia3Layers<'_> {
    /// Which side of a module is scaled.
    fn side(&self, module: &str) -> Result<Ia3Side, Error> {
        let input = match &self.feedforward {
            // Without a dot before the end, as in PEFT.
            FeedForward::Ends(ends) => ends.iter().any(|end| module.ends_with(end.as_str())),
            FeedForward::Pattern(pattern) => pattern.matches(module)?,
            FeedForward::Unknown => {
                return Err(Error::Config {
                    field: "feedforward_modules",
                    value: "null".into(),
                    expected: "expected a list of module names, which may be empty, or a regular \
                               expression; `default_feedforward_modules` knows PEFT's choice for \
                               some kinds of model",
                });
            }
        };
        Ok(if input {
            Ia3Side::Input
        } else {
            Ia3Side::Output
        })
    }
}

/// The number of scales of a layer.
fn width(layer: &Layer, side: Ia3Side) -> usize {
    match (&layer.weight, side) {
        (Weight::Two(weight), Ia3Side::Input) => weight.lazy_shape()[0],
        (Weight::Two(weight), Ia3Side::Output) => weight.lazy_shape()[1],
        (Weight::Four(kernels), Ia3Side::Input) => kernels.lazy_shape()[1],
        (Weight::Four(kernels), Ia3Side::Output) => kernels.lazy_shape()[0],
    }
}

/// The shape of the scales in PEFT's files.
fn stored_shape(layer: &Layer, side: Ia3Side) -> Vec<usize> {
    let width = width(layer, side);
    match (&layer.weight, side) {
        (Weight::Two(_), Ia3Side::Input) => vec![1, width],
        (Weight::Two(_), Ia3Side::Output) => vec![width, 1],
        (Weight::Four(_), _) => vec![1, width, 1, 1],
    }
}

/// An adapter with these scales, made on the layer's device and in its precision.
fn adapter(
    layer: &Layer,
    side: Ia3Side,
    scales: impl FnOnce(&burn::tensor::Device, burn::tensor::DType) -> Tensor<1>,
) -> Fresh {
    let (device, dtype) = match &layer.weight {
        Weight::Two(weight) => place(weight),
        Weight::Four(kernels) => place(kernels),
    };
    let scales = scales(&device.clone().inner(), dtype);
    let scales = like(scales, &Tensor::<1>::zeros([1], &device));
    let vector = Ia3Vector::new(scales, side, layer.bias);
    match &layer.weight {
        Weight::Two(_) => Fresh::new::<_, 2>(vector),
        Weight::Four(_) => Fresh::new::<_, 4>(vector),
    }
}

impl LayerTuner for Ia3Layers<'_> {
    fn selection(&self) -> Selection<'_> {
        self.config.selection()
    }

    fn first_part(&self) -> AdapterPart {
        AdapterPart::IA3_L
    }

    fn check(&self, tensors: &LayerTensors<'_>) -> Result<(), Error> {
        let data = tensors.needed(AdapterPart::IA3_L)?;
        let input = self.side(tensors.module)? == Ia3Side::Input;
        let (fits, expected) = match (data.shape().as_slice(), input) {
            ([1, _], true) | ([_, 1], false) | ([1, _, 1, 1], _) => (true, ""),
            (_, true) => (false, "[1, in] or [1, in, 1, 1]"),
            (_, false) => (false, "[out, 1] or [1, out, 1, 1]"),
        };
        if fits {
            return Ok(());
        }
        Err(tensors.wrong_shape(AdapterPart::IA3_L, data, expected.into()))
    }

    fn carrier(&self, layer: &Layer) -> Box<dyn Carrier> {
        match &layer.weight {
            Weight::Two(_) => carrier::<Ia3Vector, 2>(),
            Weight::Four(_) => carrier::<Ia3Vector, 4>(),
        }
    }

    fn fresh(&self, target: &Target, layer: &Layer, _shared: &Shared) -> Result<Fresh, Error> {
        let side = self.side(&target.module)?;
        let width = width(layer, side);
        let ones = self.config.init_ia3_weights;
        Ok(adapter(layer, side, |device, dtype| {
            if ones {
                Tensor::ones([width], (device, dtype))
            } else {
                let unit = Distribution::Normal(0.0, 1.0);
                Tensor::<1>::random([width], unit, device).cast(dtype)
            }
        }))
    }

    fn loaded(
        &self,
        target: &Target,
        layer: &Layer,
        tensors: &LayerTensors<'_>,
        _shared: &Shared,
    ) -> Result<Fresh, Error> {
        let side = self.side(&target.module)?;
        let shape = stored_shape(layer, side);
        let data = tensors.of_shape(AdapterPart::IA3_L, &shape)?;
        let width = width(layer, side);
        Ok(adapter(layer, side, |device, dtype| {
            if shape.len() == 2 {
                tensor::<2>(data, device, dtype).reshape([width])
            } else {
                tensor::<4>(data, device, dtype).reshape([width])
            }
        }))
    }

    fn stored(
        &self,
        target: &str,
        layer: &Layer,
        parameter: &str,
    ) -> Result<Option<Stored>, Error> {
        if parameter != "l" {
            return Ok(None);
        }
        Ok(Some(Stored {
            part: AdapterPart::IA3_L,
            transposed: false,
            shape: Some(stored_shape(layer, self.side(target)?)),
            plus: None,
        }))
    }
}
