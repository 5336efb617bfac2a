//! The fields that choose modules, whatever the method.

use super::target::ModuleKind;
use crate::error::Error;
use crate::settings::ranges::{not_too_many, refuse};
use crate::settings::{Modules, OneOrMany, TaskType};

/// The fields of a configuration that choose the modules of a model.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection<'a> {
    pub target_modules: Option<&'a Modules>,
    pub exclude_modules: Option<&'a Modules>,
    pub modules_to_save: &'a [String],
    pub layers_to_transform: Option<&'a OneOrMany<usize>>,
    pub layers_pattern: Option<&'a OneOrMany<String>>,
    pub task_type: Option<TaskType>,
    pub peft_version: Option<&'a str>,
    /// The kinds of modules that the method can adapt.
    pub adapts: &'static [ModuleKind],
}

impl Selection<'_> {
    /// Check the fields of a configuration that choose modules.
    pub fn validate(&self) -> Result<(), Error> {
        let count = |modules: Option<&Modules>| modules.map_or(0, Modules::count);
        not_too_many("target_modules", count(self.target_modules))?;
        not_too_many("exclude_modules", count(self.exclude_modules))?;
        not_too_many("modules_to_save", self.modules_to_save.len())?;
        self.check_layers()
    }

    /// `layers_to_transform` and `layers_pattern` belong to a list of target modules, and the pattern to a
    /// list of layers.
    fn check_layers(&self) -> Result<(), Error> {
        let limited = self.layers_to_transform.is_some();
        if matches!(self.target_modules, Some(Modules::Pattern(_))) {
            let expected = "expected null where target_modules is a text";
            if limited {
                return refuse("layers_to_transform", "set", expected);
            }
            if self.layers_pattern.is_some() {
                return refuse("layers_pattern", "set", expected);
            }
        }
        let pattern = self.layers_pattern;
        if !limited && pattern.is_some_and(|OneOrMany(patterns)| !patterns.is_empty()) {
            let expected = "expected null where layers_to_transform is null";
            return refuse("layers_pattern", "set", expected);
        }
        Ok(())
    }
}

/// The selection of a configuration type: those of its fields that choose modules, and the kinds of modules
/// that its method can adapt.
macro_rules! selection {
    ($config:ident: $($field:ident),+; adapts [$($kind:ident),+]) => {
        impl $config {
            pub(crate) fn selection(&self) -> $crate::targets::Selection<'_> {
                let mut selection = $crate::targets::Selection {
                    modules_to_save: self.modules_to_save.as_deref().unwrap_or_default(),
                    task_type: self.task_type,
                    peft_version: self.peft_version.as_deref(),
                    adapts: &[$($crate::targets::ModuleKind::$kind),+],
                    ..Default::default()
                };
                $(selection.$field = self.$field.as_ref();)+
                selection
            }
        }
    };
}

pub(crate) use selection;
