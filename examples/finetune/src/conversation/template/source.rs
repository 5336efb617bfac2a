//! Where a model folder has its chat template.

use std::path::Path;

use burn_hf_models::gguf::GgufFile;
use programs::printing::{quoted_list, short};
use serde_json::Value;

use super::special::{CONFIG, object, text};
use crate::data::{Error, gguf};

/// Files of a template alone, in the order in which `transformers` takes them.
const FILE: &str = "chat_template.jinja";
const JSON: &str = "chat_template.json";
/// Folder of further templates.
const NAMED: &str = "additional_chat_templates";
/// The name of the template that is taken where none is asked for.
const DEFAULT: &str = "default";

/// The template of a folder with the place it is from.
pub(super) fn find(folder: &Path, name: Option<&str>) -> Result<Option<(String, String)>, Error> {
    let shown = |path: &Path| path.display().to_string();
    if GgufFile::is_named(folder) {
        let template = gguf(folder, |file| {
            Ok(file.chat_template(name).map(String::from))
        })?;
        return match (template, name) {
            (Some(template), _) => Ok(Some((shown(folder), template))),
            (None, None) => Ok(None),
            (None, Some(name)) => Err(Error::file(
                folder,
                format!("no chat template named `{}`", short(name)),
            )),
        };
    }
    let wanted = name.unwrap_or(DEFAULT);
    let file = match name {
        None | Some(DEFAULT) => folder.join(FILE),
        // A name is no path.
        Some(name) if name.contains(['/', '\\']) => folder.join(NAMED),
        Some(name) => folder.join(NAMED).join(format!("{name}.jinja")),
    };
    if file.is_file()
        && let Some(template) = text(&file)?
    {
        return Ok(Some((shown(&file), template)));
    }
    for file in [JSON, CONFIG] {
        let path = folder.join(file);
        let Some(config) = object(&path)? else {
            continue;
        };
        match config.get("chat_template") {
            None | Some(Value::Null) => {}
            Some(Value::String(template)) if wanted == DEFAULT => {
                return Ok(Some((shown(&path), template.clone())));
            }
            Some(Value::String(_)) => {}
            Some(list) => return named(&path, list, name).map(Some),
        }
    }
    match name {
        None => Ok(None),
        Some(name) => Err(Error::missing(
            &folder.join(NAMED),
            format!("a chat template named `{}`", short(name)),
        )),
    }
}

/// A template of a list of objects with `name` and `template`, or of an object.
fn named(path: &Path, list: &Value, name: Option<&str>) -> Result<(String, String), Error> {
    let pair = |value: &Value| -> Option<(String, String)> {
        let text = |key: &str| value.get(key)?.as_str().map(String::from);
        Some((text("name")?, text("template")?))
    };
    let pairs = match list {
        Value::Array(list) => list.iter().map(pair).collect::<Option<Vec<_>>>(),
        Value::Object(fields) => {
            let of = |(name, value): (&String, &Value)| {
                Some((name.clone(), value.as_str()?.to_string()))
            };
            fields.iter().map(of).collect()
        }
        _ => None,
    };
    let Some(pairs) = pairs else {
        let found = short(&list.to_string());
        let expected = "a text, or a list of objects with `name` and `template`";
        return Err(Error::file(
            path,
            format!("`chat_template`: expected {expected}, found {found}"),
        ));
    };
    let found = pairs
        .iter()
        .find(|(known, _)| known == name.unwrap_or(DEFAULT));
    // One template needs no name.
    let found = found.or_else(|| pairs.first().filter(|_| name.is_none() && pairs.len() == 1));
    match found {
        Some((known, template)) => Ok((
            format!("{} (`{}`)", path.display(), short(known)),
            template.clone(),
        )),
        None => {
            let (wanted, names) = (
                short(name.unwrap_or(DEFAULT)),
                quoted_list(pairs.iter().map(|(name, _)| name)),
            );
            Err(Error::file(
                path,
                format!("no chat template named `{wanted}`, found {names}: name one of them"),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_found_where_folders_have_them() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let found =
            |name| find(folder.path(), name).map(|found| found.map(|(_, template)| template));
        assert_eq!(found(None).unwrap(), None);
        write(CONFIG, r#"{"chat_template": "of the tokenizer"}"#);
        assert_eq!(found(None).unwrap().unwrap(), "of the tokenizer");
        assert!(matches!(found(Some("rag")), Err(Error::Missing { .. })));
        write(
            CONFIG,
            r#"{"chat_template": [{"name": "default", "template": "usual"}, {"name": "rag", "template": "other"}]}"#,
        );
        assert_eq!(found(None).unwrap().unwrap(), "usual");
        assert_eq!(found(Some("rag")).unwrap().unwrap(), "other");
        let error = found(Some("tools")).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "no chat template named `tools`, found `default`, `rag`: name one of them"
            ),
            "{error}"
        );
        write(FILE, "of a file\n");
        assert_eq!(found(None).unwrap().unwrap(), "of a file\n");
        assert_eq!(found(Some("rag")).unwrap().unwrap(), "other");
        std::fs::create_dir(folder.path().join(NAMED)).unwrap();
        write(&format!("{NAMED}/rag.jinja"), "a further file");
        assert_eq!(found(Some("rag")).unwrap().unwrap(), "a further file");
        assert!(found(Some("../chat_template")).is_err());
    }

    #[test]
    fn lists_that_do_not_fit_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (config, expected) in [
            (r#"{"chat_template": 3}"#, "expected a text, or a list"),
            (
                r#"{"chat_template": [{"name": "default"}]}"#,
                "expected a text, or a list",
            ),
            (
                r#"{"chat_template": [{"name": "a", "template": ""}, {"name": "b", "template": ""}]}"#,
                "found `a`, `b`",
            ),
            ("{", "expected a JSON object"),
        ] {
            std::fs::write(folder.path().join(CONFIG), config).unwrap();
            let error = find(folder.path(), None).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
