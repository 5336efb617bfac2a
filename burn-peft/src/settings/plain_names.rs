//! Patterns that are plain names, found without compiling them.

use std::collections::HashMap;

/// Plain names as regular expressions for the end of a module's name after a dot: `(.*\.)?(NAME)$`,
/// where a dot in a name stands for any letter. Configurations with a pattern for each module have
/// thousands of them, and one compiled expression takes 20 KB.
#[derive(Debug, Clone, Default)]
pub(crate) struct PlainNames {
    /// Names with their numbers, by what comes after the last dot.
    by_end: HashMap<String, Vec<(usize, String)>>,
}

impl PlainNames {
    /// Whether the expression is a plain name.
    pub fn takes(expression: &str) -> bool {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        !expression.is_empty() && !expression.ends_with('.') && expression.bytes().all(letter)
    }

    /// Add a plain name.
    pub fn insert(&mut self, number: usize, name: &str) {
        let end = name.rsplit('.').next().unwrap_or(name);
        let names = self.by_end.entry(end.into()).or_default();
        names.push((number, name.into()));
    }

    /// The smallest number of a name that the module's name ends in.
    pub fn first(&self, module: &str) -> Option<usize> {
        let end = module.rsplit('.').next().unwrap_or(module);
        let starts = end.char_indices().map(|(at, _)| &end[at..]);
        let names = starts.filter_map(|end| self.by_end.get(end)).flatten();
        let matching = names.filter(|(_, name)| ends_in(module, name));
        matching.map(|(number, _)| *number).min()
    }
}

/// Whether `module` is `name`, or ends in a dot and `name`, where a dot in `name` is any letter.
fn ends_in(module: &str, name: &str) -> bool {
    let mut letters = module.chars().rev();
    for wanted in name.chars().rev() {
        match letters.next() {
            Some(letter) if wanted == '.' || wanted == letter => {}
            _ => return false,
        }
    }
    matches!(letters.next(), None | Some('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Pattern;

    #[test]
    fn names_match_as_their_expressions_do() {
        let names = [
            "q",
            "proj",
            "q_proj",
            "layers.0.q_proj",
            "s.0.q",
            "model.layers.0.q_proj",
            "0.q_proj",
            ".q_proj",
            "a-b",
        ];
        let modules = [
            "q",
            "layers.0.q_proj",
            "model.layers.0.q_proj",
            "model.layers.10.q_proj",
            "layersx0xq_proj",
            "xs.0.q",
            "s.0xq",
            "a-b",
            "x.a-b",
            "größe.q_proj",
            "",
        ];
        for name in names {
            assert!(PlainNames::takes(name));
            let pattern = Pattern::start("rank_pattern", name, &format!(r"(.*\.)?({name})$"));
            let pattern = pattern.unwrap();
            let mut plain = PlainNames::default();
            plain.insert(7, name);
            for module in modules {
                let expected = pattern.matches(module).unwrap();
                let found = plain.first(module) == Some(7);
                assert_eq!(found, expected, "{name} in {module}");
            }
        }
        for expression in ["", "a.", ".*q", "q$", "q|k", "[q]", "q+", "ö", r"a\.b"] {
            assert!(!PlainNames::takes(expression), "{expression}");
        }
    }

    #[test]
    fn the_smallest_number_counts() {
        let mut plain = PlainNames::default();
        plain.insert(3, "q_proj");
        plain.insert(1, "0.q_proj");
        assert_eq!(plain.first("layers.0.q_proj"), Some(1));
        assert_eq!(plain.first("layers.1.q_proj"), Some(3));
        assert_eq!(plain.first("layers.1.k_proj"), None);
    }
}
