//! Rows of a table, read one after the other.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use programs::printing::{message, short};
use serde_json::Value;

use super::columns::{Columns, Item, Row};
use crate::data::{Cell, Error, Marks, Object, Sentence};

/// Rows of one of the forms.
pub(super) struct Rows {
    path: PathBuf,
    columns: Columns,
    /// Where paths of pictures begin.
    folder: Option<PathBuf>,
    form: Form,
    line: u64,
    /// After an error nothing more is read.
    ended: bool,
}

enum Form {
    Csv {
        header: Vec<String>,
        records: Box<csv::StringRecordsIntoIter<Box<dyn Read>>>,
    },
    Jsonl(Box<dyn BufRead>),
    Pictures(std::vec::IntoIter<PathBuf>),
    Sentences(std::vec::IntoIter<Sentence>),
}

impl Rows {
    pub fn csv(
        path: PathBuf,
        reader: Box<dyn BufRead>,
        delimiter: u8,
        quoting: bool,
        columns: &Columns,
        folder: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let reader: Box<dyn Read> = if quoting {
            Box::new(Checked {
                reader,
                marks: Marks::new(delimiter),
            })
        } else {
            Box::new(reader)
        };
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .quoting(quoting)
            .from_reader(reader);
        let header = reader
            .headers()
            .map_err(|error| refused(&path, &error))?
            .clone();
        let header: Vec<String> = header.iter().map(|name| name.trim().to_string()).collect();
        for (place, name) in header.iter().enumerate() {
            if header[..place].contains(name) {
                let name = short(name);
                let problem =
                    format!("the header has the column `{name}` twice: rename one of them");
                return Err(Error::line(&path, 1, problem));
            }
        }
        let records = Box::new(reader.into_records());
        Ok(Self::new(
            path,
            Form::Csv { header, records },
            columns,
            folder,
        ))
    }

    pub fn jsonl(
        path: PathBuf,
        reader: Box<dyn BufRead>,
        columns: &Columns,
        folder: Option<PathBuf>,
    ) -> Self {
        Self::new(path, Form::Jsonl(reader), columns, folder)
    }

    pub fn pictures(path: PathBuf, files: Vec<PathBuf>, columns: &Columns) -> Self {
        Self::new(path, Form::Pictures(files.into_iter()), columns, None)
    }

    pub fn sentences(path: PathBuf, found: Vec<Sentence>, columns: &Columns) -> Self {
        Self::new(path, Form::Sentences(found.into_iter()), columns, None)
    }

    fn new(path: PathBuf, form: Form, columns: &Columns, folder: Option<PathBuf>) -> Self {
        Self {
            path,
            columns: columns.clone(),
            folder,
            form,
            line: 0,
            ended: false,
        }
    }

    /// What is read, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The columns of all rows, where they are known before the first.
    pub fn header(&self) -> Option<Vec<String>> {
        match &self.form {
            Form::Csv { header, .. } => Some(header.clone()),
            Form::Jsonl(_) | Form::Sentences(_) => None,
            Form::Pictures(_) => Some(vec!["file".into()]),
        }
    }

    fn read(&mut self) -> Option<Result<Row, Error>> {
        match &mut self.form {
            Form::Pictures(files) => {
                let file = files.next()?;
                self.line += 1;
                let name = file.display().to_string();
                Some(Ok(Row {
                    line: self.line,
                    fields: [("file".to_string(), Value::String(name))]
                        .into_iter()
                        .collect(),
                    item: Item::Picture(file),
                    label: None,
                }))
            }
            Form::Sentences(sentences) => {
                let Sentence { line, words, tags } = sentences.next()?;
                let mut fields = serde_json::Map::new();
                fields.insert("tokens".into(), words.clone().into());
                if let Some(tags) = &tags {
                    fields.insert("tags".into(), tags.clone().into());
                }
                Some(Ok(Row {
                    line,
                    fields,
                    item: Item::Words(words),
                    label: tags.map(Cell::List),
                }))
            }
            Form::Csv { header, records } => {
                let record = match records.next()? {
                    Ok(record) => record,
                    Err(error) => return Some(Err(refused(&self.path, &error))),
                };
                let line = record.position().map_or(0, csv::Position::line);
                let values = record.iter().map(|value| Value::String(value.into()));
                let fields = header.iter().cloned().zip(values).collect();
                let folder = self.folder.as_deref();
                Some(self.columns.row(&self.path, line, fields, folder))
            }
            Form::Jsonl(reader) => loop {
                let mut bytes = Vec::new();
                self.line += 1;
                match reader.read_until(b'\n', &mut bytes) {
                    Ok(0) => return None,
                    Ok(_) => {}
                    Err(source) => return Some(Err(Error::read(&self.path, source, "JSON lines"))),
                }
                let refuse = |problem: String| Error::line(&self.path, self.line, problem);
                let Ok(text) = std::str::from_utf8(&bytes) else {
                    let problem =
                        "bytes that are not UTF-8, which was expected: save the file as UTF-8";
                    return Some(Err(refuse(problem.into())));
                };
                let text = text.trim_start_matches('\u{feff}').trim();
                if text.is_empty() {
                    continue;
                }
                let fields: Result<Object, _> = serde_json::from_str(text);
                return Some(match fields {
                    Ok(Object(fields)) => {
                        let folder = self.folder.as_deref();
                        self.columns.row(&self.path, self.line, fields, folder)
                    }
                    Err(error) => {
                        let error = message(&error);
                        Err(refuse(format!("expected a JSON object: {error}")))
                    }
                });
            },
        }
    }
}

impl Iterator for Rows {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = self.read();
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }
}

/// What the reader found, with the line on which the row begins.
fn refused(path: &Path, error: &csv::Error) -> Error {
    if let csv::ErrorKind::Io(error) = error.kind()
        && let Some(Misplaced(line, problem)) = error.get_ref().and_then(|it| it.downcast_ref())
    {
        return Error::line(path, *line, problem.clone());
    }
    let line = error.position().map_or(1, csv::Position::line);
    let problem = match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("expected {expected_len} columns as in the header, found {len}"),
        csv::ErrorKind::Utf8 { .. } => {
            "bytes that are not UTF-8, which was expected: save the file as UTF-8".into()
        }
        _ => error.to_string(),
    };
    Error::line(path, line, problem)
}

/// A quotation mark that is not where it belongs.
#[derive(Debug, thiserror::Error)]
#[error("line {0}: {1}")]
struct Misplaced(u64, String);

/// Looks at quotation marks before the reader of the table does.
struct Checked {
    reader: Box<dyn BufRead>,
    marks: Marks,
}

impl Read for Checked {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let misplaced = |(line, problem)| std::io::Error::other(Misplaced(line, problem));
        let count = self.reader.read(to)?;
        if count == 0 && !to.is_empty() {
            self.marks.end().map_err(misplaced)?;
        }
        let mut bytes = to[..count].iter();
        bytes
            .try_for_each(|byte| self.marks.feed(*byte))
            .map_err(misplaced)?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::conversation::{Message, Role};

    fn columns(messages: bool) -> Columns {
        Columns {
            text: vec!["text".into()],
            second: None,
            label: vec!["label".into()],
            flags: Vec::new(),
            words: false,
            messages,
        }
    }

    fn csv(text: &str) -> Result<Vec<Row>, String> {
        let reader = Box::new(Cursor::new(text.to_string()));
        let rows = Rows::csv("t.csv".into(), reader, b',', true, &columns(false), None);
        let rows = rows.map_err(|error| error.to_string())?;
        let rows: Result<Vec<Row>, Error> = rows.collect();
        rows.map_err(|error| error.to_string())
    }

    fn jsonl(text: &str) -> Result<Vec<Row>, String> {
        let reader = Box::new(Cursor::new(text.to_string()));
        let rows = Rows::jsonl("t.jsonl".into(), reader, &columns(true), None);
        let rows: Result<Vec<Row>, Error> = rows.collect();
        rows.map_err(|error| error.to_string())
    }

    fn text(row: &Row) -> &str {
        match &row.item {
            Item::Text { first, .. } => first,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn tables_are_read_in_order() {
        let rows = csv("\u{feff}id,text,label\n7,\" one\nline \",a\n8,,\n9,x,b\n").unwrap();
        let texts: Vec<&str> = rows.iter().map(text).collect();
        assert_eq!(texts, ["one\nline", "", "x"]);
        let label = |label: &str| Some(Cell::Text(label.into()));
        let labels: Vec<_> = rows.iter().map(|row| row.label.clone()).collect();
        assert_eq!(labels, [label("a"), None, label("b")]);
        assert_eq!(rows[0].fields["text"], " one\nline ");
        assert_eq!(rows[2].line, 5);
        // The label may be missing.
        assert_eq!(csv("text\nx\n").unwrap()[0].label, None);
        let rows = jsonl("{\"text\": \"a\", \"n\": 1}\n\n{\"label\": 3, \"text\": \"b\"}").unwrap();
        assert_eq!((text(&rows[0]), rows[1].line), ("a", 3));
        assert_eq!(rows[1].label, label("3"));
    }

    #[test]
    fn conversations_take_the_place_of_texts() {
        let rows = jsonl(r#"{"messages": [{"role": "user", "content": "x"}]}"#).unwrap();
        let expected = vec![Message::new(Role::User, "x")];
        assert_eq!(rows[0].item, Item::Conversation(expected));
        for wrong in [
            "[]",
            "\"x\"",
            "[{\"role\": \"cat\", \"content\": \"x\"}]",
            "[{\"role\": \"user\"}]",
        ] {
            let error = jsonl(&format!("{{\"messages\": {wrong}}}")).unwrap_err();
            assert!(error.starts_with("t.jsonl, line 1: `messages`"), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (table, expected) in [
            ("a,b\n1,2\n", "line 2: no column `text`"),
            (
                "text,text\n1,2\n",
                "line 1: the header has the column `text` twice",
            ),
            ("text,b\nx,1\ny\n", "line 3: expected 2 columns"),
            (
                "text\nx\n\"open\ny\n",
                "line 3: a quotation mark that is never closed",
            ),
            ("text\na \"b\"\n", "line 2: a quotation mark inside"),
        ] {
            let error = csv(table).unwrap_err();
            assert!(error.starts_with(&format!("t.csv, {expected}")), "{error}");
        }
        for (lines, expected) in [
            ("{\"text\": 3}", "line 1: `text`: expected a text, found 3"),
            ("{\"text\": \"a\"}\n[]", "line 2: expected a JSON object"),
            (
                "{\"text\": \"a\", \"text\": \"b\"}",
                "line 1: expected a JSON object",
            ),
            ("{\"text\": \"a\\u0000\"}", "line 1: a NUL character"),
            ("{}", "line 1: no column `text`"),
        ] {
            let error = jsonl(lines).unwrap_err();
            assert!(
                error.starts_with(&format!("t.jsonl, {expected}")),
                "{error}"
            );
        }
        let latin = Box::new(Cursor::new(b"{\"text\": \"\xe9\"}".to_vec()));
        let mut rows = Rows::jsonl("t.jsonl".into(), latin, &columns(false), None);
        assert!(
            rows.next()
                .unwrap()
                .unwrap_err()
                .to_string()
                .contains("UTF-8")
        );
        assert!(rows.next().is_none());
    }

    /// What a table and JSON lines begin as before bytes of them are changed.
    const TABLE: &[u8] = b"text,label\n\"a, b\",x\nc,\n\"d \"\"e\"\"\",y\n";
    const LINES: &[u8] =
        b"{\"text\": \"a\"}\n\n{\"messages\": [{\"role\": \"user\", \"content\": \"b\"}]}\n";

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]

        /// Damaged rows are read or refused with a line, and nothing comes behind an error.
        #[test]
        fn damaged_rows_end_with_a_line(
            changes in proptest::collection::vec((0usize..80, 0u8..=255), 0..6),
            cut in 0usize..80,
            is_json: bool,
        ) {
            let mut bytes = if is_json { LINES } else { TABLE }.to_vec();
            for (place, byte) in changes {
                let place = place % bytes.len();
                bytes[place] = byte;
            }
            bytes.truncate(bytes.len().min(cut + 20));
            let reader: Box<dyn BufRead> = Box::new(Cursor::new(bytes));
            let columns = columns(is_json);
            let rows = if is_json {
                Ok(Rows::jsonl("t".into(), reader, &columns, None))
            } else {
                Rows::csv("t".into(), reader, b',', true, &columns, None)
            };
            let mut last = 0;
            match rows {
                Err(error) => proptest::prop_assert!(error.to_string().starts_with("t, line "), "{}", error),
                Ok(mut rows) => loop {
                    match rows.next() {
                        None => break,
                        Some(Ok(row)) => {
                            // A carriage return alone ends a row, but no line.
                            proptest::prop_assert!(row.line >= last);
                            last = row.line;
                        }
                        Some(Err(error)) => {
                            proptest::prop_assert!(error.to_string().starts_with("t, line "), "{}", error);
                            proptest::prop_assert!(rows.next().is_none());
                            break;
                        }
                    }
                },
            }
        }
    }
}
