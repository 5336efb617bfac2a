//! Parts that BERT and its relatives, ViT and DINOv2 have in common.

mod activation;
mod attention;
mod initial;
mod labels;

pub use attention::SelfAttention;

pub(crate) use activation::{activation, check_activation};
pub(crate) use attention::{AttentionSizes, drops};
pub(crate) use initial::{initial_linear, initial_norm, initial_normal};
pub(crate) use labels::{classes_config, classifier_config, count_labels, labels, number_labels};
