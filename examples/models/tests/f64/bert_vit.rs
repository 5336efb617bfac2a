//! BERT, ViT and DINOv2 in f64 from end to end: outputs and gradients of `transformers`, and
//! recorded rows.
//!
//! A device takes its precision once per process, so this is a test binary of its own.

use crate::bert_vit_golden;
use crate::reference;

use std::ops::Range;

use bert_vit_golden::{Compare, bert, dinov2, prompted, vit};
use burn::module::{Module, Param};
use burn::tensor::{Device, Distribution, Int, Tensor};
use burn_hf_models::Error;
use burn_hf_models::bert::{BertForSequenceClassification, BertInput, BertModel};
use burn_hf_models::vit::ViTInput;
use burn_ief::jacobian::validate;
use burn_ief::nn::expand_param;
use burn_ief::{LabelDraw, Tape};
use reference::{Tensors, device_f64, folder, relative};

/// Largest difference to `transformers`, relative to the largest value.
const GOLDEN: (&str, f64) = ("f64", 1e-9);
/// Weights or positions that went through f32 in Python.
const ROUNDED: (&str, f64) = ("f64", 1e-6);
/// Recorded rows against sample-by-sample ones.
const ROWS: f64 = 1e-9;

#[test]
fn bert_is_that_of_transformers() {
    let golden = Tensors::read("bert/golden.safetensors");
    for device in [device_f64(), device_f64().autodiff()] {
        let model = bert("bert", &device);
        let output = model.forward(golden.bert_input(&device)).unwrap();
        golden.compare_bert(&output, "base", GOLDEN);
        for model in [model.clone(), model.no_grad()] {
            let tape = Tape::start();
            let output = model.forward(golden.bert_input(&device)).unwrap();
            drop(tape);
            golden.compare_bert(&output, "base", GOLDEN);
        }
    }
}

#[test]
fn bert_without_mask_and_segments_takes_all_tokens() {
    let device = device_f64();
    let golden = Tensors::read("bert/golden.safetensors");
    let ids = golden.ids("input.input_ids", &device);
    let output = bert("bert", &device).forward(BertInput::new(ids)).unwrap();
    let more = Tensors::read("bert/more.safetensors");
    more.compare(&output.logits, "ids_only.logits.f64", GOLDEN.1);
}

#[test]
fn bert_prompts_are_those_of_peft() {
    let golden = Tensors::read("bert/golden.safetensors");
    for device in [device_f64(), device_f64().autodiff()] {
        let output = prompted(bert("bert", &device), golden.bert_input(&device), &device);
        golden.compare_bert(&output, "prompt_tuning", GOLDEN);
    }
}

#[test]
fn merged_folders_load() {
    let device = device_f64();
    let golden = Tensors::read("bert/golden.safetensors");
    let output = bert("bert/lora_merged", &device).forward(golden.bert_input(&device));
    golden.compare_bert(&output.unwrap(), "lora.merged", ROUNDED);
    let golden = Tensors::read("vit/golden.safetensors");
    let images = ViTInput::new(golden.floats("input.pixel_values", &device));
    let output = vit("vit/lora_merged", &device).forward(images);
    golden.compare_vit(&output.unwrap(), "lora.merged", ROUNDED);
}

#[test]
fn an_encoder_loads_from_the_folder_of_a_classifier() {
    let device = device_f64();
    let golden = Tensors::read("bert/golden.safetensors");
    for pooler in [true, false] {
        let model = BertModel::load(&folder("bert"), pooler, &device).unwrap();
        let output = model.forward(golden.bert_input(&device)).unwrap();
        let name = "base.last_hidden_state.f64";
        golden.compare(&output.last_hidden_state, name, GOLDEN.1);
        assert_eq!(output.pooler_output.is_some(), pooler);
    }
}

#[test]
fn bert_gradients_are_those_of_pytorch() {
    let device = device_f64().autodiff();
    let golden = Tensors::read("bert/golden.safetensors");
    let model = bert("bert", &device);
    let logits = model.forward(golden.bert_input(&device)).unwrap().logits;
    let grads = logits.square().sum().backward();
    let expected = Tensors::read("bert/more.safetensors");
    let bert = &model.bert;
    let [first, second] = [&bert.encoder.layer[0], &bert.encoder.layer[1]];
    let segments = bert.embeddings.token_type_embeddings.as_ref();
    let segments = &segments.unwrap().weight;
    expected.compare_gradient(
        segments,
        &grads,
        "bert.embeddings.token_type_embeddings.weight",
    );
    let gamma = &bert.embeddings.layer_norm.gamma;
    expected.compare_gradient(gamma, &grads, "bert.embeddings.LayerNorm.weight");
    let query = &first.attention.self_attention.query.weight;
    let name = "bert.encoder.layer.0.attention.self.query.weight";
    expected.compare_transposed(query, &grads, name);
    let beta = second.attention.output.layer_norm.beta.as_ref().unwrap();
    let name = "bert.encoder.layer.1.attention.output.LayerNorm.bias";
    expected.compare_gradient(beta, &grads, name);
    let bias = second.output.dense.bias.as_ref().unwrap();
    expected.compare_gradient(bias, &grads, "bert.encoder.layer.1.output.dense.bias");
    let pooler = &bert.pooler.as_ref().unwrap().dense;
    let bias = pooler.bias.as_ref().unwrap();
    expected.compare_gradient(bias, &grads, "bert.pooler.dense.bias");
}

#[test]
fn sequences_without_a_token_give_numbers() {
    let device = device_f64().autodiff();
    let ids = Tensor::<2, Int>::from_data([[1, 2], [3, 4]], &device);
    let mask = Tensor::<2, Int>::from_data([[0, 0], [1, 0]], &device);
    let model = bert("bert", &device);
    let input = BertInput::new(ids).with_attention_mask(mask);
    let logits = model.forward(input).unwrap().logits;
    assert!(values(logits.clone()).iter().all(|x| x.is_finite()));
    let grads = logits.square().sum().backward();
    let words = &model.bert.embeddings.word_embeddings.weight;
    let grad = words.val().grad(&grads).unwrap();
    assert!(values(grad).iter().all(|x| x.is_finite()));
}

#[test]
fn vit_is_that_of_transformers() {
    let golden = Tensors::read("vit/golden.safetensors");
    for device in [device_f64(), device_f64().autodiff()] {
        let images = ViTInput::new(golden.floats("input.pixel_values", &device));
        let model = vit("vit", &device);
        let output = model.forward(images.clone()).unwrap();
        golden.compare_vit(&output, "base", GOLDEN);
        for model in [model.clone(), model.no_grad()] {
            for images in [images.clone(), images.clone().interpolated()] {
                let tape = Tape::start();
                let output = model.forward(images).unwrap();
                drop(tape);
                golden.compare_vit(&output, "base", GOLDEN);
            }
        }
    }
}

#[test]
fn vit_takes_images_of_another_size_if_asked() {
    let device = device_f64();
    let more = Tensors::read("vit/more.safetensors");
    let images = ViTInput::new(more.floats("input.wide", &device));
    let model = vit("vit", &device);
    let error = model.forward(images.clone()).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Input {
                name: "pixel_values",
                ..
            }
        ),
        "{error}"
    );
    let output = model.forward(images.interpolated()).unwrap();
    more.compare(&output.logits, "wide.logits.f64", GOLDEN.1);
}

#[test]
fn vit_gradients_are_those_of_pytorch() {
    let device = device_f64().autodiff();
    let golden = Tensors::read("vit/golden.safetensors");
    let images = ViTInput::new(golden.floats("input.pixel_values", &device));
    let model = vit("vit", &device);
    let logits = model.forward(images).unwrap().logits;
    let grads = logits.square().sum().backward();
    let expected = Tensors::read("vit/more.safetensors");
    let embeddings = &model.vit.embeddings;
    let projection = &embeddings.patch_embeddings.projection;
    let class = &embeddings.cls_token;
    expected.compare_gradient(class, &grads, "vit.embeddings.cls_token");
    let positions = &embeddings.position_embeddings;
    expected.compare_gradient(positions, &grads, "vit.embeddings.position_embeddings");
    let name = "vit.embeddings.patch_embeddings.projection.weight";
    expected.compare_gradient(&projection.weight, &grads, name);
    let [first, second] = [&model.vit.encoder.layer[0], &model.vit.encoder.layer[1]];
    let query = &first.attention.attention.query.weight;
    let name = "vit.encoder.layer.0.attention.attention.query.weight";
    expected.compare_transposed(query, &grads, name);
    let bias = second.output.dense.bias.as_ref().unwrap();
    expected.compare_gradient(bias, &grads, "vit.encoder.layer.1.output.dense.bias");
    let gamma = &model.vit.layernorm.gamma;
    expected.compare_gradient(gamma, &grads, "vit.layernorm.weight");
}

#[test]
fn dinov2_is_that_of_transformers() {
    let golden = Tensors::read("vit/dinov2/golden.safetensors");
    for device in [device_f64(), device_f64().autodiff()] {
        let model = dinov2(&device);
        for (case, tolerance) in [("square", GOLDEN.1), ("wide", ROUNDED.1)] {
            let images = golden.floats::<4>(&format!("input.{case}"), &device);
            let name = |tensor| format!("{case}.{tensor}.f64");
            let output = model.dinov2.forward(images.clone()).unwrap();
            golden.compare(&output.encoder_output, &name("encoder_output"), tolerance);
            let tape = Tape::start();
            let output = model.forward(images).unwrap();
            drop(tape);
            let tokens = &output.last_hidden_state;
            golden.compare(tokens, &name("last_hidden_state"), tolerance);
            golden.compare(&output.logits, &name("logits"), tolerance);
        }
    }
}

#[test]
fn dinov2_gradients_are_those_of_pytorch() {
    let device = device_f64().autodiff();
    let golden = Tensors::read("vit/dinov2/golden.safetensors");
    let model = dinov2(&device);
    let logits = model.forward(golden.floats("input.square", &device));
    let grads = logits.unwrap().logits.square().sum().backward();
    let embeddings = &model.dinov2.embeddings;
    let class = &embeddings.cls_token;
    golden.compare_gradient(class, &grads, "dinov2.embeddings.cls_token");
    let positions = &embeddings.position_embeddings;
    golden.compare_gradient(positions, &grads, "dinov2.embeddings.position_embeddings");
    let [first, second] = [
        &model.dinov2.encoder.layer[0],
        &model.dinov2.encoder.layer[1],
    ];
    let scale = &first.layer_scale1.lambda1;
    let name = "dinov2.encoder.layer.0.layer_scale1.lambda1";
    golden.compare_gradient(scale, &grads, name);
    let bias = second.mlp.fc2.bias.as_ref().unwrap();
    golden.compare_gradient(bias, &grads, "dinov2.encoder.layer.1.mlp.fc2.bias");
    let query = &first.attention.attention.query.weight;
    let name = "dinov2.encoder.layer.0.attention.attention.query.weight";
    golden.compare_transposed(query, &grads, name);
}

/// A classifier behind a trainable soft prompt.
#[derive(Module, Debug)]
struct Prompted {
    model: BertForSequenceClassification,
    prompt: Param<Tensor<2>>,
}

impl Prompted {
    fn new(device: &Device) -> Self {
        let prompt = Tensor::random([3, 32], Distribution::Normal(0.0, 1.0), device);
        Self {
            model: bert("bert", device),
            prompt: Param::from_tensor(prompt),
        }
    }

    fn forward(&self, golden: &Tensors, range: Range<usize>) -> Tensor<2> {
        let device = self.prompt.val().device();
        let input = golden.bert_input(&device);
        let of = |ids: Tensor<2, Int>| ids.slice([range.clone()]);
        let prompt = expand_param::<_, 3>(&self.prompt, range.len());
        let input = BertInput::new(of(input.input_ids))
            .with_attention_mask(of(input.attention_mask.unwrap()))
            .with_token_type_ids(of(input.token_type_ids.unwrap()))
            .with_prompt(prompt);
        self.model.forward(input).unwrap().logits
    }
}

#[test]
fn recorded_rows_of_bert_are_those_of_single_samples() {
    let model = Prompted::new(&device_f64().autodiff());
    let golden = Tensors::read("bert/golden.safetensors");
    let report = validate(&model, 4, ROWS, |model, range| {
        model.forward(&golden, range).square().sum()
    });
    let report = report.unwrap();
    println!("{report}");
    assert_eq!(report.unused, Vec::<String>::new());
    // 16 parameters in each of 2 layers, 5 of the embeddings, 2 of the pooler, 2 of the head.
    assert_eq!(report.parameters.len(), 2 * 16 + 5 + 2 + 2 + 1);
}

#[test]
fn recorded_rows_of_vit_are_those_of_single_samples() {
    let device = device_f64().autodiff();
    let model = vit("vit", &device);
    let golden = Tensors::read("vit/golden.safetensors");
    let more = Tensors::read("vit/more.safetensors");
    for images in [
        golden.floats::<4>("input.pixel_values", &device),
        more.floats::<4>("input.wide", &device),
    ] {
        let report = validate(&model, 3, ROWS, |model, range| {
            let images = ViTInput::new(images.clone().slice([range])).interpolated();
            model.forward(images).unwrap().logits.square().sum()
        });
        let report = report.unwrap();
        println!("{report}");
        assert_eq!(report.unused, Vec::<String>::new());
        assert_eq!(report.parameters.len(), 2 * 16 + 4 + 2 + 2);
    }
}

#[test]
fn recorded_rows_of_dinov2_are_those_of_single_samples() {
    let device = device_f64().autodiff();
    let model = dinov2(&device);
    let golden = Tensors::read("vit/dinov2/golden.safetensors");
    for case in ["input.square", "input.wide"] {
        let images = golden.floats::<4>(case, &device);
        let report = validate(&model, 3, ROWS, |model, range| {
            let output = model.forward(images.clone().slice([range]));
            output.unwrap().logits.square().sum()
        });
        let report = report.unwrap();
        println!("{report}");
        assert_eq!(report.unused, Vec::<String>::new());
        assert_eq!(report.parameters.len(), 2 * 18 + 4 + 2 + 2);
    }
}

/// With two drawn labels the batch holds each sample three times from the first recorded call on.
#[test]
fn copies_of_a_batch_give_the_same_outputs() {
    let device = device_f64().autodiff();
    let check = |forward: &dyn Fn() -> Tensor<2>| {
        let alone = forward();
        let tape = Tape::with_drawn_labels(LabelDraw::sample(2, 5, 0));
        let copied = forward();
        drop(tape);
        assert!(relative(&values(copied), &values(alone.repeat_dim(0, 3))) < 1e-12);
    };
    let golden = Tensors::read("bert/golden.safetensors");
    let model = Prompted::new(&device);
    for model in [model.clone(), model.no_grad()] {
        check(&|| model.forward(&golden, 0..4));
    }
    let golden = Tensors::read("vit/golden.safetensors");
    let images = ViTInput::new(golden.floats("input.pixel_values", &device));
    let more = Tensors::read("vit/more.safetensors");
    let wide = ViTInput::new(more.floats("input.wide", &device)).interpolated();
    for model in [vit("vit", &device), vit("vit", &device).no_grad()] {
        for images in [&images, &wide] {
            check(&|| model.forward(images.clone()).unwrap().logits);
        }
    }
    let golden = Tensors::read("vit/dinov2/golden.safetensors");
    let model = dinov2(&device);
    for images in ["input.square", "input.wide"] {
        let images = golden.floats::<4>(images, &device);
        check(&|| model.forward(images.clone()).unwrap().logits);
    }
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.try_to_vec_as::<f64>().unwrap()
}
