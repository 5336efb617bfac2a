//! The tables of layers name exactly the layers that have an implementation.

use std::collections::BTreeSet;

use super::burn_layers::burn_layers;
use super::markdown::{files, first_cells, read, root};

/// The types for which the sources below `folder` implement `trait_name`.
fn implementors(folder: &str, trait_name: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files(&root().join(folder), "rs") {
        // Without comments: their examples implement the traits for layers of their own.
        let text = read(&file);
        let code = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with("//"));
        let code = format!(" {}", code.collect::<Vec<_>>().join(" "));
        for rest in code.split(" impl").skip(1) {
            let header = rest.split('{').next().unwrap_or_default();
            let Some((implemented, target)) = header.split_once(" for ") else {
                continue;
            };
            if implemented.contains(trait_name) {
                let path = target.split(['<', ' ']).next().unwrap_or_default();
                found.insert(path.rsplit("::").next().unwrap_or(path).to_string());
            }
        }
    }
    found
}

fn table(heading: &str) -> BTreeSet<String> {
    let page = read(&root().join("docs/src/layers.md"));
    first_cells(&page, heading).into_iter().collect()
}

#[test]
fn recorded_layers_are_those_of_the_table() {
    assert_eq!(
        table("Recorded layers"),
        implementors("burn-ief/src/nn", "ForwardRecorded<"),
        "table of docs/src/layers.md and implementations in burn-ief/src/nn"
    );
}

#[test]
fn adapted_layers_are_those_of_the_table() {
    assert_eq!(
        table("Layers that take adapters"),
        implementors("burn-peft/src", "ForwardAdapted<"),
        "table of docs/src/layers.md and implementations in burn-peft/src"
    );
}

#[test]
fn burn_layers_are_recorded_or_listed_as_missing() {
    let recorded = table("Recorded layers");
    let missing = table("Layers of Burn 0.22 without a recorded form");
    let known = burn_layers();
    for layer in &known {
        assert!(
            recorded.contains(layer) != missing.contains(layer),
            "`{layer}` has to be in exactly one of the two tables of docs/src/layers.md"
        );
    }
    for layer in &missing {
        assert!(known.contains(layer), "`{layer}` is not a layer of Burn");
    }
}
