//! How samples become text and tokens.

use serde::{Deserialize, Serialize};

use super::answers::TrainOn;
use super::template::ChatTemplate;

/// How samples become text.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Layout {
    /// Through a chat template. The tokens are those of its text alone: it prints the first token itself, if the
    /// model has one. A sample without turns (`text`) is refused.
    Chat(Box<ChatTemplate>),
    /// As [`Content::as_plain`](super::Content::as_plain) says, with the tokens that the tokenizer puts around a text,
    /// and the `eos_token` behind it. Conversations are refused.
    Plain,
}

impl From<ChatTemplate> for Layout {
    fn from(template: ChatTemplate) -> Self {
        Self::Chat(Box::new(template))
    }
}

/// What happens to a special token that is written in a message, such as `<|im_end|>`: read by the tokenizer, it would
/// end the turn.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, clap::ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum ControlTokens {
    /// The sample is refused.
    #[default]
    Refuse,
    /// The tokenizer reads it, as in `transformers`.
    Keep,
}

/// How samples become tokens.
///
/// ```
/// use finetune::conversation::EncodeOptions;
///
/// assert_eq!(EncodeOptions::new(2048).max_length, 2048);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodeOptions {
    /// What is trained; of a prompt with its completion, [`TrainOn::Last`] and [`TrainOn::Assistant`] are the
    /// completion, and of a text everything is.
    pub train_on: TrainOn,
    /// Most tokens of a sample, at least 2. A longer conversation is cut behind the last answer that fits; if none
    /// does, as other texts, at the last token that fits and ends with a whole character.
    pub max_length: usize,
    /// Special tokens in the messages of conversations.
    pub control_tokens: ControlTokens,
}

impl EncodeOptions {
    /// Answers of up to this many tokens with their prompt; special tokens in messages are refused.
    pub fn new(max_length: usize) -> Self {
        Self {
            train_on: TrainOn::default(),
            max_length,
            control_tokens: ControlTokens::default(),
        }
    }

    /// Train on other parts.
    pub fn with_train_on(self, train_on: TrainOn) -> Self {
        Self { train_on, ..self }
    }

    /// Do this with special tokens in the messages of conversations.
    pub fn with_control_tokens(self, control_tokens: ControlTokens) -> Self {
        Self {
            control_tokens,
            ..self
        }
    }
}
