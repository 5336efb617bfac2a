//! Files that are not what their names say: pointers, web pages, weights in other formats.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::error::Error;
use crate::message::short;

/// What a file should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Weights,
}

const DOWNLOAD: &str = "download the file itself";

/// Refuse what is not a regular file, before it is opened, and files that begin like something else.
pub(super) fn check(path: &Path, kind: Kind) -> Result<(), Error> {
    let failed = |source| Error::Read {
        path: path.into(),
        source,
    };
    let there = fs::metadata(path).map_err(failed)?;
    let refused = |found: String, fix| {
        Err(Error::Content {
            path: path.into(),
            found,
            fix,
        })
    };
    if !there.is_file() {
        // Opening a FIFO would wait for a writer.
        let found = if there.is_dir() {
            "a folder"
        } else {
            "a device, a FIFO or a socket"
        };
        return refused(found.into(), "expected a regular file");
    }
    let mut start = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(512).read_to_end(&mut start).map_err(failed)?;
    match foreign(&start, kind) {
        Some((found, fix)) => refused(found, fix),
        None => Ok(()),
    }
}

/// What a file holds by its first bytes, and what to do, if it is not of this kind.
fn foreign(start: &[u8], kind: Kind) -> Option<(String, &'static str)> {
    let known = |found: &str, fix| Some((found.to_string(), fix));
    if start.is_empty() {
        return known("an empty file", "download it again");
    }
    if start.starts_with(b"version https://git-lfs") {
        let fix =
            "install git-lfs and run `git lfs pull` in the repository, or download the file itself";
        return known("a Git LFS pointer and not the file that it stands for", fix);
    }
    let text = String::from_utf8_lossy(start);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let lower = text.to_ascii_lowercase();
    if ["<!doctype", "<html", "<head", "<?xml", "<!--"]
        .iter()
        .any(|tag| lower.starts_with(tag))
    {
        let fix = "download the file itself (from huggingface.co by an address with `/resolve/` and not `/blob/`)";
        return known("a web page", fix);
    }
    match kind {
        Kind::Json if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) => {
            known(
                "text in UTF-16",
                "save it as UTF-8 without a byte order mark",
            )
        }
        Kind::Json if start.starts_with(&[0xef, 0xbb, 0xbf]) => known(
            "text with a byte order mark",
            "save it as UTF-8 without one",
        ),
        Kind::Json => None,
        Kind::Weights => foreign_weights(start),
    }
}

fn foreign_weights(start: &[u8]) -> Option<(String, &'static str)> {
    const CONVERT: &str = "expected safetensors: load the model in Python with the class that config.json names in \
                           `architectures` and write it with `save_pretrained`";
    let formats: [(&[u8], &str); 5] = [
        (b"PK\x03\x04", "a PyTorch file"),
        (b"\x80\x02", "a pickled file"),
        (b"GGUF", "a GGUF file"),
        (b"\x89HDF", "an HDF5 file"),
        (b"\x1f\x8b", "a gzip archive"),
    ];
    // The length of a safetensors header is followed by `{`.
    if start.get(8) == Some(&b'{') {
        return None;
    }
    if let Some((_, found)) = formats.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Some((found.to_string(), CONVERT));
    }
    if start.len() >= 64 && start.iter().all(|byte| *byte == 0) {
        return Some((
            "a file that begins with zeros only".into(),
            "download it again",
        ));
    }
    // A length of less than 2^56 has a zero byte, text has none.
    let is_text = start.iter().take(8).all(|byte| *byte >= b'\t');
    is_text.then(|| {
        let text = String::from_utf8_lossy(&start[..start.len().min(60)]).into_owned();
        (
            format!("a file that begins with `{}`", short(&text)),
            DOWNLOAD,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_files_are_named() {
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
        for kind in [Kind::Json, Kind::Weights] {
            for (start, expected) in [
                ("", "empty"),
                (pointer, "Git LFS pointer"),
                ("<!DOCTYPE html>\n<html>", "web page"),
                ("\u{feff}\n <HTML lang=en>", "web page"),
            ] {
                let (found, _) = foreign(start.as_bytes(), kind).unwrap();
                assert!(found.contains(expected), "{start}: {found}");
            }
        }
        for (start, expected) in [
            (&b"PK\x03\x04\x00\x00\x00\x00\x00\x00"[..], "PyTorch"),
            (b"\x80\x02}q\x00", "pickled"),
            (b"GGUF\x03\x00\x00\x00", "GGUF"),
            (b"Entry not found", "`Entry not found`"),
            (&[0; 512], "zeros"),
        ] {
            let (found, _) = foreign(start, Kind::Weights).unwrap();
            assert!(found.contains(expected), "{found}");
        }
        assert!(foreign(b"{\"hidden_size\": 3}", Kind::Json).is_none());
        assert!(foreign(b"\xff\xfe{\x00", Kind::Json).is_some());
        let header = [&8u64.to_le_bytes()[..], b"{}      "].concat();
        assert!(foreign(&header, Kind::Weights).is_none());
    }

    #[test]
    fn nothing_but_regular_files_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let error = check(folder.path(), Kind::Json).unwrap_err();
        assert!(error.to_string().contains("is a folder"), "{error}");
        let error = check(&folder.path().join("no"), Kind::Json).unwrap_err();
        assert!(matches!(error, Error::Read { .. }));
    }
}
