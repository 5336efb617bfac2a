//! The pictures of how good natural gradients are, each with its numbers as CSV.
//!
//! [`toy`] shows fields and paths of all methods in two parameters. [`survey`] judges the updates of
//! a model at the stages of its training: that of the quickstart ([`digits`]), or that of a run of
//! `finetune` ([`kept`]).

pub mod chart;
pub mod digits;
pub mod error;
pub mod kept;
pub mod survey;
pub mod table;
pub mod toy;

pub use error::Error;
