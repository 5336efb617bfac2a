//! Parts that BERT, ViT and DINOv2 have in common.

mod activation;
mod attention;
mod initial;
mod labels;
mod ranges;

pub use attention::SelfAttention;

pub(crate) use activation::activation;
pub(crate) use attention::AttentionSizes;
pub(crate) use initial::{initial_linear, initial_normal};
pub(crate) use labels::{count_labels, number_labels};
pub(crate) use ranges::{
    check_heads, check_model_type, check_positive, check_probability, check_size,
};
