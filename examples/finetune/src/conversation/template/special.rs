//! Special tokens by their roles.

use std::collections::BTreeMap;
use std::path::Path;

use burn_hf_models::gguf::GgufFile;
use programs::printing::{message, short};
use serde_json::{Map, Value};

use crate::data::{Error, Object, gguf};

pub(super) const CONFIG: &str = "tokenizer_config.json";
/// Where older folders have them.
const TOKENS: &str = "special_tokens_map.json";

/// Special tokens by their roles, such as `eos_token`: templates print them, and texts end with them.
///
/// ```
/// use finetune::conversation::SpecialTokens;
///
/// let special = SpecialTokens::new([("eos_token", "<|im_end|>")]);
/// assert_eq!(special.get("eos_token"), Some("<|im_end|>"));
/// assert_eq!(special.get("bos_token"), None);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    tokens: BTreeMap<String, String>,
}

impl SpecialTokens {
    /// From pairs of a role and a token.
    pub fn new<K: Into<String>, V: Into<String>>(tokens: impl IntoIterator<Item = (K, V)>) -> Self {
        let tokens = tokens
            .into_iter()
            .map(|(role, token)| (role.into(), token.into()));
        Self {
            tokens: tokens.collect(),
        }
    }

    /// Those of a GGUF file's metadata, or of a model folder: the fields `…_token` of `tokenizer_config.json`, and of `special_tokens_map.json`
    /// what is not there; none without these files.
    ///
    /// # Errors
    ///
    /// [`Error::File`] for a file that is damaged, [`Error::Read`] for one that cannot be read.
    pub fn from_folder(folder: &Path) -> Result<Self, Error> {
        if GgufFile::is_named(folder) {
            return gguf(folder, |file| {
                let roles = [
                    ("bos_token", "bos"),
                    ("eos_token", "eos"),
                    ("unk_token", "unknown"),
                    ("pad_token", "padding"),
                ];
                let tokens = roles.into_iter();
                Ok(Self::new(tokens.filter_map(|(role, name)| {
                    Some((role, file.special_token(name)?))
                })))
            });
        }
        let mut special = Self::default();
        for file in [CONFIG, TOKENS] {
            let path = folder.join(file);
            if let Some(object) = object(&path)? {
                let found = object.iter().filter(|(role, _)| role.ends_with("_token"));
                for (role, value) in found {
                    if let Some(token) = token(value).map_err(|found| {
                        let expected = "a text, or an object with `content`";
                        Error::file(
                            &path,
                            format!("`{}`: expected {expected}, found {found}", short(role)),
                        )
                    })? {
                        special.tokens.entry(role.clone()).or_insert(token);
                    }
                }
            }
        }
        Ok(special)
    }

    /// The token of a role: `bos_token`, `eos_token`, `pad_token` and so on.
    pub fn get(&self, role: &str) -> Option<&str> {
        self.tokens.get(role).map(String::as_str)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tokens
            .iter()
            .map(|(role, token)| (role.as_str(), token.as_str()))
    }
}

/// A token is a text or an object; flags such as `add_bos_token` are none.
fn token(value: &Value) -> Result<Option<String>, String> {
    match value {
        Value::String(token) => Ok(Some(token.clone())),
        Value::Null | Value::Bool(_) => Ok(None),
        Value::Object(fields) => match fields.get("content") {
            Some(Value::String(token)) => Ok(Some(token.clone())),
            _ => Err(short(&value.to_string())),
        },
        other => Err(short(&other.to_string())),
    }
}

/// The object of a JSON file, if there is one.
pub(super) fn object(path: &Path) -> Result<Option<Map<String, Value>>, Error> {
    let Some(text) = text(path)? else {
        return Ok(None);
    };
    match serde_json::from_str(text.trim_start_matches('\u{feff}')) {
        Ok(Object(object)) => Ok(Some(object)),
        Err(error) => Err(Error::file(
            path,
            format!("expected a JSON object: {}", message(&error)),
        )),
    }
}

/// The text of a file, if there is one.
pub(super) fn text(path: &Path) -> Result<Option<String>, Error> {
    match programs::reading::text(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read {
            path: path.into(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_texts_or_objects() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            SpecialTokens::from_folder(folder.path()).unwrap(),
            SpecialTokens::default()
        );
        let config = r#"{"bos_token": null, "add_bos_token": true, "pad_token": {"content": "<pad>", "lstrip": false},
                         "eos_token": "</s>", "model_max_length": 8}"#;
        std::fs::write(folder.path().join(CONFIG), config).unwrap();
        std::fs::write(
            folder.path().join(TOKENS),
            r#"{"eos_token": "other", "unk_token": "<unk>"}"#,
        )
        .unwrap();
        let found = SpecialTokens::from_folder(folder.path()).unwrap();
        let expected = [
            ("eos_token", "</s>"),
            ("pad_token", "<pad>"),
            ("unk_token", "<unk>"),
        ];
        assert_eq!(found, SpecialTokens::new(expected));
        for (damaged, expected) in [
            (
                "{\"eos_token\": 3}",
                "`eos_token`: expected a text, or an object with `content`, found 3",
            ),
            ("{\"eos_token\": {}}", "found {}"),
            ("[]", "expected a JSON object"),
        ] {
            std::fs::write(folder.path().join(CONFIG), damaged).unwrap();
            let error = SpecialTokens::from_folder(folder.path())
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
