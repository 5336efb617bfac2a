//! The layers of Burn with parameters that can be trained, from the sources of `burn-nn`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use super::markdown::{files, read, root};

/// Names of the layers. The sources are those that this build uses, wherever Cargo keeps them.
pub fn burn_layers() -> BTreeSet<String> {
    let mut modules = BTreeMap::new();
    for file in files(&sources(), "rs") {
        modules.extend(modules_of(&read(&file)));
    }
    assert!(modules.len() > 40, "found only {:?}", modules.keys());
    parameterised(&modules)
}

/// The folder `src` of `burn-nn`.
fn sources() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let run = |arguments: &[&str]| {
        let output = Command::new(&cargo)
            .args(arguments)
            .current_dir(root())
            .output()
            .expect("cargo runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cargo {arguments:?}: {errors}");
        String::from_utf8(output.stdout).expect("cargo writes UTF-8")
    };
    // Packages for other platforms need not be there.
    let version = run(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.expect("cargo names its host");
    let metadata = run(&[
        "metadata",
        "--format-version",
        "1",
        "--offline",
        "--filter-platform",
        host,
    ]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let burn_nn = packages.iter().find(|package| package["name"] == "burn-nn");
    let manifest = burn_nn.and_then(|package| package["manifest_path"].as_str());
    let manifest = PathBuf::from(manifest.expect("the workspace uses burn-nn"));
    manifest.parent().expect("a folder").join("src")
}

/// The public modules of a file and their fields, without comments.
fn modules_of(text: &str) -> BTreeMap<String, String> {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let mut modules = BTreeMap::new();
    let mut derived = false;
    let mut lines = lines.into_iter();
    while let Some(line) = lines.next() {
        // Tests are indented, in modules of their own.
        if line.starts_with("#[derive(") {
            let traits = line.trim_start_matches("#[derive(").trim_end_matches(")]");
            derived = traits.split(',').any(|name| name.trim() == "Module");
        }
        let declared = ["pub struct ", "pub enum "]
            .iter()
            .find_map(|start| line.strip_prefix(start));
        let Some(rest) = declared else {
            continue;
        };
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
        let mut fields = rest[name.len()..].to_string();
        if !line.ends_with([';', '}']) {
            for field in lines.by_ref().take_while(|line| *line != "}") {
                fields.push_str(field);
                fields.push('\n');
            }
        }
        if std::mem::take(&mut derived) {
            modules.insert(name, fields);
        }
    }
    modules
}

/// The modules that hold a parameter, or a module that does.
fn parameterised(modules: &BTreeMap<String, String>) -> BTreeSet<String> {
    let words = |fields: &str| -> BTreeSet<String> {
        let words = fields.split(|c: char| !c.is_alphanumeric());
        words.map(str::to_string).collect()
    };
    let mut found = BTreeSet::new();
    loop {
        let more: Vec<String> = modules
            .iter()
            .filter(|(name, fields)| {
                let own = fields.contains("Param<Tensor<");
                !found.contains(*name) && (own || !found.is_disjoint(&words(fields)))
            })
            .map(|(name, _)| name.clone())
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

#[test]
fn modules_and_their_parameters_are_found() {
    let text = "
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Weighted {
    /// A comment about Plain.
    pub weight: Option<Param<Tensor<2>>>,
}

#[derive(Config, Debug)]
pub struct WeightedConfig {
    pub size: usize,
}

#[derive(Clone, Module)]
pub struct Plain;

#[derive(Module, Debug)]
pub enum Outer {
    Plain(Plain),
    Weighted(Weighted),
}

#[derive(Module, Debug)]
pub struct Wrapped {
    /// As [`Weighted`].
    inner: Vec<Plain>,
}

#[cfg(test)]
mod tests {
    #[derive(Module, Debug)]
    pub struct Tested {
        weight: Param<Tensor<1>>,
    }
}
";
    let modules = modules_of(text);
    let names: Vec<&str> = modules.keys().map(String::as_str).collect();
    assert_eq!(names, ["Outer", "Plain", "Weighted", "Wrapped"]);
    let found: Vec<String> = parameterised(&modules).into_iter().collect();
    assert_eq!(found, ["Outer", "Weighted"]);
}
