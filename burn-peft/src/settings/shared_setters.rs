//! The fields that the configurations of all methods share.

use super::{Modules, TaskType};

/// The fields themselves.
pub(crate) trait SharedFields {
    fn task_type(&mut self) -> &mut Option<TaskType>;
    fn modules_to_save(&mut self) -> &mut Option<Vec<String>>;
    fn base_model(&mut self) -> &mut Option<String>;

    /// Of a method that adapts layers.
    fn target_modules(&mut self) -> Option<&mut Option<Modules>> {
        None
    }
}

/// Define the setters for a configuration with PEFT's fields `modules_to_save`, `task_type` and
/// `base_model_name_or_path`, and access to them and to `target_modules` (if it is named) whatever
/// the method.
macro_rules! shared_setters {
    ($config:ident $(, $targets:ident)?) => {
        impl $crate::settings::SharedFields for $config {
            fn task_type(&mut self) -> &mut Option<$crate::settings::TaskType> {
                &mut self.task_type
            }

            fn modules_to_save(&mut self) -> &mut Option<Vec<String>> {
                &mut self.modules_to_save
            }

            fn base_model(&mut self) -> &mut Option<String> {
                &mut self.base_model_name_or_path
            }

            $(fn $targets(&mut self) -> Option<&mut Option<$crate::settings::Modules>> {
                Some(&mut self.$targets)
            })?
        }

        impl $config {
            /// Set the modules that are trained in full.
            pub fn with_modules_to_save<N: Into<String>>(
                self,
                modules: impl IntoIterator<Item = N>,
            ) -> Self {
                Self {
                    modules_to_save: Some(modules.into_iter().map(Into::into).collect()),
                    ..self
                }
            }

            /// Set the task, and put its [`heads`](TaskType::heads) into `modules_to_save` as PEFT
            /// does.
            pub fn with_task_type(mut self, task: TaskType) -> Self {
                self.task_type = Some(task);
                task.add_heads(&mut self.modules_to_save);
                self
            }

            /// Set the name of the base model.
            pub fn with_base_model(self, name_or_path: impl Into<String>) -> Self {
                Self {
                    base_model_name_or_path: Some(name_or_path.into()),
                    ..self
                }
            }
        }
    };
}

pub(crate) use shared_setters;
