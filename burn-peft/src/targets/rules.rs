//! Matching one module's name.

use std::collections::{BTreeSet, HashSet};

use super::selection::Selection;
use crate::error::Error;
use crate::settings::{LayerRule, Modules, OneOrMany, Pattern, PlainNames};

/// What the rules say about a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    Target,
    /// It matches `target_modules`, and another field takes it out.
    Excluded,
    Unmatched,
}

/// `target_modules` and what limits it, compiled.
pub(super) struct Rules {
    targets: Matcher,
    excluded: Option<Matcher>,
    saved: Saved,
    layers: Option<Layers>,
}

impl Rules {
    pub(super) fn new(selection: &Selection<'_>, targets: &Modules) -> Result<Self, Error> {
        let excluded = selection.exclude_modules;
        let excluded = excluded.filter(|modules| !modules.is_empty());
        Ok(Self {
            targets: Matcher::new("target_modules", targets)?,
            excluded: excluded
                .map(|modules| Matcher::new("exclude_modules", modules))
                .transpose()?,
            saved: Saved::new(selection.modules_to_save)?,
            layers: Layers::new(selection)?,
        })
    }

    pub(super) fn choose(&self, name: &str) -> Result<Choice, Error> {
        if !self.targets.matches(name)? {
            return Ok(Choice::Unmatched);
        }
        if let Some(excluded) = &self.excluded
            && excluded.matches(name)?
        {
            return Ok(Choice::Excluded);
        }
        if self.saved.matches(name)? {
            return Ok(Choice::Excluded);
        }
        Ok(if self.in_layers(name)? {
            Choice::Target
        } else {
            Choice::Excluded
        })
    }

    /// A module that `target_modules` lists with its full name is adapted in any layer.
    fn in_layers(&self, name: &str) -> Result<bool, Error> {
        match (&self.layers, &self.targets) {
            (Some(layers), Matcher::Names { exact, .. }) if !exact.contains(name) => {
                layers.contain(name)
            }
            _ => Ok(true),
        }
    }
}

/// `modules_to_save`, each entry as the expression `(^|.*\.)ENTRY($|\..*)`: PEFT takes it for one.
struct Saved {
    /// Entries that are one plain part of a name.
    parts: HashSet<String>,
    expressions: Vec<Pattern>,
}

impl Saved {
    fn new(entries: &[String]) -> Result<Self, Error> {
        let field = "modules_to_save";
        let is_part = |entry: &&String| PlainNames::takes(entry) && !entry.contains('.');
        let (parts, others): (BTreeSet<&String>, BTreeSet<&String>) =
            entries.iter().partition(is_part);
        Pattern::check_count(field, others.len())?;
        let others = others.into_iter().map(|entry| {
            let around = format!(r"(^|.*\.){entry}($|\..*)");
            Pattern::start(field, entry, &around)
        });
        Ok(Self {
            parts: parts.into_iter().cloned().collect(),
            expressions: others.collect::<Result<_, _>>()?,
        })
    }

    fn matches(&self, name: &str) -> Result<bool, Error> {
        if name.split('.').any(|part| self.parts.contains(part)) {
            return Ok(true);
        }
        for expression in &self.expressions {
            if expression.matches(name)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether `name` is `end` or ends in a dot and `end`.
pub(super) fn ends_in(name: &str, end: &str) -> bool {
    name.strip_suffix(end)
        .is_some_and(|start| start.is_empty() || start.ends_with('.'))
}

enum Matcher {
    Names {
        exact: HashSet<String>,
        ends: Vec<String>,
    },
    Expression(Pattern),
}

impl Matcher {
    fn new(field: &'static str, modules: &Modules) -> Result<Self, Error> {
        Ok(match modules {
            Modules::Pattern(text) => Self::Expression(Pattern::whole(field, text)?),
            Modules::Names(names) => Self::Names {
                exact: names.iter().cloned().collect(),
                ends: names.clone(),
            },
        })
    }

    fn matches(&self, name: &str) -> Result<bool, Error> {
        match self {
            Self::Expression(pattern) => pattern.matches(name),
            Self::Names { exact, ends } => {
                Ok(exact.contains(name) || ends.iter().any(|end| ends_in(name, end)))
            }
        }
    }
}

/// `layers_to_transform` and `layers_pattern`.
struct Layers {
    indices: HashSet<usize>,
    patterns: Vec<Pattern>,
}

impl Layers {
    /// `None` where every layer is meant; an empty list means that too.
    fn new(selection: &Selection<'_>) -> Result<Option<Self>, Error> {
        let Some(OneOrMany(indices)) = selection.layers_to_transform else {
            return Ok(None);
        };
        if indices.is_empty() {
            return Ok(None);
        }
        let rule = LayerRule::of(selection.peft_version);
        let compile = |pattern: Option<&str>| {
            let shown = pattern.unwrap_or_default();
            Pattern::start("layers_pattern", shown, &rule.expression(pattern))
        };
        let patterns = match selection.layers_pattern {
            Some(OneOrMany(names)) if !names.is_empty() => {
                let names = names.iter().map(|name| Some(name.as_str()));
                names.map(compile).collect::<Result<_, _>>()?
            }
            _ => vec![compile(None)?],
        };
        Ok(Some(Self {
            indices: indices.iter().copied().collect(),
            patterns,
        }))
    }

    /// The first pattern that matches decides, whether its index is in the list or not.
    fn contain(&self, name: &str) -> Result<bool, Error> {
        for pattern in &self.patterns {
            if let Some(index) = pattern.index(name)? {
                return Ok(index.is_some_and(|index| self.indices.contains(&index)));
            }
        }
        Ok(false)
    }
}
