//! One JSON object a line.

use std::fmt;
use std::path::Path;

use programs::printing::{message, quoted_list, short};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::{Cell, Columns, LabelColumns, Row};
use crate::data::LeftOut;
use crate::data::error::Error;
use crate::data::lines::{Encoding, numbered, read};

pub(super) fn rows(
    path: &Path,
    columns: &Columns<'_>,
    left_out: &mut LeftOut,
) -> Result<Vec<Row>, Error> {
    let text = read(path, Encoding::Utf8, "JSON lines")?;
    if text.trim_start().starts_with('[') {
        let problem = "one list of all rows, expected one JSON object on each line";
        return Err(Error::file(path, problem));
    }
    let mut rows = Vec::new();
    for (line, text) in numbered(path, &text, left_out) {
        let refuse = |problem: String| Error::line(path, line, problem);
        let Object(object) = serde_json::from_str(text).map_err(|error| {
            let error = message(&error);
            refuse(format!("expected a JSON object: {error}"))
        })?;
        let value = |name: &str| {
            let value = object.get(name);
            value.ok_or_else(|| {
                let known = quoted_list(object.keys());
                refuse(format!("no key `{}`; the object has {known}", short(name)))
            })
        };
        let string = |name: &str| match value(name)? {
            Value::String(text) => Ok(text.as_str()),
            other => {
                let found = short(&other.to_string());
                Err(refuse(format!("`{name}`: expected a text, found {found}")))
            }
        };
        let label = match columns.label {
            LabelColumns::One(name) => match value(name)? {
                Value::Array(list) => {
                    let names = list.iter().map(|item| single(name, item));
                    Cell::List(names.collect::<Result<_, _>>().map_err(refuse)?)
                }
                other => Cell::Text(single(name, other).map_err(refuse)?),
            },
            LabelColumns::Each(names) => {
                let mut values = Vec::new();
                for name in names {
                    let value = single(name, value(name)?).map_err(refuse)?;
                    values.push((name.as_str(), value));
                }
                Cell::of_flags(values.into_iter()).map_err(refuse)?
            }
        };
        let first = string(columns.text)?;
        let second = columns.second.map(string).transpose()?;
        rows.extend(Row::new(
            (path, line),
            [Some(first), second],
            label,
            left_out,
        ));
    }
    Ok(rows)
}

/// One label as a text.
fn single(name: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(label) => Ok(label.clone()),
        label @ (Value::Number(_) | Value::Bool(_)) => Ok(label.to_string()),
        other => {
            let expected = "expected a text, a number or true or false";
            let found = short(&other.to_string());
            Err(format!("`{name}`: {expected}, found {found}"))
        }
    }
}

/// An object without doubled keys: which of two values counts is left open by JSON.
pub(crate) struct Object(pub(crate) Map<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Object, A::Error> {
                let mut fields = Map::new();
                while let Some((key, value)) = access.next_entry::<String, Value>()? {
                    if fields.contains_key(&key) {
                        let key = short(&key);
                        return Err(A::Error::custom(format!("the key `{key}` is there twice")));
                    }
                    fields.insert(key, value);
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}
