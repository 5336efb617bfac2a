//! BERT: plain encoder, classification of sequences and of tokens.

mod classifier;
mod config;
mod embeddings;
mod encoder;
mod input;
mod model;
mod token_classifier;

pub use classifier::{BertClassification, BertForSequenceClassification};
pub use config::BertConfig;
pub use embeddings::BertEmbeddings;
pub use encoder::{BertAttention, BertEncoder, BertIntermediate, BertLayer, BertResidual};
pub use input::BertInput;
pub use model::{BertModel, BertOutput, BertPooler};
pub use token_classifier::{BertForTokenClassification, BertTokenClassification};
