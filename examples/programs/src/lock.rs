//! The right to write into a folder, which one process has at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::files::{WriteError, is_at, make_folder};

/// The file in the folder that is locked.
const FILE: &str = ".lock";

/// A folder that this process may write into, until this is dropped.
///
/// The system gives a lock back when the process that holds it ends, however that happens, so that a lock cannot
/// be left behind.
///
/// ```
/// use programs::lock::{FolderLock, LockError};
///
/// # let parent = tempfile::tempdir()?;
/// # let out = parent.path().join("runs");
/// let lock = FolderLock::take(&out)?;
/// assert!(matches!(FolderLock::take(&out), Err(LockError::Held { .. })));
/// drop(lock);
/// // Nothing was written: the folder, which the lock made, is gone with it.
/// assert!(!out.exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FolderLock {
    folder: PathBuf,
    /// Whether the folder came into being for the lock.
    made: bool,
    /// Closed by the drop, which gives the lock back.
    _file: File,
}

/// Why a folder could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process writes into it.
    #[error(
        "{}: another process{holder} is writing into this folder: wait for its end, or choose another folder",
        folder.display()
    )]
    Held {
        /// The folder.
        folder: PathBuf,
        /// The process, if it is known: a text such as ` (4711)`.
        holder: String,
    },
    /// The folder cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl FolderLock {
    /// Make the folder, if it does not exist, and lock it.
    ///
    /// On a file system without locks nothing is locked.
    ///
    /// # Errors
    ///
    /// [`LockError`].
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let made = !folder.exists();
        make_folder(folder)?;
        let path = folder.join(FILE);
        let refuse = |error: io::Error| LockError::Write(WriteError::new(&path, error));
        loop {
            if fs::symlink_metadata(&path).is_ok_and(|there| !there.is_file()) {
                return Err(refuse(io::Error::other("expected a regular file")));
            }
            let mut options = OpenOptions::new();
            let options = options.read(true).write(true).create(true).truncate(false);
            let mut file = options.open(&path).map_err(refuse)?;
            match file.try_lock() {
                Ok(()) if !is_at(&file, &path) => continue,
                Ok(()) => {
                    // For the message that another process prints; the lock does not need it.
                    let _ = file.set_len(0);
                    let _ = write!(file, "{}", std::process::id());
                }
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    let _ = file.take(20).read_to_string(&mut holder);
                    return Err(LockError::Held {
                        folder: folder.into(),
                        holder: match holder.parse::<u32>() {
                            Ok(id) => format!(" ({id})"),
                            Err(_) => String::new(),
                        },
                    });
                }
                // Not every file system has locks.
                Err(TryLockError::Error(_)) => {}
            }
            return Ok(Self {
                folder: folder.into(),
                made,
                _file: file,
            });
        }
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Removed while it is locked: whoever opened it in the meantime sees that it has lost its name.
        let _ = fs::remove_file(self.folder.join(FILE));
        if self.made {
            // Only if it is empty.
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_locked_once_and_again_after_the_drop() {
        let folder = tempfile::tempdir().unwrap();
        let lock = FolderLock::take(folder.path()).unwrap();
        let refused = FolderLock::take(folder.path()).unwrap_err().to_string();
        let own = format!("another process ({}) is writing", std::process::id());
        assert!(refused.contains(&own), "{refused}");
        drop(lock);
        // What a killed process leaves behind is not in the way.
        fs::write(folder.path().join(FILE), "1").unwrap();
        let lock = FolderLock::take(folder.path()).unwrap();
        drop(lock);
        assert!(folder.path().exists());
        assert!(!folder.path().join(FILE).exists());
    }

    #[test]
    fn a_folder_with_results_stays() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        let lock = FolderLock::take(&folder).unwrap();
        fs::write(folder.join("result"), "1").unwrap();
        drop(lock);
        assert!(folder.join("result").exists());
        let refused = FolderLock::take(&folder.join("result/c")).unwrap_err();
        assert!(matches!(refused, LockError::Write(_)), "{refused}");
    }
}
