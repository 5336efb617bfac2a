//! Values in the layouts and types of GGUF files.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use super::super::family::{Family, into_pairs};
use crate::llama::LlamaConfig;

/// How matrices are stored.
///
/// ```
/// use burn_hf_models::gguf::GgufType;
///
/// assert_eq!(GgufType::Q8_0.to_string(), "Q8_0");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[allow(non_camel_case_types)]
pub enum GgufType {
    /// Floats of 16 bits.
    F16,
    /// Blocks of 32 integers of 8 bits with one scale.
    Q8_0,
}

impl GgufType {
    /// Its number among the kinds of files (`general.file_type`).
    pub(super) fn file_type(self) -> u32 {
        match self {
            Self::F16 => 1,
            Self::Q8_0 => 7,
        }
    }
}

impl std::fmt::Display for GgufType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F16 => "F16",
            Self::Q8_0 => "Q8_0",
        })
    }
}

/// What is changed before values are stored.
pub(super) struct Layout {
    family: &'static Family,
    queries: usize,
    keys: usize,
}

impl Layout {
    pub fn of(config: &LlamaConfig, family: &'static Family) -> Self {
        Self {
            family,
            queries: config.num_attention_heads,
            keys: config.key_value_heads(),
        }
    }

    /// Heads whose rows are stored as rotary pairs, in a module with this name.
    pub fn interleaved(&self, module: &str) -> Option<usize> {
        match module.rsplit('.').next().unwrap_or_default() {
            "q_proj" if self.family.interleaved => Some(self.queries),
            "k_proj" if self.family.interleaved => Some(self.keys),
            _ => None,
        }
    }

    /// The values of a tensor as they are stored; rows are the first axis.
    pub fn stored(&self, name: &str, mut values: Vec<f32>, shape: &[usize]) -> Vec<f32> {
        let module = name.rsplit_once('.').map_or("", |(module, _)| module);
        if let Some(heads) = self.interleaved(module) {
            let rows = shape.first().copied().unwrap_or(1).max(1);
            return into_pairs(&values, heads, values.len() / rows);
        }
        if self.family.norms_plus_one && module.ends_with("norm") {
            values.iter_mut().for_each(|value| *value += 1.0);
        }
        values
    }
}

/// A tensor in this type; vectors in 32 bits, and matrices whose rows do not fill its blocks in F16.
pub(super) fn stored(values: Vec<f32>, shape: &[usize], kind: GgufType) -> Result<QTensor, String> {
    let width = shape.last().copied().unwrap_or(1);
    let dtype = match (shape.len(), kind) {
        (0 | 1, _) => GgmlDType::F32,
        (_, GgufType::Q8_0) if width.is_multiple_of(GgmlDType::Q8_0.block_size()) => {
            GgmlDType::Q8_0
        }
        _ => GgmlDType::F16,
    };
    if dtype == GgmlDType::F16
        && let Some(value) = values.iter().find(|value| value.abs() > 65_504.0)
    {
        return Err(format!(
            "{value:e} is beyond the range of F16: expected at most 65504"
        ));
    }
    quantized(values, shape, dtype)
}

/// A tensor in this type.
pub(super) fn quantized(
    values: Vec<f32>,
    shape: &[usize],
    dtype: GgmlDType,
) -> Result<QTensor, String> {
    let tensor = Tensor::from_vec(values, shape.to_vec(), &Device::Cpu);
    let tensor = tensor.and_then(|tensor| QTensor::quantize(&tensor, dtype));
    tensor.map_err(|error| error.to_string())
}
