//! VeRA: scales of two random matrices that all layers share (Kopiczko, Blankevoort and Asano 2023,
//! arXiv 2310.11454).
//!
//! [`VeraConfig`] is the configuration and [`VeraScales`] one adapter on one weight.

mod config;
mod projection;
mod scales;
mod tuner;

pub use config::{VeraBias, VeraConfig};
pub use scales::{VeraAdapters, VeraScales};
