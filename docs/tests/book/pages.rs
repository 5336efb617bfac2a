//! No page is forgotten, and every Rust block of a page runs.

use std::collections::BTreeSet;

use book_tests::PAGES;

use super::markdown::{files, read, root};

/// The pages in `docs/src`, relative to `docs`, without the table of contents.
fn in_folder() -> BTreeSet<String> {
    let docs = root().join("docs");
    files(&docs.join("src"), "md")
        .iter()
        .map(|path| {
            path.strip_prefix(&docs)
                .expect("below docs")
                .display()
                .to_string()
        })
        .filter(|path| path != "src/SUMMARY.md")
        .collect()
}

#[test]
fn every_page_is_a_doc_test() {
    let tested: BTreeSet<String> = PAGES
        .iter()
        .filter(|path| path.starts_with("src/"))
        .map(|path| path.to_string())
        .collect();
    assert_eq!(
        tested,
        in_folder(),
        "pages of docs/lib.rs and files in docs/src"
    );
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let summary = read(&root().join("docs/src/SUMMARY.md"));
    for page in in_folder() {
        let link = format!("({})", page.trim_start_matches("src/"));
        assert!(summary.contains(&link), "SUMMARY.md has no link {link}");
    }
}

#[test]
fn code_that_does_not_run_is_copied_from_a_program() {
    for page in PAGES {
        let text = read(&root().join("docs").join(page));
        assert!(
            !text.contains("{{#"),
            "{page}: put the code into the page, GitHub does not expand mdBook's directives"
        );
        let mut before = "";
        for line in text.lines() {
            if line.starts_with("```rust,ignore") {
                assert!(
                    before.starts_with("<!-- copy of "),
                    "{page}: a `rust,ignore` block has to be a copy of a tested program"
                );
            }
            before = line;
        }
    }
}
