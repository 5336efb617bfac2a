//! Runs that are opened again, to see what their models were like at each stage.
//!
//! A run with `training.keep_checkpoints` keeps the parameters after every epoch. [`KeptRun`] makes
//! models of them, and batches of the training rows, for [`burn_ief::eval`] and for whatever else
//! looks at a model in training. Of a finished run that trained the whole model it makes that model
//! again, and tests it.

mod kept;
mod visit;

pub use kept::KeptRun;
pub(crate) use kept::check_full;
pub use visit::{Stages, Visit};
