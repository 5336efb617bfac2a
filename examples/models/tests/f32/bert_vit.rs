//! BERT, ViT and DINOv2 in f32, against `transformers`, and the namings of their folders.

use crate::bert_vit_golden;
use crate::reference;

use bert_vit_golden::{Compare, bert, dinov2, prompted, vit};
use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use burn_hf_models::Error;
use burn_hf_models::bert::{BertConfig, BertForSequenceClassification, BertInput};
use burn_hf_models::vit::dinov2::Dinov2ForImageClassification;
use burn_hf_models::vit::{ViTForImageClassification, ViTInput};
use reference::{Cast, Tensors, folder, relative};
use safetensors::SafeTensors;
use tempfile::TempDir;

const GOLDEN: (&str, f64) = ("f32", 1e-4);

#[test]
fn outputs_are_those_of_transformers() {
    for device in [Device::flex(), Device::flex().autodiff()] {
        let golden = Tensors::read("bert/golden.safetensors");
        let output = bert("bert", &device).forward(golden.bert_input(&device));
        golden.compare_bert(&output.unwrap(), "base", GOLDEN);
        let output = prompted(bert("bert", &device), golden.bert_input(&device), &device);
        golden.compare_bert(&output, "prompt_tuning", GOLDEN);

        let golden = Tensors::read("vit/golden.safetensors");
        let images = ViTInput::new(golden.floats("input.pixel_values", &device));
        golden.compare_vit(
            &vit("vit", &device).forward(images).unwrap(),
            "base",
            GOLDEN,
        );

        let golden = Tensors::read("vit/dinov2/golden.safetensors");
        for case in ["square", "wide"] {
            let images = golden.floats(&format!("input.{case}"), &device);
            let output = dinov2(&device).forward(images).unwrap();
            golden.compare(&output.logits, &format!("{case}.logits.f32"), GOLDEN.1);
        }
    }
}

/// A copy of a folder with other names of the tensors; those that become empty are left out.
fn renamed(name: &str, rename: impl Fn(&str) -> String) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let from = folder(name);
    std::fs::copy(from.join("config.json"), copy.path().join("config.json")).unwrap();
    let bytes = std::fs::read(from.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = tensors.iter().map(|(name, view)| (rename(name), view));
    let kept = tensors.filter(|(name, _)| !name.is_empty());
    let file = copy.path().join("model.safetensors");
    safetensors::serialize_to_file(kept.collect::<Vec<_>>(), None, &file).unwrap();
    copy
}

fn values(x: Tensor<2>) -> Vec<f64> {
    x.try_to_vec_as::<f64>().unwrap()
}

/// Names of the linear layers in `transformers` 5.
fn five(name: &str) -> String {
    let pairs = [
        ("attention.attention.query", "attention.q_proj"),
        ("attention.attention.key", "attention.k_proj"),
        ("attention.attention.value", "attention.v_proj"),
        ("attention.output.dense", "attention.o_proj"),
        ("vit.encoder.layer", "vit.layers"),
        ("intermediate.dense", "mlp.fc1"),
        ("output.dense", "mlp.fc2"),
    ];
    let name = name.to_string();
    pairs
        .into_iter()
        .fold(name, |name, (four, five)| name.replace(four, five))
}

#[test]
fn folders_with_the_names_of_transformers_5_load() {
    let device = Device::flex();
    let golden = Tensors::read("vit/golden.safetensors");
    let images = ViTInput::new(golden.floats("input.pixel_values", &device));
    let folder = renamed("vit", five);
    let options = ViTForImageClassification::load_options();
    let model = ViTForImageClassification::load(folder.path(), &options, &device).unwrap();
    golden.compare_vit(&model.forward(images).unwrap(), "base", GOLDEN);

    let golden = Tensors::read("vit/dinov2/golden.safetensors");
    let folder = renamed("vit/dinov2", five);
    let options = Dinov2ForImageClassification::load_options();
    let model = Dinov2ForImageClassification::load(folder.path(), &options, &device).unwrap();
    let output = model.forward(golden.floats("input.square", &device));
    golden.compare(&output.unwrap().logits, "square.logits.f32", GOLDEN.1);
}

#[test]
fn names_of_adapters_are_those_of_the_modules() {
    let [four, five] = &ViTForImageClassification::names()[..] else {
        panic!("two namings");
    };
    let query = "vit.encoder.layer.0.attention.attention.query";
    assert_eq!(four.name(query), query);
    assert_eq!(five.name(query), "vit.layers.0.attention.q_proj");
    let attention = "vit.encoder.layer.11.attention.output.dense";
    assert_eq!(five.name(attention), "vit.layers.11.attention.o_proj");
    assert_eq!(
        five.name("vit.encoder.layer.1.intermediate.dense"),
        "vit.layers.1.mlp.fc1"
    );
    assert_eq!(
        five.name("vit.encoder.layer.1.output.dense"),
        "vit.layers.1.mlp.fc2"
    );
    let names = &BertForSequenceClassification::names()[0];
    assert_eq!(
        names.name("bert.encoder.layer.0.attention.self_attention.query"),
        "bert.encoder.layer.0.attention.self.query"
    );
    assert_eq!(
        names.name("bert.embeddings.layer_norm"),
        "bert.embeddings.LayerNorm"
    );
}

/// The folder of a plain encoder, as of a pretrained checkpoint.
fn encoder() -> TempDir {
    renamed("bert", |name| match name.strip_prefix("bert.") {
        Some(rest) => rest.to_string(),
        None => String::new(),
    })
}

#[test]
fn a_plain_encoder_gets_a_new_head_only_if_asked() {
    let device = Device::flex();
    let folder = encoder();
    let options = BertForSequenceClassification::load_options();
    match BertForSequenceClassification::load(folder.path(), &options, &device) {
        Err(Error::Missing { names, .. }) => {
            assert_eq!(names, ["classifier.weight", "classifier.bias"]);
        }
        other => panic!("{other:?}"),
    }
    let options = options.keep_initial("classifier");
    let model = BertForSequenceClassification::load(folder.path(), &options, &device).unwrap();
    let golden = Tensors::read("bert/golden.safetensors");
    let output = model.forward(golden.bert_input(&device)).unwrap();
    let name = "base.last_hidden_state.f32";
    golden.compare(&output.last_hidden_state, name, GOLDEN.1);
}

#[test]
fn a_folder_of_another_model_is_refused() {
    let device = Device::flex();
    let options = BertForSequenceClassification::load_options();
    let error = BertForSequenceClassification::load(&folder("vit"), &options, &device);
    assert!(
        matches!(
            error,
            Err(Error::Config {
                field: "model_type",
                ..
            })
        ),
        "{error:?}"
    );
}

#[test]
fn dropout_acts_in_training_alone() {
    let config = BertConfig {
        vocab_size: 20,
        hidden_size: 16,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 16,
        hidden_dropout_prob: 0.5,
        attention_probs_dropout_prob: 0.5,
        // Large weights, so that outputs differ.
        initializer_range: 0.5,
        ..BertConfig::default()
    };
    let run = |device: &Device| {
        let model = config.init_classifier(device).unwrap();
        let ids = Tensor::from_data([[1, 2, 3], [4, 5, 6]], device);
        let logits = || model.forward(BertInput::new(ids.clone())).unwrap().logits;
        relative(&values(logits()), &values(logits()))
    };
    assert!(run(&Device::flex().autodiff()) > 1e-3);
    assert_eq!(run(&Device::flex()), 0.0);
}

#[test]
fn a_prompt_stands_before_a_model_of_half_precision() {
    let device = Device::flex();
    let golden = Tensors::golden("bert");
    let adapter = Tensors::read("bert/prompt_tuning/adapter_model.safetensors");
    let model = bert("bert", &device).map(&mut Cast(DType::F16));
    let input = golden.bert_input(&device);
    let [batch, _] = input.input_ids.dims();
    let prompt = adapter.prompt(None, batch, &device);
    let output = model.forward(input.with_prompt(prompt)).unwrap();
    assert_eq!(output.logits.dtype(), DType::F16);
    // f16 keeps three digits of each of some dozens of rounded operations.
    let name = "prompt_tuning.last_hidden_state.f32";
    golden.compare(&output.last_hidden_state, name, 0.02);
}
