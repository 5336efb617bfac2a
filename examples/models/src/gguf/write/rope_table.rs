//! Tables of divisors of the rotary frequencies, which are tensors in GGUF files.

use std::path::Path;

use candle_core::quantized::{GgmlDType, QTensor};

use super::super::GgufFile;
use super::super::family::ROPE_TABLES;
use super::tensors::quantized;
use crate::error::Error;
use crate::llama::{LlamaConfig, RopeScaling};

/// Those of the base file, or the one that Llama 3's scaling of a folder gives.
pub(super) fn tables(config: &LlamaConfig, base: &Path) -> Result<Vec<(String, QTensor)>, Error> {
    let one = |name: &str, values: Vec<f32>| {
        let shape = [values.len()];
        let tensor = quantized(values, &shape, GgmlDType::F32);
        let tensor = tensor.map_err(|reason| Error::Weights {
            path: base.into(),
            reason,
        })?;
        Ok((name.to_string(), tensor))
    };
    if GgufFile::is_named(base) {
        let file = GgufFile::open(base)?;
        let names = ROPE_TABLES.iter().filter(|name| file.info(name).is_some());
        return names.map(|name| one(name, file.values(name)?)).collect();
    }
    if !matches!(config.rope_scaling, RopeScaling::Llama3 { .. }) {
        return Ok(Vec::new());
    }
    let of = |scaling: &RopeScaling| scaling.frequencies(config.rope_theta, config.rotary_width());
    let plain = of(&RopeScaling::None).into_iter();
    let divisors = plain.zip(of(&config.rope_scaling));
    let divisors = divisors.map(|(plain, stretched)| (plain / stretched) as f32);
    Ok(vec![one(ROPE_TABLES[0], divisors.collect())?])
}
