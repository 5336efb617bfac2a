//! Regular expressions as Python's `re` applies them to module names.

use fancy_regex::Regex;

use super::ranges::refuse;
use crate::error::{Cause, Error};

/// A compiled expression, with look-around and back-references as in Python.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    field: &'static str,
    /// As the user wrote it.
    shown: String,
    regex: Regex,
}

impl Pattern {
    /// Matches a whole name: `re.fullmatch`.
    pub(crate) fn whole(field: &'static str, pattern: &str) -> Result<Self, Error> {
        Self::compile(field, pattern, pattern, |text| format!(r"\A(?:{text})\z"))
    }

    /// Matches at the start of a name: `re.match`. `shown` is the part that the user wrote.
    pub(crate) fn start(field: &'static str, shown: &str, pattern: &str) -> Result<Self, Error> {
        Self::compile(field, shown, pattern, |text| format!(r"\A(?:{text})"))
    }

    /// Fail where so many expressions are in a field that compiling them takes long.
    pub(crate) fn check_count(field: &'static str, expressions: usize) -> Result<(), Error> {
        const MOST: usize = 1_000;
        if expressions > MOST {
            let value = format!("a list with {expressions} regular expressions");
            return refuse(
                field,
                value,
                "expected at most 1,000 in addition to plain names",
            );
        }
        Ok(())
    }

    fn compile(
        field: &'static str,
        shown: &str,
        pattern: &str,
        anchored: impl Fn(&str) -> String,
    ) -> Result<Self, Error> {
        let compile = |text: &str| {
            let regex = Regex::new(text);
            regex.map_err(|error| failure(field, shown, error))
        };
        // First alone: the brackets around it must not repair one that closes too early.
        let alone = compile(pattern)?;
        let mut names: Vec<&str> = alone.capture_names().flatten().collect();
        names.sort_unstable();
        // As in Python.
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(failure(field, shown, TwoGroups(twice[0].into())));
        }
        Ok(Self {
            field,
            shown: shown.into(),
            regex: compile(&anchored(pattern))?,
        })
    }

    /// Whether it matches.
    ///
    /// # Errors
    ///
    /// [`Error::Pattern`] if that takes too many attempts to find out.
    pub(crate) fn matches(&self, name: &str) -> Result<bool, Error> {
        let found = self.regex.is_match(name);
        found.map_err(|error| self.failure(error))
    }

    /// If it matches, the number that its group `idx` matches.
    ///
    /// # Errors
    ///
    /// As [`matches`](Self::matches).
    pub(crate) fn index(&self, name: &str) -> Result<Option<Option<usize>>, Error> {
        let captures = self.regex.captures(name);
        let captures = captures.map_err(|error| self.failure(error))?;
        Ok(captures.map(|captures| {
            let index = captures.name("idx");
            index.and_then(|index| index.as_str().parse().ok())
        }))
    }

    fn failure(&self, error: fancy_regex::Error) -> Error {
        failure(self.field, &self.shown, error)
    }
}

/// Two groups of an expression have this name.
#[derive(Debug, thiserror::Error)]
#[error("two groups have the name {0}")]
struct TwoGroups(String);

fn failure(
    field: &'static str,
    shown: &str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    Error::Pattern {
        field,
        pattern: shown.into(),
        source: Cause::new(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_are_anchored_as_a_whole() {
        let pattern = Pattern::whole("target_modules", "query|key").unwrap();
        assert!(pattern.matches("key").unwrap());
        assert!(!pattern.matches("keys").unwrap());
        assert!(!pattern.matches("a.query").unwrap());
        let pattern = Pattern::start("target_modules", "a|b", "a|b").unwrap();
        assert!(pattern.matches("bc").unwrap());
        assert!(!pattern.matches("cb").unwrap());
    }

    #[test]
    fn look_around_and_back_references_are_pythons() {
        // Expected values from `re.fullmatch` of Python 3.11.
        let pattern = Pattern::whole("target_modules", r"(?!.*vision).*\.(?:q|v)_proj").unwrap();
        assert!(pattern.matches("model.layers.0.q_proj").unwrap());
        assert!(!pattern.matches("model.vision_tower.0.q_proj").unwrap());
        let pattern = Pattern::whole("target_modules", r".*(?<!cross_)attn\.q").unwrap();
        assert!(pattern.matches("layers.1.self_attn.q").unwrap());
        assert!(!pattern.matches("layers.1.cross_attn.q").unwrap());
        let pattern = Pattern::whole("target_modules", r"(\w+)\.\1").unwrap();
        assert!(pattern.matches("dense.dense").unwrap());
        assert!(!pattern.matches("dense.query").unwrap());
        let pattern = Pattern::start("layers_pattern", "h", r"(?=h)h\.(?P<idx>\d+)").unwrap();
        assert_eq!(pattern.index("h.12.q").unwrap(), Some(Some(12)));
        assert_eq!(pattern.index("g.12.q").unwrap(), None);
    }

    #[test]
    fn a_match_that_takes_forever_is_an_error() {
        let pattern = Pattern::whole("target_modules", r"((a|a)*)\1b").unwrap();
        let name = "a".repeat(60);
        let Err(Error::Pattern { field, pattern, .. }) = pattern.matches(&name) else {
            panic!("it was decided");
        };
        assert_eq!(
            (field, pattern.as_str()),
            ("target_modules", r"((a|a)*)\1b")
        );
    }

    #[test]
    fn what_cannot_be_matched_is_named() {
        for text in ["(", "a)(b", "(?P<a>b)(?P<a>c)", "(a{1000}){1000}"] {
            let Err(Error::Pattern { field, pattern, .. }) = Pattern::whole("target_modules", text)
            else {
                panic!("{text} was accepted");
            };
            assert_eq!((field, pattern.as_str()), ("target_modules", text));
        }
    }
}
