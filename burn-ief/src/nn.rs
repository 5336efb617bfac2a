//! Recorded forms of Burn's own layers.
//!
//! Each is an extension trait with one method, `forward_recorded` (or `expand_batch` for a
//! parameter that all samples share). Outside a recording, and for modules that do not require
//! gradients, it calls Burn's `forward`: the same bits, no cost. Inside a [`Tape`](crate::Tape) it
//! agrees with it to rounding and records the use of every trainable parameter.
//!
//! The batch is axis 0 everywhere.

mod broadcast;
mod dropout;
mod linear;

pub use broadcast::ParamRecorded;
pub use dropout::DropoutRecorded;
pub use linear::LinearRecorded;
