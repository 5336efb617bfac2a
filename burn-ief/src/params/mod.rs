//! Everything that walks over a module's parameters.
//!
//! [`ParamInfo`] describes one parameter, [`visit`] is the one visitor over a module, [`Direction`]
//! is a vector over parameters, and [`gradients`] maps, scales and gathers Burn's gradients.

mod direction;
pub(crate) mod gradients;
mod info;

pub(crate) use direction::Direction;
pub use info::ParamInfo;
pub(crate) use info::{ParamVisitor, Place, find_mismatch, matching, trainable, visit, widen};
