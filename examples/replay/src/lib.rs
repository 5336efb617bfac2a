//! Recompute a reference case of per-sample gradients and updates from its inputs.
//!
//! A case is a safetensors file with the inputs, labels and parameters of a small network. From
//! them alone [`golden`](golden()) computes the logits, losses and Gram matrices of the case, its gradients
//! and the EF, iEF and SF updates at every damping it names, through the public API of `burn-ief`.
//!
//! One idea a file: `case` and `metadata` read, `networks` and `grid` say what the networks are, `classifier` and
//! `grid` compute, `selection` says what is asked for, and `results` writes.

mod case;
mod classifier;
mod error;
mod golden;
mod grid;
mod metadata;
mod networks;
mod place;
mod results;
mod selection;
mod weights;

pub use case::{Array, Case, Kind, Lambda, Values};
pub use error::Error;
pub use golden::golden;
pub use place::{DeviceKind, Place, Precision};
pub use results::{Output, Results};
pub use selection::Selection;
