//! Fine-tune a small vision transformer on real digits with five optimizers, side by side.
//!
//! The model ([`vit`]) is pretrained on the digits 0 to 4 (program `pretrain`) and learns all ten
//! through LoRA adapters and a new head (program `quickstart`), in a plain loop ([`mod@fit`]),
//! with each of the [`tuned`] optimizers. The program `prune` [`prune`]s a perceptron ([`mlp`]).

pub mod data;
pub mod error;
pub mod experiment;
pub mod fit;
pub mod mlp;
pub mod picture;
pub mod prune;
pub mod report;
pub mod tune;
pub mod tuned;
pub mod vit;

pub use error::Error;
