//! What a wrapper does when a step of it fails.

use std::fmt;
use std::panic::resume_unwind;

use burn::train::Interrupter;

use crate::error::Error;

/// The end of a training by an error: through an interrupter, or without one by unwinding.
#[derive(Clone, Default)]
pub(super) struct Stop(Option<Interrupter>);

impl Stop {
    pub fn through(interrupter: Interrupter) -> Self {
        Self(Some(interrupter))
    }

    /// End the training.
    ///
    /// Without an interrupter this unwinds: Burn's training step returns no error. The message is
    /// printed once, without a backtrace, which would only show this crate.
    pub fn fail(&self, error: &Error) {
        match &self.0 {
            Some(interrupter) => interrupter.stop(Some(&error.to_string())),
            None => {
                eprintln!("error: {error}");
                resume_unwind(Box::new(error.to_string()));
            }
        }
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Some(_) => "Interrupter",
            None => "None",
        })
    }
}
