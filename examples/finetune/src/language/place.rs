//! Where a language model is.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::target::Target;

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
    /// Those of [`Target::of`]; [`Error::Config`] for a run of another kind.
    pub fn of(target: &Path) -> Result<Self, Error> {
        Self::of_target(&Target::of(target, None)?)
    }

    /// The same with another base, which may have moved.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of), but the base that `target` names need not be there.
    pub fn with_base(target: &Path, base: &Path) -> Result<Self, Error> {
        Self::of_target(&Target::of(target, Some(base))?)
    }

    /// Of what was trained.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a run of another kind.
    pub fn of_target(target: &Target) -> Result<Self, Error> {
        let mut place = Self {
            base: target.base.clone(),
            adapter: target.adapter.clone(),
            plain: false,
            template: None,
        };
        if let Some(run) = &target.run {
            let task = run.task()?;
            if !task.is_language() {
                let expected = "a run of chat, instruct, completion or text";
                let field = format!("{}: task", target.folder().display());
                let found = serde_json::to_string(&task).unwrap_or_default();
                return Err(Error::config(field, found, expected));
            }
            place.plain = task.is_plain();
            place.template.clone_from(&run.data.template);
        }
        Ok(place)
    }

    /// An adapter for a base that is loaded.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of); [`Error::Config`] for something else than an adapter, and for an adapter that names another
    /// base.
    pub fn of_adapter(target: &Path, base: &Path) -> Result<Self, Error> {
        let whole = |target: &Path| {
            let expected = "a PEFT folder, or a run that trained an adapter";
            Error::config("--adapter", target.display(), expected)
        };
        // A base that is not where it was is taken for the one at hand, whose shapes must fit.
        if let Ok(named) = Target::of(target, None) {
            if named.adapter.is_none() {
                return Err(whole(target));
            }
            if named.base.canonicalize().ok() != base.canonicalize().ok() {
                let found = format!("an adapter of {}", named.base.display());
                let expected = format!("an adapter of {}", base.display());
                return Err(Error::config("--adapter", found, expected));
            }
        }
        let place = Self::with_base(target, base)?;
        if place.adapter.is_none() {
            return Err(whole(target));
        }
        Ok(place)
    }
}
