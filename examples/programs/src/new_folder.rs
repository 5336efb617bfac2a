//! Folders that are there as a whole or not at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::WriteError;
use crate::files::{check_output_folder, make_folder};

/// A folder that appears under its name once all of its files are written.
///
/// Its files are written into a hidden folder next to it, which [`finish`](Self::finish) renames. Without that call the
/// hidden folder is removed with everything in it.
///
/// ```
/// use programs::new_folder::NewFolder;
///
/// # let parent = tempfile::tempdir()?;
/// let path = parent.path().join("model");
/// let folder = NewFolder::begin(&path)?;
/// std::fs::write(folder.path().join("config.json"), "{}")?;
/// assert!(!path.exists());
/// folder.finish()?;
/// assert!(path.join("config.json").exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct NewFolder {
    place: PathBuf,
    path: PathBuf,
    is_finished: bool,
}

impl NewFolder {
    /// Begin a folder that is to be at `place`, which must be free or an empty folder.
    ///
    /// # Errors
    ///
    /// [`WriteError`] if something is there, or the folder above cannot be made or written into.
    pub fn begin(place: &Path) -> Result<Self, WriteError> {
        check_free(place)?;
        check_output_folder(place)?;
        let Some(name) = place.file_name() else {
            return Err(WriteError::new(place, "expected the name of a folder"));
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.part", std::process::id()));
        let path = place.with_file_name(hidden);
        if let Some(parent) = place.parent().filter(|p| !p.as_os_str().is_empty()) {
            make_folder(parent)?;
        }
        fs::create_dir(&path).map_err(|error| WriteError::new(&path, error))?;
        Ok(Self {
            place: place.into(),
            path,
            is_finished: false,
        })
    }

    /// Where its files are written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Give the folder its name.
    ///
    /// # Errors
    ///
    /// [`WriteError`] if something is at its place by now; the folder is removed then.
    pub fn finish(mut self) -> Result<(), WriteError> {
        check_free(&self.place)?;
        let failed = |error: io::Error| WriteError::new(&self.place, error);
        match fs::remove_dir(&self.place) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        fs::rename(&self.path, &self.place).map_err(failed)?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if !self.is_finished {
            // Nothing can be done about a folder that stays.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Refuse a place that holds something else than an empty folder.
fn check_free(place: &Path) -> Result<(), WriteError> {
    let refuse = |found: &str| {
        let problem = format!("expected a new or an empty folder, found {found}");
        Err(WriteError::new(place, problem))
    };
    match fs::symlink_metadata(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(WriteError::new(place, error)),
        Ok(there) if !there.is_dir() => refuse(crate::files::kind_or_file(there.file_type())),
        Ok(_) => {
            let mut entries = fs::read_dir(place).map_err(|error| WriteError::new(place, error))?;
            match entries.next() {
                None => Ok(()),
                Some(_) => refuse("one with files"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_a_folder_that_was_not_finished() {
        let parent = tempfile::tempdir().unwrap();
        let place = parent.path().join("above/model");
        let folder = NewFolder::begin(&place).unwrap();
        fs::write(folder.path().join("half"), "x").unwrap();
        drop(folder);
        let left = fs::read_dir(parent.path().join("above")).unwrap().count();
        assert_eq!(left, 0);
    }

    #[test]
    fn only_new_and_empty_folders_are_taken() {
        let parent = tempfile::tempdir().unwrap();
        let place = parent.path().join("model");
        fs::create_dir(&place).unwrap();
        let folder = NewFolder::begin(&place).unwrap();
        fs::write(folder.path().join("a"), "new").unwrap();
        // Something comes into the empty folder in the meantime.
        fs::write(place.join("b"), "other").unwrap();
        let error = folder.finish().unwrap_err().to_string();
        assert!(error.contains("found one with files"), "{error}");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
        assert!(NewFolder::begin(&place).is_err());
        fs::remove_file(place.join("b")).unwrap();
        NewFolder::begin(&place).unwrap().finish().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        let error = NewFolder::begin(&file).unwrap_err().to_string();
        assert!(error.contains("found a file"), "{error}");
        assert!(NewFolder::begin(&file.join("inside")).is_err());
        assert!(NewFolder::begin(Path::new("/")).is_err());
    }
}
