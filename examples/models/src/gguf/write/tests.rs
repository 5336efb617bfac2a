//! What is written is read back as the same model.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor};
use burn_peft::{LoraConfig, Peft};
use serde_json::{Value as Json, json};

use super::super::GgufFile;
use super::*;
use crate::llama::LlamaInput;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn logits(model: &LlamaForCausalLM) -> Vec<f32> {
    let ids = Tensor::<2, Int>::from_data([[3, 17, 25, 9, 30, 4, 11, 12]], &Device::flex());
    let logits = model.forward(LlamaInput::new(ids)).unwrap().logits;
    logits.into_data().try_into_vec().unwrap()
}

/// Largest difference, relative to the largest value.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
    let pairs = found.iter().zip(expected);
    pairs.fold(0f32, |most, (a, b)| most.max((a - b).abs())) / largest
}

/// A folder of a family with a byte-level tokenizer, of as many tokens as the model has.
fn with_tokenizer(name: &str, change: impl FnOnce(&mut Json, &mut Json)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |file: &str| folder.path().join(file);
    fs::copy(
        fixture(name).join("model.safetensors"),
        at("model.safetensors"),
    )
    .unwrap();
    let config = fs::read_to_string(fixture(name).join("config.json")).unwrap();
    let mut config: Json = serde_json::from_str(&config).unwrap();
    let tokenizer = GgufFile::open(&fixture("gguf/llama.gguf")).unwrap();
    let mut tokenizer: Json = serde_json::from_str(&tokenizer.tokenizer_json().unwrap()).unwrap();
    let rows = config["vocab_size"].as_u64().unwrap();
    let vocabulary = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    vocabulary.retain(|_, id| id.as_u64().unwrap() < rows);
    if rows < 100 {
        tokenizer["model"]["merges"] = json!([]);
    }
    change(&mut tokenizer, &mut config);
    fs::write(at("config.json"), config.to_string()).unwrap();
    fs::write(at("tokenizer.json"), tokenizer.to_string()).unwrap();
    let special = json!({"bos_token": "<|im_start|>", "eos_token": {"content": "<|end|>"}, "pad_token": "<|pad|>"});
    fs::write(at("tokenizer_config.json"), special.to_string()).unwrap();
    folder
}

/// Write a folder's model and read it again.
fn again(base: &Path, kind: GgufType) -> (GgufFile, LlamaForCausalLM, tempfile::TempDir) {
    let device = Device::flex();
    let model = LlamaForCausalLM::load(base, &device).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    write_gguf(&model, base, Some("{{ messages }}"), &path, kind).unwrap();
    let read = LlamaForCausalLM::load(&path, &device).unwrap();
    (GgufFile::open(&path).unwrap(), read, folder)
}

#[test]
fn folders_of_every_kind_are_read_back() {
    type Change = fn(&mut Json, &mut Json);
    let cases: [(&str, Change); 5] = [
        ("llama", |_, _| {}),
        ("qwen2", |_, _| {}),
        ("families/mistral", |_, _| {}),
        ("families/qwen3", |_, config| {
            config["layer_types"] = Json::Null;
            config["use_sliding_window"] = false.into();
        }),
        // A length of a published model, by which the table of divisors is recognised.
        ("families/llama_llama3", |_, config| {
            config["rope_parameters"]["original_max_position_embeddings"] = 8192.into();
        }),
    ];
    for (name, change) in cases {
        let base = with_tokenizer(name, change);
        let expected = LlamaForCausalLM::load(base.path(), &Device::flex());
        let expected = logits(&expected.unwrap());
        for (kind, bound) in [(GgufType::F16, 4e-3), (GgufType::Q8_0, 6e-2)] {
            let (file, model, _folder) = again(base.path(), kind);
            let difference = difference(&logits(&model), &expected);
            println!("{name} {kind}: {difference:e}");
            assert!(difference < bound, "{name} {kind}: {difference:e}");
            assert!(difference > 0.0, "{name} {kind}: nothing was rounded");
            assert_eq!(file.chat_template(None), Some("{{ messages }}"));
        }
    }
}

#[test]
fn what_metadata_cannot_say_is_refused() {
    for (name, expected) in [
        ("families/smollm3", "layers see a window"),
        ("families/qwen3", "layers see a window"),
        ("families/llama_yarn", "Yarn"),
        ("families/llama_dynamic", "Dynamic"),
        ("families/phi3", "GGUF file of the same model"),
        ("families/gemma3_text", "GGUF file of the same model"),
    ] {
        let base = with_tokenizer(name, |_, _| {});
        let model = LlamaForCausalLM::load(base.path(), &Device::flex()).unwrap();
        let path = base.path().join("x.gguf");
        let refused = write_gguf(&model, base.path(), None, &path, GgufType::F16);
        let text = refused.unwrap_err().to_string();
        assert!(text.contains(expected), "{name}: {text}");
        assert!(!path.exists());
    }
}

#[test]
fn tokens_are_read_back() {
    let base = with_tokenizer("llama", |_, _| {});
    let (file, ..) = again(base.path(), GgufType::F16);
    let original = GgufFile::open(&fixture("gguf/llama.gguf")).unwrap();
    let tokens = |file: &GgufFile| -> Json {
        serde_json::from_str(&file.tokenizer_json().unwrap()).unwrap()
    };
    let (found, expected) = (tokens(&file), tokens(&original));
    for part in [
        "added_tokens",
        "pre_tokenizer",
        "post_processor",
        "normalizer",
    ] {
        assert_eq!(found[part], expected[part], "{part}");
    }
    assert_eq!(found["model"]["merges"], expected["model"]["merges"]);
    for (token, id) in expected["model"]["vocab"].as_object().unwrap() {
        assert_eq!(&found["model"]["vocab"][token], id, "{token}");
    }
    for name in ["bos", "eos", "padding"] {
        assert_eq!(file.special_token(name), original.special_token(name));
    }
}

#[test]
fn a_gguf_base_keeps_its_metadata() {
    let base = fixture("gguf/llama.gguf");
    let (file, model, _folder) = again(&base, GgufType::F16);
    let original = GgufFile::open(&base).unwrap();
    for (key, value) in &original.metadata {
        assert_eq!(file.metadata(key), Some(value), "{key}");
    }
    let expected = logits(&LlamaForCausalLM::load(&base, &Device::flex()).unwrap());
    assert!(difference(&logits(&model), &expected) < 2e-3);
}

#[test]
fn other_tokenizers_are_refused() {
    let model = LlamaForCausalLM::load(&fixture("llama"), &Device::flex()).unwrap();
    let refused = |change: fn(&mut Json), expected: &str| {
        let base = with_tokenizer("llama", |tokenizer, _| change(tokenizer));
        let path = base.path().join("model.gguf");
        let error = write_gguf(&model, base.path(), None, &path, GgufType::F16).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!path.exists());
    };
    refused(
        |it| it["model"]["type"] = "Unigram".into(),
        "byte-level BPE",
    );
    refused(
        |it| it["model"]["byte_fallback"] = true.into(),
        "bytes as tokens",
    );
    refused(|it| it["pre_tokenizer"] = Json::Null, "no name here");
    refused(
        |it| it["model"]["ignore_merges"] = true.into(),
        "no name here",
    );
    refused(
        |it| it["model"]["vocab"]["x y z"] = 4711.into(),
        "token 4711",
    );
    refused(|it| it["model"]["merges"][0] = "abc".into(), "merge `abc`");
}

#[test]
fn what_a_lora_file_cannot_hold_is_refused() {
    let base = fixture("llama");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter.gguf");
    let device = Device::flex().autodiff();
    let names = LlamaForCausalLM::names();
    let written = |base: &Path, config: LoraConfig| {
        let model = LlamaForCausalLM::load(base, &device).unwrap();
        let model = model.adapt("a", &config, &names).unwrap();
        let adapter = model.save_adapter("a", &config, &names).unwrap();
        write_gguf_adapter(&adapter, base, &path).map_err(|error| error.to_string())
    };
    let lora = || LoraConfig::new().with_r(2).with_target_modules(["q_proj"]);
    written(&base, lora()).unwrap();
    fs::remove_file(&path).unwrap();
    for (config, expected) in [
        (lora().with_use_dora(true), "DoRA"),
        (lora().with_target_modules(["embed_tokens"]), "linear layer"),
        (lora().with_modules_to_save(["lm_head"]), "saved in full"),
    ] {
        let error = written(&base, config).unwrap_err();
        assert!(
            error.contains(expected) && error.contains("finetune merge"),
            "{error}"
        );
        assert!(!path.exists());
    }
    let tied = fixture("families/qwen3");
    let error = written(&tied, lora().with_target_modules(["lm_head"])).unwrap_err();
    assert!(error.contains("shares the table"), "{error}");
}
