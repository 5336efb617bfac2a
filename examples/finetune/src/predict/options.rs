//! What is read of rows, and how much at once.

use std::path::PathBuf;

use crate::language::GenerationOptions;

/// What is read of a row, and how much at once.
///
/// ```
/// use finetune::predict::PredictOptions;
///
/// let mut options = PredictOptions::default();
/// options.batch = Some(64);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PredictOptions {
    /// Column of the text, or of a picture's path; otherwise the run's.
    pub text_column: Option<String>,
    /// Column of the second text of a pair; otherwise the run's.
    pub second_column: Option<String>,
    /// Column of the true label, which may be missing; otherwise the run's.
    pub label_column: Option<String>,
    /// Rows of a batch; otherwise those of the run's validation, or 32.
    pub batch: Option<usize>,
    /// Longest text in tokens; otherwise the run's, or 128.
    pub max_length: Option<usize>,
    /// How a language model answers; otherwise with up to 256 of its most probable tokens.
    pub generation: GenerationOptions,
    /// Seed of what a language model draws.
    pub seed: u64,
    /// What is read, for messages.
    pub(super) path: PathBuf,
}

impl Default for PredictOptions {
    fn default() -> Self {
        Self {
            text_column: None,
            second_column: None,
            label_column: None,
            batch: None,
            max_length: None,
            generation: GenerationOptions::greedy(256),
            seed: 1,
            path: PathBuf::new(),
        }
    }
}
