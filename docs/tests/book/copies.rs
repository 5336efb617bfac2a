//! Blocks that are copies of programs.
//!
//! A block under the line `<!-- copy of PATH:NAME -->` holds the lines between `// ANCHOR: NAME` and
//! `// ANCHOR_END: NAME` of the file PATH, which CI compiles and runs.
//! `UPDATE_BOOK=1 cargo test --workspace --test book` writes them anew.

use std::fs;

use book_tests::PAGES;

use super::markdown::{read, root};

/// The lines of an anchor, without their common indentation.
fn anchored(path: &str, name: &str) -> String {
    let text = read(&root().join(path));
    let (start, end) = (
        format!("// ANCHOR: {name}"),
        format!("// ANCHOR_END: {name}"),
    );
    let lines: Vec<&str> = text
        .lines()
        .skip_while(|line| line.trim() != start)
        .skip(1)
        .take_while(|line| line.trim() != end)
        .filter(|line| !line.trim().starts_with("// ANCHOR"))
        .collect();
    assert!(!lines.is_empty(), "{path} has no anchor `{name}`");
    let indentation = lines
        .iter()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.len() - line.trim_start().len())
        .min()
        .unwrap_or(0);
    let mut block = String::new();
    for line in lines {
        block.push_str(line.get(indentation..).unwrap_or(""));
        block.push('\n');
    }
    block
}

/// The page with every copy written anew.
fn renewed(text: &str) -> String {
    let mut page = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        page.push_str(line);
        page.push('\n');
        let source = line
            .strip_prefix("<!-- copy of ")
            .and_then(|rest| rest.strip_suffix(" -->"));
        let Some(source) = source else {
            continue;
        };
        let (path, name) = source
            .split_once(':')
            .unwrap_or_else(|| panic!("`{line}`: expected PATH:NAME"));
        let fence = lines.next().unwrap_or_default();
        assert!(
            fence.starts_with("```"),
            "`{line}`: expected a code block under it"
        );
        page.push_str(fence);
        page.push('\n');
        page.push_str(&anchored(path, name));
        page.push_str("```\n");
        let closed = lines.by_ref().any(|line| line == "```");
        assert!(closed, "`{line}`: the block under it does not end");
    }
    page
}

#[test]
fn copies_equal_their_programs() {
    let update = std::env::var_os("UPDATE_BOOK").is_some();
    for page in PAGES {
        let path = root().join("docs").join(page);
        let text = read(&path);
        let renewed = renewed(&text);
        if update && renewed != text {
            fs::write(&path, renewed).expect("a writable page");
        } else {
            assert!(
                renewed == text,
                "{page}: a block differs from its program; write it anew with \
                 `UPDATE_BOOK=1 cargo test --workspace --test book`"
            );
        }
    }
}
