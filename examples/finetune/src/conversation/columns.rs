//! Names of the columns, where a file has others than usual.

use programs::printing::{quoted_list, short};

use crate::data::Error;

/// A part of a row that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Column {
    Messages,
    Tools,
    System,
    Prompt,
    Completion,
    Instruction,
    Input,
    Output,
    Question,
    Answer,
    Text,
}

const ALL: [Column; 11] = [
    Column::Messages,
    Column::Tools,
    Column::System,
    Column::Prompt,
    Column::Completion,
    Column::Instruction,
    Column::Input,
    Column::Output,
    Column::Question,
    Column::Answer,
    Column::Text,
];

impl Column {
    /// Its usual name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Tools => "tools",
            Self::System => "system",
            Self::Prompt => "prompt",
            Self::Completion => "completion",
            Self::Instruction => "instruction",
            Self::Input => "input",
            Self::Output => "output",
            Self::Question => "question",
            Self::Answer => "answer",
            Self::Text => "text",
        }
    }
}

/// Names of the columns, where a file has others than usual.
///
/// ```
/// use finetune::conversation::Columns;
///
/// let columns = Columns::parse(["prompt=q", "completion=a"])?;
/// assert_eq!(columns.to_string(), "prompt=q completion=a");
/// assert!(Columns::parse(["colour=red"]).is_err());
/// # Ok::<(), finetune::data::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    named: Vec<(Column, String)>,
}

impl Columns {
    /// From pairs `COLUMN=NAME`: the column is `messages`, `tools`, `system`, `prompt`, `completion`, `instruction`,
    /// `input`, `output`, `question`, `answer` or `text`, and the name is that of the file.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for another column, a name that is empty, or a column named twice.
    pub fn parse<S: AsRef<str>>(pairs: impl IntoIterator<Item = S>) -> Result<Self, Error> {
        let mut named: Vec<(Column, String)> = Vec::new();
        for pair in pairs {
            let pair = pair.as_ref();
            let refuse =
                |expected: String| Error::option("column", expected, format!("`{}`", short(pair)));
            let Some((column, name)) = pair.split_once('=') else {
                return Err(refuse("COLUMN=NAME".into()));
            };
            let known = ALL.iter().find(|known| known.name() == column);
            let Some(&known) = known else {
                let all = ALL.map(Column::name).join("`, `");
                return Err(refuse(format!("one of `{all}` in front of `=`")));
            };
            if name.is_empty() {
                return Err(refuse("a name behind `=`".into()));
            }
            if named.iter().any(|(column, _)| *column == known) {
                return Err(refuse(format!("one name for `{column}`")));
            }
            named.push((known, name.to_string()));
        }
        Ok(Self { named })
    }

    /// Whether the user named it.
    pub(super) fn names(&self, column: Column) -> bool {
        self.named.iter().any(|(named, _)| *named == column)
    }

    /// The columns that the user named.
    pub(super) fn named(&self) -> impl Iterator<Item = (Column, &str)> {
        self.named
            .iter()
            .map(|(column, name)| (*column, name.as_str()))
    }

    /// The name in the file.
    pub(super) fn name(&self, column: Column) -> &str {
        let named = self.named().find(|(named, _)| *named == column);
        named.map_or(column.name(), |(_, name)| name)
    }

    /// The first name that a column of messages may have and that is among `keys`.
    pub(super) fn messages(&self, has: impl Fn(&str) -> bool) -> Option<&str> {
        let usual: &[&str] = &["messages", "conversations"];
        let named = [self.name(Column::Messages)];
        let names = if self.names(Column::Messages) {
            &named[..]
        } else {
            usual
        };
        names.iter().copied().find(|name| has(name))
    }

    /// Check that the named columns are there.
    pub(super) fn require<'k>(
        &self,
        keys: impl Iterator<Item = &'k String> + Clone,
    ) -> Result<(), String> {
        for (column, name) in self.named() {
            if !keys.clone().any(|key| key == name) {
                let (column, found) = (column.name(), quoted_list(keys));
                let name = short(name);
                return Err(format!(
                    "no column `{name}` (named by `--column {column}={name}`), found {found}"
                ));
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Columns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pairs = self
            .named()
            .map(|(column, name)| format!("{}={name}", column.name()));
        f.write_str(&pairs.collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_that_do_not_fit_are_refused() {
        for (pairs, expected) in [
            (&["prompt"][..], "expected COLUMN=NAME, found `prompt`"),
            (&["prompt="], "expected a name behind `=`"),
            (&["colour=red"], "expected one of `messages`, `tools`"),
            (
                &["prompt=a", "prompt=b"],
                "expected one name for `prompt`, found `prompt=b`",
            ),
        ] {
            let error = Columns::parse(pairs).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_name_may_hold_an_equals_sign() {
        let columns = Columns::parse(["text=a=b"]).unwrap();
        assert_eq!(columns.name(Column::Text), "a=b");
        assert_eq!(columns.name(Column::Prompt), "prompt");
    }
}
