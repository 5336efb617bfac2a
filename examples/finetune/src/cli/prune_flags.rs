//! Flags of `finetune prune`.

use std::path::PathBuf;

use clap::Args;
use programs::{DeviceKind, files};

use crate::config::Config;
use crate::error::Error;
use crate::prune::{PruneOptions, Row, csv, json};

/// Prune the models of finished runs that trained them in full (`--adapter full`), once and without
/// training them on, and test them; ends with a table of the runs' test metric.
///
/// Pruned are the weights of all linear layers but the one that makes the logits (in BERT: attention
/// and feed-forward), the least important of all layers together; embeddings, norms and biases stay.
/// EF and iEF take 8·BLOCK_SIZE bytes of memory for each of these weights, one after the other.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Run folders, or folders that hold some.
    #[arg(required = true, value_name = "RUN_DIR")]
    pub folders: Vec<PathBuf>,
    /// How to prune.
    #[command(flatten)]
    pub options: PruneOptions,
    /// File for the results with their settings.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// File for the results, a line for each model.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Where to compute [default: where the run was].
    #[arg(long, value_enum)]
    device: Option<DeviceKind>,
    /// Hugging Face folder of the pretrained model, if it has moved.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Folder (or file) of the data, if they have moved.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl PruneArgs {
    /// Put what was asked for into a run's settings.
    pub fn change(&self, config: &mut Config) {
        if let Some(device) = self.device {
            config.device = device;
        }
        if self.model.is_some() {
            config.model.folder.clone_from(&self.model);
        }
        if self.data.is_some() {
            config.data.folder.clone_from(&self.data);
        }
    }

    /// Check that the files that were asked for can be written.
    ///
    /// # Errors
    ///
    /// [`Error::Write`].
    pub fn check(&self) -> Result<(), Error> {
        for path in [&self.json, &self.csv].into_iter().flatten() {
            files::check_output(path)?;
        }
        Ok(())
    }

    /// Write the files that were asked for.
    ///
    /// # Errors
    ///
    /// [`Error::Write`].
    pub fn write(&self, rows: &[Row]) -> Result<(), Error> {
        if let Some(path) = &self.json {
            let content = json(&self.options, rows).map_err(|error| Error::write(path, error))?;
            files::write(path, &content)?;
        }
        if let Some(path) = &self.csv {
            let content = csv(rows).map_err(|error| Error::write(path, error))?;
            files::write(path, &content)?;
        }
        Ok(())
    }
}
