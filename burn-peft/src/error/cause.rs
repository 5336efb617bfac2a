//! The error of another library inside of one of this crate.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// The error of another library or of the system that an [`Error`](crate::Error) comes from.
///
/// Two of them are equal if their texts are.
///
/// ```
/// use burn_peft::{AdapterFolder, Error};
///
/// // A file in the place of the folder.
/// let file = tempfile::NamedTempFile::new().unwrap();
/// let Err(Error::File { source, .. }) = AdapterFolder::read(file.path()) else {
///     panic!("it was read");
/// };
/// assert!(source.downcast_ref::<std::io::Error>().is_some());
/// ```
#[derive(Clone)]
pub struct Cause(Arc<dyn StdError + Send + Sync>);

impl Cause {
    pub(crate) fn new(error: impl StdError + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }

    pub(crate) fn text(text: String) -> Self {
        Self(Box::<dyn StdError + Send + Sync>::from(text).into())
    }

    /// The error as its own type.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}
