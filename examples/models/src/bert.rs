//! BERT: plain encoder and sequence classification.

mod activation;
mod attention;
mod classifier;
mod config;
mod embeddings;
mod encoder;
mod initial;
mod input;
mod model;
mod ranges;

pub use classifier::{BertClassification, BertForSequenceClassification};
pub use config::BertConfig;
pub use embeddings::BertEmbeddings;
pub use encoder::{
    BertAttention, BertEncoder, BertIntermediate, BertLayer, BertResidual, BertSelfAttention,
};
pub use input::BertInput;
pub use model::{BertModel, BertOutput, BertPooler};

pub(crate) use activation::activation;
pub(crate) use attention::attend;
pub(crate) use initial::{initial_linear, initial_normal};
pub(crate) use ranges::{
    check_heads, check_model_type, check_positive, check_probability, check_size,
};
