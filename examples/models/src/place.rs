//! Where a model is: in a folder, or in a GGUF file.

use std::path::{Path, PathBuf};

/// Whether a path names a GGUF file and not a folder.
pub(crate) fn is_gguf(path: &Path) -> bool {
    let extension = path.extension();
    extension.is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) && !path.is_dir()
}

/// The file that holds the configuration of the model at `path`.
pub(crate) fn config_file(path: &Path) -> PathBuf {
    if is_gguf(path) {
        path.into()
    } else {
        path.join("config.json")
    }
}
