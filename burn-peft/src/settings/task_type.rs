//! The tasks that PEFT distinguishes.

use super::field::named_values;

/// `task_type`: which of PEFT's model classes the adapter was made for.
///
/// ```
/// use burn_peft::settings::TaskType;
///
/// assert_eq!(TaskType::SequenceClassification.name(), "SEQ_CLS");
/// assert_eq!(TaskType::SequenceClassification.heads(), ["classifier", "score"]);
/// assert!(TaskType::CausalLm.heads().is_empty());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
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

named_values!(
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
