//! Putting both files in place without ever showing half of one.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

use super::{CONFIG, WEIGHTS, refused};
use crate::error::Error;

pub(super) fn folder(folder: &Path, config: &[u8], weights: &[u8]) -> Result<(), Error> {
    if folder.exists() {
        into_folder(folder, config, weights)
    } else {
        new_folder(folder, config, weights)
    }
}

/// The folder is filled in a temporary place next to it and moved.
fn new_folder(folder: &Path, config: &[u8], weights: &[u8]) -> Result<(), Error> {
    let parent = match folder.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(|error| refused(parent, error))?;
    let fresh = Builder::new().prefix(".adapter").tempdir_in(parent);
    let fresh = fresh.map_err(|error| refused(parent, error))?;
    let inner = fresh.path().join("adapter");
    fs::create_dir(&inner).map_err(|error| refused(&inner, error))?;
    into_folder(&inner, config, weights)?;
    fs::rename(&inner, folder).map_err(|error| refused(folder, error))?;
    sync(parent);
    Ok(())
}

/// Both files are complete on the disk before the first takes its place.
fn into_folder(folder: &Path, config: &[u8], weights: &[u8]) -> Result<(), Error> {
    let new_config = temporary(folder, config)?;
    let new_weights = temporary(folder, weights)?;
    let weights = folder.join(WEIGHTS);
    let old_weights = Kept::of(folder, &weights)?;
    persist(new_weights, &weights)?;
    if let Err(error) = persist(new_config, &folder.join(CONFIG)) {
        old_weights.put_back(&weights);
        return Err(error);
    }
    sync(folder);
    Ok(())
}

fn temporary(folder: &Path, contents: &[u8]) -> Result<NamedTempFile, Error> {
    let mut builder = Builder::new();
    builder.prefix(".adapter");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        // As any other new file: temporary ones are the owner's alone.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder
        .tempfile_in(folder)
        .map_err(|error| refused(folder, error))?;
    let written = file.write_all(contents);
    written
        .and_then(|()| file.as_file().sync_all())
        .map_err(|error| refused(file.path(), error))?;
    Ok(file)
}

fn persist(file: NamedTempFile, path: &Path) -> Result<(), Error> {
    let persisted = file.persist(path);
    persisted.map_err(|error| refused(path, error.error))?;
    Ok(())
}

/// The weights that were there, until the configuration is in place too.
enum Kept {
    Nothing,
    Copy(NamedTempFile),
}

impl Kept {
    fn of(folder: &Path, weights: &Path) -> Result<Self, Error> {
        match super::read_file(weights)? {
            None => Ok(Self::Nothing),
            Some(contents) => temporary(folder, &contents).map(Self::Copy),
        }
    }

    fn put_back(self, weights: &Path) {
        // Nothing more can be done if this fails as well: the first error is returned.
        let _ = match self {
            Self::Nothing => fs::remove_file(weights),
            Self::Copy(file) => file.persist(weights).map(drop).map_err(|error| error.error),
        };
    }
}

/// Write the folder's entries to the disk, where the system has a way to.
fn sync(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        // Some systems cannot: the files themselves are on the disk.
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_folder_holds_both_files_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("deep").join("adapter");
        folder(&path, b"{}", b"w").unwrap();
        assert_eq!(names(&path), [CONFIG, WEIGHTS]);
        assert_eq!(names(path.parent().unwrap()), ["adapter"]);
    }

    #[test]
    fn other_files_stay() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        fs::write(path.join("README.md"), "about").unwrap();
        fs::write(path.join(CONFIG), "old").unwrap();
        folder(path, b"new", b"w").unwrap();
        assert_eq!(names(path), ["README.md", CONFIG, WEIGHTS]);
        assert_eq!(fs::read(path.join(CONFIG)).unwrap(), b"new");
        assert_eq!(fs::read(path.join("README.md")).unwrap(), b"about");
    }

    #[test]
    fn an_error_leaves_both_files_as_they_were() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        // A folder in the place of the configuration cannot be replaced by a file.
        fs::create_dir(path.join(CONFIG)).unwrap();
        fs::write(path.join(CONFIG).join("full"), "").unwrap();
        assert!(matches!(
            folder(path, b"{}", b"new"),
            Err(Error::File { .. })
        ));
        assert_eq!(names(path), [CONFIG]);
        fs::write(path.join(WEIGHTS), "old").unwrap();
        assert!(folder(path, b"{}", b"new").is_err());
        assert_eq!(names(path), [CONFIG, WEIGHTS]);
        assert_eq!(fs::read(path.join(WEIGHTS)).unwrap(), b"old");
    }

    #[test]
    fn a_file_in_the_way_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("adapter");
        fs::write(&path, "").unwrap();
        assert!(matches!(
            folder(&path, b"{}", b"w"),
            Err(Error::File { .. })
        ));
    }

    #[cfg(unix)]
    #[test]
    fn files_can_be_read_by_whom_new_files_can() {
        use std::os::unix::fs::PermissionsExt;

        let root = tempfile::tempdir().unwrap();
        let plain = root.path().join("plain");
        fs::write(&plain, "").unwrap();
        let path = root.path().join("adapter");
        folder(&path, b"{}", b"w").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path.join(WEIGHTS)), mode(&plain));
    }
}
