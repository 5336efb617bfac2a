//! A user's own tables: CSV with a header, and JSON lines.

mod csv;
mod json;
mod quotes;

pub(crate) use json::Object;
pub(crate) use quotes::Marks;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use programs::printing::{quoted_list, short};

use super::error::Error;
use super::split::{Parts, Repeats, arrange};
use super::{DataSource, LeftOut, Splits, TextExample};

/// More classes than this, with hardly two rows each, are no classes.
const MANY: usize = 20;

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    Jsonl,
}

/// Names of the columns.
#[derive(Debug)]
pub(super) struct Columns<'n> {
    pub(super) text: &'n str,
    pub(super) second: Option<&'n str>,
    pub(super) label: &'n str,
    /// Whether quotation marks quote fields; `None`: in CSV, but not between tabs.
    pub(super) quotes: Option<bool>,
}

/// A row before its label has an index.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    line: u64,
    first: String,
    second: Option<String>,
    label: String,
}

impl Row {
    /// A row of the values of its columns, unless it has no text.
    fn new(
        (path, line): (&Path, u64),
        texts: [Option<&str>; 2],
        label: &str,
        left_out: &mut LeftOut,
    ) -> Option<Self> {
        let [first, second] = texts.map(|text| text.map(str::trim));
        let label = label.trim().to_string();
        match (first, second) {
            (None | Some(""), _) | (_, Some("")) => {
                left_out.note_empty(path, line);
                None
            }
            (Some(first), second) => Some(Self {
                line,
                first: first.to_string(),
                second: second.map(str::to_string),
                label,
            }),
        }
    }
}

impl Format {
    /// The files in words.
    pub(super) fn files(self) -> &'static str {
        match self {
            Self::Csv => {
                "a file `.csv` or `.tsv` with a header, or a folder with `train.csv` and perhaps \
                 `valid.csv` and `test.csv`"
            }
            Self::Jsonl => {
                "a file `.jsonl`, or a folder with `train.jsonl` and perhaps `valid.jsonl` and \
                 `test.jsonl`"
            }
        }
    }

    fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Csv => &["csv", "tsv"],
            Self::Jsonl => &["jsonl", "json"],
        }
    }

    /// Rows with text and label.
    pub(super) fn rows(
        self,
        path: &Path,
        columns: &Columns<'_>,
        left_out: &mut LeftOut,
    ) -> Result<Vec<Row>, Error> {
        let rows = match self {
            Self::Csv => csv::rows(path, columns, left_out),
            Self::Jsonl => json::rows(path, columns, left_out),
        }?;
        if let Some(row) = rows.iter().find(|row| row.label.is_empty()) {
            return Err(Error::line(path, row.line, "the label is empty"));
        }
        // JSON can spell it as an escape.
        let holds_nul = |row: &&Row| {
            let second = row.second.as_deref().unwrap_or_default();
            let all = [row.first.as_str(), second, row.label.as_str()];
            all.iter().any(|text| text.contains('\0'))
        };
        if let Some(row) = rows.iter().find(holds_nul) {
            let problem = "a NUL character in a text or label, expected none";
            return Err(Error::line(path, row.line, problem));
        }
        if rows.is_empty() {
            Err(Error::file(path, "no rows with text"))
        } else {
            Ok(rows)
        }
    }

    /// A folder has no file for training.
    fn without_training(self, folder: &Path) -> Error {
        let name = format!("train.{}", self.extensions()[0]);
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths = entries.map(|entry| entry.path());
        let parquet = paths.find(|path| path.extension().is_some_and(|end| end == "parquet"));
        match parquet {
            Some(path) => {
                let files = self.files();
                let problem =
                    format!("a Parquet file, expected {files}: write its rows as {name} first");
                Error::file(&path, problem)
            }
            None => Error::missing(&folder.join(name), self.files()),
        }
    }

    /// The file of a part in a folder.
    fn part(self, folder: &Path, names: &[&str]) -> Option<PathBuf> {
        let names = names.iter().flat_map(|name| {
            let of = move |extension: &&str| format!("{name}.{extension}");
            self.extensions().iter().map(of)
        });
        names
            .map(|name| folder.join(name))
            .find(|path| path.is_file())
    }
}

/// The classes and their indices.
#[derive(Debug)]
pub(super) struct Labels {
    names: Vec<String>,
}

impl Labels {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self { names }
    }

    /// All labels of the rows by alphabet. Numbers may be classes or scores: they must be named as classes.
    fn of(path: &Path, rows: &[Row]) -> Result<Self, Error> {
        let names: BTreeSet<&str> = rows.iter().map(|row| row.label.as_str()).collect();
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
                     does not hold classes",
                    rows.len(),
                    short(&names[0])
                );
                Err(Error::file(path, problem))
            }
            _ if names.iter().all(|name| number(name).is_some()) => Err(numbers(path, names)),
            _ => Ok(Self { names }),
        }
    }

    /// The rows as examples.
    pub(super) fn apply(&self, path: &Path, rows: Vec<Row>) -> Result<Vec<TextExample>, Error> {
        let example = |row: Row| {
            let label = self.names.iter().position(|name| *name == row.label);
            let Some(label) = label else {
                let (label, known) = (short(&row.label), quoted_list(&self.names));
                let problem = format!("unknown label `{label}`, expected one of {known}");
                return Err(Error::line(path, row.line, problem));
            };
            Ok(TextExample {
                first: row.first,
                second: row.second,
                label,
            })
        };
        rows.into_iter().map(example).collect()
    }
}

/// The number that a label is, also with a decimal comma.
fn number(label: &str) -> Option<f64> {
    label.replace(',', ".").parse().ok()
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
        "the labels are numbers ({}), expected classes. Scores cannot be learned (there is no regression): sort them \
         into classes with names first. If the numbers are classes, say so by naming all of them in their order: \
         `--labels {choice}`",
        quoted_list(&names)
    );
    Error::file(path, problem)
}

pub(super) fn load(format: Format, options: &DataSource) -> Result<Splits<TextExample>, Error> {
    let columns = Columns {
        text: &options.text_column,
        second: options.second_column.as_deref(),
        label: &options.label_column,
        quotes: options.quotes,
    };
    let mut left_out = LeftOut::default();
    let folder = &options.folder;
    let part = |names: &[&str]| format.part(folder, names);
    // What is no folder is the file: reading it says what else it is.
    let train = if folder.is_dir() {
        part(&["train"]).ok_or_else(|| format.without_training(folder))?
    } else {
        folder.clone()
    };
    let rows = format.rows(&train, &columns, &mut left_out)?;
    let labels = match &options.labels {
        Some(names) => Labels::new(names.clone()),
        None => Labels::of(&train, &rows)?,
    };
    let mut held = |names: &[&str]| {
        let Some(path) = part(names) else {
            return Ok(None);
        };
        let rows = format.rows(&path, &columns, &mut left_out)?;
        labels.apply(&path, rows).map(Some)
    };
    let parts = Parts {
        valid: held(&["valid", "validation", "dev"])?,
        test: held(&["test"])?,
        train: labels.apply(&train, rows)?,
    };
    arrange(parts, Repeats::Drop, labels.names, left_out, options)
}
