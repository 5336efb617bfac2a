//! P-tuning: virtual tokens that a small network makes (Liu et al. 2021, arXiv 2103.10385).
//!
//! [`PTuningConfig`] is the configuration, and [`SoftPrompt::encoded`](crate::SoftPrompt::encoded) makes a
//! prompt that trains.

mod config;
mod encoded;
mod tuner;

pub use config::{EncoderType, PTuningConfig};
