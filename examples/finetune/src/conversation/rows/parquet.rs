//! Parquet files.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row as Record};
use programs::memory::available_bytes;
use programs::printing::message;
use programs::{guard, reading};
use serde_json::{Map, Value, json};

use super::super::place::Place;
use super::Row;
use crate::data::Error;

/// What a Parquet file begins with.
const MAGIC: &[u8; 4] = b"PAR1";

/// Whether a file begins like a Parquet file and is not a text.
pub(super) fn is_parquet(path: &Path) -> bool {
    let mut start = [0; 64];
    let read = reading::open(path).and_then(|mut file| file.read(&mut start));
    let start = &start[..read.unwrap_or_default()];
    let binary =
        |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace() || !byte.is_ascii();
    start.starts_with(MAGIC) && (start.len() == MAGIC.len() || start.iter().any(binary))
}

/// The rows of a file.
pub(super) fn rows(path: &Path) -> Result<Vec<Row>, Error> {
    let refuse = |problem: String| Error::file(path, problem);
    // The library panics on some damaged files.
    let read = guard::catch(|| records(path));
    let records =
        read.map_err(|panic| refuse(format!("a damaged Parquet file: {}", panic.message)))??;
    let file: Arc<Path> = path.into();
    let row = |(record, number)| {
        let place = Place::row(file.clone(), number);
        match object(record) {
            Ok(row) => Ok((place, row)),
            Err(problem) => Err(place.error(problem)),
        }
    };
    records.into_iter().zip(1..).map(row).collect()
}

fn records(path: &Path) -> Result<Vec<Record>, Error> {
    let damaged = |error: ParquetError| {
        Error::file(path, format!("a damaged Parquet file: {}", message(&error)))
    };
    let file = reading::open(path).map_err(|source| Error::read(path, source, super::EXPECTED))?;
    let reader = SerializedFileReader::new(file).map_err(damaged)?;
    let metadata = reader.metadata();
    let groups = metadata.row_groups();
    let size: f64 = groups
        .iter()
        .map(|group| group.total_byte_size().max(0) as f64)
        .sum();
    if available_bytes().is_some_and(|left| size > left) {
        let problem = format!(
            "its rows take {:.1} GiB, more than the memory that is left",
            size / (1u64 << 30) as f64
        );
        return Err(Error::file(path, problem));
    }
    for column in groups.iter().flat_map(|group| group.columns()) {
        let compression = column.compression();
        if !matches!(
            compression,
            Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::GZIP(_)
        ) {
            let column = column.column_path().string();
            let problem = format!(
                "the column `{column}` is compressed with {compression}, expected SNAPPY, GZIP or none: write the file \
                 again (`pandas.read_parquet(file).to_parquet(file, compression=\"snappy\")`)"
            );
            return Err(Error::file(path, problem));
        }
    }
    let records = reader.get_row_iter(None).map_err(damaged)?;
    records.collect::<Result<_, _>>().map_err(damaged)
}

fn object(record: Record) -> Result<Map<String, Value>, String> {
    let fields = record.into_columns().into_iter();
    fields
        .map(|(name, field)| Ok((name.clone(), value(&name, &field)?)))
        .collect()
}

/// A field as JSON; kinds that no text or number has are refused.
fn value(name: &str, field: &Field) -> Result<Value, String> {
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(value) => json!(value),
        Field::Byte(value) => json!(value),
        Field::Short(value) => json!(value),
        Field::Int(value) => json!(value),
        Field::Long(value) => json!(value),
        Field::UByte(value) => json!(value),
        Field::UShort(value) => json!(value),
        Field::UInt(value) => json!(value),
        Field::ULong(value) => json!(value),
        Field::Float(value) => json!(value),
        Field::Double(value) => json!(value),
        Field::Str(text) => json!(text),
        // Some writers do not mark texts as such.
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => json!(text),
            Err(_) => json!(bytes.data()),
        },
        Field::Group(record) => Value::Object(object(record.clone())?),
        Field::ListInternal(list) => {
            let values = list.elements().iter().map(|field| value(name, field));
            Value::Array(values.collect::<Result<_, _>>()?)
        }
        Field::MapInternal(map) => {
            let mut object = Map::new();
            for (key, inner) in map.entries() {
                let Field::Str(key) = key else {
                    return Err(format!(
                        "column `{name}`: a map with keys that are not texts, expected texts"
                    ));
                };
                object.insert(key.clone(), value(name, inner)?);
            }
            Value::Object(object)
        }
        // Times and decimals, which no form reads: as they are printed.
        other => json!(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_may_begin_like_a_parquet_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for (content, expected) in [
            (&b"PAR1\x15\x04\x15\x00"[..], true),
            (b"PAR1", true),
            (b"PAR1,label\na,b\n", false),
            (b"{\"text\": \"PAR1\"}", false),
            (b"", false),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(is_parquet(&path), expected, "{content:?}");
        }
        assert!(!is_parquet(&folder.path().join("absent")));
    }
}
