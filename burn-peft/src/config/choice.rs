//! The tasks that PEFT distinguishes, and which biases are trained.

use super::field::FieldValue;
use super::json::Json;

/// An enumeration that the file holds as a text.
macro_rules! names {
    ($type:ident, $expected:literal, $($variant:ident = $name:literal),+ $(,)?) => {
        impl $type {
            /// The name in the configuration file.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        impl FieldValue for $type {
            const EXPECTED: &'static str = $expected;

            fn read(json: &Json) -> Option<Self> {
                match json {
                    $(Json::String(name) if name == $name => Some(Self::$variant),)+
                    _ => None,
                }
            }

            fn write(&self) -> Json {
                Json::String(self.name().into())
            }
        }
    };
}

/// `task_type`: which of PEFT's model classes the adapter was made for.
///
/// ```
/// use burn_peft::config::TaskType;
///
/// assert_eq!(TaskType::SequenceClassification.name(), "SEQ_CLS");
/// assert_eq!(TaskType::SequenceClassification.heads(), ["classifier", "score"]);
/// assert!(TaskType::CausalLm.heads().is_empty());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskType {
    /// `SEQ_CLS`
    SequenceClassification,
    /// `SEQ_2_SEQ_LM`
    Seq2SeqLm,
    /// `CAUSAL_LM`
    CausalLm,
    /// `TOKEN_CLS`
    TokenClassification,
    /// `QUESTION_ANS`
    QuestionAnswering,
    /// `FEATURE_EXTRACTION`
    FeatureExtraction,
}

names!(
    TaskType,
    "expected SEQ_CLS, SEQ_2_SEQ_LM, CAUSAL_LM, TOKEN_CLS, QUESTION_ANS or FEATURE_EXTRACTION",
    SequenceClassification = "SEQ_CLS",
    Seq2SeqLm = "SEQ_2_SEQ_LM",
    CausalLm = "CAUSAL_LM",
    TokenClassification = "TOKEN_CLS",
    QuestionAnswering = "QUESTION_ANS",
    FeatureExtraction = "FEATURE_EXTRACTION",
);

impl TaskType {
    /// Names of the new heads that PEFT trains in full for this task and puts into
    /// `modules_to_save`.
    pub fn heads(&self) -> &'static [&'static str] {
        match self {
            Self::SequenceClassification | Self::TokenClassification => &["classifier", "score"],
            Self::QuestionAnswering => &["qa_outputs"],
            _ => &[],
        }
    }

    /// Add [`heads`](Self::heads) that are not in `modules_to_save` yet.
    pub(crate) fn add_heads(&self, modules_to_save: &mut Option<Vec<String>>) {
        if self.heads().is_empty() {
            return;
        }
        let saved = modules_to_save.get_or_insert_default();
        for head in self.heads() {
            if !saved.iter().any(|name| name == head) {
                saved.push(head.to_string());
            }
        }
    }
}

/// `bias`: which biases of the base model are trained beside the factors.
///
/// ```
/// use burn_peft::config::Bias;
///
/// assert_eq!(Bias::LoraOnly.name(), "lora_only");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Bias {
    /// None.
    #[default]
    None,
    /// Those of every layer.
    All,
    /// Those of the adapted layers.
    LoraOnly,
}

names!(
    Bias,
    "expected none, all or lora_only",
    None = "none",
    All = "all",
    LoraOnly = "lora_only",
);

/// `prompt_tuning_init`: how the virtual tokens begin.
///
/// ```
/// use burn_peft::config::PromptInit;
///
/// assert_eq!(PromptInit::SampleVocab.name(), "SAMPLE_VOCAB");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PromptInit {
    /// Random vectors.
    #[default]
    Random,
    /// The embedding of a text.
    Text,
    /// Embeddings of tokens drawn from the vocabulary.
    SampleVocab,
}

names!(
    PromptInit,
    "expected RANDOM, TEXT or SAMPLE_VOCAB",
    Random = "RANDOM",
    Text = "TEXT",
    SampleVocab = "SAMPLE_VOCAB",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_added_once() {
        let mut saved = Some(vec!["score".to_string()]);
        TaskType::SequenceClassification.add_heads(&mut saved);
        assert_eq!(saved, Some(vec!["score".into(), "classifier".into()]));
        let mut saved = None;
        TaskType::CausalLm.add_heads(&mut saved);
        assert_eq!(saved, None);
    }
}
