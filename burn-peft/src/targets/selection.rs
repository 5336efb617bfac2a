//! The fields that choose modules, whatever the method.

use super::target::ModuleKind;
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
