//! Which modules a field names.

use std::fmt;

use super::field::FieldValue;
use super::json::{Json, shown};

/// `target_modules` or `exclude_modules`: names, or one regular expression.
///
/// ```
/// use burn_peft::settings::Modules;
///
/// let names = Modules::from(["query", "value"]);
/// assert_eq!(names.to_string(), r#"["query","value"]"#);
/// assert!(Modules::all_linear().is_all_linear());
/// assert_eq!(Modules::pattern(r".*\.q_proj"), Modules::Pattern(r".*\.q_proj".into()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Modules {
    /// Modules whose name is one of these or ends in a dot and one of these.
    Names(Vec<String>),
    /// Modules whose whole name this expression matches. `all-linear` is not an expression but
    /// means every linear layer except the output head.
    Pattern(String),
}

impl Modules {
    /// A regular expression for whole names.
    pub fn pattern(expression: impl Into<String>) -> Self {
        Self::Pattern(expression.into())
    }

    /// Every linear layer but the output head.
    pub fn all_linear() -> Self {
        Self::pattern("all-linear")
    }

    /// Whether this is [`all_linear`](Self::all_linear).
    pub fn is_all_linear(&self) -> bool {
        matches!(self, Self::Pattern(text) if text.to_lowercase() == "all-linear")
    }

    /// The number of names; an expression counts as one.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Names(names) => names.len(),
            Self::Pattern(_) => 1,
        }
    }

    /// Whether it names nothing.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Names(names) => names.is_empty(),
            Self::Pattern(text) => text.is_empty(),
        }
    }
}

impl<I: IntoIterator<Item: Into<String>>> From<I> for Modules {
    fn from(names: I) -> Self {
        Self::Names(names.into_iter().map(Into::into).collect())
    }
}

/// As in the configuration file.
impl fmt::Display for Modules {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&shown(&self.write()))
    }
}

impl FieldValue for Modules {
    const EXPECTED: &'static str = "expected a list of module names or a regular expression";

    fn read(json: &Json) -> Option<Self> {
        match json {
            Json::String(text) => Some(Self::Pattern(text.clone())),
            json => Vec::<String>::read(json).map(Self::Names),
        }
    }

    fn write(&self) -> Json {
        match self {
            Self::Names(names) => names.write(),
            Self::Pattern(text) => text.write(),
        }
    }
}
