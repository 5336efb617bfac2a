//! A byte-level BPE of `tokenizer.json` as metadata.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::quantized::gguf_file::Value;
use serde::Deserialize;
use serde_json::Value as Json;

use super::super::tokenizer::{LLAMA3, QWEN2, SPLITS, kind};
use crate::error::Error;
use crate::llama::LlamaConfig;
use crate::message::short;
use crate::weights::{parse_file, read_config};

/// The key of the chat template.
pub(super) const TEMPLATE: &str = "tokenizer.chat_template";

/// The parts of `tokenizer.json` that are expressed.
#[derive(Deserialize)]
struct TokenizerFile {
    normalizer: Option<Json>,
    pre_tokenizer: Option<Json>,
    post_processor: Option<Json>,
    #[serde(default)]
    added_tokens: Vec<Added>,
    model: Model,
}

#[derive(Deserialize)]
struct Added {
    id: usize,
    content: String,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model {
    r#type: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: Option<bool>,
    #[serde(default)]
    vocab: Json,
    #[serde(default)]
    merges: Vec<Merge>,
}

/// Two tokens, as newer or older files write them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Text(String),
}

pub(super) fn text(value: &str) -> Value {
    Value::String(value.into())
}

/// The metadata of a folder's tokens.
pub(super) fn tokens(base: &Path, config: &LlamaConfig) -> Result<BTreeMap<String, Value>, Error> {
    let path = base.join("tokenizer.json");
    let file: TokenizerFile = parse_file(&path)?;
    let refuse = |reason: String| {
        Err(Error::Weights {
            path: path.clone(),
            reason,
        })
    };
    let model = file.model.r#type.as_deref().unwrap_or("BPE");
    if model != "BPE" || file.model.byte_fallback {
        return refuse(format!(
            "a tokenizer of the kind {}{}; expected a byte-level BPE. Give the GGUF file of the same model as the base \
             (--model), whose tokenizer is copied",
            short(model),
            if file.model.byte_fallback {
                " with bytes as tokens"
            } else {
                ""
            }
        ));
    }
    let Some(split) = split(&file) else {
        return refuse(format!(
            "it splits text into words in a way that has no name here; expected that of {SPLITS}. Give the GGUF file of \
             the same model as the base (--model), whose tokenizer is copied"
        ));
    };
    let mut texts: Vec<Option<(String, usize)>> = vec![None; config.vocab_size];
    let vocabulary = file.model.vocab.as_object().into_iter().flatten();
    let vocabulary = vocabulary.map(|(text, id)| {
        let id = id.as_u64().map(|id| id as usize);
        (id.unwrap_or(usize::MAX), text.clone(), kind::NORMAL)
    });
    let added = file.added_tokens.iter().map(|token| {
        let kind = if token.special {
            kind::CONTROL
        } else {
            kind::USER
        };
        (token.id, token.content.clone(), kind)
    });
    for (id, text, kind) in vocabulary.chain(added) {
        let Some(place) = texts.get_mut(id) else {
            return refuse(format!(
                "token {id} (`{}`) is unknown to the model, which has {} embeddings",
                short(&text),
                config.vocab_size
            ));
        };
        *place = Some((text, kind));
    }
    // Rows of the table without a token.
    let texts: Vec<(String, usize)> = texts
        .into_iter()
        .enumerate()
        .map(|(id, token)| token.unwrap_or_else(|| (format!("[PAD{id}]"), kind::UNUSED)))
        .collect();
    let mut merges = Vec::new();
    for merge in &file.model.merges {
        let merge = match merge {
            Merge::Pair(left, right) => format!("{left} {right}"),
            Merge::Text(both) => both.clone(),
        };
        if merge.split(' ').count() != 2 {
            return refuse(format!(
                "the merge `{}` is not of two tokens with a space between them",
                short(&merge)
            ));
        }
        merges.push(Value::String(merge));
    }
    let id_of = |token: &str| texts.iter().position(|(text, _)| text == token);
    let ids = special_ids(base, id_of)?;
    let mut found = BTreeMap::new();
    let mut set = |key: &str, value| {
        found.insert(format!("tokenizer.ggml.{key}"), value);
    };
    set("model", text("gpt2"));
    set("pre", text(split));
    for (key, id) in ids {
        set(key, Value::U32(id as u32));
    }
    let ends = ends(file.post_processor.as_ref());
    set("add_bos_token", Value::Bool(ends[0]));
    set("add_eos_token", Value::Bool(ends[1]));
    if !merges.is_empty() {
        set("merges", Value::Array(merges));
    }
    let kinds = texts.iter().map(|(_, kind)| Value::I32(*kind as i32));
    set("token_type", Value::Array(kinds.collect()));
    let texts = texts.into_iter().map(|(text, _)| Value::String(text));
    set("tokens", Value::Array(texts.collect()));
    Ok(found)
}

/// The name of the way in which text is split into words.
fn split(file: &TokenizerFile) -> Option<&'static str> {
    let parts = match file.pre_tokenizer.as_ref()? {
        Json::Object(one) if one.get("type")? == "Sequence" => {
            one.get("pretokenizers")?.as_array()?
        }
        one => std::slice::from_ref(one),
    };
    let is = |part: &Json, kind: &str| part.get("type").and_then(Json::as_str) == Some(kind);
    let flag = |part: &Json, name: &str, default| {
        part.get(name).and_then(Json::as_bool).unwrap_or(default)
    };
    let bytes = |part: &Json, splits: bool| {
        is(part, "ByteLevel")
            && !flag(part, "add_prefix_space", true)
            && flag(part, "use_regex", true) == splits
    };
    let normalizer = file.normalizer.as_ref().filter(|it| !it.is_null());
    let ignores_merges = file.model.ignore_merges.unwrap_or(false);
    match (parts, normalizer) {
        ([part], None) if bytes(part, true) && !ignores_merges => Some("gpt-2"),
        ([digits, part], None)
            if is(digits, "Digits")
                && flag(digits, "individual_digits", false)
                && bytes(part, true)
                && !ignores_merges =>
        {
            Some("smollm")
        }
        ([split, part], normalizer) if is(split, "Split") && bytes(part, false) => {
            let pattern = split.get("pattern")?.get("Regex")?.as_str()?;
            let isolated = split.get("behavior").and_then(Json::as_str) == Some("Isolated");
            if !isolated || flag(split, "invert", false) {
                return None;
            }
            let is_nfc = normalizer.is_some_and(|it| is(it, "NFC"));
            match (pattern, normalizer) {
                (LLAMA3, None) if ignores_merges => Some("llama-bpe"),
                (QWEN2, Some(_)) if is_nfc && !ignores_merges => Some("qwen2"),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether a special token is put at the beginning and at the end of a text.
fn ends(post_processor: Option<&Json>) -> [bool; 2] {
    let Some(mut post_processor) = post_processor else {
        return [false; 2];
    };
    if let Some(Json::Array(parts)) = post_processor.get("processors") {
        let mut parts = parts.iter();
        let template = parts.find(|part| part.get("single").is_some());
        post_processor = template.unwrap_or(&Json::Null);
    }
    let single = post_processor.get("single").and_then(Json::as_array);
    let is_special = |part: Option<&Json>| part.is_some_and(|it| it.get("SpecialToken").is_some());
    single.map_or([false; 2], |parts| {
        [is_special(parts.first()), is_special(parts.last())]
    })
}

/// The ids of special tokens: by `tokenizer_config.json`, or else by `config.json`.
fn special_ids(
    base: &Path,
    id_of: impl Fn(&str) -> Option<usize>,
) -> Result<Vec<(&'static str, usize)>, Error> {
    let config: super::Json = read_config(base)?;
    let path = base.join("tokenizer_config.json");
    let stated: super::Json = if path.is_file() {
        parse_file(&path)?
    } else {
        super::Json::new()
    };
    let mut found = Vec::new();
    for (key, token, id) in [
        ("bos_token_id", "bos_token", "bos_token_id"),
        ("eos_token_id", "eos_token", "eos_token_id"),
        ("unknown_token_id", "unk_token", "unk_token_id"),
        ("padding_token_id", "pad_token", "pad_token_id"),
    ] {
        let token = stated.get(token);
        let token = token.and_then(|it| it.as_str().or_else(|| it.get("content")?.as_str()));
        let id = || {
            let id = config.get(id)?;
            let first = id.as_array().and_then(|ids| ids.first()).unwrap_or(id);
            first.as_u64().map(|id| id as usize)
        };
        found.extend(token.and_then(&id_of).or_else(id).map(|id| (key, id)));
    }
    Ok(found)
}
