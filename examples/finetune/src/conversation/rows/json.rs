//! JSON lines, and JSON files with a list of objects.

use std::path::Path;
use std::sync::Arc;

use programs::printing::{message, quoted_list, short};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::super::place::Place;
use super::parts::{member, parts};
use super::{EXPECTED, Row};
use crate::data::lines::numbered;
use crate::data::{Error, LeftOut, Object};

/// The objects of the list that begins at `open`.
pub(super) fn list(file: &Arc<Path>, text: &str, open: usize) -> Result<Vec<Row>, Error> {
    whole(file, text)?;
    let (mut line, mut counted) = (1, 0);
    let mut rows = Vec::new();
    for part in parts(text, open) {
        line += text[counted..part.start].matches('\n').count() as u64;
        counted = part.start;
        rows.push(row(Place::line(file.clone(), line), &text[part])?);
    }
    Ok(rows)
}

/// Check a whole file.
fn whole(file: &Arc<Path>, text: &str) -> Result<(), Error> {
    let checked = serde_json::from_str::<IgnoredAny>(text);
    checked.map(|_| ()).map_err(|error| {
        let problem = format!("not JSON: {}; expected {EXPECTED}", message(&error));
        Place::line(file.clone(), error.line() as u64).error(problem)
    })
}

fn row(place: Place, text: &str) -> Result<Row, Error> {
    match serde_json::from_str(text) {
        Ok(Object(row)) => Ok((place, row)),
        Err(error) => {
            let (error, found) = (message(&error), short(text));
            Err(place.error(format!("expected a JSON object: {error}; found {found}")))
        }
    }
}

/// A text that begins with an object: JSON lines, one row, or an object that has the rows in a list.
pub(super) fn lines_or_object(
    file: &Arc<Path>,
    text: &str,
    is_row: &dyn Fn(&Map<String, Value>) -> bool,
    left_out: &mut LeftOut,
) -> Result<Vec<Row>, Error> {
    let mut filled = text.lines().filter(|line| !line.trim().is_empty());
    let first = serde_json::from_str::<Object>(filled.next().unwrap_or_default());
    let several = filled.next().is_some();
    let is_line = match &first {
        Ok(Object(object)) => several || is_row(object),
        // The value of a line of its own may break off at its end; that of an object in several lines begins there.
        Err(error) => several && !error.is_eof(),
    };
    if is_line {
        let lines = numbered(file, text, left_out).into_iter();
        return lines
            .map(|(line, text)| row(Place::line(file.clone(), line), text))
            .collect();
    }
    whole(file, text)?;
    let open = text.find('{').unwrap_or_default();
    let (place, object) = row(Place::line(file.clone(), 1), text)?;
    if is_row(&object) {
        return Ok(vec![(place, object)]);
    }
    let members = parts(text, open)
        .into_iter()
        .filter_map(|part| member(text, &part));
    let is_list = |value: usize| {
        let rest = text[value..].strip_prefix('[').map(str::trim_start);
        rest.is_some_and(|rest| rest.starts_with('{'))
    };
    let lists: Vec<_> = members.filter(|(_, value)| is_list(*value)).collect();
    match &lists[..] {
        [(_, value)] => list(file, text, *value),
        others => {
            let names = others.iter().map(|(name, _)| name);
            let found = match others.len() {
                0 => format!("an object with {}", quoted_list(object.keys())),
                _ => format!("an object with several lists: {}", quoted_list(names)),
            };
            Err(Error::file(
                file,
                format!(
                    "found {found}, expected {EXPECTED}, or an object with one list of objects"
                ),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows;
    use super::*;

    fn read(text: &str) -> (Result<Vec<(u64, String)>, String>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        std::fs::write(&path, text).unwrap();
        let mut left_out = LeftOut::default();
        let is_row = |row: &Map<String, Value>| row.contains_key("text");
        let found = rows(&path, &is_row, &mut left_out).map(|rows| {
            let shown = |(place, row): Row| (place.number(), Value::Object(row).to_string());
            rows.into_iter().map(shown).collect()
        });
        let found = found.map_err(|error| {
            error
                .to_string()
                .replace(&path.display().to_string(), "rows")
        });
        (found, left_out.empty)
    }

    fn texts(numbers: &[u64]) -> Vec<(u64, String)> {
        let row = |(text, line): (usize, &u64)| (*line, format!("{{\"text\":{text}}}"));
        numbers.iter().enumerate().map(row).collect()
    }

    #[test]
    fn lines_lists_and_objects_with_a_list_give_rows_with_their_lines() {
        for (text, lines) in [
            ("{\"text\":0}\n{\"text\":1}\n", &[1, 2][..]),
            ("\u{feff}{\"text\":0}\r\n\r\n{\"text\":1}\r\n", &[1, 3]),
            ("[{\"text\":0},\n\n {\"text\":1}]", &[1, 3]),
            (
                "[\n  {\n    \"text\": 0\n  },\n  {\n    \"text\": 1\n  }\n]\n",
                &[2, 5],
            ),
            (
                "{\"version\": 3, \"data\": [{\"text\":0}, {\"text\":1}]}",
                &[1, 1],
            ),
            (
                "{\n\"version\": [1],\n\"data\": [\n{\"text\":0},\n{\"text\":1}\n]\n}",
                &[4, 5],
            ),
            ("{\"text\":0}", &[1]),
            ("{\n\"text\":0}", &[1]),
        ] {
            assert_eq!(read(text).0, Ok(texts(lines)), "{text:?}");
        }
        assert_eq!(read("{\"text\":0}\n\n").1, 1);
        assert_eq!(read("[]").0, Ok(vec![]));
    }

    #[test]
    fn damaged_files_are_refused_with_a_line() {
        for (text, expected) in [
            (
                "{\"text\":0}\n{\"text\":",
                "rows, line 2: expected a JSON object: EOF while parsing",
            ),
            (
                "{\"text\":0}\n[1]\n",
                "rows, line 2: expected a JSON object",
            ),
            (
                "{\"text\":0 x}\n{\"text\":1}\n",
                "rows, line 1: expected a JSON object",
            ),
            (
                "{\"text\":0,\"text\":1}\n{\"text\":1}",
                "rows, line 1: expected a JSON object: the key `text` is there twice",
            ),
            ("[{\"text\":0},\n{\"text\":1", "rows, line 2: not JSON"),
            ("[{\"text\":0},\n3]", "rows, line 2: expected a JSON object"),
            (
                "{\"a\": 3}",
                "rows: found an object with `a`, expected JSON lines",
            ),
            ("{\"a\": [{}], \"b\": [{}]}", "several lists: `a`, `b`"),
            ("", "rows: the file is empty, expected JSON lines"),
            (
                "text,label\na,b\n",
                "found a text that begins with `text,label`",
            ),
        ] {
            let found = read(text).0.unwrap_err();
            assert!(found.contains(expected), "{found}\nexpected {expected}");
        }
    }
}
