//! Text files by lines.

use std::path::{Path, PathBuf};

use super::LeftOut;
use super::error::Error;

/// What the bytes of a file may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Utf8,
    /// Older corpora are handed on in Latin-1 and in UTF-8.
    Utf8OrLatin1,
}

/// The text of a file without byte order mark.
pub(super) fn read(path: &Path, encoding: Encoding, expected: &str) -> Result<String, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::read(path, source, expected))?;
    let text = match (String::from_utf8(bytes), encoding) {
        (Ok(text), _) => text,
        // The characters of Latin-1 are the first 256 of Unicode.
        (Err(error), Encoding::Utf8OrLatin1) => {
            error.as_bytes().iter().copied().map(char::from).collect()
        }
        (Err(error), Encoding::Utf8) => {
            let (good, bad) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
            let line = 1 + good.iter().filter(|&&byte| byte == b'\n').count() as u64;
            let problem = format!(
                "byte 0x{:02X} is not UTF-8, which was expected: save the file as UTF-8 \
                 (`iconv -f latin1 -t utf8` does it for Latin-1)",
                bad.first().copied().unwrap_or_default()
            );
            return Err(Error::line(path, line, problem));
        }
    };
    match text.strip_prefix('\u{feff}') {
        Some(rest) => Ok(rest.to_string()),
        None => Ok(text),
    }
}

/// The lines of a text, numbered from 1; empty ones are counted and left out.
pub(super) fn numbered<'t>(
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
