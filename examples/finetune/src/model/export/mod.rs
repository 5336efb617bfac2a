//! Trained models as folders that other programs load.
//!
//! One rule for all of them: what a folder says it is computes what was trained here. An adapter of a model that
//! `transformers` has a class for names that class's task, and nothing else does.

mod destination;
mod features;
mod full;
mod readme;

pub use destination::Destination;
pub(crate) use full::{COPIED, described};

pub(super) use features::{
    load_head, remove_head, save_features_layers, save_features_prompt, save_head,
};
pub(super) use full::{Class, load_weights, write_model_folder};
pub(super) use readme::{Reader, write_readme};

use full::save_weights;

/// The file of a head that `transformers` has no class for.
pub(crate) const HEAD: &str = "head.safetensors";
/// The file that tells people how to load a folder.
pub(crate) const README: &str = "README.md";
