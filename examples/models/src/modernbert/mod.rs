//! ModernBERT (Warner et al. 2024, arXiv 2412.13663): an encoder with rotary positions whose layers see
//! the whole text or a window around each token, and classification of sequences and of tokens.

mod classifier;
mod config;
mod encoder;
mod model;
mod token_classifier;

pub use classifier::{ModernBertForSequenceClassification, ModernBertPredictionHead};
pub use config::{ModernBertConfig, ModernBertPooling};
pub use encoder::{ModernBertAttention, ModernBertLayer, ModernBertMlp};
pub use model::{ModernBertEmbeddings, ModernBertModel};
pub use token_classifier::ModernBertForTokenClassification;
