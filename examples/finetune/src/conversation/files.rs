//! The files of a folder by the parts they are.

use std::path::{Path, PathBuf};

use crate::data::Error;

/// What files and folders are read, for messages.
pub(super) const EXPECTED: &str = "a file `.jsonl`, `.json` or `.parquet`, or a folder with `train.jsonl` (or `train.json`, \
                        `train.parquet`, `train-*.parquet`) and perhaps `valid.…` and `test.…`";
const ENDINGS: [&str; 3] = ["jsonl", "json", "parquet"];

/// The files of a part in a folder.
pub(super) fn part(folder: &Path, names: &[&str]) -> Result<Option<Vec<PathBuf>>, Error> {
    if !folder.is_dir() {
        return Ok(None);
    }
    for name in names {
        let files: Vec<_> = ENDINGS
            .iter()
            .map(|ending| folder.join(format!("{name}.{ending}")))
            .collect();
        let files: Vec<_> = files.into_iter().filter(|path| path.is_file()).collect();
        match files.len() {
            0 => {}
            1 => return Ok(Some(files)),
            _ => {
                let found = programs::printing::quoted_list(
                    files.iter().map(|file| file.display().to_string()),
                );
                return Err(Error::file(
                    folder,
                    format!("found {found}, expected one of them: move the others away"),
                ));
            }
        }
        let entries =
            std::fs::read_dir(folder).map_err(|source| Error::read(folder, source, EXPECTED))?;
        let is_shard = |path: &PathBuf| {
            let file = path
                .file_name()
                .and_then(|file| file.to_str())
                .unwrap_or_default();
            file.starts_with(&format!("{name}-")) && file.ends_with(".parquet")
        };
        let mut shards: Vec<_> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(is_shard)
            .collect();
        shards.sort();
        if !shards.is_empty() {
            return Ok(Some(shards));
        }
    }
    Ok(None)
}
