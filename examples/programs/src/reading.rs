//! Reading of regular files alone.
//!
//! A FIFO without a writer, or a device such as `/dev/zero`, would keep a program waiting or reading for ever.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::files::kind;
use crate::memory::available_bytes;

/// Open a regular file, or a link to one.
///
/// # Errors
///
/// Those of the system, and one that says what else was found.
pub fn open(path: &Path) -> io::Result<File> {
    // Before it is opened: opening a FIFO waits for its other end.
    let there = path.metadata()?;
    if there.is_file() {
        File::open(path)
    } else {
        let found = kind(there.file_type());
        Err(io::Error::other(format!(
            "expected a regular file, found {found}"
        )))
    }
}

/// The content of a regular file, if it fits into memory.
///
/// ```
/// use programs::reading::bytes;
///
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("a");
/// std::fs::write(&path, "text")?;
/// assert_eq!(bytes(&path)?, b"text");
/// let refused = bytes(folder.path()).unwrap_err().to_string();
/// assert_eq!(refused, "expected a regular file, found a folder");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// As [`open`], and one for a file that is larger than the memory that is left.
pub fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    const GIB: f64 = (1u64 << 30) as f64;

    let mut file = open(path)?;
    let size = file.metadata()?.len();
    match available_bytes() {
        Some(left) if size as f64 > left => {
            let (size, left) = (size as f64 / GIB, left / GIB);
            return Err(io::Error::other(format!(
                "the file has {size:.1} GiB, the memory that is left {left:.1} GiB"
            )));
        }
        _ => {}
    }
    let mut content = Vec::new();
    content.try_reserve_exact(usize::try_from(size).unwrap_or(usize::MAX))?;
    file.read_to_end(&mut content)?;
    Ok(content)
}

/// The content of a regular file in UTF-8.
///
/// # Errors
///
/// As [`bytes`], and one for bytes that are not UTF-8.
pub fn text(path: &Path) -> io::Result<String> {
    String::from_utf8(bytes(path)?).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn what_is_not_a_regular_file_is_named_and_not_opened() {
        let refused = bytes(Path::new("/dev/zero")).unwrap_err().to_string();
        assert_eq!(refused, "expected a regular file, found a device");
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        let refused = text(&fifo).unwrap_err().to_string();
        assert_eq!(refused, "expected a regular file, found a FIFO");
    }

    #[test]
    fn a_file_that_does_not_fit_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse");
        let file = File::create(&path).unwrap();
        // Not every file system has files of this size.
        if file.set_len(1 << 42).is_ok() {
            let refused = bytes(&path).unwrap_err().to_string();
            assert!(refused.starts_with("the file has 4096.0 GiB"), "{refused}");
        }
    }
}
