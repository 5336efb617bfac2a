//! `tokenizer.json` from a GGUF file's metadata.
//!
//! Byte-level BPE (`gpt2`: its merges are in the file, its split into words has a name) and SentencePiece's BPE
//! (`llama`: merges follow from the scores of the tokens, as `transformers` derives them).

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{GgufFile, GgufValue};
use crate::error::Error;
use crate::message::short;

/// Kinds of tokens in `tokenizer.ggml.token_type`.
pub(super) mod kind {
    pub const NORMAL: usize = 1;
    pub const UNKNOWN: usize = 2;
    pub const CONTROL: usize = 3;
    pub const USER: usize = 4;
    pub const UNUSED: usize = 5;
}

/// How Llama 3 splits text into words; in Qwen's expression a number is one digit.
pub(super) const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
pub(super) const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

pub(super) const SPLITS: &str = "gpt-2, llama-bpe, qwen2 or smollm";

/// What the metadata say about tokens.
struct Vocabulary<'a> {
    tokens: Vec<&'a str>,
    kinds: Vec<usize>,
}

impl GgufFile {
    /// The text of a `tokenizer.json` that gives the tokens of this model.
    ///
    /// # Errors
    ///
    /// [`Error::Weights`] if the file has no tokenizer, or one of a kind that is not read.
    pub fn tokenizer_json(&self) -> Result<String, Error> {
        let vocabulary = self.vocabulary()?;
        let model = self.text("tokenizer.ggml.model").unwrap_or_default();
        let mut tokenizer = match model {
            "gpt2" => self.byte_level(&vocabulary)?,
            "llama" => self.sentence_piece(&vocabulary)?,
            other => {
                return self.failed(format!(
                    "tokenizer.ggml.model is `{}`; expected gpt2 or llama",
                    short(other)
                ));
            }
        };
        tokenizer["version"] = "1.0".into();
        tokenizer["added_tokens"] = vocabulary.added();
        let is_added = |end: &str, default| {
            let key = format!("tokenizer.ggml.add_{end}_token");
            let stated = self.metadata.get(&key).and_then(GgufValue::as_bool);
            stated.unwrap_or(default)
        };
        // What llama.cpp does where the file says nothing.
        let split = self.text("tokenizer.ggml.pre").unwrap_or_default();
        let default = model == "llama" || split.starts_with("llama");
        let bos = is_added("bos", default).then(|| self.special_token("bos"));
        let eos = is_added("eos", false).then(|| self.special_token("eos"));
        tokenizer["post_processor"] = self.template(bos.flatten(), eos.flatten());
        Ok(tokenizer.to_string())
    }

    /// The text of a special token: `bos`, `eos`, `unknown` or `padding`.
    pub fn special_token(&self, name: &str) -> Option<&str> {
        let id = self
            .metadata
            .get(&format!("tokenizer.ggml.{name}_token_id"))?
            .as_usize()?;
        let tokens = self.metadata.get("tokenizer.ggml.tokens")?.as_array()?;
        tokens.get(id)?.as_str()
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).and_then(GgufValue::as_str)
    }

    fn vocabulary(&self) -> Result<Vocabulary<'_>, Error> {
        let list = |key: &str| self.metadata.get(key).and_then(GgufValue::as_array);
        let Some(tokens) = list("tokenizer.ggml.tokens") else {
            return self.failed("the metadata has no tokenizer (`tokenizer.ggml.tokens`)");
        };
        let texts: Option<Vec<&str>> = tokens.iter().map(GgufValue::as_str).collect();
        let Some(texts) = texts else {
            return self.failed("`tokenizer.ggml.tokens` holds something else than text");
        };
        let mut ids = HashMap::new();
        for (id, text) in texts.iter().enumerate() {
            if let Some(other) = ids.insert(*text, id) {
                return self.failed(format!(
                    "`tokenizer.ggml.tokens` has `{}` twice, at {other} and {id}",
                    short(text)
                ));
            }
        }
        let kinds = match list("tokenizer.ggml.token_type") {
            Some(kinds) => kinds
                .iter()
                .map(|kind| kind.as_usize().unwrap_or(0))
                .collect(),
            None => vec![kind::NORMAL; texts.len()],
        };
        if kinds.len() != texts.len() {
            return self.failed(format!(
                "`tokenizer.ggml.token_type` has {} entries for {} tokens",
                kinds.len(),
                texts.len()
            ));
        }
        Ok(Vocabulary {
            tokens: texts,
            kinds,
        })
    }

    fn byte_level(&self, vocabulary: &Vocabulary<'_>) -> Result<Value, Error> {
        let split = |pattern: &str| {
            json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
                {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
            ]})
        };
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true});
        let mut ignore_merges = false;
        let mut normalizer = Value::Null;
        let words = match self.text("tokenizer.ggml.pre") {
            Some("gpt-2" | "phi-2") => bytes,
            Some("smollm") => json!({"type": "Sequence", "pretokenizers": [
                {"type": "Digits", "individual_digits": true}, bytes,
            ]}),
            Some("llama-bpe" | "llama3" | "llama-v3") => {
                ignore_merges = true;
                split(LLAMA3)
            }
            Some("qwen2" | "deepseek-r1-qwen") => {
                normalizer = json!({"type": "NFC"});
                split(QWEN2)
            }
            other => {
                let other = other.map_or("missing".into(), |name| format!("`{}`", short(name)));
                return self.failed(format!("tokenizer.ggml.pre is {other}; expected {SPLITS}"));
            }
        };
        let stored = self.metadata.get("tokenizer.ggml.merges");
        let Some(stored) = stored.and_then(GgufValue::as_array) else {
            return self.failed("the metadata lacks `tokenizer.ggml.merges`");
        };
        let mut merges = Vec::new();
        for (index, merge) in stored.iter().enumerate() {
            let pair = match merge {
                GgufValue::Text(text) => text.split_once(' '),
                GgufValue::Array(pair) => match &pair[..] {
                    [GgufValue::Text(left), GgufValue::Text(right)] => {
                        Some((&left[..], &right[..]))
                    }
                    _ => None,
                },
                _ => None,
            };
            match pair {
                Some((left, right)) => merges.push(json!([left, right])),
                None => {
                    return self.failed(format!(
                        "`tokenizer.ggml.merges`: entry {index} is {}; expected two tokens with a space between them",
                        short(&merge.to_string())
                    ));
                }
            }
        }
        Ok(json!({
            "normalizer": normalizer,
            "pre_tokenizer": words,
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "fuse_unk": false, "byte_fallback": false, "ignore_merges": ignore_merges,
                "vocab": vocabulary.ids(), "merges": merges},
        }))
    }

    fn sentence_piece(&self, vocabulary: &Vocabulary<'_>) -> Result<Value, Error> {
        let scores = self.metadata.get("tokenizer.ggml.scores");
        let scores = scores.and_then(GgufValue::as_array).map(|scores| {
            let scores = scores.iter().map(|score| score.as_f64().unwrap_or(0.0));
            scores.collect::<Vec<f64>>()
        });
        let Some(scores) = scores.filter(|scores| scores.len() == vocabulary.tokens.len()) else {
            return self.failed("expected one number for each token in `tokenizer.ggml.scores`, from which merges follow");
        };
        let merges = merges_by_score(vocabulary, &scores);
        let is_prefixed = self.metadata.get("tokenizer.ggml.add_space_prefix");
        let is_prefixed = is_prefixed.and_then(GgufValue::as_bool).unwrap_or(true);
        let mut normalizers =
            vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})];
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if is_prefixed {
            normalizers.insert(0, json!({"type": "Prepend", "prepend": "▁"}));
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        let unknown = vocabulary
            .kinds
            .iter()
            .position(|&kind| kind == kind::UNKNOWN);
        let unknown = unknown.map(|id| vocabulary.tokens[id]);
        Ok(json!({
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": null,
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {"type": "BPE", "unk_token": unknown, "fuse_unk": true, "byte_fallback": true,
                "ignore_merges": false, "vocab": vocabulary.ids(), "merges": merges},
        }))
    }

    /// A post-processor that puts tokens at the ends of a text.
    fn template(&self, bos: Option<&str>, eos: Option<&str>) -> Value {
        if bos.is_none() && eos.is_none() {
            return Value::Null;
        }
        let vocabulary = self.metadata.get("tokenizer.ggml.tokens");
        let tokens = vocabulary.and_then(GgufValue::as_array).unwrap_or_default();
        let id = |text: &str| tokens.iter().position(|token| token.as_str() == Some(text));
        let special = |text: &str| json!({"SpecialToken": {"id": text, "type_id": 0}});
        let around = |sequences: &[&str]| {
            let mut parts = Vec::new();
            for sequence in sequences {
                parts.extend(bos.map(special));
                parts.push(json!({"Sequence": {"id": sequence, "type_id": 0}}));
                parts.extend(eos.map(special));
            }
            parts
        };
        let names: Map<String, Value> = bos
            .iter()
            .chain(&eos)
            .map(|text| {
                let entry = json!({"id": text, "ids": [id(text)], "tokens": [text]});
                (text.to_string(), entry)
            })
            .collect();
        json!({"type": "TemplateProcessing", "single": around(&["A"]), "pair": around(&["A", "B"]),
            "special_tokens": names})
    }
}

impl Vocabulary<'_> {
    fn ids(&self) -> Map<String, Value> {
        let tokens = self.tokens.iter().enumerate();
        tokens
            .map(|(id, text)| (text.to_string(), id.into()))
            .collect()
    }

    /// Tokens that are found in a text as they are, before it is split.
    fn added(&self) -> Value {
        let tokens = self.tokens.iter().zip(&self.kinds).enumerate();
        tokens
            .filter(|(_, (_, kind))| [kind::UNKNOWN, kind::CONTROL, kind::USER].contains(kind))
            .map(|(id, (text, &kind))| {
                json!({"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": kind != kind::USER})
            })
            .collect()
    }
}

/// Every way to put a token together from two others, the token with the highest score first.
fn merges_by_score(vocabulary: &Vocabulary<'_>, scores: &[f64]) -> Vec<Value> {
    let tokens = vocabulary.tokens.iter().enumerate();
    let ids: HashMap<&str, usize> = tokens.map(|(id, text)| (*text, id)).collect();
    let mut merges: Vec<(f64, usize, usize, &str, &str)> = Vec::new();
    for (id, text) in vocabulary.tokens.iter().enumerate() {
        if vocabulary.kinds[id] != kind::NORMAL {
            continue;
        }
        let mut ways: Vec<(usize, usize, &str, &str)> = text
            .char_indices()
            .skip(1)
            .filter_map(|(index, _)| {
                let (left, right) = text.split_at(index);
                Some((*ids.get(left)?, *ids.get(right)?, left, right))
            })
            .collect();
        ways.sort_unstable_by_key(|(left, right, ..)| (*left, *right));
        merges.extend(ways.into_iter().map(|(_, _, left, right)| {
            let length = |text: &str| text.chars().count();
            (scores[id], length(left), length(right), left, right)
        }));
    }
    // Stable: ways of equal rank stay in the order of the tokens.
    merges.sort_by(|a, b| {
        let by_score = b.0.total_cmp(&a.0);
        by_score.then((b.1, b.2).cmp(&(a.1, a.2)))
    });
    merges
        .into_iter()
        .map(|(_, _, _, left, right)| json!([left, right]))
        .collect()
}
