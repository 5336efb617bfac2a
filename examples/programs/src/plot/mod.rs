//! Colours, axes, and curves as pictures.

mod axis;
mod color;
mod curves;

pub use axis::{Axis, Places};
pub use color::{Color, GRID, TEXT};
pub use curves::{Chart, Curve, loss_curve};
