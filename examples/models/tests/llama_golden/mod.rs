//! Folders written by `transformers`, with the inputs and outputs of its models.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use models::llama::{LlamaForCausalLM, LlamaInput, LlamaOutput};
use safetensors::{Dtype, SafeTensors};

/// The folder of a model or adapter.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// The tensors of a file, as f64.
pub struct Tensors(BTreeMap<String, (Vec<usize>, Vec<f64>)>);

impl Tensors {
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let all = tensors.iter().map(|(name, view)| {
            let bytes = view.data();
            let values = match view.dtype() {
                Dtype::F64 => numbers(bytes, f64::from_le_bytes),
                Dtype::F32 => numbers(bytes, |b| f64::from(f32::from_le_bytes(b))),
                Dtype::I64 => numbers(bytes, |b| i64::from_le_bytes(b) as f64),
                other => panic!("{name} is {other:?}"),
            };
            (name.to_string(), (view.shape().to_vec(), values))
        });
        Self(all.collect())
    }

    pub fn golden(model: &str) -> Self {
        Self::read(&folder(model).join("golden.safetensors"))
    }

    pub fn ids(&self, name: &str, device: &Device) -> Tensor<2, Int> {
        let (shape, values) = &self.0[name];
        let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
        Tensor::from_data(TensorData::new(values, shape.clone()), device)
    }

    pub fn floats<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let (shape, values) = &self.0[name];
        Tensor::from_data(TensorData::new(values.clone(), shape.clone()), device)
    }

    /// The inputs that all outputs of the file belong to.
    pub fn input(&self, device: &Device) -> LlamaInput {
        LlamaInput::new(self.ids("input.input_ids", device))
            .with_attention_mask(self.ids("input.attention_mask", device))
    }

    /// Both outputs of `variant` (such as `base`) at a `precision` (`f64`, `f32`), within
    /// `tolerance` of the largest.
    pub fn compare(&self, output: LlamaOutput, variant: &str, precision: &str, tolerance: f64) {
        for (name, found) in [
            ("last_hidden_state", output.last_hidden_state),
            ("logits", output.logits),
        ] {
            let name = format!("{variant}.{name}.{precision}");
            let (shape, expected) = &self.0[&name];
            assert_eq!(&found.dims().to_vec(), shape, "{name}");
            let found = found.try_to_vec_as::<f64>().unwrap();
            let difference = relative(&found, expected);
            println!("{name}: {difference:.1e}");
            assert!(difference <= tolerance, "{name}: {difference:e}");
        }
    }
}

/// Largest difference, relative to the largest expected value; NaN is infinitely far.
pub fn relative(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let size = expected.iter().fold(0.0, |size: f64, x| size.max(x.abs()));
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |worst: f64, d| match d.is_nan() {
        true => f64::INFINITY,
        false => worst.max(d),
    }) / size
}

pub fn model(name: &str, device: &Device) -> LlamaForCausalLM {
    LlamaForCausalLM::load(&folder(name), device).unwrap()
}

/// The virtual tokens of the prompt-tuning adapter, a copy for each of `batch` samples.
pub fn prompt(batch: usize, device: &Device) -> Tensor<3> {
    let file = folder("llama/prompt_tuning").join("adapter_model.safetensors");
    let prompt: Tensor<2> = Tensors::read(&file).floats("prompt_embeddings", device);
    let [tokens, width] = prompt.dims();
    prompt.unsqueeze::<3>().expand([batch, tokens, width])
}

fn numbers<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|&chunk| read(chunk)).collect()
}
