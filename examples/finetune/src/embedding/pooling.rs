//! How sentence-transformers makes a vector of a text: its files in a model folder.

use std::collections::BTreeMap;
use std::path::Path;

use programs::reading;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// What becomes of a text's token vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SentencePooling {
    pub vector: TextVector,
    /// Whether vectors are made to have length 1.
    pub normalize: bool,
    /// What is put in front of every text.
    pub prefix: String,
    pub lower_case: bool,
    /// Tokens of a text at most.
    pub longest: Option<usize>,
}

/// Which vector of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextVector {
    /// That of the first token.
    First,
    /// The mean over all tokens, special ones included.
    Mean,
}

#[derive(Deserialize)]
struct Module {
    #[serde(rename = "type")]
    kind: String,
    path: String,
}

#[derive(Deserialize, Default)]
struct Sentence {
    max_seq_length: Option<usize>,
    do_lower_case: Option<bool>,
}

#[derive(Deserialize, Default)]
struct Prompts {
    #[serde(default)]
    prompts: BTreeMap<String, String>,
    default_prompt_name: Option<String>,
}

impl SentencePooling {
    /// Of a folder; without `modules.json` the mean, as sentence-transformers does.
    pub fn from_folder(folder: &Path) -> Result<Self, Error> {
        let sentence: Sentence = parsed(folder, "sentence_bert_config.json")?.unwrap_or_default();
        let mut pooling = Self {
            vector: TextVector::Mean,
            normalize: false,
            prefix: String::new(),
            lower_case: sentence.do_lower_case.unwrap_or(false),
            longest: sentence.max_seq_length,
        };
        let prompts = "config_sentence_transformers.json";
        let stated: Prompts = parsed(folder, prompts)?.unwrap_or_default();
        if let Some(name) = stated.default_prompt_name {
            let Some(prefix) = stated.prompts.get(&name) else {
                let expected = "the name of one of its `prompts`";
                let field = format!("{prompts}: default_prompt_name");
                return Err(Error::config(field, name, expected));
            };
            pooling.prefix.clone_from(prefix);
        }
        let modules: Vec<Module> = parsed(folder, "modules.json")?.unwrap_or_default();
        for module in modules {
            match module.kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" => {}
                "Pooling" => pooling.vector = vector(&folder.join(module.path))?,
                "Normalize" => pooling.normalize = true,
                _ => {
                    let expected = "the modules Transformer, Pooling and Normalize";
                    return Err(Error::config("modules.json", module.kind, expected));
                }
            }
        }
        Ok(pooling)
    }
}

/// The vector of a folder of the module Pooling.
fn vector(folder: &Path) -> Result<TextVector, Error> {
    const MODE: &str = "pooling_mode";
    let fields: BTreeMap<String, serde_json::Value> =
        parsed(folder, "config.json")?.unwrap_or_default();
    // `"pooling_mode": "mean"`, or `"pooling_mode_mean_tokens": true` in older files.
    let named = fields.get(MODE).and_then(|mode| mode.as_str());
    let modes: Vec<&str> = match named {
        Some(mode) => vec![mode],
        None => {
            let on = fields.iter().filter(|(_, value)| **value == true);
            on.filter_map(|(name, _)| name.strip_prefix(MODE)?.strip_prefix('_'))
                .collect()
        }
    };
    match modes.as_slice() {
        ["cls" | "cls_token"] => Ok(TextVector::First),
        ["mean" | "mean_tokens"] => Ok(TextVector::Mean),
        others => {
            let field = format!("{}: {MODE}", folder.join("config.json").display());
            Err(Error::config(field, others.join(" and "), "cls or mean"))
        }
    }
}

/// A file of a folder, if it is there.
fn parsed<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<Option<T>, Error> {
    let path = folder.join(name);
    if !path.is_file() {
        return Ok(None);
    }
    let text = reading::text(&path).map_err(|error| Error::read(&path, error))?;
    let parsed = serde_json::from_str(&text).map_err(|error| Error::read(&path, error))?;
    Ok(Some(parsed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::fs;

    fn read(files: &[(&str, Value)]) -> Result<SentencePooling, Error> {
        let folder = tempfile::tempdir().unwrap();
        for (name, json) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, json.to_string()).unwrap();
        }
        SentencePooling::from_folder(folder.path())
    }

    fn modules(kinds: &[(&str, &str)]) -> (&'static str, Value) {
        let module = |(kind, path): &(&str, &str)| json!({"type": format!("sentence_transformers.models.{kind}"), "path": path});
        ("modules.json", kinds.iter().map(module).collect())
    }

    #[test]
    fn files_of_sentence_transformers_are_followed() {
        let plain = read(&[]).unwrap();
        assert_eq!(
            (plain.vector, plain.normalize, plain.longest),
            (TextVector::Mean, false, None)
        );
        let all = [
            ("Transformer", ""),
            ("Pooling", "1_Pooling"),
            ("Normalize", "2_Normalize"),
        ];
        let found = read(&[
            modules(&all),
            (
                "1_Pooling/config.json",
                json!({"word_embedding_dimension": 32, "pooling_mode_cls_token": true,
                                             "pooling_mode_mean_tokens": false}),
            ),
            (
                "sentence_bert_config.json",
                json!({"max_seq_length": 16, "do_lower_case": true}),
            ),
            (
                "config_sentence_transformers.json",
                json!({"prompts": {"query": "query: "}, "default_prompt_name": "query"}),
            ),
        ]);
        let expected = SentencePooling {
            vector: TextVector::First,
            normalize: true,
            prefix: "query: ".into(),
            lower_case: true,
            longest: Some(16),
        };
        assert_eq!(found.unwrap(), expected);
        let newer = read(&[
            modules(&all[..2]),
            ("1_Pooling/config.json", json!({"pooling_mode": "cls"})),
        ]);
        assert_eq!(newer.unwrap().vector, TextVector::First);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let said = |files: &[(&str, Value)]| read(files).unwrap_err().to_string();
        assert!(said(&[modules(&[("Dense", "2_Dense")])]).contains("models.Dense"));
        let pooling = modules(&[("Pooling", "1_Pooling")]);
        for config in [
            json!({"pooling_mode_max_tokens": true}),
            json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}),
            json!({"pooling_mode": "lasttoken"}),
            json!({}),
        ] {
            let found = said(&[pooling.clone(), ("1_Pooling/config.json", config)]);
            assert!(found.contains("expected cls or mean"), "{found}");
        }
        let other = json!({"default_prompt_name": "query"});
        assert!(
            said(&[("config_sentence_transformers.json", other)]).contains("default_prompt_name")
        );
        assert!(said(&[("modules.json", json!({}))]).contains("modules.json"));
    }
}
