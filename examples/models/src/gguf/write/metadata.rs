//! Metadata of a written file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use candle_core::quantized::gguf_file::{Content, Value};

use super::super::GgufFile;
use super::super::family::Family;
use super::tensors::GgufType;
use super::tokenizer::{self, text, tokens};
use super::{Json, family_of};
use crate::error::Error;
use crate::llama::{LlamaConfig, LlamaForCausalLM, RopeScaling};
use crate::weights::read_config;

/// The kind of blocks that Q8_0 is one of.
const QUANTIZATION_VERSION: u32 = 2;

/// Keys of a base file that are not true of another one.
const NOT_COPIED: [&str; 4] = [
    "general.file_type",
    "general.quantization_version",
    "general.size_label",
    "general.quantized_by",
];

/// Those of a model: of its base file, or by its folder.
pub(super) fn of_model(
    model: &LlamaForCausalLM,
    base: &Path,
    family: &Family,
    chat_template: Option<&str>,
    kind: GgufType,
) -> Result<Vec<(String, Value)>, Error> {
    let mut found = if GgufFile::is_named(base) {
        copied(base)?
    } else {
        let mut found = of_config(model.config(), base, family)?;
        found.extend(tokens(base, model.config())?);
        if let Some(template) = chat_template {
            found.insert(tokenizer::TEMPLATE.into(), text(template));
        }
        found
    };
    found.insert("general.file_type".into(), Value::U32(kind.file_type()));
    found.insert(
        "general.quantization_version".into(),
        Value::U32(QUANTIZATION_VERSION),
    );
    Ok(ordered(found))
}

/// Those of an adapter for the model of `base`.
pub(super) fn of_adapter(base: &Path, alpha: f64) -> Result<Vec<(String, Value)>, Error> {
    let found = [
        ("general.architecture", text(family_of(base)?.architecture)),
        ("general.type", text("adapter")),
        ("adapter.type", text("lora")),
        ("adapter.lora.alpha", Value::F32(alpha as f32)),
    ];
    let found = found.map(|(key, value)| (key.to_string(), value));
    Ok(ordered(found.into()))
}

/// Readers look for the architecture first.
fn ordered(mut found: BTreeMap<String, Value>) -> Vec<(String, Value)> {
    const FIRST: &str = "general.architecture";
    let first = found.remove(FIRST);
    let first = first.map(|value| (FIRST.to_string(), value));
    first.into_iter().chain(found).collect()
}

/// The metadata of a file, each value in the type that it has there.
fn copied(base: &Path) -> Result<BTreeMap<String, Value>, Error> {
    // Guards against damaged headers, which the crate's reader does not have.
    GgufFile::open(base)?;
    let file = File::open(base).map_err(|source| Error::Read {
        path: base.into(),
        source,
    })?;
    let content = Content::read(&mut BufReader::new(file)).map_err(|error| Error::Weights {
        path: base.into(),
        reason: error.to_string(),
    })?;
    let kept = content.metadata.into_iter().filter(|(key, value)| {
        // An empty array has no type.
        let is_empty = matches!(value, Value::Array(values) if values.is_empty());
        let is_of_file = key.starts_with("quantize.") || key.starts_with("split.");
        !is_empty && !is_of_file && !NOT_COPIED.contains(&key.as_str())
    });
    Ok(kept.collect())
}

/// The metadata that llama.cpp's converter makes of a folder's configuration.
fn of_config(
    config: &LlamaConfig,
    base: &Path,
    family: &Family,
) -> Result<BTreeMap<String, Value>, Error> {
    let refuse = |reason: String| {
        Err(Error::Weights {
            path: base.into(),
            reason,
        })
    };
    if config.output_norms || config.fused_projections {
        return refuse(format!(
            "a folder of the kind {} has no byte-level BPE, whose tokens alone are written: give the GGUF file of the \
             same model as the base (--model), whose tokenizer is copied",
            family.model_type
        ));
    }
    let all: Json = read_config(base)?;
    let longest = all.get("max_position_embeddings");
    let Some(longest) = longest.and_then(serde_json::Value::as_u64) else {
        return refuse("expected a number as `max_position_embeddings` in config.json".into());
    };
    let mut found = BTreeMap::new();
    let mut set = |key: &str, value| {
        found.insert(format!("{}.{key}", family.architecture), value);
    };
    let count = |value: usize| Value::U32(value as u32);
    let number = |value: f64| Value::F32(value as f32);
    set("vocab_size", count(config.vocab_size));
    set("context_length", Value::U32(longest as u32));
    set("embedding_length", count(config.hidden_size));
    set("block_count", count(config.num_hidden_layers));
    set("feed_forward_length", count(config.intermediate_size));
    set("attention.head_count", count(config.num_attention_heads));
    set("attention.head_count_kv", count(config.key_value_heads()));
    set(
        "attention.layer_norm_rms_epsilon",
        number(config.rms_norm_eps),
    );
    set("attention.key_length", count(config.head_width()));
    set("attention.value_length", count(config.head_width()));
    set("rope.dimension_count", count(config.rotary_width()));
    set("rope.freq_base", number(config.rope_theta));
    let windows = config.sliding_layers.iter().filter(|is| **is).count();
    if let Some(window) = config.sliding_window {
        if windows != config.num_hidden_layers {
            return refuse(format!(
                "{windows} of {} layers see a window of the text, which a GGUF file of this kind cannot say",
                config.num_hidden_layers
            ));
        }
        set("attention.sliding_window", count(window));
    }
    match &config.rope_scaling {
        // Llama 3's is a table among the tensors.
        RopeScaling::None | RopeScaling::Llama3 { .. } => {}
        RopeScaling::Linear { factor } => {
            set("rope.scaling.type", text("linear"));
            set("rope.scaling.factor", number(*factor));
        }
        other => {
            let shown = format!("{other:?}");
            let name = shown.split([' ', '{']).next().unwrap_or_default();
            return refuse(format!(
                "the rotary positions are stretched by {name}, which is not written from a folder; expected none, linear \
                 or llama3, or the GGUF file of the same model as the base (--model)"
            ));
        }
    }
    let unrotated = config.rotated_layers.iter().filter(|is| !**is).count();
    let by_four = |(layer, is_rotated): (usize, &bool)| *is_rotated == ((layer + 1) % 4 != 0);
    if unrotated > 0 && !config.rotated_layers.iter().enumerate().all(by_four) {
        return refuse(
            "layers without rotations are others than every fourth, which a GGUF file cannot say"
                .into(),
        );
    }
    found.insert("general.architecture".into(), text(family.architecture));
    found.insert("general.type".into(), text("model"));
    Ok(found)
}
