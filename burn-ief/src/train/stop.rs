//! What a wrapper does when a step of it fails.

use std::fmt;

use burn::train::Interrupter;

use crate::error::Error;

/// The end of a training by an error: through an interrupter, or without one by a panic.
#[derive(Clone, Default)]
pub(super) struct Stop(Option<Interrupter>);

impl Stop {
    pub fn through(interrupter: Interrupter) -> Self {
        Self(Some(interrupter))
    }

    /// # Panics
    ///
    /// Panics with the error if there is no interrupter.
    pub fn fail(&self, error: &Error) {
        match &self.0 {
            Some(interrupter) => interrupter.stop(Some(&error.to_string())),
            None => panic!("{error}"),
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
