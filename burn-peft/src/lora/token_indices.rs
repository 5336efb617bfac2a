//! `trainable_token_indices`: rows of an embedding table that train.

use crate::error::Error;
use crate::settings::ranges::{not_too_many, refuse};
use crate::settings::{FieldValue, Json};
use crate::targets::{ModuleKind, Target};

/// Tokens whose rows of an embedding table train in addition to the low-rank factors.
///
/// ```
/// use burn_peft::lora::TokenIndices;
///
/// let tokens = TokenIndices::from([5, 9]);
/// assert_eq!(tokens, TokenIndices::Input(vec![5, 9]));
/// let named = TokenIndices::Named(vec![("embed_tokens".into(), vec![5, 9])]);
/// assert_ne!(tokens, named);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenIndices {
    /// Of the table of the model's input.
    Input(Vec<usize>),
    /// Of tables by their names or the ends of their names after a dot.
    Named(Vec<(String, Vec<usize>)>),
}

impl<I: IntoIterator<Item = usize>> From<I> for TokenIndices {
    fn from(tokens: I) -> Self {
        Self::Input(tokens.into_iter().collect())
    }
}

/// What the table of a model's input is called in `transformers`.
const INPUT_TABLES: [&str; 5] = [
    "embed_tokens",
    "word_embeddings",
    "tok_embeddings",
    "shared",
    "wte",
];

const FIELD: &str = "trainable_token_indices";

impl TokenIndices {
    pub(super) fn validate(&self) -> Result<(), Error> {
        let lists: Vec<&Vec<usize>> = match self {
            Self::Input(tokens) => vec![tokens],
            Self::Named(tables) => tables.iter().map(|(_, tokens)| tokens).collect(),
        };
        not_too_many(FIELD, lists.iter().map(|tokens| tokens.len()).sum())?;
        for tokens in lists {
            let mut sorted = tokens.clone();
            sorted.sort_unstable();
            if tokens.is_empty() {
                return refuse(
                    FIELD,
                    "an empty list",
                    "expected at least one token, or null",
                );
            }
            if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
                let value = format!("token {} twice", pair[0]);
                return refuse(FIELD, value, "expected every token once");
            }
        }
        Ok(())
    }

    /// The tokens of a table, if it has some.
    pub(super) fn of(&self, module: &str) -> Option<&[usize]> {
        let ends_in = |name: &str| match module.strip_suffix(name) {
            Some(before) => before.is_empty() || before.ends_with('.'),
            None => false,
        };
        match self {
            Self::Input(tokens) => {
                let is_input = INPUT_TABLES.iter().any(|name| ends_in(name));
                is_input.then_some(tokens.as_slice())
            }
            Self::Named(tables) => {
                let mut tables = tables.iter();
                let found = tables.find(|(name, _)| ends_in(name));
                found.map(|(_, tokens)| tokens.as_slice())
            }
        }
    }

    /// The tables among `modules`. None of them may be a target of the factors too.
    pub(super) fn targets(
        &self,
        modules: &[(String, ModuleKind)],
        adapted: &[Target],
    ) -> Result<Vec<Target>, Error> {
        let of_table = modules.iter().filter(|(name, _)| self.of(name).is_some());
        let tables: Vec<Target> = of_table
            .map(|(module, kind)| Target {
                module: module.clone(),
                kind: *kind,
            })
            .collect();
        let names = || {
            tables
                .iter()
                .map(|table| table.module.as_str())
                .collect::<Vec<_>>()
        };
        let found = match self {
            Self::Input(_) => tables.len() == 1,
            Self::Named(named) => tables.len() >= named.len(),
        };
        if !found {
            let value = if tables.is_empty() {
                "for a table that the model does not have".into()
            } else {
                format!("for the tables {}", names().join(", "))
            };
            return refuse(
                FIELD,
                value,
                "expected one table of the input, or an object from names of tables to tokens",
            );
        }
        if let Some(other) = tables
            .iter()
            .find(|table| table.kind != ModuleKind::Embedding)
        {
            let value = format!("for `{}`", other.module);
            return refuse(FIELD, value, "expected embedding tables");
        }
        let both = tables.iter().find(|table| adapted.contains(table));
        if let Some(table) = both {
            let value = format!("for `{}`, which target_modules chooses too", table.module);
            return refuse(FIELD, value, "expected a table without factors of its own");
        }
        Ok(tables)
    }
}

impl FieldValue for TokenIndices {
    const EXPECTED: &'static str =
        "expected a list of tokens, or an object from names of tables to such lists";

    fn read(json: &Json) -> Option<Self> {
        let list = |json: &Json| match json {
            Json::Array(items) => items.iter().map(usize::read).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        match json {
            Json::Object(fields) => {
                let tables = fields.iter();
                let tables = tables.map(|(name, tokens)| Some((name.clone(), list(tokens)?)));
                tables.collect::<Option<_>>().map(Self::Named)
            }
            json => list(json).map(Self::Input),
        }
    }

    fn write(&self) -> Json {
        let list = |tokens: &[usize]| Json::Array(tokens.iter().map(usize::write).collect());
        match self {
            Self::Input(tokens) => list(tokens),
            Self::Named(tables) => {
                let tables = tables.iter();
                Json::Object(
                    tables
                        .map(|(name, tokens)| (name.clone(), list(tokens)))
                        .collect(),
                )
            }
        }
    }
}
