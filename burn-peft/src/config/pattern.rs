//! Regular expressions as Python's `re` applies them to module names.

use regex::Regex;

use crate::error::Error;

/// A compiled expression. Look-around and back-references, which Python has and the `regex` crate
/// has not, are an error that names the pattern.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    /// Matches a whole name: `re.fullmatch`.
    pub(crate) fn whole(field: &'static str, pattern: &str) -> Result<Self, Error> {
        Self::compile(field, pattern, pattern, |text| format!(r"\A(?:{text})\z"))
    }

    /// Matches at the start of a name: `re.match`. `shown` is the part that the user wrote.
    pub(crate) fn start(field: &'static str, shown: &str, pattern: &str) -> Result<Self, Error> {
        Self::compile(field, shown, pattern, |text| format!(r"\A(?:{text})"))
    }

    fn compile(
        field: &'static str,
        shown: &str,
        pattern: &str,
        anchored: impl Fn(&str) -> String,
    ) -> Result<Self, Error> {
        // First alone: the brackets around it must not repair one that closes too early.
        Regex::new(pattern)
            .and_then(|_| Regex::new(&anchored(pattern)))
            .map(Self)
            .map_err(|error| Error::Pattern {
                field,
                pattern: shown.into(),
                message: error.to_string(),
            })
    }

    /// Whether it matches.
    pub(crate) fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }

    /// The number that its group `idx` matches.
    pub(crate) fn index(&self, name: &str) -> Option<Option<usize>> {
        let captures = self.0.captures(name)?;
        Some(
            captures
                .name("idx")
                .and_then(|idx| idx.as_str().parse().ok()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_are_anchored_as_a_whole() {
        let pattern = Pattern::whole("target_modules", "query|key").unwrap();
        assert!(pattern.matches("key"));
        assert!(!pattern.matches("keys"));
        assert!(!pattern.matches("a.query"));
        let pattern = Pattern::start("target_modules", "a|b", "a|b").unwrap();
        assert!(pattern.matches("bc"));
        assert!(!pattern.matches("cb"));
    }

    #[test]
    fn what_cannot_be_matched_is_named() {
        for text in ["(", "a)(b", "(?!vision).*q_proj", "(a{1000}){1000}"] {
            let Err(Error::Pattern { field, pattern, .. }) = Pattern::whole("target_modules", text)
            else {
                panic!("{text} was accepted");
            };
            assert_eq!((field, pattern.as_str()), ("target_modules", text));
        }
    }
}
