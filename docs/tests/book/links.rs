//! Relative links of every Markdown file in the repository.

use std::path::Path;

use super::markdown::{files, lines, read, root};

/// The targets of the links `[text](target)` and pictures of a file, outside of code blocks.
fn targets(text: &str) -> Vec<String> {
    let mut targets = Vec::new();
    for (code, line) in lines(text) {
        if code {
            continue;
        }
        for rest in line.split("](").skip(1) {
            if let Some((target, _)) = rest.split_once(')') {
                targets.push(target.to_string());
            }
        }
    }
    targets
}

/// The name that GitHub and mdBook give to a heading.
fn slug(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

fn has_heading(path: &Path, wanted: &str) -> bool {
    lines(&read(path))
        .iter()
        .any(|(code, line)| !code && line.starts_with('#') && slug(line) == wanted)
}

#[test]
fn relative_links_lead_somewhere() {
    let root = root();
    let mut broken = Vec::new();
    for file in files(&root, "md") {
        let folder = file.parent().expect("a file has a folder");
        for target in targets(&read(&file)) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            // Rust paths in pages that are included into the crates' documentation.
            if target.contains("::") {
                continue;
            }
            let (path, heading) = target.split_once('#').unwrap_or((&target, ""));
            let path = if path.is_empty() {
                file.clone()
            } else {
                folder.join(path)
            };
            let exists = path.exists()
                && (heading.is_empty() || path.is_dir() || has_heading(&path, heading));
            if !exists {
                let file = file.strip_prefix(&root).expect("below the root");
                broken.push(format!("{}: {target}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

#[test]
fn headings_are_named_as_on_github() {
    assert_eq!(
        slug("## One group under iEF, the rest under AdamW"),
        "one-group-under-ief-the-rest-under-adamw"
    );
    assert_eq!(slug("### γ of `burn`"), "γ-of-burn");
}
