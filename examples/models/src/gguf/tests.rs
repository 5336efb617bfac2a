//! Whole files, made by `tests/fixtures/gguf/make.py`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::*;
use crate::llama::LlamaConfig;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// The tensors of a file in safetensors format.
fn expected(name: &str) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = fs::read(fixture(name)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = tensors.iter().map(|(name, view)| {
        let (values, _) = view.data().as_chunks::<4>();
        let values = values.iter().map(|&v| f32::from_le_bytes(v)).collect();
        (name.to_string(), (view.shape().to_vec(), values))
    });
    tensors.collect()
}

#[test]
fn every_way_to_store_values_gives_those_of_the_reference() {
    let file = GgufFile::open(&fixture("gguf/blocks.gguf")).unwrap();
    let expected = expected("gguf/blocks.safetensors");
    assert_eq!(expected.len(), 12);
    for (name, (shape, values)) in expected {
        assert_eq!(file.info(&name).unwrap().shape, shape, "{name}");
        let found = file.values(&name).unwrap();
        for (index, (found, expected)) in found.iter().zip(&values).enumerate() {
            // Scale times integer, plus the smallest value: in some order of two roundings.
            let bound = 2e-6 * expected.abs().max(0.1);
            assert!(
                (found - expected).abs() <= bound,
                "{name}, value {index}: {found} and {expected}"
            );
        }
        assert_eq!(found.len(), values.len(), "{name}");
    }
}

#[test]
fn a_model_is_that_of_its_folder() {
    let path = fixture("gguf/llama.gguf");
    let file = GgufFile::open(&path).unwrap();
    let expected = expected("llama/model.safetensors");
    let entries = file.entries().unwrap();
    assert_eq!(entries.len(), expected.len());
    for entry in entries {
        let (shape, values) = &expected[&entry.name];
        assert_eq!(entry.shape, *shape, "{}", entry.name);
        assert_eq!(entry.values().unwrap(), *values, "{}", entry.name);
    }
    let config = LlamaConfig::from_folder(&path).unwrap();
    assert_eq!(config, LlamaConfig::from_folder(&fixture("llama")).unwrap());
    assert!(file.chat_template(None).unwrap().starts_with("{% for"));
    assert_eq!(file.chat_template(Some("tool_use")), None);
    assert_eq!(file.special_token("bos"), Some("<|im_start|>"));
}

fn tokenizer(file: &str) -> Tokenizer {
    let file = GgufFile::open(&fixture(file)).unwrap();
    let text = file.tokenizer_json().unwrap();
    text.parse()
        .unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn byte_level_tokens_are_merged_in_order() {
    let tokenizer = tokenizer("gguf/llama.gguf");
    let tokens = |text: &str| tokenizer.encode(text, true).unwrap().get_tokens().to_vec();
    // `a n` comes before `n d` and `Ġ a`.
    assert_eq!(tokens("the and"), ["<|im_start|>", "the", "Ġ", "an", "d"]);
    assert_eq!(tokens("<|end|>12"), ["<|im_start|>", "<|end|>", "1", "2"]);
    let ids = tokenizer.encode("in there", false).unwrap();
    assert_eq!(tokenizer.decode(ids.get_ids(), true).unwrap(), "in there");
}

#[test]
fn pieces_without_merges_are_those_of_sentencepiece() {
    let tokenizer = tokenizer("gguf/pieces.gguf");
    let text = fs::read_to_string(fixture("gguf/pieces.json")).unwrap();
    let samples: BTreeMap<String, Vec<u32>> = serde_json::from_str(&text).unwrap();
    assert!(samples.len() >= 6);
    for (sample, ids) in samples {
        let encoding = tokenizer.encode(sample.as_str(), true).unwrap();
        assert_eq!(encoding.get_ids(), ids, "{sample}");
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), sample);
    }
}

/// A file with these metadata and these tensors of one value.
fn write(path: &Path, metadata: &[(&str, &str)], tensors: &[&str]) {
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    };
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut bytes, key);
        match value.parse::<u32>() {
            Ok(number) => {
                bytes.extend(4u32.to_le_bytes());
                bytes.extend(number.to_le_bytes());
            }
            Err(_) => {
                bytes.extend(8u32.to_le_bytes());
                text(&mut bytes, value);
            }
        }
    }
    for (index, name) in tensors.iter().enumerate() {
        text(&mut bytes, name);
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend((32 * index as u64).to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(32) + 32 * tensors.len(), 0);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_window_makes_mistral_of_llama() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let sizes = [
        ("llama.attention.head_count", "4"),
        ("llama.embedding_length", "32"),
        ("llama.block_count", "2"),
        ("llama.feed_forward_length", "64"),
        ("llama.context_length", "64"),
        ("llama.attention.layer_norm_rms_epsilon", "1"),
        ("general.architecture", "llama"),
    ];
    let config = |more: &[(&str, &str)]| {
        write(&path, &[&sizes[..], more].concat(), &[]);
        let mut file = GgufFile::open(&path).unwrap();
        file.tensors = GgufFile::open(&fixture("gguf/llama.gguf")).unwrap().tensors;
        file.config().unwrap()
    };
    assert_eq!(config(&[])["model_type"], "llama");
    let windowed = config(&[("llama.attention.sliding_window", "16")]);
    assert_eq!(windowed["model_type"], "mistral");
    assert_eq!(windowed["sliding_window"], 16);
}

#[test]
fn what_is_not_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let open = |metadata: &[(&str, &str)], tensors: &[&str]| {
        write(&path, metadata, tensors);
        GgufFile::open(&path)
    };
    let llama = ("general.architecture", "llama");
    for (metadata, expected) in [
        (
            vec![("general.architecture", "rwkv6")],
            "`rwkv6`; expected llama, qwen2",
        ),
        (vec![llama, ("split.count", "3")], "several parts"),
    ] {
        let error = open(&metadata, &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let file = open(&[llama], &["blk.0.ssm_a"]).unwrap();
    let error = file.entries().unwrap_err().to_string();
    assert!(error.contains("`blk.0.ssm_a` is not a tensor"), "{error}");
    let error = file.config().unwrap_err().to_string();
    assert!(
        error.contains("lacks `llama.attention.head_count`"),
        "{error}"
    );
    let error = file.tokenizer_json().unwrap_err().to_string();
    assert!(error.contains("no tokenizer"), "{error}");
    for (key, value, expected) in [
        ("llama.attention.scale", "2", "no such key"),
        ("llama.expert_count", "8", "expected 0"),
        ("llama.rope.freq_base_swa", "16", "no such key"),
        ("llama.rope.scaling.yarn_ext_factor", "16", "expected 1"),
    ] {
        let file = open(&[llama, (key, value)], &[]).unwrap();
        let error = file.config().unwrap_err().to_string();
        assert!(error.contains(key) && error.contains(expected), "{error}");
    }
    let error = GgufFile::open(&fixture("gguf/make.py")).unwrap_err();
    assert!(
        error.to_string().contains("does not begin with `GGUF`"),
        "{error}"
    );
    let error = GgufFile::open(&folder.path().join("other.gguf")).unwrap_err();
    assert!(matches!(error, Error::Read { .. }), "{error}");
}

#[test]
fn a_table_of_llama_3_gives_its_settings() {
    // Llama 3.2: factor 32 of 8,192 tokens, base 500,000, heads of 64.
    let table: Vec<f32> = (0..32)
        .map(|pair| {
            let wavelength = std::f64::consts::TAU * 500_000f64.powf(pair as f64 / 32.0);
            let smooth = ((8192.0 / wavelength - 1.0) / 3.0).clamp(0.0, 1.0);
            (1.0 / ((1.0 - smooth) / 32.0 + smooth)) as f32
        })
        .collect();
    let found = config::llama3(&table, 500_000.0).unwrap();
    assert_eq!(found["factor"], Value::from(32.0));
    assert_eq!(
        found["original_max_position_embeddings"],
        Value::from(8192.0)
    );
    assert!(config::llama3(&[1.0, 5.0, 2.0], 500_000.0).is_none());
}
