//! Recompute reference results: per-sample gradients and updates of small networks, and outputs of
//! adapted models.
//!
//! A case is a safetensors file with the inputs, labels and parameters of a small network. From
//! them alone [`golden`](golden()) computes the logits, losses and Gram matrices of the case, its gradients,
//! the EF, iEF and SF updates at every damping it names and how good they are, through the public API of `burn-ief`.
//!
//! [`adapter`](adapter()) runs a Hugging Face model with a PEFT adapter, and [`roundtrip`] loads
//! and saves one. [`sft`](sft()) computes the losses, per-sample gradients and updates of supervised fine-tuning with an
//! adapter.
//!
//! One idea a file: `family` says what the models are, `inputs` reads, `room` estimates memory, `adapter` and `sft` compute; for cases `case` and `metadata` read, `networks` and `grid` say what the networks are, `classifier` and
//! `grid` compute, `measured` joins shards, `updates` solves and `quality` judges updates, `selection` says what is asked for, `shards` how the samples are divided, and `results` writes.

mod adapter;
mod array;
mod case;
mod classifier;
mod cross_entropy;
mod error;
mod family;
mod golden;
mod grid;
mod inputs;
mod kind;
mod kronecker;
mod measured;
mod metadata;
mod networks;
mod place;
mod quality;
mod results;
mod room;
mod selection;
mod sft;
mod shards;
mod updates;
mod weights;

pub use adapter::{AdapterCase, adapter, roundtrip};
pub use array::{Array, Values};
pub use burn_hf_models::class::Task;
pub use case::Case;
pub use error::Error;
pub use golden::golden;
pub use inputs::Inputs;
pub use kind::{Kind, Lambda};
pub use place::{Location, Place, Precision};
pub use programs::DeviceKind;
pub use results::{Output, Results, write};
pub use selection::Selection;
pub use sft::{Head, SftCase, sft};
pub use shards::Shards;
