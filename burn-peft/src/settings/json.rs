//! JSON that keeps the order of its keys and accepts each key once.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Number, Value};

use crate::error::{Cause, Error};

/// A JSON value. PEFT matches patterns in the order of the file, which `serde_json`'s map loses;
/// its map also keeps the last of two equal keys without a word.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Json>),
    Object(Fields),
}

/// The numbers in a JSON text that has been read before.
struct Numbers<'a>(&'a [u8]);

impl<'a> Iterator for Numbers<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        while let Some(first) = self.0.first() {
            let is_number =
                |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
            match first {
                b'"' => self.0 = after_text(&self.0[1..]),
                b'-' | b'0'..=b'9' => {
                    let end = self.0.iter().position(|byte| !is_number(byte));
                    let (number, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
                    self.0 = rest;
                    return std::str::from_utf8(number).ok();
                }
                _ => self.0 = &self.0[1..],
            }
        }
        None
    }
}

/// What follows the quotation mark that ends a text.
fn after_text(mut bytes: &[u8]) -> &[u8] {
    loop {
        match bytes {
            [b'\\', _, rest @ ..] => bytes = rest,
            [b'"', rest @ ..] => return rest,
            [_, rest @ ..] => bytes = rest,
            [] => return bytes,
        }
    }
}

/// The members of a JSON object, in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Fields(Vec<(String, Json)>);

impl Json {
    /// Read a text, which `file` names in errors.
    pub(crate) fn parse(file: &'static str, text: &[u8]) -> Result<Self, Error> {
        let mut json: Self = serde_json::from_slice(text).map_err(|error| Error::Json {
            file,
            message: error.to_string(),
            source: Some(Cause::new(error)),
        })?;
        json.round(&mut Numbers(text));
        Ok(json)
    }

    /// Give fractions the nearest value: `serde_json` reads some of them a unit in the last place
    /// off, unless its feature `float_roundtrip` is on. `numbers` are those of the text, in order.
    fn round(&mut self, numbers: &mut Numbers<'_>) {
        match self {
            Self::Number(number) => {
                let Some(text) = numbers.next() else {
                    return;
                };
                let exact = text.parse().ok().and_then(Number::from_f64);
                if let (true, Some(exact)) = (number.is_f64(), exact) {
                    *number = exact;
                }
            }
            Self::Array(items) => items.iter_mut().for_each(|item| item.round(numbers)),
            Self::Object(Fields(members)) => {
                let values = members.iter_mut().map(|(_, value)| value);
                values.for_each(|value| value.round(numbers));
            }
            Self::Null | Self::Bool(_) | Self::String(_) => {}
        }
    }

    /// Null, false, or empty: what PEFT writes for a field that is not in use.
    pub(crate) fn is_unset(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(value) => !value,
            Self::Number(_) => false,
            Self::String(text) => text.is_empty(),
            Self::Array(items) => items.is_empty(),
            Self::Object(fields) => fields.0.is_empty(),
        }
    }

    /// The value on one line.
    pub(crate) fn to_line(&self) -> String {
        Value::from(self).to_string()
    }

    /// The value on one line, cut to a length that fits into an error message.
    pub(crate) fn shown(&self) -> String {
        const LONGEST: usize = 200;
        let text = self.to_line();
        match text.char_indices().nth(LONGEST) {
            None => text,
            Some((end, _)) => format!("{}…", &text[..end]),
        }
    }
}

impl Fields {
    /// The value of a member.
    pub(crate) fn get(&self, name: &str) -> Option<&Json> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value)
    }

    /// Replace a member where it stands, or add it at the end.
    pub(crate) fn set(&mut self, name: &str, value: Json) {
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.into(), value)),
        }
    }

    /// The members in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The text of a file, laid out as Python's `json.dumps(indent=2)`; other than ASCII letters are
    /// escaped, because PEFT opens the file with the encoding of the system.
    pub(crate) fn to_text(&self) -> Result<String, Error> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::Json {
            file: "adapter_config.json",
            message: error.to_string(),
            source: Some(Cause::new(error)),
        })?;
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
}

impl FromIterator<(String, Json)> for Fields {
    fn from_iter<I: IntoIterator<Item = (String, Json)>>(members: I) -> Self {
        Self(members.into_iter().collect())
    }
}

impl From<&Json> for Value {
    fn from(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => Self::Number(number.clone()),
            Json::String(text) => Self::String(text.clone()),
            Json::Array(items) => items.iter().map(Self::from).collect(),
            Json::Object(fields) => {
                let members = fields.iter();
                let members = members.map(|(name, value)| (name.to_string(), Self::from(value)));
                Self::Object(members.collect())
            }
        }
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => Self::Number(number.clone()),
            Value::String(text) => Self::String(text.clone()),
            Value::Array(items) => Self::Array(items.iter().map(Self::from).collect()),
            Value::Object(members) => {
                let members = members.iter();
                let members = members.map(|(name, value)| (name.clone(), Self::from(value)));
                Self::Object(members.collect())
            }
        }
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(fields) => fields.serialize(serializer),
        }
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Json, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number is not finite"))?;
        Ok(Json::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut seen = HashSet::new();
        let mut members = Vec::new();
        while let Some((name, value)) = access.next_entry::<String, Json>()? {
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format!("key `{name}` is there twice")));
            }
            members.push((name, value));
        }
        Ok(Json::Object(Fields(members)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Json, Error> {
        Json::parse("test", text.as_bytes())
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
        let written = fields.to_text().unwrap();
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
        fields.set(name, Json::String("größer 🦀".into()));
        let text = fields.to_text().unwrap();
        assert!(text.is_ascii());
        assert!(text.contains("gr\\u00f6\\u00dfer \\ud83e\\udd80"), "{text}");
        assert_eq!(parse(&text), Ok(Json::Object(fields)));
    }

    #[test]
    fn unset_is_null_false_or_empty() {
        for text in ["null", "false", "\"\"", "[]", "{}"] {
            assert!(parse(text).unwrap().is_unset(), "{text}");
        }
        for text in ["true", "0", "\"a\"", "[null]", "{\"a\": null}"] {
            assert!(!parse(text).unwrap().is_unset(), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_not_a_crash() {
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
