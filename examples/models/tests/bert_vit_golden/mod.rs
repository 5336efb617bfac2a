//! Folders written by `transformers` and `peft`, with the inputs and outputs of its models.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Param;
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use models::bert::{BertClassification, BertForSequenceClassification, BertInput};
use models::vit::dinov2::Dinov2ForImageClassification;
use models::vit::{ViTClassification, ViTForImageClassification};
use safetensors::{Dtype, SafeTensors};

/// The folder of a model or adapter.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

pub fn bert(name: &str, device: &Device) -> BertForSequenceClassification {
    let options = BertForSequenceClassification::load_options();
    BertForSequenceClassification::load(&folder(name), &options, device).unwrap()
}

pub fn vit(name: &str, device: &Device) -> ViTForImageClassification {
    let options = ViTForImageClassification::load_options();
    ViTForImageClassification::load(&folder(name), &options, device).unwrap()
}

pub fn dinov2(device: &Device) -> Dinov2ForImageClassification {
    let options = Dinov2ForImageClassification::load_options();
    Dinov2ForImageClassification::load(&folder("vit/dinov2"), &options, device).unwrap()
}

/// The tensors of a file, as f64.
pub struct Tensors(BTreeMap<String, (Vec<usize>, Vec<f64>)>);

impl Tensors {
    pub fn read(file: &str) -> Self {
        let bytes = std::fs::read(folder(file)).unwrap();
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

    pub fn ids(&self, name: &str, device: &Device) -> Tensor<2, Int> {
        let (shape, values) = &self.0[name];
        let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
        Tensor::from_data(TensorData::new(values, shape.clone()), device)
    }

    pub fn floats<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let (shape, values) = &self.0[name];
        Tensor::from_data(TensorData::new(values.clone(), shape.clone()), device)
    }

    /// Token ids, mask and segments.
    pub fn bert_input(&self, device: &Device) -> BertInput {
        BertInput::new(self.ids("input.input_ids", device))
            .with_attention_mask(self.ids("input.attention_mask", device))
            .with_token_type_ids(self.ids("input.token_type_ids", device))
    }

    /// A tensor within `tolerance` of the largest value of the expected one.
    pub fn compare<const D: usize>(&self, found: &Tensor<D>, name: &str, tolerance: f64) {
        let (shape, expected) = &self.0[name];
        assert_eq!(&found.dims().to_vec(), shape, "{name}");
        let found = found.clone().try_to_vec_as::<f64>().unwrap();
        let difference = relative(&found, expected);
        println!("{name}: {difference:.1e}");
        assert!(difference <= tolerance, "{name}: {difference:e}");
    }

    pub fn compare_bert(&self, output: &BertClassification, case: &str, at: (&str, f64)) {
        let (precision, tolerance) = at;
        let name = |tensor| format!("{case}.{tensor}.{precision}");
        self.compare(
            &output.last_hidden_state,
            &name("last_hidden_state"),
            tolerance,
        );
        self.compare(&output.logits, &name("logits"), tolerance);
    }

    pub fn compare_vit(&self, output: &ViTClassification, case: &str, at: (&str, f64)) {
        let (precision, tolerance) = at;
        let name = |tensor| format!("{case}.{tensor}.{precision}");
        self.compare(&output.encoder_output, &name("encoder_output"), tolerance);
        self.compare(
            &output.last_hidden_state,
            &name("last_hidden_state"),
            tolerance,
        );
        self.compare(&output.logits, &name("logits"), tolerance);
    }

    /// The gradient of a parameter in PyTorch's layout.
    pub fn compare_gradient<const D: usize>(
        &self,
        param: &Param<Tensor<D>>,
        grads: &Gradients,
        name: &str,
    ) {
        let grad = param.val().grad(grads).unwrap();
        self.compare(&grad, &format!("gradient.{name}"), 1e-9);
    }

    /// The gradient of a linear weight, which PyTorch keeps transposed.
    pub fn compare_transposed(&self, param: &Param<Tensor<2>>, grads: &Gradients, name: &str) {
        let grad = param.val().grad(grads).unwrap().transpose();
        self.compare(&grad, &format!("gradient.{name}"), 1e-9);
    }
}

/// The trained prompt and classifier of BERT's prompt-tuning adapter.
pub fn prompted(
    model: BertForSequenceClassification,
    input: BertInput,
    device: &Device,
) -> BertClassification {
    let adapter = Tensors::read("bert/prompt_tuning/adapter_model.safetensors");
    let mut model = model;
    let weight = adapter.floats::<2>("base_model.classifier.weight", device);
    model.classifier.weight = Param::from_tensor(weight.transpose());
    let bias = adapter.floats::<1>("base_model.classifier.bias", device);
    model.classifier.bias = Some(Param::from_tensor(bias));
    let prompt = adapter.floats::<2>("prompt_embeddings", device);
    let [batch, _] = input.input_ids.dims();
    let [length, width] = prompt.dims();
    let prompt = prompt.unsqueeze::<3>().expand([batch, length, width]);
    model.forward(input.with_prompt(prompt)).unwrap()
}

/// Largest difference, relative to the largest expected value; NaN is infinitely far.
pub fn relative(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let size = expected.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
    let differences = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs() / size);
    differences.fold(0.0, |max: f64, difference| match difference.is_nan() {
        true => f64::INFINITY,
        false => max.max(difference),
    })
}

fn numbers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    let chunks = bytes.chunks_exact(N);
    chunks
        .map(|chunk| number(chunk.try_into().unwrap()))
        .collect()
}
