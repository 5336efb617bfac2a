//! A user's own tables: CSV with a header, and JSON lines.

mod csv;
mod json;
mod labels;
mod quotes;

pub(crate) use json::Object;
pub(super) use labels::Labels;
pub(crate) use labels::{label_set, number};
pub(crate) use quotes::Marks;

use std::path::{Path, PathBuf};

use programs::printing::short;

use super::error::Error;
use super::split::{Parts, Repeats, arrange};
use super::{DataSource, LeftOut, Splits, TextExample};
use crate::problem::Problem;

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
    pub(super) label: LabelColumns<'n>,
    /// Whether quotation marks quote fields; `None`: in CSV, but not between tabs.
    pub(super) quotes: Option<bool>,
}

/// Where the labels are.
#[derive(Debug, Clone, Copy)]
pub(super) enum LabelColumns<'n> {
    /// In one column.
    One(&'n str),
    /// In a column for each label, with 1 where it applies and 0 where not.
    Each(&'n [String]),
}

/// The label of a row as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    Text(String),
    List(Vec<String>),
}

impl Cell {
    /// Of the columns of labels with their values, those that apply.
    pub(crate) fn of_flags<'v>(
        values: impl Iterator<Item = (&'v str, String)>,
    ) -> Result<Self, String> {
        let mut list = Vec::new();
        for (name, value) in values {
            match value.trim().to_ascii_lowercase().as_str() {
                "1" | "1.0" | "true" => list.push(name.to_string()),
                "0" | "0.0" | "false" => {}
                _ => {
                    let (name, value) = (short(name), short(&value));
                    return Err(format!("column `{name}`: expected 0 or 1, found `{value}`"));
                }
            }
        }
        Ok(Self::List(list))
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        let texts = match self {
            Self::Text(text) => std::slice::from_ref(text),
            Self::List(list) => list.as_slice(),
        };
        texts.iter().map(String::as_str)
    }
}

/// A row before its label has an index.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    line: u64,
    first: String,
    second: Option<String>,
    label: Cell,
}

impl Row {
    /// A row of the values of its columns, unless it has no text.
    fn new(
        (path, line): (&Path, u64),
        texts: [Option<&str>; 2],
        label: Cell,
        left_out: &mut LeftOut,
    ) -> Option<Self> {
        let [first, second] = texts.map(|text| text.map(str::trim));
        let label = match label {
            Cell::Text(text) => Cell::Text(text.trim().into()),
            list => list,
        };
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

    fn refuse(&self, path: &Path, problem: impl Into<String>) -> Error {
        Error::line(path, self.line, problem.into())
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
        // JSON can spell it as an escape.
        let holds_nul = |row: &&Row| {
            let second = row.second.as_deref().unwrap_or_default();
            let all = [row.first.as_str(), second].into_iter();
            all.chain(row.label.texts()).any(|text| text.contains('\0'))
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

/// The format of a table by the name of its file, or of the file for training in a folder.
fn format_of(folder: &Path) -> Format {
    let is_lines = |path: &Path| {
        let extension = path.extension();
        extension.is_some_and(|end| {
            end.eq_ignore_ascii_case("jsonl") || end.eq_ignore_ascii_case("json")
        })
    };
    let has_lines = Format::Jsonl.part(folder, &["train"]).is_some();
    let has_table = Format::Csv.part(folder, &["train"]).is_some();
    if is_lines(folder) || (has_lines && !has_table) {
        Format::Jsonl
    } else {
        Format::Csv
    }
}

/// What [`load_any`] reads.
pub(super) const FILES: &str = "a file `.csv`, `.tsv` or `.jsonl`, or a folder with `train.csv` or `train.jsonl` and \
                                perhaps `valid` and `test`";

/// A table in the format that its name says, with labels of this kind.
pub(super) fn load_any(
    problem: Problem,
    options: &DataSource,
) -> Result<Splits<TextExample>, Error> {
    load(format_of(&options.folder), problem, options)
}

pub(super) fn load(
    format: Format,
    problem: Problem,
    options: &DataSource,
) -> Result<Splits<TextExample>, Error> {
    let columns = Columns {
        text: &options.text_column,
        second: options.second_column.as_deref(),
        label: match &options.label_columns[..] {
            [] => LabelColumns::One(&options.label_column),
            columns => LabelColumns::Each(columns),
        },
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
    let mut rows_of = |path: &Path| {
        let rows = format.rows(path, &columns, &mut left_out)?;
        let is_empty = |row: &&Row| row.label == Cell::Text(String::new());
        match rows.iter().find(is_empty) {
            Some(row) if problem != Problem::MultiLabel => {
                Err(row.refuse(path, "the label is empty"))
            }
            _ => Ok(rows),
        }
    };
    let rows = rows_of(&train)?;
    let separator = options.label_separator.as_str();
    let labels = match (problem, &options.labels, columns.label) {
        (Problem::Regression, ..) => Labels::numbers(&options.label_column),
        (Problem::MultiLabel, _, LabelColumns::Each(names)) => {
            Labels::sets(names.to_vec(), separator)
        }
        (Problem::MultiLabel, Some(names), _) => Labels::sets(names.clone(), separator),
        (Problem::MultiLabel, None, _) => Labels::sets_of(&train, &rows, separator)?,
        (_, Some(names), _) => Labels::classes(names.clone()),
        _ => Labels::classes_of(&train, &rows)?,
    };
    let mut held = |names: &[&str]| {
        let Some(path) = part(names) else {
            return Ok(None);
        };
        labels.apply(&path, rows_of(&path)?).map(Some)
    };
    let parts = Parts {
        valid: held(&["valid", "validation", "dev"])?,
        test: held(&["test"])?,
        train: labels.apply(&train, rows)?,
    };
    arrange(parts, Repeats::Drop, labels.names, left_out, options)
}
