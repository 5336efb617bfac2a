//! DistilBERT: classification of sequences and of tokens. Its encoder is a
//! [`BertModel`].
//!
//! [`BertModel`]: crate::bert::BertModel

mod classifier;
mod token_classifier;

pub use classifier::DistilBertForSequenceClassification;
pub use token_classifier::DistilBertForTokenClassification;
