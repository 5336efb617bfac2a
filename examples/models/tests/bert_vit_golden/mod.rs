//! BERT, ViT and DINOv2 against `transformers`.

#![allow(dead_code)]

use burn::module::Param;
use burn::tensor::{Device, Gradients, Tensor};
use burn_hf_models::bert::{BertClassification, BertForSequenceClassification, BertInput};
use burn_hf_models::vit::dinov2::Dinov2ForImageClassification;
use burn_hf_models::vit::{ViTClassification, ViTForImageClassification};

use crate::reference::{Tensors, folder};

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

/// What the files of these models are compared with.
pub trait Compare {
    /// Token ids, mask and segments.
    fn bert_input(&self, device: &Device) -> BertInput;

    /// Outputs of a case, at a precision and within a tolerance.
    fn compare_bert(&self, output: &BertClassification, case: &str, at: (&str, f64));

    /// Outputs of a case, at a precision and within a tolerance.
    fn compare_vit(&self, output: &ViTClassification, case: &str, at: (&str, f64));

    /// The gradient of a parameter in PyTorch's layout.
    fn compare_gradient<const D: usize>(
        &self,
        param: &Param<Tensor<D>>,
        grads: &Gradients,
        name: &str,
    );

    /// The gradient of a linear weight, which PyTorch keeps transposed.
    fn compare_transposed(&self, param: &Param<Tensor<2>>, grads: &Gradients, name: &str);
}

impl Compare for Tensors {
    fn bert_input(&self, device: &Device) -> BertInput {
        BertInput::new(self.ids("input.input_ids", device))
            .with_attention_mask(self.ids("input.attention_mask", device))
            .with_token_type_ids(self.ids("input.token_type_ids", device))
    }

    fn compare_bert(&self, output: &BertClassification, case: &str, at: (&str, f64)) {
        let (precision, tolerance) = at;
        let name = |tensor| format!("{case}.{tensor}.{precision}");
        self.compare(
            &output.last_hidden_state,
            &name("last_hidden_state"),
            tolerance,
        );
        self.compare(&output.logits, &name("logits"), tolerance);
    }

    fn compare_vit(&self, output: &ViTClassification, case: &str, at: (&str, f64)) {
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

    fn compare_gradient<const D: usize>(
        &self,
        param: &Param<Tensor<D>>,
        grads: &Gradients,
        name: &str,
    ) {
        let grad = param.val().grad(grads).unwrap();
        self.compare(&grad, &format!("gradient.{name}"), 1e-9);
    }

    fn compare_transposed(&self, param: &Param<Tensor<2>>, grads: &Gradients, name: &str) {
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
    let [batch, _] = input.input_ids.dims();
    let prompt = adapter.prompt(None, batch, device);
    model.forward(input.with_prompt(prompt)).unwrap()
}
