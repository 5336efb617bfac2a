//! The page about refused recordings explains every error of burn-ief.

use super::markdown::{read, root};

/// The variants of the error enums, in the order of the source.
fn variants(source: &str) -> Vec<String> {
    let mut variants = Vec::new();
    let mut inside = false;
    for line in source.lines() {
        if line.starts_with("pub enum ") && line.contains("Error") {
            inside = true;
        } else if line.starts_with('}') {
            inside = false;
        } else if let Some(rest) = line.strip_prefix("    ").filter(|_| inside) {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
            if name.starts_with(|c: char| c.is_uppercase()) && rest.ends_with(['{', ',', '(']) {
                variants.push(name);
            }
        }
    }
    variants
}

#[test]
fn every_error_has_its_cause_and_fix() {
    let files = ["mod.rs", "eval.rs", "prune.rs"];
    let files = files.map(|file| variants(&read(&root().join("burn-ief/src/error").join(file))));
    let variants = files.concat();
    assert!(variants.len() > 10, "found only {variants:?}");
    let page = read(&root().join("docs/src/refused.md"));
    let missing: Vec<&String> = variants
        .iter()
        .filter(|name| !page.contains(&format!("`{name}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/src/refused.md does not explain {missing:?}"
    );
}
