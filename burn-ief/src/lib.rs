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
pub mod params;
pub mod record;
pub mod rows;
#[cfg(feature = "train")]
pub mod train;
pub mod update;
pub mod woodfisher;

pub use error::Error;
pub use kfac::{EkfacConfig, IekfacConfig, Kfac, KfacConfig};
pub use optim::{EfConfig, IefConfig, NaturalGradient, NgdConfig, SfConfig};
pub use record::{
    LabelDraw, Likelihood, LossScale, Recorder, Tape, declare_loss_scale, expand_input, mark_loss,
    mark_mean_loss, mark_output, mark_output_as, recorder,
};
pub use rows::Rows;
