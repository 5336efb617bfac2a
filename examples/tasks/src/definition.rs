//! What a task is, apart from its code.

use serde::{Deserialize, Serialize};

/// Which half of the tasks a task belongs to. Fixed before the first run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Half {
    /// Settings of the default are looked for on these.
    Explore,
    /// The default is confirmed on these: nothing is chosen by their results.
    Confirm,
}

impl Half {
    /// Its name on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Explore => "explore",
            Self::Confirm => "confirm",
        }
    }
}

/// What is trained. It decides where the search for a step size starts, and which optimizers apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trained {
    /// All parameters, from random values.
    FromScratch,
    /// LoRA's factors and a new head.
    Lora,
    /// A soft prompt and a new head.
    Prompt,
    /// A new head alone.
    Head,
}

/// A task in numbers.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Its name on the command line and of its file of results.
    pub name: &'static str,
    /// What is learned, in a few words, for tables.
    pub title: &'static str,
    /// Which half it belongs to.
    pub half: Half,
    /// Raised whenever data, model or numbers of the task change: older results are then not used.
    pub version: u32,
    /// What is trained.
    pub trained: Trained,
    /// Rows of a step, M.
    pub batch: usize,
    /// Steps of a run.
    pub steps: usize,
    /// Training rows on which the loss after the run is measured.
    pub measured_rows: usize,
    /// What the score is: accuracy, or R² where numbers are predicted.
    pub score: Score,
    /// Folders of data, by their names in `scripts/fetch-data`.
    pub folders: &'static [&'static str],
    /// Parts of the paths of parameters that are embeddings or the head, which Muon leaves to AdamW.
    pub not_hidden: &'static [&'static str],
}

/// How good predictions are, from the test rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// Share of right classes.
    Accuracy,
    /// 1 minus the mean squared error over the variance of the targets.
    R2,
}

impl Score {
    /// Its name in tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::R2 => "R²",
        }
    }
}
