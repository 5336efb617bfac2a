//! Rows with their predictions, as CSV or JSON lines.

use std::io::{ErrorKind, Write};

use clap::ValueEnum;
use programs::printing::short;
use serde_json::{Map, Value};

use super::columns::Row;
use super::prediction::{Prediction, largest};
use crate::error::Error;
use crate::problem::Problem;

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
    /// A table with a header; of classes and labels a column `p_NAME` for each.
    Csv,
    /// A JSON object on each line; of classes and labels an object `probabilities`.
    Jsonl,
}

const PREDICTED: &str = "predicted";
const PROBABILITIES: &str = "probabilities";
const ANSWER: &str = "generated";

/// What stands for the tag of a word that was cut off, in a table.
const NO_TAG: &str = "?";

/// A writer of rows.
pub(super) struct Output<'a, W: Write> {
    to: &'a mut W,
    format: OutputFormat,
    labels: &'a [String],
    problem: Problem,
    /// What is between labels in a table.
    separator: &'a str,
    /// Columns of a table: known before the first row, or taken from it.
    columns: Option<Vec<String>>,
    is_closed: bool,
}

impl<'a, W: Write> Output<'a, W> {
    pub fn new(
        to: &'a mut W,
        format: OutputFormat,
        (problem, labels): (Problem, &'a [String]),
        separator: &'a str,
        columns: Option<Vec<String>>,
    ) -> Result<Self, Error> {
        let mut output = Self {
            to,
            format,
            labels,
            problem,
            separator,
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
        let mut added = vec![PREDICTED.to_string()];
        match self.problem {
            Problem::Language => return vec![ANSWER.into()],
            Problem::Regression | Problem::Tokens => return added,
            Problem::SingleLabel | Problem::MultiLabel => {}
        }
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
                    Prediction::Labels(probabilities) => {
                        values.push(applying(self.labels, probabilities).join(self.separator));
                        values.extend(probabilities.iter().map(f32::to_string));
                    }
                    Prediction::Number(number) => values.push(number.to_string()),
                    Prediction::Tags { tags, .. } => {
                        let tags = tags.iter().map(|tag| tag_name(self.labels, *tag));
                        let tags: Vec<&str> = tags.map(|tag| tag.unwrap_or(NO_TAG)).collect();
                        values.push(tags.join(" "));
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
                        fields.insert(PROBABILITIES.into(), by_name(self.labels, classes));
                    }
                    Prediction::Labels(probabilities) => {
                        let predicted = applying(self.labels, probabilities);
                        fields.insert(PREDICTED.into(), predicted.into());
                        fields.insert(PROBABILITIES.into(), by_name(self.labels, probabilities));
                    }
                    Prediction::Number(predicted) => {
                        fields.insert(PREDICTED.into(), number(*predicted));
                    }
                    Prediction::Tags { tags, .. } => {
                        let tags = tags.iter().map(|tag| tag_name(self.labels, *tag).into());
                        fields.insert(PREDICTED.into(), Value::Array(tags.collect()));
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

/// The labels whose probability is above ½.
pub(crate) fn applying<'l>(labels: &'l [String], probabilities: &[f32]) -> Vec<&'l str> {
    let both = labels.iter().zip(probabilities);
    let applying = both.filter(|(_, p)| **p > 0.5);
    applying.map(|(label, _)| label.as_str()).collect()
}

/// The name of a tag; none of a word that was cut off.
pub(crate) fn tag_name(labels: &[String], tag: Option<usize>) -> Option<&str> {
    labels.get(tag?).map(String::as_str)
}

/// An object with a number for each label.
fn by_name(labels: &[String], values: &[f32]) -> Value {
    let values = values.iter().map(|&value| number(value));
    let named: Map<String, Value> = labels.iter().cloned().zip(values).collect();
    named.into()
}

/// The shortest decimal number that rounds to the value.
pub(crate) fn number(value: f32) -> Value {
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
        let problem = match prediction {
            Prediction::Classes(_) => Problem::SingleLabel,
            Prediction::Labels(_) => Problem::MultiLabel,
            Prediction::Number(_) => Problem::Regression,
            Prediction::Tags { .. } => Problem::Tokens,
            Prediction::Answer(_) => Problem::Language,
        };
        let labels: Vec<String> = labels.iter().map(|label| label.to_string()).collect();
        let mut to = Vec::new();
        let mut output = Output::new(&mut to, format, (problem, &labels), ";", None).unwrap();
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
    fn labels_numbers_and_tags_have_their_own_forms() {
        let labels = Prediction::Labels(vec![0.75, 0.25, 0.875]);
        assert_eq!(
            written(OutputFormat::Csv, &["x", "y", "z"], &labels),
            "n,text,predicted,p_x,p_y,p_z\n3,\"a, \"\"b\"\"\",x;z,0.75,0.25,0.875\n"
        );
        let line = written(OutputFormat::Jsonl, &["x", "y", "z"], &labels);
        assert!(
            line.contains(r#""predicted":["x","z"],"probabilities":{"x":0.75,"y":"#),
            "{line}"
        );
        let number = Prediction::Number(2.1);
        assert!(written(OutputFormat::Csv, &["score"], &number).ends_with(",2.1\n"));
        assert!(
            written(OutputFormat::Jsonl, &["score"], &number).ends_with(",\"predicted\":2.1}\n")
        );
        let tags = Prediction::Tags {
            words: ["a", "b", "c"].map(String::from).to_vec(),
            tags: vec![Some(1), Some(0), None],
        };
        assert!(written(OutputFormat::Csv, &["O", "B-X"], &tags).ends_with(",B-X O ?\n"));
        let line = written(OutputFormat::Jsonl, &["O", "B-X"], &tags);
        assert!(line.contains(r#""predicted":["B-X","O",null]}"#), "{line}");
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
        let mut output = Output::new(
            &mut to,
            OutputFormat::Csv,
            (Problem::Language, &[]),
            ",",
            None,
        )
        .unwrap();
        let answer = Prediction::Answer("a".into());
        output.write(&row(&[("n", 1.into())]), &answer).unwrap();
        assert!(output.is_closed());
    }

    #[test]
    fn columns_are_not_overwritten() {
        let labels = ["x".to_string()];
        let mut to = Vec::new();
        let columns = Some(vec!["predicted".into()]);
        let of = (Problem::SingleLabel, &labels[..]);
        let refused = Output::new(&mut to, OutputFormat::Csv, of, ",", columns);
        assert!(refused.err().unwrap().to_string().contains("predicted"));
        assert!(to.is_empty());
    }
}
