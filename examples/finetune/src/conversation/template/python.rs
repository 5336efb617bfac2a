//! JSON as Python's `json.dumps` writes it, which templates are written for.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// Deepest nesting, as for the JSON that is read.
const DEEPEST: usize = 128;

/// The filter `tojson` of `transformers`: `json.dumps` without escapes for HTML.
pub(super) fn tojson(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let writer = Writer::new(&options)?;
    options.assert_all_used()?;
    let mut text = String::new();
    writer.write(value, 0, &mut text)?;
    Ok(Value::from(text))
}

struct Writer {
    ascii: bool,
    indent: Option<String>,
    between: String,
    colon: String,
    sorted: bool,
}

impl Writer {
    fn new(options: &Kwargs) -> Result<Self, Error> {
        let given = |name: &str| -> Result<Option<Value>, Error> {
            let value: Option<Value> = options.get(name)?;
            Ok(value.filter(|value| !value.is_none() && !value.is_undefined()))
        };
        let truth =
            |name: &str| given(name).map(|value| value.is_some_and(|value| value.is_true()));
        let indent = match given("indent")? {
            None => None,
            Some(text) if text.kind() == ValueKind::String => text.as_str().map(String::from),
            Some(count) => {
                let count = usize::try_from(count).unwrap_or_default();
                if count > DEEPEST {
                    return Err(refuse(format!(
                        "tojson: an indent of {count}, expected at most {DEEPEST}"
                    )));
                }
                Some(" ".repeat(count))
            }
        };
        let (mut between, mut colon) = (
            if indent.is_some() { "," } else { ", " }.to_string(),
            ": ".to_string(),
        );
        if let Some(separators) = given("separators")? {
            let pair: Vec<Value> = separators.try_iter()?.collect();
            match [pair.first(), pair.get(1)].map(|text| text.and_then(Value::as_str)) {
                [Some(first), Some(second)] if pair.len() == 2 => {
                    (between, colon) = (first.into(), second.into());
                }
                _ => {
                    return Err(refuse(format!(
                        "tojson: separators {separators}, expected two texts"
                    )));
                }
            }
        }
        Ok(Self {
            ascii: truth("ensure_ascii")?,
            indent,
            between,
            colon,
            sorted: truth("sort_keys")?,
        })
    }

    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(refuse(format!(
                "tojson: more than {DEEPEST} values inside of each other"
            )));
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => *out += &value.to_string(),
            ValueKind::Number => *out += &float(f64::try_from(value.clone())?),
            ValueKind::String => self.text(value.as_str().unwrap_or_default(), out),
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort_by_key(key);
                }
                self.container(['{', '}'], &keys, depth, out, |key_value, out| {
                    self.text(&key(key_value), out);
                    *out += &self.colon;
                    self.write(&value.get_item(key_value)?, depth + 1, out)
                })?;
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.container(['[', ']'], &items, depth, out, |item, out| {
                    self.write(item, depth + 1, out)
                })?;
            }
            kind => return Err(refuse(format!("tojson: {kind} cannot be written as JSON"))),
        }
        Ok(())
    }

    fn container(
        &self,
        [open, close]: [char; 2],
        items: &[Value],
        depth: usize,
        out: &mut String,
        mut write: impl FnMut(&Value, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let break_line = |depth: usize, out: &mut String| {
            if let Some(indent) = &self.indent {
                out.push('\n');
                *out += &indent.repeat(depth);
            }
        };
        out.push(open);
        for (place, item) in items.iter().enumerate() {
            if place > 0 {
                *out += &self.between;
            }
            break_line(depth + 1, out);
            write(item, out)?;
        }
        if !items.is_empty() {
            break_line(depth, out);
        }
        out.push(close);
        Ok(())
    }

    fn text(&self, text: &str, out: &mut String) {
        out.push('"');
        for letter in text.chars() {
            match letter {
                '"' => *out += "\\\"",
                '\\' => *out += "\\\\",
                '\n' => *out += "\\n",
                '\r' => *out += "\\r",
                '\t' => *out += "\\t",
                '\u{8}' => *out += "\\b",
                '\u{c}' => *out += "\\f",
                control if (control as u32) < 0x20 => *out += &format!("\\u{:04x}", control as u32),
                other if self.ascii && !(' '..='~').contains(&other) => {
                    for unit in other.encode_utf16(&mut [0; 2]) {
                        *out += &format!("\\u{unit:04x}");
                    }
                }
                other => out.push(other),
            }
        }
        out.push('"');
    }
}

/// A key of an object: Python writes those that are no texts as JSON.
fn key(key: &Value) -> String {
    match key.kind() {
        ValueKind::None => "null".into(),
        ValueKind::Bool => if key.is_true() { "true" } else { "false" }.into(),
        ValueKind::Number if !key.is_integer() => {
            f64::try_from(key.clone()).map_or_else(|_| key.to_string(), float)
        }
        _ => key.to_string(),
    }
}

/// A number as Python's `repr` writes it: the shortest digits that give it back, with an exponent below 1e-4 and
/// from 1e16.
fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').expect("an exponent");
    let exponent: i32 = exponent.parse().expect("a number");
    if (-4..16).contains(&exponent) {
        let plain = value.to_string();
        if plain.contains('.') {
            plain
        } else {
            plain + ".0"
        }
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}e{sign}{:02}", exponent.abs())
    }
}

fn refuse(problem: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem)
}

#[cfg(test)]
mod tests {
    use minijinja::{Environment, context};

    use super::*;

    fn written(expression: &str) -> String {
        let mut environment = Environment::new();
        environment.add_filter("tojson", tojson);
        let value: serde_json::Value = serde_json::json!({
            "b": [1, -2.5, 1e16, 1e-5, 0.0001, 123456789012345680.0, 0.1, -0.0, 100.0],
            "a": {"x<y>&'": "ä\u{1F600}\u{7f}\u{2028}\"\\\n\u{1}", "": [[], {}]},
            "n": null, "t": true
        });
        let context =
            context! { value => minijinja::value::Value::from(minijinja::value::Serde(&value)) };
        environment
            .render_str(&format!("{{{{ {expression} }}}}"), context)
            .unwrap()
    }

    /// What Python 3 prints for the same calls of `json.dumps`.
    #[test]
    fn it_equals_what_python_writes() {
        assert_eq!(
            written("value | tojson"),
            "{\"b\": [1, -2.5, 1e+16, 1e-05, 0.0001, 1.2345678901234568e+17, 0.1, -0.0, 100.0], \
             \"a\": {\"x<y>&'\": \"ä😀\u{7f}\u{2028}\\\"\\\\\\n\\u0001\", \"\": [[], {}]}, \"n\": null, \"t\": true}"
        );
        assert_eq!(
            written("value.a | tojson(ensure_ascii=true)"),
            "{\"x<y>&'\": \"\\u00e4\\ud83d\\ude00\\u007f\\u2028\\\"\\\\\\n\\u0001\", \"\": [[], {}]}"
        );
        assert_eq!(
            written("{'b': [1, 2], 'a': {}} | tojson(indent=2)"),
            "{\n  \"b\": [\n    1,\n    2\n  ],\n  \"a\": {}\n}"
        );
        assert_eq!(
            written("{'b': 1, 'a': 2} | tojson(sort_keys=true)"),
            "{\"a\": 2, \"b\": 1}"
        );
        assert_eq!(
            written("{'b': 1, 'a': 2} | tojson(separators=(',', ':'))"),
            "{\"b\":1,\"a\":2}"
        );
        assert_eq!(written("[1, 2] | tojson(indent=none)"), "[1, 2]");
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let mut environment = Environment::new();
        environment.add_filter("tojson", tojson);
        for (template, expected) in [
            (
                "{{ nothing | tojson }}",
                "undefined cannot be written as JSON",
            ),
            ("{{ 1 | tojson(separators=(1, 2)) }}", "expected two texts"),
            ("{{ 1 | tojson(indent=1000) }}", "expected at most 128"),
            ("{{ 1 | tojson(colour=1) }}", "colour"),
        ] {
            let error = environment
                .render_str(template, ())
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
