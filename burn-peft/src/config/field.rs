//! From the JSON of a field to a Rust value and back.

use serde_json::Number;

use super::json::{Fields, Json};
use crate::error::Error;

/// A type that a configuration field can have.
pub(crate) trait FieldValue: Sized {
    /// What the field may hold, for error messages.
    const EXPECTED: &'static str;

    /// Read it; `None` if the JSON is something else.
    fn read(json: &Json) -> Option<Self>;

    /// The JSON that PEFT reads back as the same value.
    fn write(&self) -> Json;
}

impl FieldValue for bool {
    const EXPECTED: &'static str = "expected true or false";

    fn read(json: &Json) -> Option<Self> {
        match json {
            // As good as false in Python; files of early versions have it.
            Json::Null => Some(false),
            Json::Bool(value) => Some(*value),
            _ => None,
        }
    }

    fn write(&self) -> Json {
        Json::Bool(*self)
    }
}

impl FieldValue for usize {
    const EXPECTED: &'static str = "expected a number of 0, 1, 2, …";

    fn read(json: &Json) -> Option<Self> {
        match json {
            Json::Number(number) => number.as_u64()?.try_into().ok(),
            _ => None,
        }
    }

    fn write(&self) -> Json {
        Json::Number((*self as u64).into())
    }
}

impl FieldValue for f64 {
    const EXPECTED: &'static str = "expected a number";

    fn read(json: &Json) -> Option<Self> {
        match json {
            Json::Number(number) => number.as_f64(),
            _ => None,
        }
    }

    /// PEFT has integers for `lora_alpha` and a fraction for `lora_dropout`, 0.0 by default.
    fn write(&self) -> Json {
        let whole = *self as i64;
        let exact = whole as f64 == *self && whole.unsigned_abs() < 1 << 53;
        match exact && whole != 0 {
            true => Json::Number(whole.into()),
            false => Number::from_f64(*self).map_or(Json::Null, Json::Number),
        }
    }
}

impl FieldValue for String {
    const EXPECTED: &'static str = "expected a text";

    fn read(json: &Json) -> Option<Self> {
        match json {
            Json::String(text) => Some(text.clone()),
            _ => None,
        }
    }

    fn write(&self) -> Json {
        Json::String(self.clone())
    }
}

impl<T: FieldValue> FieldValue for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn read(json: &Json) -> Option<Self> {
        match json {
            Json::Null => Some(None),
            json => T::read(json).map(Some),
        }
    }

    fn write(&self) -> Json {
        self.as_ref().map_or(Json::Null, T::write)
    }
}

/// A list of module names.
impl FieldValue for Vec<String> {
    const EXPECTED: &'static str = "expected a list of texts";

    fn read(json: &Json) -> Option<Self> {
        match json {
            Json::Array(items) => items.iter().map(String::read).collect(),
            _ => None,
        }
    }

    fn write(&self) -> Json {
        Json::Array(self.iter().map(String::write).collect())
    }
}

/// A mapping from patterns to values, in the order in which they are tried.
impl<T: FieldValue> FieldValue for Vec<(String, T)> {
    const EXPECTED: &'static str = "expected an object from patterns to numbers";

    fn read(json: &Json) -> Option<Self> {
        match json {
            Json::Null => Some(Vec::new()),
            Json::Object(fields) => {
                let members = fields.iter();
                let read = |(name, value): (&str, &Json)| Some((name.into(), T::read(value)?));
                members.map(read).collect()
            }
            _ => None,
        }
    }

    fn write(&self) -> Json {
        let members = self.iter();
        let fields: Fields = members
            .map(|(name, value)| (name.clone(), value.write()))
            .collect();
        Json::Object(fields)
    }
}

/// A field that holds one value or a list of them.
///
/// ```
/// use burn_peft::config::OneOrMany;
///
/// assert_eq!(OneOrMany::from([1, 2]), OneOrMany(vec![1, 2]));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T, const N: usize> From<[T; N]> for OneOrMany<T> {
    fn from(values: [T; N]) -> Self {
        Self(values.into())
    }
}

impl<T> From<Vec<T>> for OneOrMany<T> {
    fn from(values: Vec<T>) -> Self {
        Self(values)
    }
}

impl<T: FieldValue> FieldValue for OneOrMany<T> {
    const EXPECTED: &'static str = "expected a value or a list of values";

    fn read(json: &Json) -> Option<Self> {
        let items = match json {
            Json::Array(items) => items.iter().map(T::read).collect::<Option<_>>()?,
            Json::String(text) if text.is_empty() => Vec::new(),
            json => vec![T::read(json)?],
        };
        Some(Self(items))
    }

    fn write(&self) -> Json {
        Json::Array(self.0.iter().map(T::write).collect())
    }
}

/// Read the field `name`.
pub(crate) fn read_field<T: FieldValue>(name: &'static str, json: &Json) -> Result<T, Error> {
    T::read(json).ok_or_else(|| Error::Config {
        field: name,
        value: json.shown(),
        expected: T::EXPECTED,
    })
}

/// Reading and writing of a settings type: its typed fields by name, beside `fields`, which holds
/// the file as it was read.
macro_rules! typed_fields {
    ($settings:ident: $($name:ident),+ $(,)?) => {
        impl $settings {
            const TYPED: &'static [&'static str] = &[$(stringify!($name)),+];

            /// Read the typed fields and keep all of them; one that is not there has PEFT's default.
            fn read(fields: Fields) -> Result<Self, Error> {
                let mut settings = Self::unwritten();
                $(if let Some(json) = fields.get(stringify!($name)) {
                    settings.$name = read_field(stringify!($name), json)?;
                })+
                settings.fields = fields;
                Ok(settings)
            }

            /// The typed fields as PEFT writes them.
            fn typed(&self) -> impl Iterator<Item = (&'static str, Json)> {
                [$((stringify!($name), self.$name.write())),+].into_iter()
            }

            /// The fields of the file, in its order, with every value that has changed since.
            pub(crate) fn to_fields(&self) -> Fields {
                let mut fields = self.fields.clone();
                let read = Self::read(self.fields.clone()).ok();
                $(if read.as_ref().is_none_or(|read| read.$name != self.$name) {
                    fields.set(stringify!($name), self.$name.write());
                })+
                fields
            }
        }

        /// Equal in what would be written.
        impl PartialEq for $settings {
            fn eq(&self, other: &Self) -> bool {
                self.to_fields() == other.to_fields()
            }
        }
    };
}
pub(crate) use typed_fields;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_written_as_integers() {
        for (value, text) in [
            (16.0_f64, "16"),
            (0.0, "0.0"),
            (0.05, "0.05"),
            (-2.0, "-2"),
            (1e300, "1e+300"),
        ] {
            assert_eq!(value.write().shown(), text);
            assert_eq!(f64::read(&value.write()), Some(value));
        }
        assert_eq!(f64::NAN.write(), Json::Null);
    }

    #[test]
    fn one_value_reads_as_a_list_of_one() {
        let read = |text: &str| {
            let json = Json::parse("test", text.as_bytes()).unwrap();
            OneOrMany::<usize>::read(&json).map(|OneOrMany(items)| items)
        };
        assert_eq!(read("3"), Some(vec![3]));
        assert_eq!(read("[1, 2]"), Some(vec![1, 2]));
        assert_eq!(read("[]"), Some(vec![]));
        assert_eq!(read("[-1]"), None);
        assert_eq!(read("\"3\""), None);
    }
}
