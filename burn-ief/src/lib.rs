#![doc = include_str!("lib.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod devices;
pub mod error;
pub mod eval;
pub mod exchange;
mod host;
pub mod jacobian;
pub(crate) mod linalg;
pub mod methods;
mod moves;
mod names;
pub mod nn;
pub mod optim;
pub mod params;
pub mod prelude;
pub mod prune;
pub mod record;
pub mod rows;
pub mod solve;
pub mod tokens;
#[cfg(feature = "train")]
pub mod train;

pub use error::Error;
pub use host::{HostRead, HostReads};
pub use moves::{DeviceMove, DeviceMoves};
pub use record::{
    LabelDraw, Likelihood, LossScale, Recorder, Tape, declare_loss_scale, expand_input,
    mark_labels, mark_loss, mark_mean_loss, mark_output, mark_output_as, recorder,
};
pub use rows::Rows;
pub use tokens::{TokenLosses, VocabularyHead, token_cross_entropy};

/// Compiles and runs the code of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
