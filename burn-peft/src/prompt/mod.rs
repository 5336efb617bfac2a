//! Prompt tuning (Lester, Al-Rfou and Constant 2021, arXiv 2104.08691).

mod config;
mod encoder;
mod initial_tokens;
mod soft_prompt;
mod tuner;

pub use config::PromptConfig;
pub use encoder::PromptEncoder;
pub use initial_tokens::PromptInit;
pub use soft_prompt::SoftPrompt;
pub(crate) use soft_prompt::default_dtype;
pub(crate) use tuner::{EMBEDDINGS, check_table};
