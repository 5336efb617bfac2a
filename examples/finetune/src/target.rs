//! What was trained, by the folder that it is in.

use std::path::{Path, PathBuf};

use burn_hf_models::gguf::GgufFile;
use programs::reading;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::{AdapterKind, Config};
use crate::error::Error;
use crate::history::{FILE, History};
use crate::problem::Problem;

/// What `problem_type` may be.
pub(crate) const EXPECTED_PROBLEM: &str =
    "expected single_label_classification, multi_label_classification or regression";
/// The settings of a PEFT folder.
const ADAPTER: &str = "adapter_config.json";
/// The file with the names of the classes, in the folder of an adapter or of an encoder with a head next to it.
pub(crate) const LABELS: &str = "labels.json";

/// A model, what was trained of it, and what is known about it.
///
/// ```no_run
/// use finetune::target::Target;
///
/// let target = Target::of("runs/ief-seed1".as_ref(), None)?;
/// println!("{} and {:?}", target.base.display(), target.adapter);
/// # Ok::<(), finetune::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Target {
    /// Hugging Face folder or GGUF file.
    pub base: PathBuf,
    /// PEFT folder.
    pub adapter: Option<PathBuf>,
    /// Names of the classes, labels or tags; empty where no record has them.
    pub labels: Vec<String>,
    /// What it says about a row, where a record says so.
    pub problem: Option<Problem>,
    /// Settings of the run.
    pub run: Option<Box<Config>>,
}

impl Target {
    /// Of the folder of a run, a PEFT folder, a Hugging Face folder or a GGUF file; `base` takes the place of the model
    /// that the record names.
    ///
    /// The folders `adapter` and `model` of a run are the run.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] and [`Error::RunFolder`] for a damaged record, a run that has left nothing behind yet, and a
    /// folder that is none of these; [`Error::Config`] where the base is not found.
    pub fn of(path: &Path, base: Option<&Path>) -> Result<Self, Error> {
        if path.join(FILE).is_file() {
            return Self::of_run(path, base);
        }
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
            && parent.join(FILE).is_file()
            && (name == "adapter" || name == "model")
        {
            return Self::of_run(parent, base);
        }
        if path.join(ADAPTER).is_file() {
            return Self::of_adapter(path, base);
        }
        if !path.join("config.json").is_file() && !GgufFile::is_named(path) {
            let expected =
                "the folder of a run, a PEFT folder, a Hugging Face folder or a GGUF file";
            let found = if path.exists() {
                "none of these"
            } else {
                "nothing"
            };
            let problem = format!("expected {expected}, found {found}");
            return Err(Error::read(path, problem));
        }
        let (labels, problem) = read_labels(path)?;
        Ok(Self {
            base: whole(path.into(), base)?,
            adapter: None,
            labels,
            problem,
            run: None,
        })
    }

    fn of_run(folder: &Path, base: Option<&Path>) -> Result<Self, Error> {
        let History {
            config,
            labels,
            status,
            ..
        } = History::read(folder)?;
        let (inner, file) = match config.adapter.kind {
            AdapterKind::Full => ("model", "model.safetensors"),
            _ => ("adapter", ADAPTER),
        };
        let written = folder.join(inner);
        if !written.join(file).is_file() {
            let status = serde_json::to_string(&status).unwrap_or_default();
            let status = status.trim_matches('"');
            return Err(Error::RunFolder {
                path: written,
                problem: format!(
                    "there is no {file} yet: the run is {status}; --resume goes on with it"
                ),
            });
        }
        let named = config.model.folder.clone().unwrap_or_default();
        let (base, adapter) = match config.adapter.kind {
            AdapterKind::Full => (whole(written, base)?, None),
            _ => {
                let field = format!("{}: config.model.folder", folder.join(FILE).display());
                (found(field, &named, base)?, Some(written))
            }
        };
        Ok(Self {
            base,
            adapter,
            labels,
            problem: config.task.map(|task| task.problem()),
            run: Some(Box::new(config)),
        })
    }

    fn of_adapter(folder: &Path, base: Option<&Path>) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Base {
            base_model_name_or_path: Option<PathBuf>,
        }
        let path = folder.join(ADAPTER);
        let text = reading::text(&path).map_err(|error| Error::read(&path, error))?;
        let named: Base = serde_json::from_str(&text).map_err(|error| Error::read(&path, error))?;
        let field = format!("{}: base_model_name_or_path", path.display());
        let named = named.base_model_name_or_path.unwrap_or_default();
        let (labels, problem) = read_labels(folder)?;
        Ok(Self {
            base: found(field, &named, base)?,
            adapter: Some(folder.into()),
            labels,
            problem,
            run: None,
        })
    }

    /// Whether a folder holds a run or an adapter, and not a model.
    pub(crate) fn is_trained(folder: &Path) -> bool {
        folder.join(FILE).is_file() || folder.join(ADAPTER).is_file()
    }

    /// The folder that was written of what was trained: the adapter's, or the model's.
    pub fn folder(&self) -> &Path {
        self.adapter.as_deref().unwrap_or(&self.base)
    }
}

/// A whole model, which has no base.
fn whole(folder: PathBuf, base: Option<&Path>) -> Result<PathBuf, Error> {
    match base {
        None => Ok(folder),
        Some(base) => {
            let expected = format!(
                "not set: {} is a whole model without a base",
                folder.display()
            );
            Err(Error::config("--model", base.display(), expected))
        }
    }
}

/// The base that was given, or the one that is named, which must be there.
fn found(field: String, named: &Path, given: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(given) = given {
        return if given.exists() {
            Ok(given.into())
        } else {
            let expected = "the path of a Hugging Face folder or GGUF file";
            Err(Error::config("--model", given.display(), expected))
        };
    }
    if named.as_os_str().is_empty() || !named.exists() {
        let expected = "the path of the base model (if it has moved, give its path with --model)";
        return Err(Error::config(field, named.display(), expected));
    }
    Ok(named.into())
}

/// The names of classes and the kind of problem, as `config.json` has them.
#[derive(Debug, Serialize, Deserialize)]
struct LabelFile {
    id2label: Map<String, Value>,
    label2id: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem_type: Option<String>,
}

/// The classes in `labels.json` of a folder, and what is said of a row; none without the file.
fn read_labels(folder: &Path) -> Result<(Vec<String>, Option<Problem>), Error> {
    let path = folder.join(LABELS);
    if !path.is_file() {
        return Ok((Vec::new(), None));
    }
    let text = reading::text(&path).map_err(|error| Error::read(&path, error))?;
    let file: LabelFile = serde_json::from_str(&text).map_err(|error| Error::read(&path, error))?;
    let labels = numbered(&file.id2label).ok_or_else(|| {
        let problem = "`id2label`: expected a name for each of 0, 1, 2, … without gaps";
        Error::read(&path, problem)
    })?;
    let problem = file.problem_type.as_deref().map(|name| {
        Problem::of_name(name).ok_or_else(|| {
            let found = programs::printing::short(name);
            let problem = format!("`problem_type`: {EXPECTED_PROBLEM}, found `{found}`");
            Error::read(&path, problem)
        })
    });
    Ok((labels, problem.transpose()?))
}

/// The names of `id2label` in the order of their numbers, if there is one for each.
pub(crate) fn numbered(id2label: &Map<String, Value>) -> Option<Vec<String>> {
    let name = |id: usize| match id2label.get(&id.to_string())? {
        Value::String(name) => Some(name.clone()),
        other => Some(other.to_string()),
    };
    (0..id2label.len()).map(name).collect()
}

/// `labels.json` for these classes; a head for one of them needs no mention.
pub(crate) fn label_file(labels: &[String], problem: Option<Problem>) -> impl Serialize {
    let all = labels.iter().enumerate();
    LabelFile {
        id2label: all
            .clone()
            .map(|(id, label)| (id.to_string(), label.as_str().into()))
            .collect(),
        label2id: all.map(|(id, label)| (label.clone(), id.into())).collect(),
        problem_type: problem
            .filter(|problem| *problem != Problem::SingleLabel)
            .and_then(Problem::name)
            .map(String::from),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn labels_come_back_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_labels(folder.path()).unwrap(), (Vec::new(), None));
        let labels: Vec<String> = (0..12).map(|id| format!("class \"{id}\"")).collect();
        for problem in [None, Some(Problem::MultiLabel), Some(Problem::Regression)] {
            let text = serde_json::to_string(&label_file(&labels, problem)).unwrap();
            fs::write(folder.path().join(LABELS), text).unwrap();
            assert_eq!(
                read_labels(folder.path()).unwrap(),
                (labels.clone(), problem)
            );
        }
        let text = r#"{"id2label": {"0": "a"}, "label2id": {}, "problem_type": "ranking"}"#;
        fs::write(folder.path().join(LABELS), text).unwrap();
        let error = read_labels(folder.path()).unwrap_err().to_string();
        assert!(error.contains("found `ranking`"), "{error}");
        let text = r#"{"id2label": {"0": "a", "2": "b"}, "label2id": {}}"#;
        fs::write(folder.path().join(LABELS), text).unwrap();
        let error = read_labels(folder.path()).unwrap_err().to_string();
        assert!(error.contains("without gaps"), "{error}");
    }

    #[test]
    fn what_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let problem = |base| Target::of(folder.path(), base).unwrap_err().to_string();
        assert!(problem(None).contains("found none of these"));
        fs::write(folder.path().join("config.json"), "{}").unwrap();
        assert!(problem(Some(folder.path())).contains("a whole model without a base"));
        let config = r#"{"base_model_name_or_path": "no/such/model"}"#;
        fs::write(folder.path().join(ADAPTER), config).unwrap();
        let text = problem(None);
        assert!(
            text.contains("`no/such/model`") || text.contains("no/such/model"),
            "{text}"
        );
        assert!(text.contains("--model"), "{text}");
        assert!(problem(Some(Path::new("nor/this"))).contains("nor/this"));
        let target = Target::of(folder.path(), Some(folder.path())).unwrap();
        assert_eq!(target.folder(), folder.path());
        assert_eq!(target.base, folder.path());
    }
}
