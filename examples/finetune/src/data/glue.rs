//! GLUE: tab-separated files in which quotes are plain characters.

use std::path::Path;

use programs::printing::{quoted_list, short};

use super::error::Error;
use super::lines::{Encoding, Header, locate, numbered, read};
use super::split::{Parts, Repeats, arrange, halves};
use super::{DataSource, LeftOut, Splits, TextExample};

/// The place of a value in a row.
#[derive(Debug, Clone, Copy)]
enum Column {
    /// In a file without header.
    At(usize),
    Named(&'static str),
}

use Column::{At, Named};

/// The files of one task.
#[derive(Debug)]
pub(super) struct Format {
    train: &'static [&'static str],
    dev: &'static [&'static str],
    /// Columns of a row; only for files without header.
    columns: Option<usize>,
    first: Column,
    second: Option<Column>,
    label: Column,
    /// Values in the file and names, by class.
    labels: &'static [(&'static str, &'static str)],
    /// Whether the published file has broken rows.
    broken: bool,
}

const TRAIN: &[&str] = &["train.tsv"];
const DEV: &[&str] = &["dev.tsv"];
const BINARY: [&str; 2] = ["0", "1"];
const ENTAILMENT: &[(&str, &str)] = &[
    ("entailment", "entailment"),
    ("not_entailment", "not_entailment"),
];

/// Single sentences with the label in a column `label`.
const SENTENCE: Format = Format {
    train: TRAIN,
    dev: DEV,
    columns: None,
    first: Named("sentence"),
    second: None,
    label: Named("label"),
    labels: &[],
    broken: false,
};

/// Pairs with the label in a column `label`.
const PAIR: Format = Format {
    first: Named("sentence1"),
    second: Some(Named("sentence2")),
    ..SENTENCE
};

/// Pairs of MNLI.
const INFERENCE: Format = Format {
    dev: &["dev_matched.tsv"],
    label: Named("gold_label"),
    labels: &[
        ("entailment", "entailment"),
        ("neutral", "neutral"),
        ("contradiction", "contradiction"),
    ],
    ..PAIR
};

pub(super) static COLA: Format = Format {
    columns: Some(4),
    first: At(3),
    label: At(1),
    labels: &[(BINARY[0], "unacceptable"), (BINARY[1], "acceptable")],
    ..SENTENCE
};

pub(super) static SST2: Format = Format {
    labels: &[(BINARY[0], "negative"), (BINARY[1], "positive")],
    ..SENTENCE
};

pub(super) static MRPC: Format = Format {
    train: &["train.tsv", "msr_paraphrase_train.txt"],
    dev: &["dev.tsv", "msr_paraphrase_test.txt"],
    first: Named("#1 String"),
    second: Some(Named("#2 String")),
    label: Named("Quality"),
    labels: &[(BINARY[0], "not_equivalent"), (BINARY[1], "equivalent")],
    ..PAIR
};

pub(super) static QQP: Format = Format {
    first: Named("question1"),
    second: Some(Named("question2")),
    label: Named("is_duplicate"),
    labels: &[(BINARY[0], "not_duplicate"), (BINARY[1], "duplicate")],
    // Line feeds inside of questions tear rows apart.
    broken: true,
    ..PAIR
};

pub(super) static MNLI: Format = INFERENCE;

pub(super) static MNLI_MISMATCHED: Format = Format {
    dev: &["dev_mismatched.tsv"],
    ..INFERENCE
};

pub(super) static QNLI: Format = Format {
    first: Named("question"),
    second: Some(Named("sentence")),
    labels: ENTAILMENT,
    ..PAIR
};

pub(super) static RTE: Format = Format {
    labels: ENTAILMENT,
    ..PAIR
};

/// MNLI's mark for pairs whose annotators disagree.
const UNDECIDED: &str = "-";

/// Names of the classes.
pub(super) fn names(format: &Format) -> Vec<String> {
    format
        .labels
        .iter()
        .map(|(_, name)| name.to_string())
        .collect()
}

/// `train` as it is; `dev` as validation and test.
pub(super) fn load(format: &Format, options: &DataSource) -> Result<Splits<TextExample>, Error> {
    let folder = &options.folder;
    if folder.is_file() {
        let problem = format!(
            "a folder with {} and {} is expected",
            format.train[0], format.dev[0]
        );
        return Err(Error::file(folder, problem));
    }
    let mut left_out = LeftOut::default();
    let mut rows = |names: &[&str]| {
        let path = locate(
            folder,
            names,
            &format!("`{}` of GLUE", names.join("` or `")),
        )?;
        format.rows(&path, &mut left_out)
    };
    let train = rows(format.train)?;
    let [valid, test] = halves(rows(format.dev)?, options.seed);
    let parts = Parts {
        train,
        valid: Some(valid),
        test: Some(test),
    };
    arrange(parts, Repeats::Keep, names(format), left_out, options)
}

/// Columns of one file.
struct Places {
    count: usize,
    first: usize,
    second: Option<usize>,
    label: usize,
}

impl Format {
    fn rows(&self, path: &Path, left_out: &mut LeftOut) -> Result<Vec<TextExample>, Error> {
        let text = read(path, Encoding::Utf8, "a file of GLUE")?;
        let mut lines = numbered(path, &text, left_out).into_iter();
        let places = match self.columns {
            Some(count) => self.places(count, None)?,
            None => {
                let (_, header) = lines.next().ok_or_else(|| Error::file(path, "empty"))?;
                let header = Header::new(path, header.split('\t'))?;
                self.places(header.count(), Some(&header))?
            }
        };
        let mut rows = Vec::new();
        for (line, text) in lines {
            match self.row(&places, text) {
                Row::Example(example) => rows.push(example),
                Row::Empty => left_out.note_empty(path, line),
                Row::Undecided => left_out.undecided += 1,
                Row::Wrong(_) if self.broken => left_out.malformed += 1,
                Row::Wrong(problem) => return Err(Error::line(path, line, problem)),
            }
        }
        if rows.is_empty() {
            Err(Error::file(path, "no rows"))
        } else {
            Ok(rows)
        }
    }

    fn places(&self, count: usize, header: Option<&Header<'_>>) -> Result<Places, Error> {
        let find = |column: Column| match (column, header) {
            (At(place), _) => Ok(place),
            (Named(name), Some(header)) => header.place(name),
            // Formats with a number of columns name none.
            (Named(_), None) => Ok(0),
        };
        Ok(Places {
            count,
            first: find(self.first)?,
            second: self.second.map(find).transpose()?,
            label: find(self.label)?,
        })
    }

    fn row(&self, places: &Places, text: &str) -> Row {
        let fields: Vec<&str> = text.split('\t').collect();
        if fields.len() != places.count {
            let (count, found) = (places.count, fields.len());
            return Row::Wrong(format!("expected {count} columns, found {found}"));
        }
        let label = fields[places.label].trim();
        let Some(class) = self.labels.iter().position(|(value, _)| *value == label) else {
            if label == UNDECIDED {
                return Row::Undecided;
            }
            let known = quoted_list(self.labels.iter().map(|(value, _)| *value));
            let label = short(label);
            return Row::Wrong(format!("unknown label `{label}`, expected one of {known}"));
        };
        let first = fields[places.first].trim();
        let second = places.second.map(|place| fields[place].trim());
        if first.is_empty() || second.is_some_and(str::is_empty) {
            return Row::Empty;
        }
        let example = TextExample::new(first, class);
        Row::Example(match second {
            Some(second) => example.with_second(second),
            None => example,
        })
    }
}

enum Row {
    Example(TextExample),
    Empty,
    Undecided,
    Wrong(String),
}
