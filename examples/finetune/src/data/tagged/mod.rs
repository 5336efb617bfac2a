//! Words with tags: CoNLL files, and JSON lines.

mod conll;
mod json;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use programs::printing::{quoted_list, short};

use super::error::Error;
use super::lines::{Encoding, read};
use super::split::{Parts, Repeats, arrange};
use super::{DataSource, LeftOut, Splits, TokenExample};

pub(super) const FILES: &str = "a file of CoNLL's form (a word and its tag on each line, empty lines between sentences), a \
                                file `.jsonl` with `tokens` and `tags`, or a folder with `train.conll` (`.txt`, `.bio`, \
                                `.iob2`, `.tsv`) or `train.jsonl` and perhaps `valid` and `test`";

/// Ends of the names of files.
const ENDS: [&str; 9] = [
    "conll", "iob2", "iob", "bio", "tsv", "txt", "jsonl", "json", "conll03",
];

/// The tag of words that belong to nothing.
const OUTSIDE: &str = "O";

/// The words of one text as they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sentence {
    /// Of the first word.
    pub line: u64,
    pub words: Vec<String>,
    /// One for each word; absent where there are words alone.
    pub tags: Option<Vec<String>>,
}

/// The sentences of a file in CoNLL's form, with or without tags.
pub(crate) fn sentences(path: &Path) -> Result<Vec<Sentence>, Error> {
    let text = read(path, Encoding::Utf8, FILES)?;
    conll::sentences(path, &text)
}

/// The sentences of a file that has tags.
fn tagged(
    path: &Path,
    options: &DataSource,
    left_out: &mut LeftOut,
) -> Result<Vec<(Sentence, Vec<String>)>, Error> {
    let is_lines = path
        .extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("jsonl") || end.eq_ignore_ascii_case("json"));
    let found = if is_lines {
        let text = read(path, Encoding::Utf8, "JSON lines")?;
        json::sentences(path, &text, options, left_out)?
    } else {
        sentences(path)?
    };
    let mut rows = Vec::new();
    for mut sentence in found {
        let refuse = |problem: String| Error::line(path, sentence.line, problem);
        let Some(tags) = sentence.tags.take() else {
            let word = sentence.words.first().map_or("", String::as_str);
            return Err(refuse(format!(
                "the word `{}` has no tag, expected a word and its tag on each line",
                short(word)
            )));
        };
        if tags.len() != sentence.words.len() {
            return Err(refuse(format!(
                "{} words and {} tags, expected one tag for each word",
                sentence.words.len(),
                tags.len()
            )));
        }
        let mut all = sentence.words.iter().chain(&tags);
        if let Some(odd) = all.find(|text| text.is_empty() || text.contains('\0')) {
            return Err(refuse(format!(
                "expected words and tags that are not empty, found `{}`",
                odd.escape_debug()
            )));
        }
        rows.push((sentence, tags));
    }
    if rows.is_empty() {
        return Err(Error::file(path, "no words with tags"));
    }
    Ok(rows)
}

/// The tags of these rows: first the one of words outside, then the others by alphabet.
fn names(path: &Path, rows: &[(Sentence, Vec<String>)]) -> Result<Vec<String>, Error> {
    let found: BTreeSet<&str> = rows
        .iter()
        .flat_map(|(_, tags)| tags.iter().map(String::as_str))
        .collect();
    if found.iter().all(|tag| tag.parse::<u32>().is_ok()) {
        let problem = format!(
            "the tags are numbers ({}), expected names: name all of them in their order from 0, `--labels O,B-PER,I-PER,…`",
            quoted_list(&found)
        );
        return Err(Error::file(path, problem));
    }
    if found.len() < 2 {
        let problem = format!(
            "all words have the tag {}, expected two or more",
            quoted_list(&found)
        );
        return Err(Error::file(path, problem));
    }
    let outside = found.contains(OUTSIDE).then_some(OUTSIDE);
    let others = found.into_iter().filter(|tag| *tag != OUTSIDE);
    Ok(outside
        .into_iter()
        .chain(others)
        .map(String::from)
        .collect())
}

/// The rows with numbers for their tags. A tag that is a number, and no name, is the place of its name.
fn apply(
    path: &Path,
    rows: Vec<(Sentence, Vec<String>)>,
    names: &[String],
) -> Result<Vec<TokenExample>, Error> {
    let place = |line: u64, tag: &str| {
        let place = names.iter().position(|name| name == tag);
        let number = || tag.parse().ok().filter(|place| *place < names.len());
        place.or_else(number).ok_or_else(|| {
            let (tag, known) = (short(tag), quoted_list(names));
            let problem = format!("unknown tag `{tag}`, expected one of {known}");
            Error::line(path, line, problem)
        })
    };
    let mut examples = Vec::new();
    for (sentence, tags) in rows {
        let tags = tags.iter().map(|tag| place(sentence.line, tag));
        examples.push(TokenExample {
            tags: tags.collect::<Result<_, _>>()?,
            words: sentence.words,
        });
    }
    Ok(examples)
}

/// The file of a part in a folder.
fn part(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    let mut files = names.iter().flat_map(|name| {
        ENDS.iter()
            .map(move |end| folder.join(format!("{name}.{end}")))
    });
    files.find(|path| path.is_file())
}

pub(super) fn load(options: &DataSource) -> Result<Splits<TokenExample>, Error> {
    let mut left_out = LeftOut::default();
    let folder = &options.folder;
    let train = if folder.is_dir() {
        let train = part(folder, &["train"]);
        train.ok_or_else(|| Error::missing(&folder.join("train.conll"), FILES))?
    } else {
        folder.clone()
    };
    let rows = tagged(&train, options, &mut left_out)?;
    let labels = match &options.labels {
        Some(labels) => labels.clone(),
        None => names(&train, &rows)?,
    };
    let mut held = |names: &[&str]| {
        let Some(path) = part(folder, names) else {
            return Ok(None);
        };
        let rows = tagged(&path, options, &mut left_out)?;
        apply(&path, rows, &labels).map(Some)
    };
    let parts = Parts {
        valid: held(&["valid", "validation", "dev", "testa"])?,
        test: held(&["test", "testb"])?,
        train: apply(&train, rows, &labels)?,
    };
    arrange(parts, Repeats::Drop, labels, left_out, options)
}
