//! The fields of a stored table of virtual tokens.

use super::TaskType;
use super::ranges::refuse;
use crate::error::Error;

/// Rows of the table: the tokens of every submodule.
pub(crate) fn rows(
    tokens: usize,
    submodules: Option<usize>,
    task: Option<TaskType>,
) -> Result<usize, Error> {
    let by_task = match task {
        Some(TaskType::Seq2SeqLm) => 2,
        _ => 1,
    };
    match tokens.checked_mul(submodules.unwrap_or(by_task)) {
        Some(rows) => Ok(rows),
        None => refuse(
            "num_virtual_tokens",
            tokens,
            "expected fewer: no table can have that many rows",
        ),
    }
}

/// Define the number of rows and the setters for a configuration with a table of virtual tokens.
macro_rules! virtual_tokens {
    ($config:ident) => {
        impl $config {
            /// Rows of the stored table: the virtual tokens of every submodule. The first
            /// `num_virtual_tokens` are used.
            ///
            /// # Errors
            ///
            /// [`Error::Config`](crate::Error::Config) for a product that no table can have.
            pub fn rows(&self) -> Result<usize, $crate::error::Error> {
                $crate::settings::rows(
                    self.num_virtual_tokens,
                    self.num_transformer_submodules,
                    self.task_type,
                )
            }

            /// Set the width of a token's embedding.
            pub fn with_token_dim(self, width: usize) -> Self {
                Self {
                    token_dim: Some(width),
                    ..self
                }
            }

            /// Set how many parts of the model have their own tokens.
            pub fn with_num_transformer_submodules(self, submodules: usize) -> Self {
                Self {
                    num_transformer_submodules: Some(submodules),
                    ..self
                }
            }

            /// Set the layers and attention heads of the model, which PEFT writes into the file.
            pub fn with_model_size(self, num_layers: usize, num_attention_heads: usize) -> Self {
                Self {
                    num_layers: Some(num_layers),
                    num_attention_heads: Some(num_attention_heads),
                    ..self
                }
            }
        }
    };
}

pub(crate) use virtual_tokens;
