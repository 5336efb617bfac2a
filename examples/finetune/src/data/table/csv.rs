//! Comma- or tab-separated values with a header.

use std::path::Path;

use csv::{ErrorKind, ReaderBuilder, StringRecord};

use super::{Cell, Columns, LabelColumns, Row, quotes};
use crate::data::LeftOut;
use crate::data::error::Error;
use crate::data::lines::{Encoding, Header, read};

pub(super) fn rows(
    path: &Path,
    columns: &Columns<'_>,
    left_out: &mut LeftOut,
) -> Result<Vec<Row>, Error> {
    let text = read(path, Encoding::Utf8, "a table")?;
    let tabs = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("tsv"));
    let delimiter = if tabs { b'\t' } else { b',' };
    // Programs that write tabs do not quote: a mark is a character of the text.
    let quoting = columns.quotes.unwrap_or(!tabs);
    if quoting {
        quotes::check(path, &text, delimiter)?;
    }
    let mut reader = ReaderBuilder::new();
    let reader = reader.delimiter(delimiter).quoting(quoting);
    let mut reader = reader.from_reader(text.as_bytes());
    let names = reader
        .headers()
        .map_err(|error| refuse(path, &error))?
        .clone();
    let header = Header::new(path, names.iter())?;
    let place = |name: &str| header.place(name);
    let first = place(columns.text)?;
    let labels: Vec<(&str, usize)> = match columns.label {
        LabelColumns::One(name) => vec![(name, place(name)?)],
        LabelColumns::Each(names) => {
            let places = names.iter().map(|name| Ok((name.as_str(), place(name)?)));
            places.collect::<Result<_, Error>>()?
        }
    };
    let second = columns.second.map(place).transpose()?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record: StringRecord = record.map_err(|error| refuse(path, &error))?;
        let line = record.position().map_or(0, csv::Position::line);
        let texts = [
            record.get(first),
            second.and_then(|place| record.get(place)),
        ];
        let value = |place: usize| record.get(place).unwrap_or_default().to_string();
        let label = match columns.label {
            LabelColumns::One(_) => Ok(Cell::Text(value(labels[0].1))),
            LabelColumns::Each(_) => {
                Cell::of_flags(labels.iter().map(|&(name, place)| (name, value(place))))
            }
        };
        let label = label.map_err(|problem| Error::line(path, line, problem))?;
        rows.extend(Row::new((path, line), texts, label, left_out));
    }
    Ok(rows)
}

/// What the reader found, with the line on which the row begins.
fn refuse(path: &Path, error: &csv::Error) -> Error {
    let line = error.position().map_or(1, csv::Position::line);
    match error.kind() {
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => Error::line(
            path,
            line,
            format!("expected {expected_len} columns as in the header, found {len}"),
        ),
        _ => Error::line(path, line, error.to_string()),
    }
}
