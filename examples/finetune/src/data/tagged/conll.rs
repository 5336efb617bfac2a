//! CoNLL's form: a word and its tag on each line.

use std::path::Path;

use programs::printing::short;

use super::Sentence;
use crate::data::error::Error;

/// The mark between documents.
const DOCUMENT: &str = "-DOCSTART-";

/// The sentences between empty lines. Of several columns, between tabs or else between spaces, the first holds the
/// word and the last its tag.
pub(super) fn sentences(path: &Path, text: &str) -> Result<Vec<Sentence>, Error> {
    let mut found: Vec<Sentence> = Vec::new();
    let mut is_open = false;
    let mut columns = None;
    for (line, text) in (1..).zip(text.lines()) {
        let fields: Vec<&str> = if text.contains('\t') {
            text.split('\t').map(str::trim).collect()
        } else {
            text.split_whitespace().collect()
        };
        let Some((word, rest)) = fields.split_first().filter(|(word, _)| !word.is_empty()) else {
            if fields.iter().any(|field| !field.is_empty()) {
                let problem = "a tag without a word, expected a word and its tag";
                return Err(Error::line(path, line, problem));
            }
            is_open = false;
            continue;
        };
        if *word == DOCUMENT {
            is_open = false;
            continue;
        }
        let expected = *columns.get_or_insert(fields.len());
        if fields.len() != expected {
            let problem = format!(
                "expected {expected} columns as in the first line with a word, found {} in `{}`",
                fields.len(),
                short(text.trim())
            );
            return Err(Error::line(path, line, problem));
        }
        if !is_open {
            found.push(Sentence {
                line,
                words: Vec::new(),
                tags: rest.last().map(|_| Vec::new()),
            });
            is_open = true;
        }
        if let Some(sentence) = found.last_mut() {
            sentence.words.push(word.to_string());
            if let (Some(tags), Some(tag)) = (&mut sentence.tags, rest.last()) {
                tags.push(tag.to_string());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Sentence>, String> {
        sentences(Path::new("t.conll"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn empty_lines_and_documents_end_sentences() {
        let text =
            "-DOCSTART- -X- O O\n\nBach NNP I-NP B-PER\r\ndied VBD I-VP O\n\n\n1750 CD I-NP O\n";
        let found = read(text).unwrap();
        let of = |words: &[&str], tags: &[&str], line| Sentence {
            line,
            words: words.iter().map(|word| word.to_string()).collect(),
            tags: Some(tags.iter().map(|tag| tag.to_string()).collect()),
        };
        assert_eq!(
            found,
            [
                of(&["Bach", "died"], &["B-PER", "O"], 3),
                of(&["1750"], &["O"], 7)
            ]
        );
        // A word may hold a space between tabs.
        assert_eq!(read("New York\tB-LOC\n").unwrap()[0].words, ["New York"]);
        assert_eq!(read("Bach\ndied\n").unwrap()[0].tags, None);
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn lines_of_another_form_are_named() {
        let error = read("Bach B-PER\ndied\n").unwrap_err();
        assert!(
            error.starts_with("t.conll, line 2: expected 2 columns") && error.contains("`died`"),
            "{error}"
        );
        let error = read("a\tO\n\tO\n").unwrap_err();
        assert!(
            error.starts_with("t.conll, line 2: a tag without a word"),
            "{error}"
        );
    }
}
