//! Data sets as their files are, split and batched.
//!
//! [`Task::load`] reads the files of a task into [`Splits`] of rows with a [`Label`]; [`TextBatcher`], [`Seq2SeqBatcher`]
//! and [`ImageBatcher`] make tensors of them, in the batches of a `burn_ief::train::EpochLoader`.

mod cifar;
mod dataset;
mod error;
mod example;
mod foreign;
mod glue;
mod images;
mod label;
pub(crate) mod lines;
mod pictures;
mod questions;
mod reviews;
mod scale;
mod seq2seq;
mod sms;
mod source;
pub(crate) mod split;
mod splits;
mod table;
mod tagged;
mod task;
mod template;
mod texts;
mod tokens;

pub use dataset::Dataset;
pub use error::Error;
pub use example::{ImageExample, TextExample, TokenExample};
pub(crate) use foreign::recognised;
pub(crate) use images::{is_picture, picture};
pub use label::{Label, LabelBatch};
pub(crate) use label::{NO_TAG, number_scale};
pub use pictures::{ImageBatch, ImageBatcher};
pub use scale::NumberScale;
pub use seq2seq::{Seq2SeqBatch, Seq2SeqBatcher, Seq2SeqItem};
pub use source::DataSource;
pub use splits::{LeftOut, Splits};
pub(crate) use table::{Cell, Marks, Object, label_set, number};
pub(crate) use tagged::{Sentence, sentences};
pub use task::Task;
pub(crate) use template::question;
pub use texts::{TaggedPieces, TextBatch, TextBatcher, TextItem};
pub use tokens::{Encoded, Tokens, load_tokenizer};
pub(crate) use tokens::{Table, gguf};
