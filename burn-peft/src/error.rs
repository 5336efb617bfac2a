//! The errors a caller of this crate can meet.

/// What can go wrong when adapters are made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration field is out of its range.
    #[error("configuration field `{field}` is {value}: {expected}")]
    Config {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
}
