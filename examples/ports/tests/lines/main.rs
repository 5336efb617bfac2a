//! The book says how many lines differ between an example and its recorded form.

mod changes;

use std::path::Path;

use changes::changed_lines;

#[test]
fn the_book_counts_the_changed_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let page = read(&root.join("../../docs/src/burn-examples.md"));
    let mut missing = Vec::new();
    for name in [
        "guide",
        "custom-training-loop",
        "mnist",
        "simple-regression",
        "text-classification",
        "text-generation",
        "modern-lstm",
        "wgan",
        "custom-image-dataset",
    ] {
        let file = root
            .join("src")
            .join(format!("{}.rs", name.replace('-', "_")));
        let changed = changed_lines(&read(&file));
        assert!(changed > 0, "{name}");
        let start = format!("| `{name}` | {changed} |");
        if !page.lines().any(|line| line.starts_with(&start)) {
            missing.push(start);
        }
    }
    assert!(
        missing.is_empty(),
        "no lines of the page begin with {missing:#?}"
    );
}
