//! LoRA as a method of the table.

use burn::module::Param;
use burn::tensor::{DType, Tensor, TensorData};

use super::config::LoraConfig;
use super::layer_config::LayerConfig;
use super::{keys, tensors, tokens};
use crate::adapters::AdapterPart;
use crate::adapters::{Carrier, Fresh, Layer, Shared, Weight, carrier, place, tensor};
use crate::error::Error;
use crate::lora::LoraFactors;
use crate::settings::{Bias, Scales};
use crate::targets::{ModuleKind, Selection, Target};
use crate::tuner::{LayerTensors, LayerTuner, Stored, Tuner};

impl Tuner for LoraConfig {
    fn bias(&self) -> Bias {
        self.bias
    }

    fn marker(&self) -> &'static str {
        Self::MARKER
    }

    fn part(&self, suffix: &str) -> Option<AdapterPart> {
        keys::part(suffix)
    }

    fn further_parts(&self) -> &'static [AdapterPart] {
        &[AdapterPart::TRAINABLE_TOKENS]
    }

    fn layers(&self) -> Result<Option<Box<dyn LayerTuner + '_>>, Error> {
        let scales = self.scales()?;
        Ok(Some(Box::new(LoraLayers {
            config: self,
            scales,
        })))
    }
}

/// The configuration with its patterns compiled.
struct LoraLayers<'a> {
    config: &'a LoraConfig,
    scales: Scales,
}

impl LoraLayers<'_> {
    fn at(&self, module: &str) -> Result<LayerConfig, Error> {
        let (rank, scale) = (self.scales.rank_of(module)?, self.scales.scale_of(module)?);
        Ok(self.config.at(rank, scale))
    }

    /// The rows of a table that train.
    fn tokens(&self, module: &str) -> Option<&[usize]> {
        self.config.trainable_token_indices.as_ref()?.of(module)
    }

    /// The adapter of single rows.
    fn rows(
        &self,
        layer: &Layer,
        tokens: &[usize],
        rows: Option<TensorData>,
    ) -> Result<Fresh, Error> {
        let Weight::Two(table) = &layer.weight else {
            return Err(self.selection().wrong_kind(&layer.path));
        };
        Ok(Fresh::new::<_, 2>(tokens::adapter(table, tokens, rows)?))
    }
}

impl LayerTuner for LoraLayers<'_> {
    fn selection(&self) -> Selection<'_> {
        self.config.selection()
    }

    fn resolve(&self, modules: &[(String, ModuleKind)]) -> Result<Vec<Target>, Error> {
        let mut targets = self.selection().resolve(modules)?;
        if let Some(tokens) = &self.config.trainable_token_indices {
            targets.extend(tokens.targets(modules, &targets)?);
        }
        Ok(targets)
    }

    fn check_tied(&self, table: &str, head: &str) -> Result<(), Error> {
        if self.tokens(table).is_none() {
            return Ok(());
        }
        Err(Error::Config {
            field: "trainable_token_indices",
            value: format!("for `{table}`, which the output head `{head}` shares"),
            expected: "expected a table of its own: PEFT changes these rows of the head too, which is \
                       not supported",
        })
    }

    fn first_part(&self) -> AdapterPart {
        AdapterPart::LORA_A
    }

    fn check(&self, layer: &LayerTensors<'_>) -> Result<(), Error> {
        if let Some(data) = layer.get(AdapterPart::TRAINABLE_TOKENS) {
            let tokens = self.tokens(layer.module);
            let Some(tokens) = tokens else {
                return Err(Error::Key {
                    key: layer.key(AdapterPart::TRAINABLE_TOKENS),
                    reason: "trainable_token_indices does not name this table",
                });
            };
            if data.rank() != 2 || data.shape()[0] != tokens.len() {
                let expected = format!("[{}, d]", tokens.len());
                return Err(layer.wrong_shape(AdapterPart::TRAINABLE_TOKENS, data, expected));
            }
            return Ok(());
        }
        let rank = self.scales.rank_of(layer.module)?;
        tensors::check(layer, rank, self.config.use_dora)
    }

    fn carrier(&self, layer: &Layer) -> Box<dyn Carrier> {
        match &layer.weight {
            Weight::Two(_) => carrier::<LoraFactors<2>, 2>(),
            Weight::Four(_) => carrier::<LoraFactors<4>, 4>(),
        }
    }

    fn fresh(&self, target: &Target, layer: &Layer, _shared: &Shared) -> Result<Fresh, Error> {
        if let Some(tokens) = self.tokens(&target.module) {
            return self.rows(layer, tokens, None);
        }
        let config = self.at(&target.module)?;
        match (&layer.weight, layer.kind) {
            (Weight::Two(table), ModuleKind::Embedding) => {
                Ok(Fresh::new::<_, 2>(config.embedding(table)?))
            }
            (Weight::Two(weight), _) if config.splits_weight() => {
                let (rest, adapter) = config.taken_out(weight)?;
                Ok(Fresh::with_rest::<_, 2>(adapter, rest))
            }
            (Weight::Two(weight), _) => Ok(Fresh::new::<_, 2>(config.linear(weight)?)),
            (Weight::Four(kernels), _) => Ok(Fresh::new::<_, 4>(config.conv2d(kernels)?)),
        }
    }

    fn loaded(
        &self,
        target: &Target,
        layer: &Layer,
        tensors: &LayerTensors<'_>,
        shared: &Shared,
    ) -> Result<Fresh, Error> {
        if let Some(tokens) = self.tokens(&target.module)
            && let Weight::Two(table) = &layer.weight
        {
            let [_, width] = table.lazy_shape().dims();
            let shape = [tokens.len(), width];
            let rows = tensors.of_shape(AdapterPart::TRAINABLE_TOKENS, &shape)?;
            return self.rows(layer, tokens, Some(rows));
        }
        let config = self.at(&target.module)?;
        let mut loaded = match &layer.weight {
            Weight::Two(weight) => Fresh::new::<_, 2>(two(&config, layer.kind, weight, tensors)?),
            Weight::Four(kernels) => Fresh::new::<_, 4>(four(&config, kernels, tensors)?),
        };
        // The factors belong to a weight that lost its principal part: it loses it here as well.
        if config.splits_weight() {
            loaded.rest = self.fresh(target, layer, shared)?.rest;
        }
        Ok(loaded)
    }

    fn stored(
        &self,
        target: &str,
        layer: &Layer,
        parameter: &str,
    ) -> Result<Option<Stored>, Error> {
        if let Some(tokens) = self.tokens(target)
            && let Weight::Two(table) = &layer.weight
        {
            return Ok((parameter == "b").then(|| Stored {
                part: AdapterPart::TRAINABLE_TOKENS,
                transposed: false,
                shape: None,
                plus: Some(tokens::picked(table, tokens)),
            }));
        }
        let embedding = layer.kind == ModuleKind::Embedding;
        let part = match (parameter, embedding) {
            ("a", false) => AdapterPart::LORA_A,
            ("b", false) => AdapterPart::LORA_B,
            ("a", true) => AdapterPart::LORA_EMBEDDING_A,
            ("b", true) => AdapterPart::LORA_EMBEDDING_B,
            ("magnitude", _) => AdapterPart::LORA_MAGNITUDE,
            _ => return Ok(None),
        };
        let shape = match &layer.weight {
            // At the rank of the kernels, along the channels of the output.
            Weight::Four(kernels) if part == AdapterPart::LORA_MAGNITUDE => {
                Some(vec![1, kernels.lazy_shape()[0], 1, 1])
            }
            _ => None,
        };
        Ok(Some(Stored {
            part,
            transposed: matches!(layer.weight, Weight::Two(_)),
            shape,
            plus: None,
        }))
    }
}

/// The adapter of a linear layer or an embedding.
fn two(
    config: &LayerConfig,
    kind: ModuleKind,
    weight: &Param<Tensor<2>>,
    tensors: &LayerTensors<'_>,
) -> Result<LoraFactors<2>, Error> {
    let [first, last] = weight.lazy_shape().dims();
    let [a, b] = if kind == ModuleKind::Embedding {
        [AdapterPart::LORA_EMBEDDING_A, AdapterPart::LORA_EMBEDDING_B]
    } else {
        [AdapterPart::LORA_A, AdapterPart::LORA_B]
    };
    let (device, dtype) = place(weight);
    let a = tensors.of_shape(a, &[config.rank, first])?;
    let b = tensors.of_shape(b, &[last, config.rank])?;
    let magnitude = magnitude(config, tensors, &[last])?;
    // PEFT keeps the transposes.
    let factors = [a, b].map(|data| tensor::<2>(data, &device, dtype).transpose());
    let magnitude = magnitude.map(|data| tensor(data, &device, dtype));
    Ok(config.assemble(factors, magnitude, &device))
}

/// The adapter of a convolution.
fn four(
    config: &LayerConfig,
    kernels: &Param<Tensor<4>>,
    tensors: &LayerTensors<'_>,
) -> Result<LoraFactors<4>, Error> {
    let [out, channels, k1, k2] = kernels.lazy_shape().dims();
    let (device, dtype): (_, DType) = place(kernels);
    let a = tensors.of_shape(AdapterPart::LORA_A, &[config.rank, channels, k1, k2])?;
    let b = tensors.of_shape(AdapterPart::LORA_B, &[out, config.rank, 1, 1])?;
    let magnitude = magnitude(config, tensors, &[1, out, 1, 1])?;
    let factors = [a, b].map(|data| tensor::<4>(data, &device, dtype));
    let magnitude = magnitude.map(|data| tensor::<4>(data, &device, dtype).reshape([out]));
    Ok(config.assemble(factors, magnitude, &device))
}

fn magnitude(
    config: &LayerConfig,
    tensors: &LayerTensors<'_>,
    shape: &[usize],
) -> Result<Option<TensorData>, Error> {
    if !config.dora {
        return Ok(None);
    }
    tensors
        .of_shape(AdapterPart::LORA_MAGNITUDE, shape)
        .map(Some)
}
