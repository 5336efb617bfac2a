//! What the programs of this workspace have in common.
//!
//! - [`device`]: the devices, by the names of the command line
//! - [`optimizer`]: the optimizers, by name
//! - [`command`]: parsers of arguments, and the end of a program
//! - [`printing`]: lines on standard output and standard error, whether anybody reads them or not
//! - [`progress`]: how far a run is
//! - `learner`: losses, times and progress of `burn::train` learners
//! - [`table`] and [`statistics`]: tables of results
//! - [`plot`]: colours, axes, and curves as pictures
//! - [`files`] and [`memory`]: outputs that are checked first and written as a whole, and the memory of a process

pub mod command;
pub mod device;
pub mod files;
#[cfg(feature = "learner")]
pub mod learner;
pub mod memory;
pub mod optimizer;
#[cfg(feature = "plot")]
pub mod plot;
pub mod printing;
pub mod progress;
pub mod statistics;
pub mod table;

pub use device::{DeviceError, DeviceKind};
pub use files::WriteError;
