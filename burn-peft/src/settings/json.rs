//! JSON that keeps the order of its keys and accepts each key once.
//!
//! Two features of `serde_json` do most of it: `preserve_order` keeps the order of keys, in which PEFT
//! tries its patterns, and `float_roundtrip` reads fractions to the last bit. What is left is the
//! check for keys that are there twice: `serde_json` keeps the last of them without a message.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::{Cause, Error};

/// A JSON value.
pub(crate) type Json = Value;

/// The members of a JSON object, in order.
pub(crate) type Fields = Map<String, Value>;

/// Read a text, which `file` names in errors.
pub(crate) fn parse(file: &'static str, text: &[u8]) -> Result<Json, Error> {
    let strict: Strict = serde_json::from_slice(text).map_err(|error| failed(file, error))?;
    Ok(strict.0)
}

/// The text of a configuration file, laid out as Python's `json.dumps(indent=2)`; letters other than
/// ASCII are escaped, because PEFT opens the file with the encoding of the system.
pub(crate) fn to_text(fields: &Fields) -> Result<String, Error> {
    let text = serde_json::to_string_pretty(fields);
    let text = text.map_err(|error| failed("adapter_config.json", error))?;
    if text.is_ascii() {
        return Ok(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if letter.is_ascii() {
            escaped.push(letter);
            continue;
        }
        let units = letter.encode_utf16(&mut [0; 2]).to_vec();
        escaped.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
    }
    Ok(escaped)
}

fn failed(file: &'static str, error: serde_json::Error) -> Error {
    Error::Json {
        file,
        message: error.to_string(),
        source: Some(Cause::new(error)),
    }
}

/// Null, false, or empty: what PEFT writes for a field that is not in use.
pub(crate) fn is_unset(json: &Json) -> bool {
    match json {
        Json::Null => true,
        Json::Bool(value) => !value,
        Json::Number(_) => false,
        Json::String(text) => text.is_empty(),
        Json::Array(items) => items.is_empty(),
        Json::Object(fields) => fields.is_empty(),
    }
}

/// The value on one line, cut to a length that fits into an error message.
pub(crate) fn shown(json: &Json) -> String {
    const LONGEST: usize = 200;
    let text = json.to_string();
    match text.char_indices().nth(LONGEST) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// A value whose objects have each key once.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Strict;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Strict, E> {
        Ok(Strict(value.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Strict, E> {
        Ok(Strict(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Strict, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = access.next_element()? {
            items.push(item);
        }
        Ok(Strict(Value::Array(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Strict, A::Error> {
        let mut fields = Fields::new();
        while let Some((name, Strict(value))) = access.next_entry::<String, Strict>()? {
            if fields.contains_key(&name) {
                return Err(A::Error::custom(format!("key `{name}` is there twice")));
            }
            fields.insert(name, value);
        }
        Ok(Strict(Value::Object(fields)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use serde_json::Number;

    fn parse(text: &str) -> Result<Json, Error> {
        super::parse("test", text.as_bytes())
    }

    #[test]
    fn order_and_values_survive() {
        let text = r#"{
  "z": 1,
  "a": [
    1e-5,
    -2,
    18446744073709551615,
    true,
    null
  ],
  "m": {
    "k": 0.05
  }
}"#;
        let Ok(Json::Object(fields)) = parse(text) else {
            panic!("not read");
        };
        let written = to_text(&fields).unwrap();
        assert_eq!(parse(&written), parse(text));
        let names: Vec<_> = fields.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["z", "a", "m"]);
        assert!(written.starts_with("{\n  \"z\": 1,\n  \"a\": [\n    "));
    }

    #[test]
    fn fractions_are_read_to_the_last_bit() {
        let text = r#"{"1.5\\": "2.5 \" 3.5", "a": [-0, 11.313708498984761, true],
            "6.781933501677525e-134": 6.781933501677525e-134, "b": 18446744073709551616}"#;
        let Ok(Json::Object(fields)) = parse(text) else {
            panic!("not read");
        };
        let number = |value: f64| Json::Number(Number::from_f64(value).unwrap());
        let list = Json::Array(vec![
            number(-0.0),
            number(11.313708498984761),
            Json::Bool(true),
        ]);
        assert_eq!(fields.get("a"), Some(&list));
        let exact = number(6.781933501677525e-134);
        assert_eq!(fields.get("6.781933501677525e-134"), Some(&exact));
        assert_eq!(fields.get("b"), Some(&number(18446744073709551616.0)));
    }

    #[test]
    fn a_key_that_is_there_twice_is_named() {
        for text in [
            r#"{"r": 1, "r": 1}"#,
            r#"[{"a": {"r": 1, "b": 2, "r": 3}}]"#,
        ] {
            let Err(Error::Json { message, .. }) = parse(text) else {
                panic!("{text} was accepted");
            };
            assert!(message.contains("`r`"), "{message}");
        }
    }

    #[test]
    fn letters_beyond_ascii_are_escaped() {
        let name = "prompt_tuning_init_text";
        let mut fields = Fields::default();
        fields.insert(name.into(), "größer 🦀".into());
        let text = to_text(&fields).unwrap();
        assert!(text.is_ascii());
        assert!(text.contains("gr\\u00f6\\u00dfer \\ud83e\\udd80"), "{text}");
        assert_eq!(parse(&text), Ok(Json::Object(fields)));
    }

    #[test]
    fn unset_is_null_false_or_empty() {
        for text in ["null", "false", "\"\"", "[]", "{}"] {
            assert!(is_unset(&parse(text).unwrap()), "{text}");
        }
        for text in ["true", "0", "\"a\"", "[null]", "{\"a\": null}"] {
            assert!(!is_unset(&parse(text).unwrap()), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_not_a_crash() {
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
