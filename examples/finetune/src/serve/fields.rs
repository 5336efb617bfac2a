//! The fields of a JSON body, taken one by one.

use std::fmt::Display;
use std::ops::RangeInclusive;

use programs::printing::{message, quoted_list, short};
use serde_json::{Map, Value};

use super::api_error::ApiError;

/// What is left of a body. `null` is as if the field were not there.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(other) => {
                let found = short(&other.to_string());
                Err(ApiError::body(format!(
                    "the body is {found}, expected a JSON object"
                )))
            }
            Err(error) => {
                let problem = message(&error);
                Err(ApiError::body(format!(
                    "the body is not valid JSON: {problem}"
                )))
            }
        }
    }

    pub fn take(&mut self, name: &'static str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(name, &other, "a text")),
        }
    }

    pub fn switch(&mut self, name: &'static str) -> Result<bool, ApiError> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(value),
            Some(other) => Err(wrong(name, &other, "true or false")),
        }
    }

    pub fn number(
        &mut self,
        name: &'static str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f64>, ApiError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let found = value.as_f64().filter(|number| range.contains(number));
        let expected = format!("a number from {} to {}", range.start(), range.end());
        found.map(Some).ok_or_else(|| wrong(name, &value, expected))
    }

    pub fn integer(
        &mut self,
        name: &'static str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let found = value.as_i64().filter(|number| range.contains(number));
        let expected = match *range.end() {
            i64::MAX => format!("an integer from {}", range.start()),
            end => format!("an integer from {} to {end}", range.start()),
        };
        found.map(Some).ok_or_else(|| wrong(name, &value, expected))
    }

    /// A text or several.
    pub fn texts(&mut self, name: &'static str, most: usize) -> Result<Vec<String>, ApiError> {
        let expected = || format!("a text, or a list of at most {most} texts");
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(list)) if list.len() <= most => {
                let texts = list.iter().map(|value| value.as_str().map(String::from));
                let texts: Option<Vec<String>> = texts.collect();
                texts.ok_or_else(|| wrong(name, &Value::Array(list), expected()))
            }
            Some(other) => Err(wrong(name, &other, expected())),
        }
    }

    /// A field that changes the answer and is not supported: other values than these, which change nothing, are
    /// refused.
    pub fn neutral(&mut self, name: &'static str, values: &[Value]) -> Result<(), ApiError> {
        match self.take(name) {
            Some(value) if !values.contains(&value) => {
                let found = short(&value.to_string());
                let problem = format!(
                    "`{name}` is {found}, which this server does not support: leave it out"
                );
                Err(ApiError::field(name, problem))
            }
            _ => Ok(()),
        }
    }

    /// Drop fields that do not change the answer.
    pub fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.0.remove(*name);
        }
    }

    /// Refuse what is left: a field with a spelling mistake would be without effect.
    pub fn finish(self) -> Result<(), ApiError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let names = quoted_list(self.0.keys());
        Err(ApiError::body(format!("unknown fields: {names}")))
    }
}

/// A field of a wrong type or out of range.
pub(super) fn wrong(name: &'static str, found: &Value, expected: impl Display) -> ApiError {
    let found = short(&found.to_string());
    ApiError::field(name, format!("`{name}` is {found}, expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Fields {
        Fields::parse(value.to_string().as_bytes()).unwrap()
    }

    fn said<T>(result: Result<T, ApiError>) -> String {
        let Err(error) = result else {
            panic!("expected an error");
        };
        error.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_string()
    }

    #[test]
    fn fields_of_wrong_types_are_named() {
        let mut found =
            fields(json!({"a": "x", "b": 3, "c": [1], "d": 2.5, "e": null, "f": 1e300}));
        assert_eq!(
            said(found.number("a", 0.0..=2.0)),
            "`a` is \"x\", expected a number from 0 to 2"
        );
        assert_eq!(said(found.text("b")), "`b` is 3, expected a text");
        assert!(said(found.texts("c", 4)).contains("at most 4 texts"));
        assert_eq!(
            said(found.integer("d", 1..=i64::MAX)),
            "`d` is 2.5, expected an integer from 1"
        );
        assert_eq!(found.switch("e"), Ok(false));
        assert!(found.number("f", 0.0..=2.0).is_err());
        assert_eq!(found.finish(), Ok(()));
    }

    #[test]
    fn what_is_left_is_refused() {
        let mut found = fields(json!({"n": 1, "max_token": 5, "user": "me"}));
        assert_eq!(found.neutral("n", &[json!(1)]), Ok(()));
        found.ignore(&["user"]);
        assert_eq!(said(found.finish()), "unknown fields: `max_token`");
        let mut found = fields(json!({"n": 2}));
        assert!(said(found.neutral("n", &[json!(1)])).contains("does not support"));
        for body in ["", "[", "[]", "3", "\"a\"", "{\"a\": }", "\u{1}"] {
            assert!(Fields::parse(body.as_bytes()).is_err(), "{body}");
        }
        assert!(Fields::parse(b"{\"a\": \"\xff\"}").is_err());
    }
}
