//! One JSON object a line.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Columns, Row};
use crate::data::LeftOut;
use crate::data::error::Error;
use crate::data::lines::{Encoding, numbered, read};

pub(super) fn rows(
    path: &Path,
    columns: &Columns<'_>,
    left_out: &mut LeftOut,
) -> Result<Vec<Row>, Error> {
    let text = read(path, Encoding::Utf8, "JSON lines")?;
    let mut rows = Vec::new();
    for (line, text) in numbered(path, &text, left_out) {
        let refuse = |problem: String| Error::line(path, line, problem);
        let object: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| refuse(format!("expected a JSON object: {error}")))?;
        let value = |name: &str| {
            let known = || {
                object
                    .keys()
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join("`, `")
            };
            let value = object.get(name);
            value.ok_or_else(|| refuse(format!("no key `{name}`; the object has `{}`", known())))
        };
        let string = |name: &str| match value(name)? {
            Value::String(text) => Ok(text.as_str()),
            other => Err(refuse(format!("`{name}`: expected a text, found {other}"))),
        };
        let label = match value(columns.label)? {
            Value::String(label) => label.clone(),
            label @ (Value::Number(_) | Value::Bool(_)) => label.to_string(),
            other => {
                let name = columns.label;
                let expected = "expected a text, a number or true or false";
                return Err(refuse(format!("`{name}`: {expected}, found {other}")));
            }
        };
        let first = string(columns.text)?;
        let second = columns.second.map(string).transpose()?;
        rows.extend(Row::new(
            (path, line),
            [Some(first), second],
            &label,
            left_out,
        ));
    }
    Ok(rows)
}
