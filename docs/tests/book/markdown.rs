//! Reading the repository's Markdown files.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package is a folder of the repository")
        .to_path_buf()
}

/// The text of a file.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below `folder` whose name ends in `extension`, sorted.
pub fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("a readable entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                // Build outputs and data hold Markdown files that are not ours.
                let ours = !name.starts_with('.')
                    && !["target", "artifacts", "runs", "data", "node_modules"].contains(&&*name)
                    && !path.join("book.js").exists();
                if ours {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The lines of a text, with whether each is inside of a fenced code block (fences included).
pub fn lines(text: &str) -> Vec<(bool, &str)> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        let fence = line.trim_start().starts_with("```");
        lines.push((inside || fence, line));
        if fence {
            inside = !inside;
        }
    }
    lines
}

/// The first cell of each row of the first table under a heading, without code marks.
pub fn first_cells(text: &str, heading: &str) -> Vec<String> {
    let rows = rows(text, heading).into_iter();
    rows.filter_map(|cells| cells.into_iter().next()).collect()
}

/// The cells of each row of the first table under a heading, without code marks.
pub fn rows(text: &str, heading: &str) -> Vec<Vec<String>> {
    let mut found = false;
    let mut rows = Vec::new();
    for (code, line) in lines(text) {
        if !code && line.starts_with('#') {
            found = line.trim_start_matches('#').trim() == heading;
        } else if found && line.starts_with('|') {
            let line = line.trim().trim_start_matches('|').trim_end_matches('|');
            let cells = line.split('|').map(|cell| cell.trim().replace('`', ""));
            rows.push(cells.collect());
        } else if !rows.is_empty() {
            break;
        }
    }
    assert!(rows.len() > 2, "no table under the heading `{heading}`");
    // The names of the columns and the line under them.
    rows.split_off(2)
}
