//! What a model folder holds next to weights and configuration: tokenizer, chat template, settings of generation.

use std::fs;
use std::path::Path;

use burn_hf_models::gguf::{GgufFile, GgufValue};
use programs::{files, reading};
use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::model::{COPIED, HEAD, README};
use crate::target::{LABELS, Target, label_file};

/// The folder of further chat templates.
const TEMPLATES: &str = "additional_chat_templates";

/// Write them into `folder`; gives notes for the user.
///
/// A tokenizer or template in the adapter's folder goes before that of the base.
pub(super) fn write(target: &Target, folder: &Path) -> Result<Vec<String>, Error> {
    let mut notes = Vec::new();
    if GgufFile::is_named(&target.base) {
        notes.extend(from_gguf(&target.base, folder)?);
    } else {
        copy(&target.base, folder)?;
    }
    if let Some(adapter) = &target.adapter {
        copy(adapter, folder)?;
    }
    card(target, folder)?;
    let head = target.folder().join(HEAD);
    if head.is_file() {
        copy_file(&head, &folder.join(HEAD))?;
        if !target.labels.is_empty() {
            files::write_json(
                &folder.join(LABELS),
                &label_file(&target.labels, target.problem),
            )?;
        }
        notes.push(format!(
            "the head on the mean of the tokens is in {HEAD}: `transformers` loads the encoder (`AutoModel`)"
        ));
    }
    Ok(notes)
}

/// Write what the folder is made of.
fn card(target: &Target, folder: &Path) -> Result<(), Error> {
    let base = target.base.display().to_string();
    let shown = |path: &str| format!("`{}`", path.replace('`', "'"));
    let made = match &target.adapter {
        Some(adapter) => format!(
            "the adapter {} in the weights of {}",
            shown(&adapter.display().to_string()),
            shown(&base)
        ),
        None => shown(&base),
    };
    let text = format!(
        "---\nbase_model: {}\nlibrary_name: transformers\ntags:\n- finetune\n---\n\n# Merged model\n\nWritten by \
         `finetune merge`: {made}. `transformers` loads it without PEFT, as the class in config.json.\n",
        Value::from(base)
    );
    Ok(files::write(&folder.join(README), text)?)
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    for name in COPIED {
        let path = from.join(name);
        if path.is_file() {
            copy_file(&path, &to.join(name))?;
        }
    }
    let templates = from.join(TEMPLATES);
    let Ok(entries) = fs::read_dir(&templates) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|end| end == "jinja") && path.is_file() {
            files::make_folder(&to.join(TEMPLATES))?;
            copy_file(&path, &to.join(TEMPLATES).join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<(), Error> {
    let bytes = reading::bytes(from).map_err(|error| Error::read(from, error))?;
    Ok(files::write(to, bytes)?)
}

/// Write what a GGUF file says about tokens; a note where it cannot be expressed as `tokenizer.json`.
fn from_gguf(path: &Path, folder: &Path) -> Result<Option<String>, Error> {
    let file = GgufFile::open(path)?;
    let mut generation = Map::new();
    for (name, key) in [
        ("bos_token_id", "bos"),
        ("eos_token_id", "eos"),
        ("pad_token_id", "padding"),
    ] {
        let key = format!("tokenizer.ggml.{key}_token_id");
        if let Some(id) = file.metadata(&key).and_then(GgufValue::as_usize) {
            generation.insert(name.into(), id.into());
        }
    }
    files::write_json(&folder.join("generation_config.json"), &generation)?;
    if let Some(template) = file.chat_template(None) {
        files::write(&folder.join("chat_template.jinja"), template)?;
    }
    let tokenizer = match file.tokenizer_json() {
        Ok(tokenizer) => tokenizer,
        Err(error) => {
            return Ok(Some(format!(
                "no tokenizer is written, take the files of the original model: {error}"
            )));
        }
    };
    files::write(&folder.join("tokenizer.json"), tokenizer)?;
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": false,
    });
    for (name, key) in [
        ("bos_token", "bos"),
        ("eos_token", "eos"),
        ("unk_token", "unknown"),
        ("pad_token", "padding"),
    ] {
        if let Some(token) = file.special_token(key) {
            config[name] = Value::from(token);
        }
    }
    files::write_json(&folder.join("tokenizer_config.json"), &config)?;
    Ok(None)
}
