//! Where a trained model goes.

use std::path::{Path, PathBuf};

use crate::config::{AdapterKind, Config};
use crate::problem::Problem;

/// Where a trained model is written, and what its files say about it.
///
/// ```
/// use std::path::Path;
/// use finetune::config::Config;
/// use finetune::model::Destination;
///
/// let config = Config::default();
/// let labels = ["no".to_string(), "yes".to_string()];
/// let destination = Destination::new(Path::new("runs/ief-seed1"), &config, &labels);
/// assert_eq!(destination.adapter(), Path::new("runs/ief-seed1/adapter"));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) config: &'a Config,
    pub(crate) labels: &'a [String],
}

impl<'a> Destination<'a> {
    /// In the folder of a run with these settings and classes.
    pub fn new(folder: &'a Path, config: &'a Config, labels: &'a [String]) -> Self {
        Self {
            folder,
            config,
            labels,
        }
    }

    /// The folder of an adapter.
    pub fn adapter(&self) -> PathBuf {
        self.folder.join("adapter")
    }

    /// The folder of a model that was trained in full.
    pub fn model(&self) -> PathBuf {
        self.folder.join("model")
    }

    /// The folder that is written, of these two.
    pub(crate) fn written(&self) -> PathBuf {
        match self.config.adapter.kind {
            AdapterKind::Full => self.model(),
            _ => self.adapter(),
        }
    }

    /// What the model says about a row.
    pub(crate) fn problem(&self) -> Problem {
        let task = self.config.task;
        task.map_or(Problem::SingleLabel, |task| task.problem())
    }

    /// The folder of the pretrained model.
    pub(crate) fn base(&self) -> Option<&'a Path> {
        self.config.model.folder.as_deref()
    }
}
