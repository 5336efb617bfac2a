//! Files of conversations as samples for training, validation and test.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::columns::Columns;
use super::files::{EXPECTED, part};
use super::form::Form;
use super::row::{Parsed, parse};
use super::rows::{Row, rows};
use super::sample::{Content, Sample};
use crate::data::split::{Example, Parts, Repeats, arrange};
use crate::data::{DataSource, Error, LeftOut, Splits};

/// How files of conversations are read.
///
/// ```
/// use finetune::conversation::ReadOptions;
///
/// let options = ReadOptions::default();
/// assert!(options.form.is_none() && !options.leave_out_faulty);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadOptions {
    /// The form of the rows; otherwise that of the first row.
    pub form: Option<Form>,
    /// Names of the columns.
    pub columns: Columns,
    /// Leave rows out that are not as they should be, and count them, instead of refusing the file. A file that is
    /// not JSON or Parquet is always refused.
    pub leave_out_faulty: bool,
}

/// Samples as they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conversations {
    /// The form of the rows.
    pub form: Form,
    /// The samples.
    pub splits: Splits<Sample>,
    /// Samples whose last messages nobody answered; these messages were taken off.
    pub unanswered: usize,
    /// The first row that was left out because it is not as it should be, and why.
    pub first_faulty: Option<String>,
    /// Columns of the first row that are not read.
    pub unused: Vec<String>,
}

impl fmt::Display for Conversations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Splits {
            train,
            valid,
            test,
            left_out,
            ..
        } = &self.splits;
        let counts = [train.len(), valid.len(), test.len()];
        let [train, valid, test] = counts;
        write!(
            f,
            "form: {}; {train} samples for training, {valid} for validation, {test} for the test",
            self.form
        )?;
        if *left_out != LeftOut::default() {
            write!(f, "; {left_out}")?;
        }
        if let Some(faulty) = &self.first_faulty {
            write!(f, " (the first malformed row: {faulty})")?;
        }
        if self.unanswered > 0 {
            write!(
                f,
                "; {} samples lost last messages that nobody answered",
                self.unanswered
            )?;
        }
        if !self.unused.is_empty() {
            write!(
                f,
                "; columns that are not read: {}",
                programs::printing::quoted_list(&self.unused)
            )?;
        }
        Ok(())
    }
}

impl Example for Sample {
    type Content<'e> = &'e Content;

    fn content(&self) -> &Content {
        &self.content
    }

    /// Samples have no classes to keep the shares of.
    fn stratum(&self) -> usize {
        0
    }

    fn agrees(&self, _: &Self) -> bool {
        true
    }
}

/// Read a file, or the files of a folder, and split the samples.
///
/// Of `source`, the folder or file, the seed and the numbers and shares of rows count. A folder has `train` in JSON
/// lines, JSON or Parquet, and perhaps `valid` (or `validation`, `dev`) and `test`; several Parquet files
/// `train-00000-of-00002.parquet` are read in the order of their names. Samples that are there twice are left out.
///
/// ```
/// use finetune::conversation::{Form, ReadOptions, load};
/// use finetune::data::DataSource;
///
/// let folder = tempfile::tempdir()?;
/// let file = folder.path().join("sums.jsonl");
/// let row = |n| format!("{{\"question\": \"{n} + 1?\", \"answer\": \"{}\"}}\n", n + 1);
/// std::fs::write(&file, (0..10).map(row).collect::<String>())?;
/// let found = load(&DataSource::new(&file), &ReadOptions::default())?;
/// assert_eq!(found.form, Form::QuestionAnswer);
/// assert_eq!(found.splits.train.len(), 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`Error::Missing`] without a file, [`Error::Line`] and [`Error::Row`] for a row that is not as it should be,
/// [`Error::File`] for a file that is not, [`Error::Option`] for shares and numbers that leave nothing.
pub fn load(source: &DataSource, options: &ReadOptions) -> Result<Conversations, Error> {
    source.validate()?;
    let mut reader = Reader {
        options,
        form: options.form,
        unused: Vec::new(),
        unanswered: 0,
        first_faulty: None,
        left_out: LeftOut::default(),
    };
    let folder = &source.folder;
    let train = if folder.is_dir() {
        let train = part(folder, &["train"])?;
        train.ok_or_else(|| Error::missing(&folder.join("train.jsonl"), EXPECTED))?
    } else {
        vec![folder.clone()]
    };
    let train = reader.read(&train)?;
    let mut held = |names: &[&str]| match part(folder, names)? {
        Some(paths) => reader.read(&paths).map(Some),
        None => Ok(None),
    };
    let parts = Parts {
        valid: held(&["valid", "validation", "dev"])?,
        test: held(&["test"])?,
        train,
    };
    let Some(form) = reader.form else {
        return Err(Error::file(folder, format!("no rows, expected {EXPECTED}")));
    };
    Ok(Conversations {
        form,
        splits: arrange(parts, Repeats::Drop, Vec::new(), reader.left_out, source)?,
        unanswered: reader.unanswered,
        first_faulty: reader.first_faulty,
        unused: reader.unused,
    })
}

struct Reader<'o> {
    options: &'o ReadOptions,
    /// Once it is known.
    form: Option<Form>,
    unused: Vec<String>,
    unanswered: usize,
    first_faulty: Option<String>,
    left_out: LeftOut,
}

impl Reader<'_> {
    /// The samples of the files of a part.
    fn read(&mut self, paths: &[PathBuf]) -> Result<Vec<Sample>, Error> {
        let mut samples = Vec::new();
        for path in paths {
            let columns = &self.options.columns;
            let is_row = |row: &Map<String, Value>| Form::of(row, columns).is_ok();
            for row in rows(path, &is_row, &mut self.left_out)? {
                samples.extend(self.sample(row)?);
            }
        }
        if samples.is_empty() {
            let path = paths.first().map(PathBuf::as_path).unwrap_or(Path::new(""));
            let left_out = &self.left_out;
            let faulty = self.first_faulty.as_deref().unwrap_or_default();
            return Err(Error::file(
                path,
                format!("no samples, expected at least 1; {left_out} {faulty}").trim_end(),
            ));
        }
        Ok(samples)
    }

    fn sample(&mut self, (place, row): Row) -> Result<Option<Sample>, Error> {
        let parsed = self
            .form_of(&row)
            .and_then(|form| parse(form, &row, &self.options.columns));
        match parsed {
            Ok(Parsed::Sample {
                content,
                unanswered,
            }) => {
                self.unanswered += usize::from(unanswered > 0);
                Ok(Some(Sample::new(content, place)))
            }
            Ok(Parsed::Empty) => {
                self.left_out.empty += 1;
                self.left_out
                    .first_empty
                    .get_or_insert_with(|| place.to_string());
                Ok(None)
            }
            Err(problem) if self.options.leave_out_faulty => {
                self.left_out.malformed += 1;
                self.first_faulty
                    .get_or_insert_with(|| format!("{place}: {problem}"));
                Ok(None)
            }
            Err(problem) => Err(place.error(problem)),
        }
    }

    /// The form, which all rows must share.
    fn form_of(&mut self, row: &Map<String, Value>) -> Result<Form, String> {
        let columns = &self.options.columns;
        match self.form {
            Some(form) if form.fits(row, columns) => {
                if self.unused.is_empty() {
                    self.unused = form.unused(row, columns);
                }
                Ok(form)
            }
            Some(form) => {
                let found = match Form::of(row, columns) {
                    Ok(other) => format!("the form {other}"),
                    Err(_) => format!("the keys {}", programs::printing::quoted_list(row.keys())),
                };
                let reason = if self.options.form.is_some() {
                    "which was asked for"
                } else {
                    "which the first row has"
                };
                Err(format!("found {found}, expected {form}, {reason}"))
            }
            None => {
                let form = Form::of(row, columns)?;
                self.form = Some(form);
                self.unused = form.unused(row, columns);
                Ok(form)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, options: &ReadOptions) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        std::fs::write(&path, text).unwrap();
        let error = load(&DataSource::new(&path), options)
            .unwrap_err()
            .to_string();
        error.replace(&path.display().to_string(), "rows")
    }

    #[test]
    fn rows_that_do_not_fit_are_refused_with_their_line() {
        let usual = ReadOptions::default();
        for (text, expected) in [
            (
                "{\"text\": \"a\"}\n{\"prompt\": \"a\", \"completion\": \"b\"}\n",
                "rows, line 2: found the form `prompt` and `completion`, expected `text`, which the first row has",
            ),
            (
                "{\"text\": \"a\"}\n{\"txt\": \"a\"}\n",
                "rows, line 2: found the keys `txt`, expected `text`",
            ),
            (
                "{\"a\": \"b\"}\n{\"a\": \"b\"}\n",
                "rows, line 1: found the keys `a`, expected `messages`",
            ),
            (
                "{\"text\": \" \"}\n",
                "rows: no samples, expected at least 1; left out: 1 rows without text",
            ),
            ("[]", "rows: no samples, expected at least 1"),
            (
                "{\"text\": \"a\"}\n{\"text\": 3}\n",
                "rows, line 2: `text`: expected a text, found 3",
            ),
        ] {
            let found = refused(text, &usual);
            assert!(found.contains(expected), "{found}\nexpected {expected}");
        }
        let alpaca = ReadOptions {
            form: Some(Form::Alpaca),
            ..usual
        };
        let found = refused("{\"text\": \"a\"}\n{\"text\": \"b\"}\n", &alpaca);
        let expected = "line 1: found the form `text`, expected Alpaca (`instruction`, `input` and `output`), which was";
        assert!(found.contains(expected), "{found}");
    }

    #[test]
    fn faulty_rows_are_left_out_and_counted_on_demand() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        let good: String = (0..10)
            .map(|n| format!("{{\"text\": \"text {n}\", \"id\": {n}}}\n"))
            .collect();
        std::fs::write(
            &path,
            format!("{{\"text\": \"text 0\"}}\n{{\"text\": 3}}\n{{\"text\": null}}\n{good}"),
        )
        .unwrap();
        let options = ReadOptions {
            leave_out_faulty: true,
            ..ReadOptions::default()
        };
        let found = load(&DataSource::new(&path), &options).unwrap();
        let LeftOut {
            empty,
            duplicates,
            malformed,
            ..
        } = found.splits.left_out;
        assert_eq!((empty, duplicates, malformed), (1, 1, 1));
        assert_eq!(found.splits.train.len(), 8);
        let shown = found.to_string();
        let faulty = format!(
            "(the first malformed row: {}, line 2: `text`: expected a text, found 3)",
            path.display()
        );
        assert!(shown.contains(&faulty), "{shown}");
        assert!(
            shown.ends_with("columns that are not read: `id`"),
            "{shown}"
        );
    }

    #[test]
    fn the_parts_of_a_folder_are_read_in_any_format() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("train.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n");
        write("validation.json", "[{\"text\": \"c\"}]");
        write(
            "test.json",
            "{\"rows\": [{\"text\": \"d\"}, {\"text\": \"a\"}]}",
        );
        let found = load(&DataSource::new(folder.path()), &ReadOptions::default()).unwrap();
        let sizes = [&found.splits.train, &found.splits.valid, &found.splits.test].map(Vec::len);
        assert_eq!(sizes, [1, 1, 2]);
        write("train.json", "[]");
        let error = load(&DataSource::new(folder.path()), &ReadOptions::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("expected one of them: move the others away"),
            "{error}"
        );
        let empty = tempfile::tempdir().unwrap();
        let error = load(&DataSource::new(empty.path()), &ReadOptions::default()).unwrap_err();
        assert!(matches!(error, Error::Missing { .. }), "{error}");
    }
}
