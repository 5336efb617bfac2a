//! BERT: plain encoder, classification of sequences and of tokens. The encoder is that of RoBERTa and DistilBERT
//! too.

mod classifier;
mod config;
mod distilbert;
mod embeddings;
mod encoder;
mod file;
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

pub(crate) use config::BertKind;
pub(crate) use distilbert::distilbert_names;
pub(crate) use model::bert_names;
