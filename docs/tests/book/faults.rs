//! The page about kinds of faults names rules and tests that exist.

use std::path::Path;

use super::markdown::{read, root};

/// Folders whose files a table names without the folder.
const SOURCES: [&str; 6] = [
    "burn-ief/src",
    "burn-peft/src",
    "examples/finetune/src",
    "examples/models/src",
    "examples/programs/src",
    "examples/replay/src",
];

/// The texts between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// All Rust files below a folder, with their texts.
fn rust_files(folder: &Path, files: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" {
                rust_files(&path, files);
            }
        } else if name.ends_with(".rs") {
            files.push((path.display().to_string(), read(&path)));
        }
    }
}

#[test]
fn rules_and_tests_exist() {
    let page = read(&root().join("docs/src/faults.md"));
    let mut files = Vec::new();
    rust_files(&root(), &mut files);
    let exists = |name: &str| {
        let mut folders = SOURCES.iter().map(|folder| root().join(folder));
        root().join(name).exists() || folders.any(|folder| folder.join(name).exists())
    };
    let is_function = |name: &str| {
        let definition = format!("fn {name}");
        files.iter().any(|(_, text)| {
            let mut ends = text.split(&definition).skip(1);
            ends.any(|end| end.starts_with(['(', '<']))
        })
    };
    let is_module = |name: &str| {
        let path = name.replace("::", "/");
        let endings = [format!("/{path}.rs"), format!("/{path}/main.rs")];
        let inner = name.strip_suffix("::tests");
        let inner = inner.map(|module| format!("/{}.rs", module.replace("::", "/")));
        files.iter().any(|(file, text)| {
            endings.iter().any(|ending| file.ends_with(ending))
                || inner
                    .as_ref()
                    .is_some_and(|inner| file.ends_with(inner) && text.contains("mod tests"))
        })
    };
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| kind |"))
        .map(|line| line.trim_matches('|').split(" | ").collect())
        .filter(|cells: &Vec<&str>| cells.len() == 4)
        .filter(|cells| !cells[0].trim().starts_with("---"))
        .collect();
    assert!(rows.len() > 30, "found only {} rows", rows.len());
    for cells in rows {
        let kind = cells[0].trim();
        for file in quoted(cells[2]).filter(|name| name.contains('.')) {
            assert!(exists(file), "{kind}: there is no `{file}`");
        }
        let tests: Vec<&str> = quoted(cells[3]).collect();
        for test in &tests {
            assert!(
                is_function(test) || is_module(test) || exists(test),
                "{kind}: there is no test `{test}`"
            );
        }
        assert!(
            !tests.is_empty() || cells[3].trim() == "the same two",
            "{kind}: expected a test, found none"
        );
    }
}
