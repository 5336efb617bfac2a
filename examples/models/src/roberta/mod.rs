//! RoBERTa: classification of sequences and of tokens. Its encoder is a
//! [`BertModel`].
//!
//! [`BertModel`]: crate::bert::BertModel

mod classifier;
mod token_classifier;

pub use classifier::{RobertaClassificationHead, RobertaForSequenceClassification};
pub use token_classifier::RobertaForTokenClassification;
