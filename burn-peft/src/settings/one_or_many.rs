//! Fields that hold one value or a list.

use super::field::FieldValue;
use super::json::Json;

/// A field that holds one value or a list of them.
///
/// ```
/// use burn_peft::settings::OneOrMany;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_reads_as_a_list_of_one() {
        let read = |text: &str| {
            let json = crate::settings::json::parse("test", text.as_bytes()).unwrap();
            OneOrMany::<usize>::read(&json).map(|OneOrMany(items)| items)
        };
        assert_eq!(read("3"), Some(vec![3]));
        assert_eq!(read("[1, 2]"), Some(vec![1, 2]));
        assert_eq!(read("[]"), Some(vec![]));
        assert_eq!(read("[-1]"), None);
        assert_eq!(read("\"3\""), None);
    }
}
