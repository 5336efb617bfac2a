//! How virtual tokens begin.

use crate::settings::named_values;

/// `prompt_tuning_init`: how the virtual tokens begin.
///
/// ```
/// use burn_peft::prompt::PromptInit;
///
/// assert_eq!(PromptInit::SampleVocab.name(), "SAMPLE_VOCAB");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum PromptInit {
    /// Random vectors.
    #[default]
    Random,
    /// The embedding of a text.
    Text,
    /// Embeddings of tokens drawn from the vocabulary.
    SampleVocab,
}

named_values!(
    PromptInit,
    "expected RANDOM, TEXT or SAMPLE_VOCAB",
    Random = "RANDOM",
    Text = "TEXT",
    SampleVocab = "SAMPLE_VOCAB",
);
