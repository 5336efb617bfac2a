//! Files that are something else than their name says.

use std::fmt;

/// What a file holds in place of its contents: what a download or a clone left behind.
///
/// Readers of weights and configurations ask for it before they parse a file, so that the error says
/// what happened and what helps.
///
/// ```
/// use burn_peft::folder::Placeholder;
///
/// let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 438955\n";
/// let found = Placeholder::of(pointer).unwrap();
/// assert_eq!(found, Placeholder::LfsPointer { size: Some(438_955) });
/// assert!(found.to_string().contains("git lfs pull"));
/// assert_eq!(Placeholder::of(b"{\"peft_type\": \"LORA\"}"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placeholder {
    /// Nothing.
    Empty,
    /// A pointer of Git LFS, which a clone without Git LFS leaves in place of a large file.
    LfsPointer {
        /// The size of the file itself, if the pointer says it.
        size: Option<u64>,
    },
    /// A web page, which a download of the page of a file leaves instead of the file, or one that
    /// needed a login.
    Html,
}

impl Placeholder {
    /// What these contents are, if they are no contents of a file of weights or settings. The first
    /// 1,024 bytes of a file are enough; of an empty file there are none.
    pub fn of(contents: &[u8]) -> Option<Self> {
        /// Longer than a pointer is, and enough for the beginning of a page.
        const HEAD: usize = 1024;
        if contents.is_empty() {
            return Some(Self::Empty);
        }
        let head = &contents[..contents.len().min(HEAD)];
        let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
        let head = head.trim_ascii_start();
        if head.is_empty() && contents.len() <= HEAD {
            return Some(Self::Empty);
        }
        if head.starts_with(b"version https://git-lfs.github.com/spec/")
            || head.starts_with(b"version https://hawser.github.com/spec/")
        {
            let text = String::from_utf8_lossy(head);
            let mut lines = text.lines();
            let size = lines.find_map(|line| line.strip_prefix("size ")?.trim().parse().ok());
            return Some(Self::LfsPointer { size });
        }
        let lower = head.to_ascii_lowercase();
        let page = [
            b"<!doctype html".as_slice(),
            b"<html",
            b"<head",
            b"<?xml",
            b"<!--",
        ];
        page.iter()
            .any(|start| lower.starts_with(start))
            .then_some(Self::Html)
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => formatter.write_str("the file is empty: copy or download it again"),
            Self::LfsPointer { size } => {
                formatter.write_str("the file is a Git LFS pointer")?;
                if let Some(size) = size {
                    write!(formatter, " that stands for {size} bytes")?;
                }
                formatter.write_str(
                    ", not the file itself: install Git LFS and run `git lfs pull` in its \
                     repository, or download the file",
                )
            }
            Self::Html => formatter.write_str(
                "the file is a web page, not the file itself: download the raw file (on \
                 huggingface.co its link has `resolve` in place of `blob`); a private or gated \
                 repository needs a login",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_pointers_and_nothing_are_known() {
        let pointer = "version https://git-lfs.github.com/spec/v1\r\noid sha256:0\r\nsize 12\r\n";
        for (contents, expected) in [
            (pointer, Placeholder::LfsPointer { size: Some(12) }),
            (
                "version https://git-lfs.github.com/spec/v1\n",
                Placeholder::LfsPointer { size: None },
            ),
            ("\n <!DOCTYPE HTML><html>", Placeholder::Html),
            ("\u{feff}<html lang=\"en\">", Placeholder::Html),
            ("", Placeholder::Empty),
            (" \n", Placeholder::Empty),
        ] {
            assert_eq!(Placeholder::of(contents.as_bytes()), Some(expected));
        }
        for contents in ["{}", "version 2", "\u{8}\0\0\0\0\0\0\0{}      "] {
            assert_eq!(Placeholder::of(contents.as_bytes()), None, "{contents}");
        }
    }
}
