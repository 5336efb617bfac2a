//! Recompute a reference case of per-sample gradients and updates from its inputs.
//!
//! A case is a safetensors file with the inputs, labels and parameters of a small network. From
//! them alone [`golden`] computes the logits, losses and Gram matrices of the case, its gradients
//! and the EF, iEF and SF updates at every damping it names, through the public API of `burn-ief`.
//!
//! One idea a file: [`case`] reads, [`networks`] and [`grid`] say what the networks are,
//! [`classifier`] and [`grid`] compute, [`selection`] says what is asked for, and [`results`]
//! writes.

pub mod case;
pub mod classifier;
pub mod error;
pub mod golden;
pub mod grid;
pub mod networks;
pub mod place;
pub mod results;
pub mod selection;
pub mod weights;

pub use case::Case;
pub use error::Error;
pub use golden::golden;
pub use place::{DeviceKind, Place, Precision};
pub use results::Results;
pub use selection::Selection;
