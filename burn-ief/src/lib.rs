#![doc = include_str!("lib.md")]

pub mod error;
pub mod eval;
#[cfg(feature = "flex")]
pub mod flex;
pub mod jacobian;
pub mod kfac;
pub mod linalg;
pub mod nn;
pub mod optim;
pub mod prune;
pub mod rows;
pub mod tape;
#[cfg(feature = "train")]
pub mod train;
pub mod update;

pub use error::Error;
pub use kfac::{EkfacConfig, IekfacConfig, Kfac, KfacConfig};
pub use optim::{EfConfig, IefConfig, NaturalGradient, NgdConfig, SfConfig};
pub use rows::Rows;
pub use tape::{
    LabelDraw, Likelihood, LossScale, Recorder, Tape, declare_loss_scale, input, loss, mean_loss,
    output, output_with, recorder,
};
