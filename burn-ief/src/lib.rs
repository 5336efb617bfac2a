#![doc = include_str!("lib.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod error;
pub mod eval;
#[cfg(feature = "flex")]
pub mod flex;
pub mod jacobian;
pub mod kfac;
pub mod linalg;
pub mod nn;
pub mod optim;
pub mod rows;
pub mod tape;
#[cfg(feature = "train")]
pub mod train;
pub mod update;
pub mod woodfisher;

pub use error::Error;
pub use kfac::{EkfacConfig, IekfacConfig, Kfac, KfacConfig};
pub use optim::{EfConfig, IefConfig, NaturalGradient, NgdConfig, SfConfig};
pub use rows::Rows;
pub use tape::{
    LabelDraw, Likelihood, LossScale, Recorder, Tape, declare_loss_scale, input, loss, mean_loss,
    output, output_with, recorder,
};

/// Compiles and runs the code of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
