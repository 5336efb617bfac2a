//! From the fields that choose modules to the modules of a model.

use super::near_names;
use super::output_head::output_head;
use super::rules::{Choice, Rules, ends_in};
use super::selection::Selection;
use super::target::{ModuleKind, Target};
use crate::error::Error;
use crate::settings::Modules;

impl Selection<'_> {
    /// The chosen modules, in the order of `modules`.
    pub fn resolve(&self, modules: &[(String, ModuleKind)]) -> Result<Vec<Target>, Error> {
        self.resolve_with_head(modules, output_head(self.task_type, modules))
    }

    /// The chosen modules, where `head` is the name of the output head.
    pub fn resolve_with_head(
        &self,
        modules: &[(String, ModuleKind)],
        head: Option<&str>,
    ) -> Result<Vec<Target>, Error> {
        let Some(target_modules) = self.target_modules else {
            return Err(Error::Config {
                field: "target_modules",
                value: "null".into(),
                expected: "expected a list of module names or a regular expression",
            });
        };
        let linear;
        let target_modules = if target_modules.is_all_linear() {
            linear = linear_except(head, modules);
            &linear
        } else {
            target_modules
        };
        let rules = Rules::new(self, target_modules)?;
        let mut targets = Vec::new();
        let mut excluded = false;
        for (name, kind) in modules.iter().filter(|(name, _)| !name.is_empty()) {
            match rules.choose(name)? {
                Choice::Unmatched => continue,
                Choice::Excluded => {
                    excluded = true;
                    continue;
                }
                Choice::Target => {}
            }
            if !self.adapts.contains(kind) {
                return Err(self.wrong_kind(name));
            }
            targets.push(Target {
                module: name.clone(),
                kind: *kind,
            });
        }
        if !targets.is_empty() {
            return Ok(targets);
        }
        let shown = target_modules.to_string();
        Err(if excluded {
            Error::AllExcluded { targets: shown }
        } else {
            Error::NoTarget {
                targets: shown,
                near: near_names::near(target_modules, modules),
            }
        })
    }

    /// The error for a target that the method cannot adapt.
    pub fn wrong_kind(&self, module: &str) -> Error {
        let embeddings = self.adapts.contains(&ModuleKind::Embedding);
        Error::TargetKind {
            module: module.into(),
            expected: if embeddings {
                "a linear, embedding or convolution layer"
            } else {
                "a linear or convolution layer"
            },
        }
    }

    /// The entries of a list in `target_modules` that no module's name ends in.
    pub fn unmatched(&self, modules: &[(String, ModuleKind)]) -> Vec<String> {
        let Some(Modules::Names(names)) = self.target_modules else {
            return Vec::new();
        };
        let matched = |end: &&String| modules.iter().any(|(name, _)| ends_in(name, end));
        names.iter().filter(|end| !matched(end)).cloned().collect()
    }
}

/// What `all-linear` means: a list of names, which then is matched as any other list.
fn linear_except(head: Option<&str>, modules: &[(String, ModuleKind)]) -> Modules {
    let linear = modules
        .iter()
        .filter(|(name, kind)| *kind == ModuleKind::Linear && head.is_none_or(|head| head != name));
    Modules::from(linear.map(|(name, _)| name.as_str()))
}
