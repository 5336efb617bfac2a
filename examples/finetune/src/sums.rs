//! Sums next to checkpoints, by which a damaged file is found before it is used.

use std::fs;
use std::path::{Path, PathBuf};

use programs::{files, reading};

use crate::error::Error;
use crate::inputs::sum;

/// Where the sum of a file is.
fn place(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".sha256");
    path.with_file_name(name)
}

/// Note the sum that `path` will have once its unfinished file is put in its place.
pub(crate) fn note_unfinished(path: &Path) -> Result<(), Error> {
    let sum = sum(&files::unfinished(path))?;
    Ok(files::write(&place(path), sum)?)
}

/// Note the sum of a file.
pub(crate) fn note(path: &Path) -> Result<(), Error> {
    Ok(files::write(&place(path), sum(path)?)?)
}

/// Check that a file is a regular one and, if it has a sum, has that sum.
pub(crate) fn check(path: &Path) -> Result<(), Error> {
    reading::open(path).map_err(|error| Error::read(path, error))?;
    let place = place(path);
    if !place.exists() {
        return Ok(());
    }
    let expected = reading::text(&place).map_err(|error| Error::read(&place, error))?;
    let found = sum(path)?;
    if found == expected.trim() {
        return Ok(());
    }
    let problem = format!(
        "damaged: its SHA-256 sum is not the one that {} holds",
        place.display()
    );
    Err(Error::read(path, problem))
}

/// Forget the sum of a file that will be removed or changed.
pub(crate) fn remove(path: &Path) {
    // What cannot be removed does no harm.
    let _ = fs::remove_file(place(path));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model-3.bpk");
        fs::write(files::unfinished(&path), [7; 100]).unwrap();
        note_unfinished(&path).unwrap();
        files::put_in_place(&path).unwrap();
        check(&path).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[50] ^= 1;
        fs::write(&path, bytes).unwrap();
        let said = check(&path).unwrap_err().to_string();
        assert!(said.contains("model-3.bpk: damaged"), "{said}");
        remove(&path);
        check(&path).unwrap();
    }
}
