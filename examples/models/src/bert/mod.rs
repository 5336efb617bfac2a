//! BERT: plain encoder and sequence classification.

mod classifier;
mod config;
mod embeddings;
mod encoder;
mod input;
mod model;

pub use classifier::{BertClassification, BertForSequenceClassification};
pub use config::BertConfig;
pub use embeddings::BertEmbeddings;
pub use encoder::{BertAttention, BertEncoder, BertIntermediate, BertLayer, BertResidual};
pub use input::BertInput;
pub use model::{BertModel, BertOutput, BertPooler};
