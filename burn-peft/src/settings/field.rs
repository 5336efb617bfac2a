//! From the JSON of a field to a Rust value and back.

use serde_json::Number;

use super::json::{Fields, Json, shown};
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

impl FieldValue for i64 {
    const EXPECTED: &'static str = "expected a whole number";

    fn read(json: &Json) -> Option<Self> {
        match json {
            Json::Number(number) => number.as_i64(),
            _ => None,
        }
    }

    fn write(&self) -> Json {
        Json::Number((*self).into())
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
        if exact && whole != 0 {
            Json::Number(whole.into())
        } else {
            Number::from_f64(*self).map_or(Json::Null, Json::Number)
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
                let read = |(name, value): (&String, &Json)| Some((name.clone(), T::read(value)?));
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

/// Read the field `name`.
pub(crate) fn read_field<T: FieldValue>(name: &'static str, json: &Json) -> Result<T, Error> {
    T::read(json).ok_or_else(|| Error::Config {
        field: name,
        value: shown(json),
        expected: T::EXPECTED,
    })
}

/// An enumeration that the file holds as a text.
macro_rules! named_values {
    ($type:ident, $expected:literal, $($variant:ident = $name:literal),+ $(,)?) => {
        impl $type {
            /// The name in the configuration file.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        impl $crate::settings::FieldValue for $type {
            const EXPECTED: &'static str = $expected;

            fn read(json: &$crate::settings::Json) -> Option<Self> {
                match json {
                    $($crate::settings::Json::String(name) if name == $name => Some(Self::$variant),)+
                    _ => None,
                }
            }

            fn write(&self) -> $crate::settings::Json {
                $crate::settings::Json::String(self.name().into())
            }
        }
    };
}
pub(crate) use named_values;

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
            assert_eq!(shown(&value.write()), text);
            assert_eq!(f64::read(&value.write()), Some(value));
        }
        assert_eq!(f64::NAN.write(), Json::Null);
    }
}
