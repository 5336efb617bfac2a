//! Rows of JSON lines, JSON and Parquet files.

mod json;
mod parquet;
mod parts;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::place::Place;
use crate::data::lines::{Encoding, read};
use crate::data::{Error, LeftOut};

/// What is read, for messages.
pub(super) const EXPECTED: &str = "JSON lines (one object on each line), a JSON file with a list of objects, or a \
                                   Parquet file";

/// A row and where it is.
pub(super) type Row = (Place, Map<String, Value>);

/// The rows of a file; what it is, its content says. `is_row` is whether an object is a row by itself.
pub(super) fn rows(
    path: &Path,
    is_row: &dyn Fn(&Map<String, Value>) -> bool,
    left_out: &mut LeftOut,
) -> Result<Vec<Row>, Error> {
    if parquet::is_parquet(path) {
        return parquet::rows(path);
    }
    let text = read(path, Encoding::Utf8, EXPECTED)?;
    let file: Arc<Path> = path.into();
    match text.trim_start().chars().next() {
        None => Err(Error::file(
            path,
            format!("the file is empty, expected {EXPECTED}"),
        )),
        Some('[') => json::list(&file, &text, text.find('[').unwrap_or_default()),
        Some('{') => json::lines_or_object(&file, &text, is_row, left_out),
        Some(_) => {
            let found =
                programs::printing::short(text.trim_start().lines().next().unwrap_or_default());
            Err(Error::file(
                path,
                format!("expected {EXPECTED}, found a text that begins with `{found}`"),
            ))
        }
    }
}
