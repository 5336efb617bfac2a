//! IA³: learned scales of keys, values and feed-forward activations (Liu et al. 2022, arXiv
//! 2205.05638).
//!
//! [`Ia3Config`] is the configuration and [`Ia3Vector`] one adapter on one weight.

mod config;
mod forward;
mod tuner;
mod vector;

pub use config::{Ia3Config, default_feedforward_modules, default_ia3_targets};
pub use vector::{Ia3Adapters, Ia3Side, Ia3Vector};
