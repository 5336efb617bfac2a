//! Pretrained models from Hugging Face folders and GGUF files, as Burn modules.
//!
//! Every model is built from the folder's `config.json`, loads `model.safetensors`, and calls its
//! layers so that they can carry adapters ([`burn_peft`]) and be recorded per sample
//! ([`burn_ief`]).

#![cfg_attr(docsrs, feature(doc_cfg))]

mod attention;
pub mod bert;
pub mod class;
pub mod classify;
pub mod distilbert;
pub mod encoder;
pub mod error;
mod fields;
pub mod generate;
pub mod gguf;
mod ids;
pub mod llama;
mod message;
pub mod modernbert;
mod names;
pub mod open;
mod place;
pub mod roberta;
mod rope;
pub mod t5;
pub mod vit;
pub mod weights;

pub use error::Error;

/// Compiles and runs the code of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
