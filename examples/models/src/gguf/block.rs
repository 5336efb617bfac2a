//! How a GGUF file stores values: in blocks of integers with a scale, or as floats.

use std::fmt;

use candle_core::Device;
use candle_core::quantized::{GgmlDType, ggml_file::qtensor_from_ggml};

/// How the values of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockType(GgmlDType);

const KNOWN: [(u32, &str, GgmlDType); 13] = [
    (0, "F32", GgmlDType::F32),
    (1, "F16", GgmlDType::F16),
    (30, "BF16", GgmlDType::BF16),
    (8, "Q8_0", GgmlDType::Q8_0),
    (2, "Q4_0", GgmlDType::Q4_0),
    (3, "Q4_1", GgmlDType::Q4_1),
    (6, "Q5_0", GgmlDType::Q5_0),
    (7, "Q5_1", GgmlDType::Q5_1),
    (10, "Q2_K", GgmlDType::Q2K),
    (11, "Q3_K", GgmlDType::Q3K),
    (12, "Q4_K", GgmlDType::Q4K),
    (13, "Q5_K", GgmlDType::Q5K),
    (14, "Q6_K", GgmlDType::Q6K),
];

/// Names of kinds that are not read, for messages.
const OTHERS: [(u32, &str); 19] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];

impl BlockType {
    /// The kind with a number of the format.
    pub fn from_code(code: u32) -> Option<Self> {
        let known = KNOWN.iter().find(|(number, ..)| *number == code);
        known.map(|(_, _, kind)| Self(*kind))
    }

    /// The name of a kind, read or not.
    pub fn name_of(code: u32) -> String {
        let known = KNOWN.iter().map(|(number, name, _)| (*number, *name));
        let all = known.chain(OTHERS);
        let name = all.into_iter().find(|(number, _)| *number == code);
        name.map_or_else(
            || format!("the unknown type {code}"),
            |(_, name)| name.into(),
        )
    }

    /// The names of all kinds that are read.
    pub fn known() -> String {
        let names: Vec<&str> = KNOWN.iter().map(|(_, name, _)| *name).collect();
        names.join(", ")
    }

    /// Values in a block.
    pub fn entries(self) -> usize {
        self.0.block_size()
    }

    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        self.0.type_size()
    }

    /// The values of whole blocks.
    pub fn values(self, blocks: &[u8]) -> candle_core::Result<Vec<f32>> {
        let entries = blocks.len() / self.bytes() * self.entries();
        if entries == 0 {
            return Ok(Vec::new());
        }
        let tensor = qtensor_from_ggml(self.0, blocks, vec![entries], &Device::Cpu)?;
        tensor.dequantize(&Device::Cpu)?.to_vec1()
    }
}

impl fmt::Display for BlockType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = KNOWN.iter().find(|(_, _, kind)| *kind == self.0);
        f.write_str(known.map_or("?", |(_, name, _)| name))
    }
}
