//! From the cells of a table to labels.

use std::collections::BTreeSet;
use std::path::Path;

use programs::printing::{quoted_list, short};

use super::{Cell, Row};
use crate::data::error::Error;
use crate::data::{Label, TextExample};
use crate::problem::Problem;

/// More classes than this, with hardly two rows each, are no classes.
const MANY: usize = 20;

/// What labels become numbers by.
#[derive(Debug)]
pub(in crate::data) struct Labels {
    problem: Problem,
    /// Names of the classes or labels in their order; of numbers, the name of their column.
    pub(in crate::data) names: Vec<String>,
    separator: String,
}

impl Labels {
    /// These classes.
    pub(in crate::data) fn classes(names: Vec<String>) -> Self {
        Self {
            problem: Problem::SingleLabel,
            names,
            separator: String::new(),
        }
    }

    /// Numbers of a column.
    pub(super) fn numbers(column: &str) -> Self {
        Self {
            problem: Problem::Regression,
            ..Self::classes(vec![column.into()])
        }
    }

    /// Any number of these labels; in texts they are between separators.
    pub(super) fn sets(names: Vec<String>, separator: &str) -> Self {
        Self {
            problem: Problem::MultiLabel,
            separator: separator.into(),
            ..Self::classes(names)
        }
    }

    /// All labels of the rows by alphabet. Numbers may be classes or scores: they must be named as classes.
    pub(super) fn classes_of(path: &Path, rows: &[Row]) -> Result<Self, Error> {
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for row in rows {
            names.insert(class(path, row)?);
        }
        let names: Vec<String> = names.into_iter().map(str::to_string).collect();
        match names.len() {
            1 => {
                let problem = format!(
                    "all rows have the label `{}`: expected two or more",
                    short(&names[0])
                );
                Err(Error::file(path, problem))
            }
            count if count > MANY && 2 * count > rows.len() => {
                let problem = format!(
                    "{count} different labels in {} rows, such as `{}`: the column of the labels \
                     does not hold classes{}",
                    rows.len(),
                    short(&names[0]),
                    if names.iter().all(|name| number(name).is_some()) {
                        " (`--task regression` learns numbers)"
                    } else {
                        ""
                    }
                );
                Err(Error::file(path, problem))
            }
            _ if names.iter().all(|name| number(name).is_some()) => Err(numbers(path, names)),
            _ => Ok(Self::classes(names)),
        }
    }

    /// All labels of the sets of the rows by alphabet.
    pub(super) fn sets_of(path: &Path, rows: &[Row], separator: &str) -> Result<Self, Error> {
        let mut names: BTreeSet<String> = BTreeSet::new();
        let mut largest = 0;
        for row in rows {
            let set = label_set(&row.label, separator).map_err(|it| row.refuse(path, it))?;
            largest = largest.max(set.len());
            names.extend(set);
        }
        let names: Vec<String> = names.into_iter().collect();
        let problem = match names.len() {
            0 => "no row has a label".into(),
            count if count > MANY && 2 * count > rows.len() => format!(
                "{count} different labels in {} rows, such as `{}`: expected lists, or names with `{separator}` \
                 between them (--label-separator chooses another one)",
                rows.len(),
                short(&names[0])
            ),
            _ if largest < 2 => format!(
                "no row has more than one label: `--task csv` and `--task jsonl` learn one of several classes. If rows \
                 have several, they are expected in a list, or with `{separator}` between them (--label-separator \
                 chooses another one)"
            ),
            _ => return Ok(Self::sets(names, separator)),
        };
        Err(Error::file(path, problem))
    }

    /// The rows as examples.
    pub(in crate::data) fn apply(
        &self,
        path: &Path,
        rows: Vec<Row>,
    ) -> Result<Vec<TextExample>, Error> {
        let example = |row: Row| {
            let label = self.label(path, &row)?;
            Ok(TextExample {
                first: row.first,
                second: row.second,
                label,
            })
        };
        rows.into_iter().map(example).collect()
    }

    fn label(&self, path: &Path, row: &Row) -> Result<Label, Error> {
        match self.problem {
            Problem::Regression => {
                let text = match &row.label {
                    Cell::Text(text) => text.as_str(),
                    Cell::List(_) => "a list",
                };
                let found = number(text).filter(|number| number.is_finite());
                found.map(Label::Number).ok_or_else(|| {
                    let problem = format!(
                        "expected a number, found `{}`: `--task csv` and `--task jsonl` learn classes",
                        short(text)
                    );
                    Error::line(path, row.line, problem)
                })
            }
            Problem::MultiLabel => {
                let set = label_set(&row.label, &self.separator);
                let set = set.map_err(|problem| row.refuse(path, problem))?;
                let mut applies = vec![false; self.names.len()];
                for name in &set {
                    applies[self.place(path, row, name)?] = true;
                }
                Ok(Label::Set(applies))
            }
            _ => Ok(Label::Class(self.place(path, row, class(path, row)?)?)),
        }
    }

    fn place(&self, path: &Path, row: &Row, label: &str) -> Result<usize, Error> {
        let place = self.names.iter().position(|name| name == label);
        place.ok_or_else(|| {
            let (label, known) = (short(label), quoted_list(&self.names));
            let problem = format!("unknown label `{label}`, expected one of {known}");
            Error::line(path, row.line, problem)
        })
    }
}

/// The one class of a row.
fn class<'r>(path: &Path, row: &'r Row) -> Result<&'r str, Error> {
    match &row.label {
        Cell::Text(text) => Ok(text),
        Cell::List(_) => {
            let problem = "a list of labels, expected one: `--task multi-label` learns several";
            Err(row.refuse(path, problem))
        }
    }
}

/// The labels in a cell, which is a list, or a text with separators; an empty one has none.
pub(crate) fn label_set(cell: &Cell, separator: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = match cell {
        Cell::List(list) => list.iter().map(|name| name.trim().to_string()).collect(),
        Cell::Text(text) if text.trim().is_empty() => Vec::new(),
        Cell::Text(text) => {
            let names = text.split(separator).map(str::trim);
            names.map(str::to_string).collect()
        }
    };
    for (place, name) in names.iter().enumerate() {
        if name.is_empty() {
            return Err("one of the labels is empty".into());
        }
        if names[..place].contains(name) {
            return Err(format!("the label `{}` is there twice", short(name)));
        }
    }
    Ok(names)
}

/// The number that a label is, also with a decimal comma.
pub(crate) fn number(label: &str) -> Option<f64> {
    label.trim().replace(',', ".").parse().ok()
}

/// An error that says what can be done with numbers.
fn numbers(path: &Path, mut names: Vec<String>) -> Error {
    /// More classes than this are not spelled out.
    const SPELLED: usize = 12;
    names.sort_by(|a, b| {
        let [a, b] = [a, b].map(|name| number(name).unwrap_or(f64::NAN));
        a.total_cmp(&b)
    });
    let choice = if names.len() <= SPELLED {
        names.join(",")
    } else {
        "FIRST,SECOND,…".into()
    };
    let problem = format!(
        "the labels are numbers ({}), expected classes. `--task regression` learns numbers. If they are classes, say \
         so by naming all of them in their order: `--labels {choice}`",
        quoted_list(&names)
    );
    Error::file(path, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_lists_or_texts_with_separators() {
        let text = |text: &str| label_set(&Cell::Text(text.into()), ";");
        assert_eq!(text(" a; b c ").unwrap(), ["a", "b c"]);
        assert!(text(" ").unwrap().is_empty());
        assert!(text("a;;b").unwrap_err().contains("empty"));
        assert!(text("a;b;a").unwrap_err().contains("`a` is there twice"));
        let list = Cell::List(vec!["x;y".into()]);
        assert_eq!(label_set(&list, ";").unwrap(), ["x;y"]);
        assert_eq!(number(" 1,5"), Some(1.5));
        assert_eq!(number("1.2.3"), None);
    }
}
