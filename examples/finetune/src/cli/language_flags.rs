//! Flags that say which language model, with which adapters.

use std::path::{Path, PathBuf};

use burn_hf_models::llama::is_family;
use burn_hf_models::weights::read_config;
use clap::Args;
use programs::{DeviceKind, Floats};
use serde::Deserialize;

use crate::error::Error;
use crate::language::{Language, Place};
use crate::predict::Classifier;
use crate::target::Target;

/// A language model with adapters by name.
#[derive(Debug, Args)]
pub struct LanguageFlags {
    /// Folder of a run, PEFT folder, Hugging Face folder, or GGUF file.
    #[arg(value_name = "RUN|DIR|FILE.gguf")]
    target: PathBuf,
    /// The name of the model in requests [default: that of the folder or file].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Another adapter of the same base: a run or a PEFT folder; may be given several times.
    #[arg(long, value_name = "NAME=RUN|DIR", value_parser = named)]
    adapter: Vec<(String, PathBuf)>,
    /// Hugging Face folder or GGUF file of the base model, if it has moved.
    #[arg(long, value_name = "DIR|FILE.gguf")]
    model: Option<PathBuf>,
    /// Tokens of a text at most, prompt and answer together; keys and values of each are kept [default: those that the
    /// model was made for].
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    pub device: DeviceKind,
    /// Floats of the model; adapters stay f32.
    #[arg(long, value_enum, value_name = "FLOATS", default_value_t)]
    dtype: Floats,
}

impl LanguageFlags {
    /// What was trained, if it classifies texts, and what it is called.
    ///
    /// # Errors
    ///
    /// Those of [`Target::of`] and [`Classifier::is_in`]; [`Error::Config`] for adapters of a classifier.
    pub fn classifier(&self) -> Result<Option<(String, Target)>, Error> {
        let target = Target::of(&self.target, self.model.as_deref())?;
        if !Classifier::is_in(&target)? {
            return Ok(None);
        }
        if let Some((name, _)) = self.adapter.first() {
            let expected = "none: adapters are for language models";
            return Err(Error::config("--adapter", name, expected));
        }
        let name = self.name.clone().unwrap_or_else(|| name_of(&self.target));
        Ok(Some((name, target)))
    }

    /// The folder, if it holds an encoder of texts and no language model, and what it is called.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] for a damaged `config.json`; [`Error::Config`] for adapters of an encoder.
    pub fn encoder(&self) -> Result<Option<(String, &Path)>, Error> {
        #[derive(Deserialize)]
        struct Stated {
            model_type: Option<String>,
        }
        let folder = self.target.as_path();
        if !folder.join("config.json").is_file() || Target::is_trained(folder) {
            return Ok(None);
        }
        let stated: Stated = read_config(folder)?;
        if stated.model_type.as_deref().is_none_or(is_family) {
            return Ok(None);
        }
        if let Some((name, _)) = self.adapter.first() {
            let expected = "none: adapters are for language models";
            return Err(Error::config("--adapter", name, expected));
        }
        let name = self.name.clone().unwrap_or_else(|| name_of(folder));
        Ok(Some((name, folder)))
    }

    /// Load the model with its adapters; its base is there under its own name, too.
    ///
    /// # Errors
    ///
    /// Those of [`Place::of`], [`Place::of_adapter`], [`Language::open_named`] and [`Language::add`].
    pub fn open(&self) -> Result<Language, Error> {
        let place = match &self.model {
            Some(base) => Place::with_base(&self.target, base)?,
            None => Place::of(&self.target)?,
        };
        let device = self.device.open_in(self.dtype)?.inner();
        let name = self.name.clone().unwrap_or_else(|| name_of(&self.target));
        let mut language = Language::open_named(&name, &place, &device)?;
        if let Some(tokens) = self.context {
            language.limit_context(tokens);
        }
        for (name, folder) in &self.adapter {
            language.add(name, &Place::of_adapter(folder, &place.base)?)?;
        }
        let base = name_of(&place.base);
        if place.adapter.is_some() && language.names().all(|name| name != base) {
            language.add(&base, &Place::of(&place.base)?)?;
        }
        Ok(language)
    }
}

/// `NAME=FOLDER`.
fn named(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, folder)) if !name.is_empty() && !folder.is_empty() => {
            Ok((name.into(), folder.into()))
        }
        _ => Err("expected NAME=FOLDER".into()),
    }
}

/// The name of a folder or file, without the ending of a GGUF file.
fn name_of(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.into());
    let is_gguf = path
        .extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("gguf"));
    let name = if is_gguf {
        path.file_stem()
    } else {
        path.file_name()
    };
    name.map_or("model".into(), |name| name.to_string_lossy().into_owned())
}
