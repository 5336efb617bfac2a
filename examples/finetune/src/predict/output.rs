//! Rows with their predictions, as CSV or JSON lines.

use std::io::{ErrorKind, Write};

use clap::ValueEnum;
use programs::printing::short;
use serde_json::{Map, Value};

use super::columns::Row;
use super::{Prediction, largest};
use crate::error::Error;

/// How predictions are written.
///
/// ```
/// use clap::ValueEnum;
/// use finetune::predict::OutputFormat;
///
/// assert_eq!(OutputFormat::from_str("jsonl", true), Ok(OutputFormat::Jsonl));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// A table with a header; of classes a column `p_CLASS` for each.
    Csv,
    /// A JSON object on each line; of classes an object `probabilities`.
    Jsonl,
}

const PREDICTED: &str = "predicted";
const PROBABILITIES: &str = "probabilities";
const ANSWER: &str = "generated";

/// A writer of rows.
pub(super) struct Output<'a, W: Write> {
    to: &'a mut W,
    format: OutputFormat,
    labels: &'a [String],
    /// Columns of a table: known before the first row, or taken from it.
    columns: Option<Vec<String>>,
    is_closed: bool,
}

impl<'a, W: Write> Output<'a, W> {
    pub fn new(
        to: &'a mut W,
        format: OutputFormat,
        labels: &'a [String],
        columns: Option<Vec<String>>,
    ) -> Result<Self, Error> {
        let mut output = Self {
            to,
            format,
            labels,
            columns: None,
            is_closed: false,
        };
        if let Some(columns) = columns {
            output.begin(columns)?;
        }
        Ok(output)
    }

    /// Columns that are added.
    fn added(&self) -> Vec<String> {
        if self.labels.is_empty() {
            return vec![ANSWER.into()];
        }
        let mut added = vec![PREDICTED.to_string()];
        match self.format {
            OutputFormat::Csv => added.extend(self.labels.iter().map(|label| format!("p_{label}"))),
            OutputFormat::Jsonl => added.push(PROBABILITIES.into()),
        }
        added
    }

    /// Write the header of a table.
    fn begin(&mut self, columns: Vec<String>) -> Result<(), Error> {
        let added = self.added();
        if let Some(taken) = columns.iter().find(|name| added.contains(name)) {
            let expected = "another name: the predictions have a column of this name";
            return Err(Error::config("column", short(taken), expected));
        }
        if self.format == OutputFormat::Csv {
            self.record(columns.iter().chain(&added).map(String::as_str))?;
        }
        self.columns = Some(columns);
        Ok(())
    }

    pub fn write(&mut self, row: &Row, prediction: &Prediction) -> Result<(), Error> {
        if self.columns.is_none() {
            self.begin(row.fields.keys().cloned().collect())?;
        }
        match self.format {
            OutputFormat::Csv => {
                let columns = self.columns.as_deref().unwrap_or_default();
                let mut values: Vec<String> = Vec::new();
                for name in columns {
                    values.push(match row.fields.get(name) {
                        None | Some(Value::Null) => String::new(),
                        Some(Value::String(text)) => text.clone(),
                        Some(other) => other.to_string(),
                    });
                }
                match prediction {
                    Prediction::Answer(answer) => values.push(answer.clone()),
                    Prediction::Classes(classes) => {
                        values.push(self.labels[largest(classes)].clone());
                        values.extend(classes.iter().map(f32::to_string));
                    }
                }
                self.record(values.iter().map(String::as_str))
            }
            OutputFormat::Jsonl => {
                let mut fields = row.fields.clone();
                match prediction {
                    Prediction::Answer(answer) => {
                        fields.insert(ANSWER.into(), answer.as_str().into());
                    }
                    Prediction::Classes(classes) => {
                        let predicted = self.labels[largest(classes)].as_str();
                        fields.insert(PREDICTED.into(), predicted.into());
                        let named = self.labels.iter().cloned();
                        let values = classes.iter().map(|&value| number(value));
                        let named: Map<String, Value> = named.zip(values).collect();
                        fields.insert(PROBABILITIES.into(), named.into());
                    }
                }
                let line = Value::Object(fields).to_string();
                self.put(format!("{line}\n").as_bytes())
            }
        }
    }

    /// Hand on what was written.
    pub fn flush(&mut self) -> Result<(), Error> {
        let flushed = self.to.flush();
        self.ended(flushed)
    }

    /// Whether nobody reads any more (`| head`), which is no error.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    fn ended(&mut self, result: std::io::Result<()>) -> Result<(), Error> {
        match result {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.is_closed = true,
            Err(error) => return Err(Error::write("the predictions".as_ref(), error)),
            Ok(()) => {}
        }
        Ok(())
    }

    fn record<'v>(&mut self, values: impl Iterator<Item = &'v str>) -> Result<(), Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let bytes = writer
            .write_record(values)
            .map_err(|error| error.to_string())
            .and_then(|()| writer.into_inner().map_err(|error| error.to_string()));
        let bytes = bytes.map_err(|problem| Error::write("the predictions".as_ref(), problem))?;
        self.put(&bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.to.write_all(bytes);
        self.ended(written)
    }
}

/// The shortest decimal number that rounds to the value.
fn number(value: f32) -> Value {
    value.to_string().parse::<f64>().unwrap_or(f64::NAN).into()
}

#[cfg(test)]
mod tests {
    use super::super::columns::Item;
    use super::*;

    fn row(fields: &[(&str, Value)]) -> Row {
        Row {
            line: 1,
            fields: fields
                .iter()
                .map(|(name, value)| (name.to_string(), value.clone()))
                .collect(),
            item: Item::Picture("a".into()),
            label: None,
        }
    }

    fn written(format: OutputFormat, labels: &[&str], prediction: &Prediction) -> String {
        let labels: Vec<String> = labels.iter().map(|label| label.to_string()).collect();
        let mut to = Vec::new();
        let mut output = Output::new(&mut to, format, &labels, None).unwrap();
        let fields = [("n", Value::from(3)), ("text", "a, \"b\"".into())];
        output.write(&row(&fields), prediction).unwrap();
        String::from_utf8(to).unwrap()
    }

    #[test]
    fn rows_keep_their_columns() {
        let classes = Prediction::Classes(vec![0.1, 0.9]);
        assert_eq!(
            written(OutputFormat::Csv, &["x", "y,z"], &classes),
            "n,text,predicted,p_x,\"p_y,z\"\n3,\"a, \"\"b\"\"\",\"y,z\",0.1,0.9\n"
        );
        assert_eq!(
            written(OutputFormat::Jsonl, &["x", "y"], &classes),
            "{\"n\":3,\"text\":\"a, \\\"b\\\"\",\"predicted\":\"y\",\"probabilities\":{\"x\":0.1,\"y\":0.9}}\n"
        );
        let answer = Prediction::Answer("two\nlines".into());
        assert_eq!(
            written(OutputFormat::Csv, &[], &answer),
            "n,text,generated\n3,\"a, \"\"b\"\"\",\"two\nlines\"\n"
        );
    }

    #[test]
    fn a_closed_output_is_no_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut to = Closed;
        let mut output = Output::new(&mut to, OutputFormat::Csv, &[], None).unwrap();
        let answer = Prediction::Answer("a".into());
        output.write(&row(&[("n", 1.into())]), &answer).unwrap();
        assert!(output.is_closed());
    }

    #[test]
    fn columns_are_not_overwritten() {
        let labels = ["x".to_string()];
        let mut to = Vec::new();
        let columns = Some(vec!["predicted".into()]);
        let refused = Output::new(&mut to, OutputFormat::Csv, &labels, columns);
        assert!(refused.err().unwrap().to_string().contains("predicted"));
        assert!(to.is_empty());
    }
}
