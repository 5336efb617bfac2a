//! One JSON object a line, with a list of words and a list of tags.

use std::path::Path;

use programs::printing::{message, quoted_list, short};
use serde_json::{Map, Value};

use super::Sentence;
use crate::data::error::Error;
use crate::data::lines::numbered;
use crate::data::{DataSource, LeftOut, Object};

/// Names that the lists have in published data sets.
const WORDS: [&str; 2] = ["tokens", "words"];
const TAGS: [&str; 4] = ["tags", "ner_tags", "pos_tags", "labels"];

pub(super) fn sentences(
    path: &Path,
    text: &str,
    options: &DataSource,
    left_out: &mut LeftOut,
) -> Result<Vec<Sentence>, Error> {
    // The defaults are those of texts.
    let usual = DataSource::new("");
    let own = |name: &str, usual: &str| (name != usual).then(|| name.to_string());
    let words = own(&options.text_column, &usual.text_column);
    let tags = own(&options.label_column, &usual.label_column);
    let mut found = Vec::new();
    for (line, text) in numbered(path, text, left_out) {
        let refuse = |problem: String| Error::line(path, line, problem);
        let Object(object) = serde_json::from_str(text).map_err(|error| {
            let error = message(&error);
            refuse(format!("expected a JSON object: {error}"))
        })?;
        let words = list(&object, words.as_deref(), &WORDS, "--text-column").map_err(refuse)?;
        let tags = list(&object, tags.as_deref(), &TAGS, "--label-column").map_err(refuse)?;
        if words.is_empty() {
            left_out.note_empty(path, line);
            continue;
        }
        found.push(Sentence {
            line,
            words,
            tags: Some(tags),
        });
    }
    Ok(found)
}

/// The list under this name, or under the first of the usual ones that is there.
fn list(
    object: &Map<String, Value>,
    name: Option<&str>,
    usual: &[&str],
    flag: &str,
) -> Result<Vec<String>, String> {
    let names = match name {
        Some(name) => vec![name],
        None => usual.to_vec(),
    };
    let found = names
        .iter()
        .find_map(|name| Some((*name, object.get(*name)?)));
    let Some((name, value)) = found else {
        let (names, known) = (quoted_list(&names), quoted_list(object.keys()));
        return Err(format!(
            "no key {names}; the object has {known} ({flag} chooses another one)"
        ));
    };
    let Value::Array(items) = value else {
        let found = short(&value.to_string());
        return Err(format!(
            "`{name}`: expected a list with an entry for each word, found {found}"
        ));
    };
    let texts = items.iter().map(|item| match item {
        Value::String(text) => Ok(text.trim().to_string()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!(
            "`{name}`: expected texts or numbers in the list, found {}",
            short(&other.to_string())
        )),
    });
    texts.collect()
}
