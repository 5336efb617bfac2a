//! Damaged and strange model folders: every one loads or is an error with a short message, none panics or allocates
//! what its weights do not hold.

use crate::reference;

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use burn_hf_models::Error;
use burn_hf_models::bert::BertForSequenceClassification;
use burn_hf_models::class::ModelClass;
use burn_hf_models::distilbert::DistilBertForSequenceClassification;
use burn_hf_models::llama::LlamaForCausalLM;
use burn_hf_models::modernbert::ModernBertForSequenceClassification;
use burn_hf_models::roberta::RobertaForSequenceClassification;
use burn_hf_models::t5::T5ForConditionalGeneration;
use burn_hf_models::vit::ViTForImageClassification;
use burn_hf_models::vit::dinov2::Dinov2ForImageClassification;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reference::folder;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};

/// A run of some seconds; `FUZZ_CASES` sets another number.
const CASES: usize = 400;

const MODELS: [&str; 12] = [
    "bert",
    "vit",
    "vit/dinov2",
    "t5_relu",
    "t5_gated_gelu",
    "llama",
    "qwen2",
    "families/gemma3_text",
    "families/phi3",
    "families/distilbert",
    "families/roberta",
    "families/modernbert",
];

/// Fields that few files have.
const FIELDS: [&str; 22] = [
    "per_layer_config",
    "quantization_config",
    "scale_decoder_outputs",
    "tie_word_embeddings",
    "dense_act_fn",
    "num_labels",
    "id2label",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "partial_rotary_factor",
    "layer_types",
    "head_dim",
    "original_max_position_embeddings",
    "architectures",
    "eos_token_id",
    "sliding_window",
    "sliding_window_pattern",
    "no_rope_layers",
    "query_pre_attn_scalar",
    "local_attention",
    "pad_token_id",
];

fn values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(3),
        json!(-1),
        json!(4096),
        json!(1u64 << 24),
        json!((1u64 << 62) + 8),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(0.5),
        json!(1e300),
        json!(""),
        json!("x".repeat(5000)),
        json!("\u{0}\n"),
        json!([]),
        json!([1, 2]),
        json!({}),
        json!({"rope_type": "llama3"}),
        json!({"rope_type": "linear", "factor": 0}),
        json!({"rope_type": "dynamic", "factor": 2.0}),
        json!({"rope_type": "yarn", "factor": 2.0}),
        json!({"rope_type": "longrope", "short_factor": [], "long_factor": [1.0]}),
        json!({"full_attention": {"rope_theta": 1.0}}),
        json!({"0": 1}),
        json!(["T5EncoderModel"]),
    ]
}

fn load(model: &str, folder: &Path) -> Result<(), Error> {
    let device = Device::flex();
    ModelClass::choose(folder, None, None)
        .map(drop)
        .or_else(|error| match error {
            // DINOv2 is not among the classes that adapters choose from.
            Error::Class { .. } | Error::Config { .. } => Ok(()),
            error => Err(error),
        })?;
    match model {
        "bert" => {
            let options = BertForSequenceClassification::load_options();
            BertForSequenceClassification::load(folder, &options, &device).map(drop)
        }
        "vit" => {
            let options = ViTForImageClassification::load_options();
            ViTForImageClassification::load(folder, &options, &device).map(drop)
        }
        "vit/dinov2" => {
            let options = Dinov2ForImageClassification::load_options();
            Dinov2ForImageClassification::load(folder, &options, &device).map(drop)
        }
        "families/distilbert" => {
            let options = DistilBertForSequenceClassification::load_options();
            DistilBertForSequenceClassification::load(folder, &options, &device).map(drop)
        }
        "families/roberta" => {
            let options = RobertaForSequenceClassification::load_options();
            RobertaForSequenceClassification::load(folder, &options, &device).map(drop)
        }
        "families/modernbert" => {
            let options = ModernBertForSequenceClassification::load_options();
            ModernBertForSequenceClassification::load(folder, &options, &device).map(drop)
        }
        "llama" | "qwen2" | "families/gemma3_text" | "families/phi3" => {
            LlamaForCausalLM::load(folder, &device).map(drop)
        }
        _ => T5ForConditionalGeneration::load(folder, &device).map(drop),
    }
}

/// Set or remove some fields of a configuration.
fn change_config(config: &mut Value, rng: &mut impl Rng) {
    let mut fields: Vec<String> = config.as_object().unwrap().keys().cloned().collect();
    fields.extend(FIELDS.map(String::from));
    for _ in 0..rng.random_range(1..4) {
        let field = fields.choose(rng).unwrap();
        if rng.random_bool(0.1) {
            config.as_object_mut().unwrap().remove(field);
        } else {
            config[field] = values().choose(rng).unwrap().clone();
        }
    }
}

/// Lose, double, reshape or spoil a tensor.
fn change_tensors(bytes: &[u8], rng: &mut impl Rng) -> Vec<u8> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = file
        .iter()
        .map(|(name, view)| {
            let shape = view.shape().to_vec();
            (name.to_string(), view.dtype(), shape, view.data().to_vec())
        })
        .collect();
    tensors.shuffle(rng);
    let first = tensors.len() - 1;
    match rng.random_range(0..6) {
        0 => drop(tensors.pop()),
        1 => {
            let mut copy = tensors[first].clone();
            let names = [
                "lm_head.weight",
                "shared.weight",
                "bert.embeddings.token_type_ids",
            ];
            copy.0 = names.choose(rng).unwrap().to_string();
            if !tensors.iter().any(|(name, ..)| *name == copy.0) {
                tensors.push(copy);
            }
        }
        2 => tensors[first].2.reverse(),
        3 => tensors[first].3[..4].copy_from_slice(&f32::NAN.to_le_bytes()),
        4 => tensors[first].1 = Dtype::I32,
        _ => tensors[first].0 = "long".repeat(1000),
    }
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    serialize(views, None).unwrap()
}

#[test]
fn strange_folders_load_or_are_errors() {
    let cases = std::env::var("FUZZ_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    let mut rng = ChaCha8Rng::seed_from_u64(16);
    let (mut loaded, mut refused) = (0, 0);
    for case in 0..cases.unwrap_or(CASES) {
        let model = *MODELS.choose(&mut rng).unwrap();
        let text = fs::read_to_string(folder(model).join("config.json")).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        let mut weights = fs::read(folder(model).join("model.safetensors")).unwrap();
        match rng.random_range(0..4) {
            0 | 1 => change_config(&mut config, &mut rng),
            2 => weights = change_tensors(&weights, &mut rng),
            _ => {
                for _ in 0..rng.random_range(1..20) {
                    let end = *[16, 3000, weights.len()].choose(&mut rng).unwrap();
                    let index = rng.random_range(0..end);
                    weights[index] = rng.random();
                }
                if rng.random_bool(0.3) {
                    weights.truncate(rng.random_range(0..weights.len()));
                }
            }
        }
        let new = tempfile::tempdir().unwrap();
        fs::write(new.path().join("config.json"), config.to_string()).unwrap();
        fs::write(new.path().join("model.safetensors"), weights).unwrap();
        match load(model, new.path()) {
            Ok(()) => loaded += 1,
            Err(error) => {
                refused += 1;
                let length = error.to_string().chars().count();
                assert!(length <= 2000, "case {case}, {model}: {length} characters");
            }
        }
    }
    println!("{loaded} loaded, {refused} refused");
    assert!(loaded > 0 && refused > loaded);
}
