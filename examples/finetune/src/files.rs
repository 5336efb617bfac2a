//! Files that are there as a whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Where a file is written before it takes its place.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    path.with_file_name(name)
}

/// Put a file that was written [`beside`] in its place, once it is on the disk.
pub(crate) fn put_in_place(path: &Path) -> std::io::Result<()> {
    let part = beside(path);
    File::open(&part)?.sync_all()?;
    fs::rename(part, path)
}

/// Write a file; what was there stays until the new content is on the disk.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    let part = beside(path);
    let written = File::create(&part).and_then(|mut file| file.write_all(content));
    written.and_then(|()| put_in_place(path)).map_err(|error| {
        // The disk may be full: leave nothing half written.
        let _ = fs::remove_file(&part);
        Error::write(path, error)
    })
}

/// Make a folder and all above it.
pub(crate) fn make_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|error| Error::write(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        // A file where a folder should be.
        assert!(make_folder(&path.join("b")).is_err());
        let error = write(&path.join("b"), b"x").unwrap_err();
        assert_eq!(error.exit_code(), 1);
    }
}
