//! What the programs of this workspace have in common.
//!
//! - [`device`] and [`floats`]: the devices and their floats, by the names of the command line
//! - [`optimizer`]: the optimizers, by name
//! - [`command`] and [`command_line`]: parsers of arguments, the command line, and the end of a program
//! - [`guard`]: panics as errors
//! - [`printing`]: lines on standard output and standard error, whether anybody reads them or not, and short forms of
//!   values for them
//! - [`progress`]: how far a run is
//! - `learner`: losses, times and progress of `burn::train` learners
//! - [`table`] and [`statistics`]: tables of results
//! - [`plot`]: colours, axes, and curves as pictures
//! - [`files`] and [`lock`]: outputs that are checked first and written as a whole, by one process at a time
//! - [`new_folder`]: folders of outputs that are there as a whole or not at all
//! - [`reading`]: inputs that are regular files
//! - [`memory`]: the memory of a process
//! - [`worker`]: devices of other machines
//! - `proxy`: what passes between them is counted and delayed

pub mod command;
pub mod command_line;
pub mod device;
pub mod files;
pub mod floats;
pub mod guard;
#[cfg(feature = "learner")]
pub mod learner;
pub mod lock;
pub mod memory;
pub mod new_folder;
pub mod optimizer;
#[cfg(feature = "plot")]
pub mod plot;
pub mod printing;
pub mod progress;
#[cfg(feature = "remote")]
pub mod proxy;
pub mod reading;
pub mod statistics;
pub mod table;
pub mod worker;

pub use device::{DeviceError, DeviceKind, DeviceName};
pub use files::WriteError;
pub use floats::Floats;
pub use worker::{WORKER_TOKEN, WorkerError, open_worker};
