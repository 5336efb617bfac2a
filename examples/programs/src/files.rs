//! Files that are there as a whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A file or a folder that could not be written.
///
/// ```
/// let error = programs::WriteError::new("rows.json".as_ref(), "the disk is full");
/// assert_eq!(error.to_string(), "cannot write rows.json: the disk is full");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot write {}: {problem}", path.display())]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub problem: String,
}

impl WriteError {
    /// A file that could not be written, and why.
    pub fn new(path: &Path, problem: impl ToString) -> Self {
        Self {
            path: path.into(),
            problem: problem.to_string(),
        }
    }
}

/// Where a file is written before it takes its place.
pub fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    path.with_file_name(name)
}

/// Put a file that was written as [`unfinished`] in its place, once it is on the disk.
///
/// # Errors
///
/// Those of the system.
pub fn put_in_place(path: &Path) -> std::io::Result<()> {
    let part = unfinished(path);
    File::open(&part)?.sync_all()?;
    fs::rename(part, path)
}

/// Write a file. The old content stays until the new content is on the disk.
///
/// # Errors
///
/// [`WriteError`]; nothing half written is left behind.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), WriteError> {
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        // A device such as /dev/stdout must not be replaced by a file.
        return fs::write(path, content).map_err(|error| WriteError::new(path, error));
    }
    let part = unfinished(path);
    let written = File::create(&part).and_then(|mut file| file.write_all(content.as_ref()));
    written.and_then(|()| put_in_place(path)).map_err(|error| {
        // The disk may be full: leave nothing half written.
        let _ = fs::remove_file(&part);
        WriteError::new(path, error)
    })
}

/// Write a value as JSON, for people to read.
///
/// # Errors
///
/// [`WriteError`].
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), WriteError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| WriteError::new(path, error))?;
    write(path, text + "\n")
}

/// Make a folder and all above it.
///
/// # Errors
///
/// [`WriteError`].
pub fn make_folder(path: &Path) -> Result<(), WriteError> {
    fs::create_dir_all(path).map_err(|error| WriteError::new(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write(&path, b"one").unwrap();
        write_json(&path, &[2]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"[\n  2\n]\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        // A file where a folder should be.
        assert!(make_folder(&path.join("b")).is_err());
        let error = write(&path.join("b"), b"x").unwrap_err();
        assert_eq!(error.path, path.join("b"));
    }
}
