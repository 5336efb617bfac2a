//! Files that are there as a whole or not at all.
//!
//! A program that writes a file at the end of its work does two things:
//!
//! 1. [`check_output`] before the work, so that nobody waits for an hour to learn that a folder is missing. For
//!    folders of results there is [`check_output_folder`].
//! 2. [`write()`] or [`write_json`] after it. The content is written under another name first and then renamed.
//!
//! Both refuse whatever is not a regular file: a rename would replace a device, a FIFO or a link by a file.
//!
//! ```
//! use programs::files::{check_output, write_json};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("rows.json");
//! check_output(&path)?;
//! let rows = [1, 2, 3]; // the work
//! write_json(&path, &rows)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Write};
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
/// Those of the system; a place that holds something else than a regular file is refused.
pub fn put_in_place(path: &Path) -> io::Result<()> {
    check_replaceable(path).map_err(|error| io::Error::other(error.problem))?;
    let part = unfinished(path);
    File::open(&part)?.sync_all()?;
    fs::rename(part, path)
}

/// Find out before the work whether a file can be written: its folder exists and takes new files, and its name is
/// free or belongs to a regular file, which [`write()`] then replaces. Nothing is changed.
///
/// # Errors
///
/// [`WriteError`] that says what is in the way.
pub fn check_output(path: &Path) -> Result<(), WriteError> {
    check_replaceable(path)?;
    let folder = parent(path);
    match fs::metadata(folder) {
        Ok(there) if there.is_dir() => {}
        Ok(_) => {
            let problem = format!("{} is not a folder", folder.display());
            return Err(WriteError::new(path, problem));
        }
        Err(error) => {
            let problem = format!("its folder {}: {error}", folder.display());
            return Err(WriteError::new(path, problem));
        }
    }
    // Removed under its lock: another program may be waiting to write it.
    let _locked = open_part(path)?;
    fs::remove_file(unfinished(path)).map_err(|error| WriteError::new(path, error))
}

/// Find out before the work whether files can be written into a folder, which may not exist yet. Nothing is
/// changed.
///
/// # Errors
///
/// [`WriteError`] that says what is in the way.
pub fn check_output_folder(path: &Path) -> Result<(), WriteError> {
    let mut folder = path;
    loop {
        match fs::metadata(folder) {
            Ok(there) if there.is_dir() => break,
            Ok(_) => {
                let problem = format!("{} is not a folder", folder.display());
                return Err(WriteError::new(path, problem));
            }
            // The folder is made later: the nearest one that exists decides.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) && folder != Path::new(".") =>
            {
                if fs::symlink_metadata(folder).is_ok() {
                    let problem = format!("{} is a link to nothing", folder.display());
                    return Err(WriteError::new(path, problem));
                }
                folder = parent(folder);
            }
            Err(error) => return Err(WriteError::new(path, error)),
        }
    }
    let probe = folder.join(format!(".{}.check", std::process::id()));
    let tried = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&probe)
        .and_then(|_| fs::remove_file(&probe));
    tried.map_err(|error| WriteError::new(path, error))
}

/// Write a file. The old content stays until the new content is on the disk.
///
/// # Errors
///
/// [`WriteError`]; nothing half written is left behind. A device, FIFO, socket, link or folder of this name stays
/// as it is.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), WriteError> {
    check_replaceable(path)?;
    let mut file = open_part(path)?;
    let written = file
        .write_all(content.as_ref())
        .and_then(|()| file.sync_all())
        // The lock is held until the file has its name.
        .and_then(|()| fs::rename(unfinished(path), path));
    written.map_err(|error| {
        // The disk may be full: leave nothing half written.
        let _ = fs::remove_file(unfinished(path));
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

/// The folder of a path; the current one for a mere name.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Refuse a name that belongs to something else than a regular file that may be changed.
fn check_replaceable(path: &Path) -> Result<(), WriteError> {
    if path.file_name().is_none() {
        return Err(WriteError::new(path, "expected the name of a file"));
    }
    match fs::symlink_metadata(path) {
        Ok(there) if !there.is_file() => {
            let found = kind(there.file_type());
            let problem = format!("expected a regular file or a free name, found {found}");
            Err(WriteError::new(path, problem))
        }
        Ok(there) if there.permissions().readonly() => Err(WriteError::new(
            path,
            "the file is there and read-only: remove it, or choose another name",
        )),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(WriteError::new(path, error)),
    }
}

/// What something that is not a regular file is, in words.
pub(crate) fn kind(file: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;

        if file.is_char_device() || file.is_block_device() {
            return "a device";
        }
        if file.is_fifo() {
            return "a FIFO";
        }
        if file.is_socket() {
            return "a socket";
        }
    }
    if file.is_dir() {
        "a folder"
    } else if file.is_symlink() {
        "a link (give the path that it points to)"
    } else {
        "something else"
    }
}

/// What something that is not a folder is, in words.
pub(crate) fn kind_or_file(file: FileType) -> &'static str {
    if file.is_file() { "a file" } else { kind(file) }
}

/// Open the unfinished file of a path, empty and locked. What an earlier program that was killed left there is
/// overwritten; where another program is writing right now, this waits for it.
fn open_part(path: &Path) -> Result<File, WriteError> {
    let part = unfinished(path);
    let open = || -> io::Result<File> {
        loop {
            if fs::symlink_metadata(&part).is_ok_and(|there| !there.is_file()) {
                let problem = format!("{} is not a regular file", part.display());
                return Err(io::Error::other(problem));
            }
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&part)?;
            match file.lock() {
                // Not every file system has locks.
                Ok(()) | Err(_) if is_at(&file, &part) => {
                    file.set_len(0)?;
                    return Ok(file);
                }
                // Another program finished with it and gave it its name: what was opened is its result now.
                _ => {}
            }
        }
    };
    open().map_err(|error| WriteError::new(path, error))
}

/// Whether an open file still has this name.
#[cfg(unix)]
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let place = |there: fs::Metadata| (there.dev(), there.ino());
    let opened = file.metadata().map(place).ok();
    opened.is_some() && opened == fs::symlink_metadata(path).map(place).ok()
}

/// Whether an open file still has this name: elsewhere an open file cannot be renamed.
#[cfg(not(unix))]
pub(crate) fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        check_output(&path).unwrap();
        assert!(names(folder.path()).is_empty());
        write(&path, b"one").unwrap();
        // Left by a program that was killed.
        fs::write(unfinished(&path), b"a longer rest of something").unwrap();
        check_output(&path).unwrap();
        write_json(&path, &[2]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"[\n  2\n]\n");
        assert_eq!(names(folder.path()), ["a.json"]);
        // A file where a folder should be.
        assert!(make_folder(&path.join("b")).is_err());
        for refused in [
            check_output(&path.join("b")).unwrap_err(),
            write(&path.join("b"), b"x").unwrap_err(),
        ] {
            assert_eq!(refused.path, path.join("b"));
        }
    }

    #[test]
    fn what_cannot_be_written_is_found_before_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let problem = |path: &Path| check_output(path).unwrap_err().to_string();
        assert!(problem(&at("no/such/file")).contains("its folder"));
        assert!(problem(folder.path()).contains("found a folder"));
        assert!(problem(Path::new("")).contains("name of a file"));
        fs::write(at("kept"), b"kept").unwrap();
        let mut access = fs::metadata(at("kept")).unwrap().permissions();
        access.set_readonly(true);
        fs::set_permissions(at("kept"), access).unwrap();
        assert!(problem(&at("kept")).contains("read-only"));
        assert!(write(&at("kept"), b"new").is_err());
        assert_eq!(fs::read(at("kept")).unwrap(), b"kept");

        check_output_folder(&at("new/and/deeper")).unwrap();
        check_output_folder(folder.path()).unwrap();
        let refused = check_output_folder(&at("kept/new")).unwrap_err();
        assert_eq!(refused.path, at("kept/new"));
        assert_eq!(names(folder.path()), ["kept"]);
    }

    #[cfg(unix)]
    #[test]
    fn devices_sockets_and_links_stay_what_they_are() {
        use std::os::unix::fs::symlink;
        use std::os::unix::net::UnixListener;

        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("target"), b"old").unwrap();
        symlink(at("target"), at("link")).unwrap();
        symlink(at("nothing"), at("dangling")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for (path, found) in [
            (at("link"), "a link"),
            (at("dangling"), "a link"),
            (at("socket"), "a socket"),
            ("/dev/null".into(), "a device"),
        ] {
            let before = fs::symlink_metadata(&path).unwrap().file_type();
            for error in [
                check_output(&path).unwrap_err(),
                write(&path, b"new").unwrap_err(),
            ] {
                assert!(error.problem.contains(found), "{error}");
            }
            assert_eq!(fs::symlink_metadata(&path).unwrap().file_type(), before);
        }
        assert_eq!(fs::read(at("target")).unwrap(), b"old");
        // Nor is anything written through a link in the place of the unfinished file.
        symlink(at("target"), at("a.part")).unwrap();
        assert!(write(&at("a"), b"new").is_err());
        assert_eq!(fs::read(at("target")).unwrap(), b"old");
    }

    #[test]
    fn programs_that_write_one_file_at_once_do_not_mix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::thread::scope(|threads| {
            for letter in [b'x', b'y', b'z'] {
                let path = &path;
                threads.spawn(move || {
                    for _ in 0..20 {
                        write(path, vec![letter; 100_000]).unwrap();
                    }
                });
            }
        });
        let found = fs::read(&path).unwrap();
        assert_eq!(found.len(), 100_000);
        assert!(found.iter().all(|letter| *letter == found[0]));
        assert_eq!(names(folder.path()), ["a"]);
    }
}
