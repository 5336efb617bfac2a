//! Where a language model is.

use std::path::{Path, PathBuf};

use programs::reading;
use serde::Deserialize;

use crate::config::AdapterKind;
use crate::error::Error;
use crate::history::{FILE, History};

const ADAPTER: &str = "adapter_config.json";

/// Where a language model is: the base, and what was trained of it.
///
/// ```no_run
/// use finetune::language::Place;
///
/// let place = Place::of("runs/ief-seed1".as_ref())?;
/// println!("{}", place.base.display());
/// # Ok::<(), finetune::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// Hugging Face folder or GGUF file.
    pub base: PathBuf,
    /// PEFT folder.
    pub adapter: Option<PathBuf>,
    /// Whether it was trained on plain texts, without a chat template.
    pub plain: bool,
    /// The chat template by name that it was trained with.
    pub template: Option<String>,
}

impl Place {
    /// Of the folder of a run, a PEFT folder, a Hugging Face folder or a GGUF file.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] for a damaged record of a run, [`Error::Config`] for a run of another kind or a PEFT folder that
    /// does not say where its base is.
    pub fn of(target: &Path) -> Result<Self, Error> {
        let place = Self::find(target)?;
        if place.adapter.is_some() && !place.base.exists() {
            let field = format!("{}: base model", target.display());
            let expected = "the path of the base model (or give its path with --model)";
            return Err(Error::config(field, place.base.display(), expected));
        }
        Ok(place)
    }

    /// The same with another base, which may have moved.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of), but the base that `target` names need not be there.
    pub fn with_base(target: &Path, base: &Path) -> Result<Self, Error> {
        let base = base.to_path_buf();
        Ok(Self {
            base,
            ..Self::find(target)?
        })
    }

    /// An adapter for a base that is loaded.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of); [`Error::Config`] for something else than an adapter, and for an adapter that names another
    /// base.
    pub fn of_adapter(target: &Path, base: &Path) -> Result<Self, Error> {
        let place = Self::find(target)?;
        if place.adapter.is_none() {
            let expected = "a PEFT folder, or a run that trained an adapter";
            return Err(Error::config("--adapter", target.display(), expected));
        }
        // A base that is not where it was is taken for the one at hand, whose shapes must fit.
        let named = place.base.canonicalize().ok();
        if named.is_some() && named != base.canonicalize().ok() {
            let found = format!("an adapter of {}", place.base.display());
            let expected = format!("an adapter of {}", base.display());
            return Err(Error::config("--adapter", found, expected));
        }
        let base = base.to_path_buf();
        Ok(Self { base, ..place })
    }

    /// Whether a folder holds a run or an adapter, and not a model.
    pub(crate) fn is_trained(folder: &Path) -> bool {
        folder.join(FILE).is_file() || folder.join(ADAPTER).is_file()
    }

    fn find(target: &Path) -> Result<Self, Error> {
        if target.join(FILE).is_file() {
            return Self::of_run(target);
        }
        let new = |base, adapter| Self {
            base,
            adapter,
            plain: false,
            template: None,
        };
        if !target.join(ADAPTER).is_file() {
            return Ok(new(target.into(), None));
        }
        #[derive(Deserialize)]
        struct Base {
            base_model_name_or_path: Option<PathBuf>,
        }
        let path = target.join(ADAPTER);
        let text = reading::text(&path).map_err(|error| Error::read(&path, error))?;
        let base: Base = serde_json::from_str(&text).map_err(|error| Error::read(&path, error))?;
        let base = base.base_model_name_or_path.unwrap_or_default();
        Ok(new(base, Some(target.into())))
    }

    fn of_run(folder: &Path) -> Result<Self, Error> {
        let config = History::read(folder)?.config;
        let task = config.task()?;
        if !task.is_language() {
            let expected = "a run of chat, instruct, completion or text";
            let field = format!("{}: task", folder.join(FILE).display());
            let found = serde_json::to_string(&task).unwrap_or_default();
            return Err(Error::config(field, found, expected));
        }
        let is_full = config.adapter.kind == AdapterKind::Full;
        let base = config.model.folder.clone().unwrap_or_default();
        Ok(Self {
            base: if is_full { folder.join("model") } else { base },
            adapter: (!is_full).then(|| folder.join("adapter")),
            plain: task.is_plain(),
            template: config.data.template,
        })
    }
}
