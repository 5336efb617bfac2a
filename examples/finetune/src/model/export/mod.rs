//! Trained models as folders that other programs load.
//!
//! One rule for all of them: what a folder says it is computes what was trained here. An adapter of a model that
//! `transformers` has a class for names that class's task, and nothing else does.

mod card;
mod destination;
mod features;
mod full;
mod readme;

pub(crate) use card::write_card;
pub use destination::Destination;
pub(crate) use full::{COPIED, described};

pub(crate) use features::load_head;
pub(super) use features::{remove_head, save_features_layers, save_features_prompt, save_head};
pub(super) use full::{Class, load_weights, write_model_folder};

use full::save_weights;

/// The file of a head that `transformers` has no class for.
pub(crate) const HEAD: &str = "head.safetensors";
/// The file that tells people how to load a folder.
pub(crate) const README: &str = "README.md";
