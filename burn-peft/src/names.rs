//! From the paths of a Burn module to the names that Hugging Face uses.

use regex::Regex;

use crate::error::Error;

/// Rules that turn the path of a module in a Burn model into its name in `transformers`.
///
/// Rust fields cannot always carry the names of the Python attributes (`self`, or a `ModuleList`
/// of different layers). Each rule replaces every match of a regular expression, in order.
/// [`Default`] keeps the paths as they are.
///
/// ```
/// use burn_peft::NameMap;
///
/// let names = NameMap::default().with(r"\.self_attention\b", ".attention.self");
/// assert_eq!(names.name("layer.0.self_attention.query"), "layer.0.attention.self.query");
/// ```
#[derive(Debug, Clone, Default)]
pub struct NameMap {
    rules: Vec<(Regex, String)>,
}

impl NameMap {
    /// Add a rule; `replacement` may refer to groups as `$1`.
    ///
    /// # Panics
    ///
    /// Panics if `pattern` is not a regular expression.
    pub fn with(mut self, pattern: &str, replacement: &str) -> Self {
        match Regex::new(pattern) {
            Ok(pattern) => self.rules.push((pattern, replacement.into())),
            Err(error) => panic!("{error}"),
        }
        self
    }

    /// The name of the module at `path`.
    pub fn name(&self, path: &str) -> String {
        let mut name = path.to_string();
        for (pattern, replacement) in &self.rules {
            name = pattern
                .replace_all(&name, replacement.as_str())
                .into_owned();
        }
        name
    }
}

/// The result under the first naming that gives one, or the error of the first; without namings,
/// under the paths as they are.
pub(crate) fn first_that_fits<T>(
    schemes: &[NameMap],
    attempt: impl Fn(&NameMap) -> Result<T, Error>,
) -> Result<T, Error> {
    let Some((names, others)) = schemes.split_first() else {
        return attempt(&NameMap::default());
    };
    attempt(names).or_else(|error| {
        others
            .iter()
            .find_map(|names| attempt(names).ok())
            .ok_or(error)
    })
}
