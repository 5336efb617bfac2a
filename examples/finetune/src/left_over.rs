//! Files that a program which was killed left in the folder of a run.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use crate::checkpoint::Checkpoints;
use crate::history::{History, Status};

/// Folders of a run in which files are written under another name first.
const FOLDERS: [&str; 4] = ["", "adapter", "model", "checkpoint"];

/// Remove unfinished files, and the checkpoints of a run that is finished and does not keep them. Nobody else may
/// write into the folder.
pub(crate) fn remove(folder: &Path, history: Option<&History>, keep_checkpoints: bool) {
    for inner in FOLDERS {
        let entries = fs::read_dir(folder.join(inner)).into_iter().flatten();
        for entry in entries.flatten() {
            if is_unfinished(&entry.file_name()) {
                // What cannot be removed does no harm.
                let _ = match entry.file_type() {
                    Ok(kind) if kind.is_dir() => fs::remove_dir_all(entry.path()),
                    _ => fs::remove_file(entry.path()),
                };
            }
        }
    }
    let is_over = history.is_some_and(|history| {
        history.status == Status::Finished && !history.config.training.keep_checkpoints
    });
    if is_over && !keep_checkpoints {
        let _ = Checkpoints::of(folder).remove();
    }
}

/// Whether a file has one of the names under which this program, Burn and `burn-peft` write before they rename.
fn is_unfinished(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let ends = [".part", ".tmp"].iter().any(|end| name.ends_with(end));
    ends || name.starts_with(".adapter") || (name.starts_with('.') && name.ends_with(".check"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::tests::history;
    use programs::optimizer::optimizer;

    fn names(folder: &Path) -> Vec<String> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_dir() {
                let inner = names_in(&entry.path(), &name);
                names.extend(inner);
            } else {
                names.push(name);
            }
        }
        names.sort();
        names
    }

    fn names_in(folder: &Path, name: &str) -> Vec<String> {
        names(folder)
            .iter()
            .map(|inner| format!("{name}/{inner}"))
            .collect()
    }

    fn killed() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["adapter", "checkpoint", ".adapterX1/adapter"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        for name in [
            "run.json",
            "run.json.part",
            ".17.check",
            ".adapterX1/adapter/adapter_config.json",
            "adapter/.adapterQ7",
            "adapter/adapter_config.json",
            "checkpoint/model-2.bpk",
            "checkpoint/model-3.bpk.part",
            "checkpoint/model-3.bpk.part.17-0.tmp",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        folder
    }

    #[test]
    fn unfinished_files_are_removed_and_others_stay() {
        let folder = killed();
        remove(folder.path(), None, false);
        assert_eq!(
            names(folder.path()),
            [
                "adapter/adapter_config.json",
                "checkpoint/model-2.bpk",
                "run.json"
            ]
        );
    }

    #[test]
    fn checkpoints_of_finished_runs_are_removed_unless_they_are_kept() {
        let mut run = history(optimizer("ief"), 1, &[]);
        let checkpoint = "checkpoint/model-2.bpk".to_string();
        let kept = |run: &History, keep| {
            let folder = killed();
            remove(folder.path(), Some(run), keep);
            names(folder.path()).contains(&checkpoint)
        };
        assert!(!kept(&run, false));
        assert!(kept(&run, true));
        run.config.training.keep_checkpoints = true;
        assert!(kept(&run, false));
        run.config.training.keep_checkpoints = false;
        run.status = Status::Interrupted;
        assert!(kept(&run, false));
    }
}
