//! Text files by lines.

use std::path::{Path, PathBuf};

use programs::printing::{quoted_list, short};
use programs::reading;

use super::error::Error;
use super::foreign::recognised;
use super::splits::LeftOut;

/// What the bytes of a file may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Utf8,
    /// Older corpora are handed on in Latin-1 and in UTF-8.
    Utf8OrLatin1,
}

/// The text of a regular file without byte order mark.
pub(crate) fn read(path: &Path, encoding: Encoding, expected: &str) -> Result<String, Error> {
    let bytes = reading::bytes(path).map_err(|source| Error::read(path, source, expected))?;
    if let Some(foreign) = recognised(&bytes) {
        let problem = format!(
            "{}, expected {expected} in UTF-8: {}",
            foreign.what, foreign.fix
        );
        return Err(Error::file(path, problem));
    }
    if let Some(place) = bytes.iter().position(|&byte| byte == 0) {
        let problem = "a NUL byte, expected text: the file is damaged, or not a text";
        return Err(Error::line(path, line_at(&bytes, place), problem));
    }
    let text = match (String::from_utf8(bytes), encoding) {
        (Ok(text), _) => text,
        // The characters of Latin-1 are the first 256 of Unicode.
        (Err(error), Encoding::Utf8OrLatin1) => {
            error.as_bytes().iter().copied().map(char::from).collect()
        }
        (Err(error), Encoding::Utf8) => {
            let place = error.utf8_error().valid_up_to();
            let (bytes, bad) = (error.as_bytes(), error.as_bytes().get(place));
            let line = line_at(bytes, place);
            let problem = format!(
                "byte 0x{:02X} is not UTF-8, which was expected: save the file as UTF-8 \
                 (`iconv -f latin1 -t utf8` does it for Latin-1)",
                bad.copied().unwrap_or_default()
            );
            return Err(Error::line(path, line, problem));
        }
    };
    match text.strip_prefix('\u{feff}') {
        Some(rest) => Ok(rest.to_string()),
        None => Ok(text),
    }
}

/// The names of a table's columns, each of them once.
pub(super) struct Header<'t> {
    path: &'t Path,
    names: Vec<&'t str>,
}

impl<'t> Header<'t> {
    pub(super) fn new(path: &'t Path, names: impl Iterator<Item = &'t str>) -> Result<Self, Error> {
        let names: Vec<&str> = names.map(str::trim).collect();
        for (place, name) in names.iter().enumerate() {
            // Columns without a name cannot be asked for.
            if !name.is_empty() && names[..place].contains(name) {
                let problem = format!(
                    "the header has the column `{}` twice: rename one of them",
                    short(name)
                );
                return Err(Error::line(path, 1, problem));
            }
        }
        Ok(Self { path, names })
    }

    /// Columns.
    pub(super) fn count(&self) -> usize {
        self.names.len()
    }

    /// The place of a column.
    pub(super) fn place(&self, name: &str) -> Result<usize, Error> {
        let place = self.names.iter().position(|found| *found == name);
        place.ok_or_else(|| {
            let (name, found) = (short(name), quoted_list(&self.names));
            let problem = format!("no column `{name}`; the header has {found}");
            Error::line(self.path, 1, problem)
        })
    }
}

/// The line of a byte.
fn line_at(bytes: &[u8], place: usize) -> u64 {
    1 + bytes[..place].iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// The lines of a text, numbered from 1; empty ones are counted and left out.
pub(crate) fn numbered<'t>(
    path: &Path,
    text: &'t str,
    left_out: &mut LeftOut,
) -> Vec<(u64, &'t str)> {
    let lines = (1..).zip(text.lines());
    lines
        .filter(|(line, text)| {
            let filled = !text.trim().is_empty();
            if !filled {
                left_out.note_empty(path, *line);
            }
            filled
        })
        .collect()
}

/// The first of `names` that is in the folder, or the file itself if `folder` is one.
pub(super) fn locate(folder: &Path, names: &[&str], expected: &str) -> Result<PathBuf, Error> {
    if folder.is_file() {
        return Ok(folder.into());
    }
    let found = names
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file());
    found.ok_or_else(|| Error::missing(&folder.join(names[0]), expected))
}

impl LeftOut {
    pub(super) fn note_empty(&mut self, path: &Path, line: u64) {
        self.empty += 1;
        self.first_empty
            .get_or_insert_with(|| format!("{}, line {line}", path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_windows_lines_and_empty_lines_are_no_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "\u{feff}one\r\n\r\n  \ntwo\u{2028}three\n").unwrap();
        let text = read(&path, Encoding::Utf8, "").unwrap();
        let mut left_out = LeftOut::default();
        let lines = numbered(&path, &text, &mut left_out);
        // Only line feeds end a line: texts may hold Unicode's line separators.
        assert_eq!(lines, [(1, "one"), (4, "two\u{2028}three")]);
        assert_eq!(left_out.empty, 2);
        assert!(left_out.first_empty.unwrap().ends_with("text, line 2"));
    }

    #[test]
    fn a_nul_byte_is_reported_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, b"one\ntw\0o\n").unwrap();
        for encoding in [Encoding::Utf8, Encoding::Utf8OrLatin1] {
            let error = read(&path, encoding, "").unwrap_err();
            assert!(matches!(error, Error::Line { line: 2, .. }), "{error}");
            assert!(error.to_string().contains("NUL byte"), "{error}");
        }
    }

    #[test]
    fn latin_1_is_read_where_it_is_usual_and_named_where_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, b"plain\ncaf\xe9\n").unwrap();
        let text = read(&path, Encoding::Utf8OrLatin1, "").unwrap();
        assert_eq!(text, "plain\ncafé\n");
        let error = read(&path, Encoding::Utf8, "").unwrap_err();
        assert!(matches!(error, Error::Line { line: 2, .. }), "{error}");
        assert!(error.to_string().contains("0xE9"), "{error}");
    }
}
