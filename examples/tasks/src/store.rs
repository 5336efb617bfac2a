//! The results on the disk: a file for each task, a line for each run.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use programs::WriteError;
use programs::lock::FolderLock;

use crate::error::Error;
use crate::record::Record;

/// The end of a file's name.
const ENDING: &str = "jsonl";

/// All results in a folder, and the right to add some.
///
/// A line is on the disk as a whole before [`append`](Self::append) returns. A process that is killed while it
/// writes leaves a part of a line, which the next one removes.
///
/// ```
/// use tasks::store::Store;
///
/// # let parent = tempfile::tempdir()?;
/// # let folder = parent.path().join("results");
/// let store = Store::open(&folder)?;
/// assert!(store.records().is_empty());
/// assert!(Store::open(&folder).is_err()); // one writes at a time
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    records: Vec<Record>,
    _lock: FolderLock,
}

impl Store {
    /// Lock the folder, make it if it does not exist, and read what is there.
    ///
    /// # Errors
    ///
    /// [`Error::Lock`] if another process has the folder, [`Error::Line`] for a line that is no result, and
    /// [`Error::Read`] and [`Error::Write`].
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let lock = FolderLock::take(folder)?;
        for path in files(folder)? {
            remove_unfinished(&path).map_err(|error| WriteError::new(&path, error))?;
        }
        Ok(Self {
            folder: folder.into(),
            records: read(folder)?,
            _lock: lock,
        })
    }

    /// What is there.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Add a result.
    ///
    /// # Errors
    ///
    /// [`Error::Write`].
    pub fn append(&mut self, record: Record) -> Result<(), Error> {
        let path = self.folder.join(format!("{}.{ENDING}", record.run.task));
        let write = || -> io::Result<()> {
            let mut line = serde_json::to_string(&record)?;
            line.push('\n');
            let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
            file.write_all(line.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|error| WriteError::new(&path, error))?;
        self.records.push(record);
        Ok(())
    }
}

/// What is in a folder, without the right to add something. A line that is being written is left out; a folder
/// that does not exist has no results.
///
/// # Errors
///
/// [`Error::Line`] for a line that is no result, and [`Error::Read`].
pub fn read(folder: &Path) -> Result<Vec<Record>, Error> {
    let mut records = Vec::new();
    for path in files(folder)? {
        let text = fs::read_to_string(&path).map_err(|error| Error::read(&path, error))?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for (index, line) in whole.lines().enumerate() {
            let record = serde_json::from_str(line).map_err(|error| Error::Line {
                path: path.clone(),
                line: index + 1,
                problem: format!("expected a result of this program: {error}"),
            })?;
            records.push(record);
        }
    }
    Ok(records)
}

/// The files of results, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::read(folder, error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Error::read(folder, error))?.path();
        if path.extension().is_some_and(|ending| ending == ENDING) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Cut off what is behind the last whole line.
fn remove_unfinished(path: &Path) -> io::Result<()> {
    let bytes = fs::read(path)?;
    let whole = bytes.iter().rposition(|&byte| byte == b'\n');
    let length = whole.map_or(0, |end| end + 1);
    if length == bytes.len() {
        return Ok(());
    }
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(length as u64)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;

    #[test]
    fn results_survive_a_kill_in_the_middle_of_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (record("a", "b", 0.5, 1), record("a", "b", 0.5, 2));
        let mut store = Store::open(folder.path()).unwrap();
        store.append(first.clone()).unwrap();
        store.append(second.clone()).unwrap();
        store.append(record("other", "b", 0.5, 1)).unwrap();
        drop(store);
        let path = folder.path().join("a.jsonl");
        let text = fs::read_to_string(&path).unwrap();
        for lost in [1, 2, 40, text.len() / 2 - 1] {
            fs::write(&path, &text[..text.len() - lost]).unwrap();
            // The first of this file and the one of the other.
            assert_eq!(read(folder.path()).unwrap().len(), 2, "{lost}");
            let mut store = Store::open(folder.path()).unwrap();
            assert_eq!(store.records().len(), 2);
            assert_eq!(store.records()[0], first);
            store.append(second.clone()).unwrap();
            drop(store);
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_line_that_is_no_result_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let line = serde_json::to_string(&record("a", "b", 0.5, 1)).unwrap();
        fs::write(folder.path().join("a.jsonl"), format!("{line}\n{{}}\n")).unwrap();
        let error = Store::open(folder.path()).unwrap_err();
        assert!(matches!(error, Error::Line { line: 2, .. }), "{error}");
        // The lock was given back.
        fs::write(folder.path().join("a.jsonl"), format!("{line}\n")).unwrap();
        assert_eq!(Store::open(folder.path()).unwrap().records().len(), 1);
    }

    #[test]
    fn other_files_and_missing_folders_have_no_results() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("README.md"), "results").unwrap();
        assert_eq!(read(folder.path()).unwrap(), []);
        assert_eq!(read(&folder.path().join("missing")).unwrap(), []);
    }
}
