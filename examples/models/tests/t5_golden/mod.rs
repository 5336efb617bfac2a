//! Outputs of `transformers` and PEFT for two small models with random weights.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use models::t5::{T5ForConditionalGeneration, T5Input};
use safetensors::{Dtype, SafeTensors};

pub const MODELS: [&str; 2] = ["t5_relu", "t5_gated_gelu"];
/// Virtual tokens of the prompts.
const VIRTUAL_TOKENS: usize = 4;

/// The folder of a model.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(model: &str) -> Self {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        Self(fixtures.join(model))
    }

    pub fn model(&self, device: &Device) -> T5ForConditionalGeneration {
        T5ForConditionalGeneration::load(&self.0, device).unwrap()
    }

    pub fn input(&self, device: &Device) -> T5Input {
        let ids = |name: &str| -> Tensor<2, Int> {
            let file = self.read("golden.safetensors");
            Tensor::from_data(data(&file, &format!("input.{name}")), device)
        };
        T5Input {
            input_ids: ids("input_ids"),
            attention_mask: Some(ids("attention_mask")),
            decoder_input_ids: ids("decoder_input_ids"),
            prompt: None,
        }
    }

    /// The input with an adapter's prompt for each sample. An adapter with two submodules stores
    /// twice as many embeddings; the encoder gets the first half.
    pub fn prompted_input(&self, adapter: &str, device: &Device) -> T5Input {
        let file = self.read(&format!("{adapter}/adapter_model.safetensors"));
        let prompt = Tensor::<2>::from_data(data(&file, "prompt_embeddings"), device);
        let [_, width] = prompt.dims();
        let input = self.input(device);
        let [batch, _] = input.input_ids.dims();
        let prompt = prompt.narrow(0, 0, VIRTUAL_TOKENS).unsqueeze::<3>();
        T5Input {
            prompt: Some(prompt.expand([batch, VIRTUAL_TOKENS, width])),
            ..input
        }
    }

    pub fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.0.join(file)).unwrap()
    }
}

/// A tensor of a safetensors file.
pub fn data(file: &[u8], name: &str) -> TensorData {
    let file = SafeTensors::deserialize(file).unwrap();
    let tensor = file.tensor(name).unwrap();
    let shape = tensor.shape().to_vec();
    let bytes = tensor.data();
    match tensor.dtype() {
        Dtype::I64 => TensorData::new(numbers(bytes, i64::from_le_bytes), shape),
        Dtype::F32 => TensorData::new(numbers(bytes, f32::from_le_bytes), shape),
        Dtype::F64 => TensorData::new(numbers(bytes, f64::from_le_bytes), shape),
        dtype => panic!("{dtype:?}"),
    }
}

fn numbers<T, const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes
        .chunks_exact(N)
        .map(|chunk| number(chunk.try_into().unwrap()))
        .collect()
}
