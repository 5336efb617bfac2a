//! The trait of a method's configuration.

use burn::config::Config;

use super::method::Method;
use super::recommended::Recommended;
use crate::error::Error;

/// The configuration of a natural-gradient method.
///
/// [`build`](Self::build) gives the method, for learners; `init(&model)`
/// ([`InitOptimizer`](crate::optim::InitOptimizer)) gives the whole optimizer, for loops. Both traits
/// are in the [prelude](crate::prelude).
///
/// ```
/// use burn_ief::prelude::*;
///
/// let method = IefConfig::new().build();
/// assert_eq!(method.step_options().weight_decay, 0.0);
/// ```
pub trait MethodConfig: Config {
    /// The method that it builds.
    type Method: Method;

    /// Build the method.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first field that is out of range.
    fn try_build(&self) -> Result<Self::Method, Error>;

    /// What the method takes for options that are `None`; `None` for the K-FAC family, which has no such options.
    fn recommended(&self) -> Option<Recommended> {
        None
    }

    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first field that is out of range.
    fn validate(&self) -> Result<(), Error> {
        self.try_build().map(|_| ())
    }

    /// Build the method.
    ///
    /// # Panics
    ///
    /// Panics if a field is out of range; [`try_build`](Self::try_build) returns the error instead.
    fn build(&self) -> Self::Method {
        match self.try_build() {
            Ok(method) => method,
            Err(error) => panic!("{error}"),
        }
    }
}
