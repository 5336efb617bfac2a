//! Names in a model that are close to what a user wrote.

use std::collections::BTreeMap;

use super::target::ModuleKind;
use crate::settings::Modules;

/// The longest list that helps.
const MOST: usize = 8;

/// How many of the names that were written are compared.
const MOST_WRITTEN: usize = 50;

/// Ends of names of adaptable modules, nearest first: those within a few letters of what was
/// written, or else every one there is.
pub(super) fn near(targets: &Modules, modules: &[(String, ModuleKind)]) -> Vec<String> {
    let adaptable = modules.iter().filter(|(_, kind)| kind.is_adaptable());
    let names: Vec<&str> = adaptable.map(|(name, _)| name.as_str()).collect();
    let written = match targets {
        Modules::Names(names) => names.clone(),
        Modules::Pattern(text) => words(text),
    };
    let mut near = BTreeMap::new();
    for wanted in written.iter().take(MOST_WRITTEN) {
        let segments = wanted.split('.').count();
        let close = (wanted.chars().count() / 3).max(2);
        for name in &names {
            let end = end(name, segments);
            let distance = strsim::levenshtein(wanted, end);
            if distance <= close {
                let nearest = near.entry(end).or_insert(distance);
                *nearest = distance.min(*nearest);
            }
        }
    }
    if near.is_empty() {
        near = names.iter().map(|name| (last_word(name), 0)).collect();
    }
    let mut near: Vec<_> = near.into_iter().collect();
    near.sort_by_key(|(name, distance)| (*distance, *name));
    let near = near.into_iter().take(MOST);
    near.map(|(name, _)| name.to_string()).collect()
}

/// The letters of an expression without its operators.
fn words(expression: &str) -> Vec<String> {
    let words = expression.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
    let words = words.filter(|word| word.chars().count() > 1);
    words.map(str::to_string).collect()
}

/// The last segments of a name.
fn end(name: &str, segments: usize) -> &str {
    match name.rmatch_indices('.').nth(segments - 1) {
        Some((dot, _)) => &name[dot + 1..],
        None => name,
    }
}

/// The last segment that is not a number.
fn last_word(name: &str) -> &str {
    let mut segments = name.rsplit('.');
    let word = segments.find(|segment| segment.parse::<usize>().is_err());
    word.unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(targets: impl Into<Modules>) -> Vec<String> {
        let modules = [
            ("encoder.layer.0.attention.self.query", ModuleKind::Linear),
            ("encoder.layer.0.attention.self.value", ModuleKind::Linear),
            ("encoder.layer.0.output.dense", ModuleKind::Linear),
            ("encoder.layer.0", ModuleKind::Other),
        ];
        let modules = modules.map(|(name, kind)| (name.to_string(), kind));
        super::near(&targets.into(), &modules)
    }

    #[test]
    fn spelling_is_forgiven() {
        assert_eq!(near(["querry", "val"]), ["query", "value"]);
        assert_eq!(near(["attn.self.query"]), ["attention.self.query"]);
        assert_eq!(
            near(Modules::pattern(r".*\.(querys|vals)")),
            ["query", "value"]
        );
    }

    #[test]
    fn another_naming_lists_what_is_there() {
        assert_eq!(near(["q_proj_linear"]), ["dense", "query", "value"]);
        assert_eq!(near([""; 1]), ["dense", "query", "value"]);
        assert!(super::near(&Modules::from(["a"]), &[]).is_empty());
    }
}
