//! The text entries of a case file, and what they may say.

use std::collections::{BTreeMap, HashMap};

use crate::array::Array;
use crate::error::Error;
use crate::kind::{Kind, Lambda};

/// Keys that describe the file and change nothing.
const DESCRIPTIVE: [&str; 14] = [
    "about",
    "sample_seed",
    "sensitivity",
    "lengths",
    "grid",
    "seed",
    "note",
    "source",
    "date",
    "format",
    "torch",
    "numpy",
    "python",
    "transformers",
];
const UNDERSTOOD: [&str; 8] = [
    "case",
    "loss",
    "lams",
    "param_order",
    "M",
    "P",
    "heads",
    "lora_alpha",
];

/// The text entries of a file.
pub(crate) struct Metadata(HashMap<String, String>);

impl Metadata {
    pub fn new(entries: HashMap<String, String>) -> Self {
        Self(entries)
    }

    /// Keys that are not known may change the network.
    pub fn refuse_unknown(&self) -> Result<(), Error> {
        self.refuse_all_but(&UNDERSTOOD)
    }

    /// The same where only some keys are understood.
    pub fn refuse_all_but(&self, understood: &[&str]) -> Result<(), Error> {
        let unknown = self.0.keys().filter(|key| {
            let key = key.as_str();
            !understood.contains(&key) && !DESCRIPTIVE.contains(&key)
        });
        let mut keys: Vec<String> = unknown.cloned().collect();
        keys.sort_unstable();
        if keys.is_empty() {
            Ok(())
        } else {
            Err(Error::UnknownMetadata { keys })
        }
    }

    pub fn unexpected(&self, key: &'static str, expected: impl Into<String>) -> Error {
        Error::Metadata {
            key,
            value: self.0.get(key).map(|value| format!("`{value}`")),
            expected: expected.into(),
        }
    }

    pub fn required(&self, key: &'static str, expected: &str) -> Result<String, Error> {
        let value = self.0.get(key).cloned();
        value.ok_or_else(|| self.unexpected(key, expected))
    }

    pub fn parsed<T: std::str::FromStr>(
        &self,
        key: &'static str,
        default: T,
        expected: &str,
        holds: impl Fn(&T) -> bool,
    ) -> Result<T, Error> {
        match self.0.get(key) {
            None => Ok(default),
            Some(text) => {
                let value = text.parse().ok().filter(holds);
                value.ok_or_else(|| self.unexpected(key, expected))
            }
        }
    }

    /// A JSON list of strings.
    fn list(&self, key: &'static str) -> Result<Option<Vec<String>>, Error> {
        let parse = |text| {
            let list = serde_json::from_str(text);
            list.map_err(|_| self.unexpected(key, "a JSON list of strings"))
        };
        self.0.get(key).map(String::as_str).map(parse).transpose()
    }

    pub fn lambdas(&self) -> Result<Vec<Lambda>, Error> {
        let list = self.list("lams")?;
        let list = list.unwrap_or_else(|| ["1e-12", "1e-7", "1e-3", "1.0"].map(Into::into).into());
        let parse = |text: String| {
            let value = text.parse::<f64>().ok();
            let value = value.filter(|value| value.is_finite() && *value > 0.0);
            match value {
                Some(value) => Ok(Lambda { value, text }),
                None => Err(self.unexpected("lams", "numbers above 0")),
            }
        };
        list.into_iter().map(parse).collect()
    }

    /// `param_order`, checked against the tensors there are.
    pub fn order(
        &self,
        kind: Kind,
        tensors: &BTreeMap<String, Array>,
    ) -> Result<Vec<String>, Error> {
        if kind.is_grid() {
            return Ok(vec!["theta".into()]);
        }
        let found = tensors
            .keys()
            .filter_map(|name| name.strip_prefix("param."));
        let found: Vec<String> = found.map(str::to_string).collect();
        let Some(order) = self.list("param_order")? else {
            return Ok(found);
        };
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if let Some(missing) = sorted.iter().find(|name| !found.contains(name)) {
            return Err(Error::Missing {
                tensor: format!("param.{missing}"),
            });
        }
        if sorted == found {
            Ok(order)
        } else {
            Err(self.unexpected(
                "param_order",
                format!(
                    "the names of all `param.*`, once each: {}",
                    found.join(", ")
                ),
            ))
        }
    }

    /// A count that the tensors must bear out.
    pub fn count(&self, key: &'static str, what: &str, found: usize) -> Result<(), Error> {
        let expected = format!("{found}, the number of {what}");
        self.parsed(key, found, &expected, |&count| count == found)
            .map(|_| ())
    }
}
