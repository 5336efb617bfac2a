//! Folders as `transformers` 5 writes them: the same weights, and configurations whose fields mean something else.
//!
//! `fixtures/transformers5/make.py` computed the logits with `transformers` 5.24.

use crate::reference;

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use burn_hf_models::Error;
use burn_hf_models::bert::{BertForSequenceClassification, BertInput};
use burn_hf_models::llama::{LlamaForCausalLM, LlamaInput};
use burn_hf_models::t5::{T5Config, T5ForConditionalGeneration, T5Input, T5Source};
use burn_hf_models::vit::dinov2::Dinov2ForImageClassification;
use burn_hf_models::vit::{ViTForImageClassification, ViTInput};
use reference::{Tensors, device_f64, folder};
use safetensors::SafeTensors;
use safetensors::tensor::{TensorView, serialize_to_file};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Largest difference, relative to the largest value: `transformers` computes norms and rotations in f32.
const TOLERANCE: f64 = 5e-6;

/// The weights of a folder under the configuration that `transformers` 5 wrote for it, with changes.
fn resaved(weights: &str, changes: Value) -> TempDir {
    with_config(weights, "transformers5/CONFIG.json", changes)
}

/// The weights of a folder under the configuration that `transformers` 4 wrote for it, with changes.
fn of_four(weights: &str, changes: Value) -> TempDir {
    with_config(weights, &format!("{weights}/config.json"), changes)
}

fn with_config(weights: &str, config: &str, changes: Value) -> TempDir {
    let new = tempfile::tempdir().unwrap();
    let file = folder(&config.replace("CONFIG", &weights.replace('/', "_")));
    let text = std::fs::read_to_string(file).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    for (field, value) in changes.as_object().unwrap() {
        config[field] = value.clone();
    }
    std::fs::write(new.path().join("config.json"), config.to_string()).unwrap();
    let name = "model.safetensors";
    std::fs::copy(folder(weights).join(name), new.path().join(name)).unwrap();
    new
}

/// Write the weights of a folder again with changed tensors.
fn edit(folder: &TempDir, edit: impl Fn(&str, &[u8]) -> Vec<(String, Vec<u8>)>) {
    let path: PathBuf = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = Vec::new();
    for (name, view) in file.iter() {
        for (name, data) in edit(name, view.data()) {
            tensors.push((name, view.dtype(), view.shape().to_vec(), data));
        }
    }
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    serialize_to_file(views, None, &path).unwrap();
}

fn check<const D: usize>(found: Tensor<D>, case: &str) {
    Tensors::read("transformers5/logits.safetensors").compare(&found, case, TOLERANCE);
}

fn t5(weights: &str, folder: &TempDir, device: &Device) -> Result<Tensor<3>, Error> {
    let golden = Tensors::golden(weights);
    let ids = |name: &str| golden.ids(&format!("input.{name}"), device);
    let source = T5Source::new(ids("input_ids")).with_attention_mask(ids("attention_mask"));
    let input = T5Input::new(source, ids("decoder_input_ids"));
    let model = T5ForConditionalGeneration::load(folder.path(), device)?;
    Ok(model.forward(input)?.logits)
}

fn llama(weights: &str, folder: &TempDir, device: &Device) -> Result<Tensor<3>, Error> {
    let golden = Tensors::golden(weights);
    let ids = |name: &str| golden.ids(&format!("input.{name}"), device);
    let input = LlamaInput::new(ids("input_ids")).with_attention_mask(ids("attention_mask"));
    let model = LlamaForCausalLM::load(folder.path(), device)?;
    Ok(model.forward(input)?.logits)
}

#[test]
fn t5_takes_head_and_scale_from_the_new_fields_and_the_weights() {
    let device = device_f64();
    for (case, weights, changes) in [
        ("t5_v11", "t5_gated_gelu", json!({})),
        ("t5_v10", "t5_relu", json!({})),
        (
            "t5_v10_unscaled",
            "t5_relu",
            json!({"scale_decoder_outputs": false}),
        ),
        (
            "t5_own_head_scaled",
            "t5_gated_gelu",
            json!({"scale_decoder_outputs": true}),
        ),
    ] {
        check(
            t5(weights, &resaved(weights, changes), &device).unwrap(),
            case,
        );
    }
    // What a user adds to a folder of transformers 4 with a head of its own.
    for (case, weights, changes) in [
        (
            "t5_v11",
            "t5_gated_gelu",
            json!({"scale_decoder_outputs": false}),
        ),
        (
            "t5_v10_unscaled",
            "t5_relu",
            json!({"scale_decoder_outputs": false}),
        ),
        (
            "t5_own_head_scaled",
            "t5_gated_gelu",
            json!({"tie_word_embeddings": true, "scale_decoder_outputs": true}),
        ),
    ] {
        check(
            t5(weights, &of_four(weights, changes), &device).unwrap(),
            case,
        );
    }
}

#[test]
fn a_tied_t5_may_hold_its_head_as_a_copy() {
    let device = device_f64();
    let with_copy = |folder: TempDir| {
        edit(&folder, |name, data| {
            let own = (name.to_string(), data.to_vec());
            match name {
                "shared.weight" => vec![own, ("lm_head.weight".into(), data.to_vec())],
                _ => vec![own],
            }
        });
        folder
    };
    check(
        t5(
            "t5_relu",
            &with_copy(resaved("t5_relu", json!({}))),
            &device,
        )
        .unwrap(),
        "t5_v10",
    );
    check(
        t5(
            "t5_relu",
            &with_copy(of_four("t5_relu", json!({}))),
            &device,
        )
        .unwrap(),
        "t5_v10",
    );
    let config = T5Config::from_folder(with_copy(resaved("t5_relu", json!({}))).path()).unwrap();
    assert!(config.tie_word_embeddings && config.scale_decoder_outputs);
    let config = T5Config::from_folder(resaved("t5_gated_gelu", json!({})).path()).unwrap();
    assert!(!config.tie_word_embeddings && !config.scale_decoder_outputs);
}

/// What `AutoModel.from_pretrained(folder).save_pretrained(folder)` makes of a T5 v1.1: with version 4 and 5.
#[test]
fn a_t5_that_lost_its_head_says_so() {
    let device = device_f64();
    let headless = json!({"architectures": ["T5Model"]});
    for folder in [
        resaved("t5_gated_gelu", headless.clone()),
        of_four("t5_gated_gelu", headless),
    ] {
        edit(&folder, |name, data| match name {
            "lm_head.weight" => vec![],
            _ => vec![(name.to_string(), data.to_vec())],
        });
        let error = t5("t5_gated_gelu", &folder, &device).unwrap_err();
        assert!(matches!(&error, Error::Missing { names, .. } if names == &["lm_head.weight"]));
        assert!(
            error
                .to_string()
                .contains("saved without its language-model head"),
            "{error}"
        );
    }
}

/// `transformers` 4 takes the embeddings, 5 the head of the file.
#[test]
fn a_tied_configuration_next_to_another_head_is_refused() {
    let device = device_f64();
    let other_head = |folder: TempDir, table: &'static str| {
        edit(&folder, |name, data| {
            let own = (name.to_string(), data.to_vec());
            let mut other = data.to_vec();
            other[0] ^= 1;
            match name {
                name if name == table => vec![own, ("lm_head.weight".into(), other)],
                "lm_head.weight" => vec![],
                _ => vec![own],
            }
        });
        folder
    };
    let tied = json!({"tie_word_embeddings": true});
    let table = "model.embed_tokens.weight";
    for (weights, table, fix) in [
        ("llama", table, "Set `tie_word_embeddings` to false"),
        ("qwen2", table, "Set `tie_word_embeddings` to false"),
        (
            "t5_relu",
            "shared.weight",
            "`\"scale_decoder_outputs\": true`",
        ),
    ] {
        let run = if weights == "t5_relu" { t5 } else { llama };
        let folder = other_head(of_four(weights, tied.clone()), table);
        let error = run(weights, &folder, &device).unwrap_err();
        assert!(
            matches!(&error, Error::Different { copy, .. } if copy == "lm_head.weight"),
            "{error}"
        );
        assert!(error.to_string().contains(fix), "{error}");
    }
    // The advice works.
    let untied = other_head(
        of_four("qwen2", json!({"tie_word_embeddings": false})),
        table,
    );
    assert!(llama("qwen2", &untied, &device).is_ok());
    let scaled = json!({"scale_decoder_outputs": true});
    let scaled = other_head(of_four("t5_relu", scaled), "shared.weight");
    assert!(t5("t5_relu", &scaled, &device).is_ok());
}

#[test]
fn rotary_positions_come_from_rope_parameters() {
    let device = device_f64();
    for (case, weights, changes) in [
        ("llama", "llama", json!({})),
        ("qwen2", "qwen2", json!({})),
        (
            "llama_linear",
            "llama",
            json!({"rope_parameters": {"rope_theta": 500.0, "rope_type": "linear", "factor": 4.0}}),
        ),
        (
            "llama_llama3",
            "llama",
            json!({"max_position_embeddings": 16, "rope_parameters": {"rope_theta": 500.0,
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}}),
        ),
        (
            "llama_both_ropes",
            "llama",
            json!({"rope_scaling": {"rope_type": "linear", "factor": 2.0}, "rope_theta": 300.0}),
        ),
    ] {
        check(
            llama(weights, &resaved(weights, changes), &device).unwrap(),
            case,
        );
    }
}

#[test]
fn encoders_compute_the_same_under_both_writers() {
    let device = device_f64();
    let golden = Tensors::golden("bert");
    let ids = |name: &str| golden.ids(&format!("input.{name}"), &device);
    let input = BertInput::new(ids("input_ids"))
        .with_attention_mask(ids("attention_mask"))
        .with_token_type_ids(ids("token_type_ids"));
    let bert = resaved("bert", json!({}));
    let options = BertForSequenceClassification::load_options();
    let bert = BertForSequenceClassification::load(bert.path(), &options, &device).unwrap();
    check(bert.forward(input).unwrap().logits, "bert");

    let images = Tensors::golden("vit").floats("input.pixel_values", &device);
    let vit = resaved("vit", json!({}));
    let options = ViTForImageClassification::load_options();
    let vit = ViTForImageClassification::load(vit.path(), &options, &device).unwrap();
    check(vit.forward(ViTInput::new(images)).unwrap().logits, "vit");

    let images = Tensors::golden("vit/dinov2").floats("input.square", &device);
    let dinov2 = resaved("vit/dinov2", json!({}));
    let options = Dinov2ForImageClassification::load_options();
    let dinov2 = Dinov2ForImageClassification::load(dinov2.path(), &options, &device).unwrap();
    check(dinov2.forward(images).unwrap().logits, "dinov2");
}
