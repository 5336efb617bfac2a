//! Parts that BERT, ViT and DINOv2 have in common.

mod activation;
mod attention;
mod initial;
mod labels;
mod ranges;

pub use attention::SelfAttention;

pub(crate) use activation::activation;
pub(crate) use attention::AttentionSizes;
pub(crate) use initial::{initial_linear, initial_norm, initial_normal};
pub(crate) use labels::{classifier_config, count_labels, number_labels};
#[cfg(test)]
pub(crate) use ranges::refused_field;
pub(crate) use ranges::{
    check_heads, check_model_type, check_only, check_positive, check_probability, check_size,
};
