//! What of a model is trained, and how it is written.

use std::path::Path;

use burn::module::Module;
use burn_peft::settings::{Modules, TaskType};
use burn_peft::{LoraConfig, NameMap, Peft, PromptConfig};

use crate::config::{AdapterKind, AdapterOptions, Config};
use crate::error::Error;

/// The name that adapters have in a model.
pub(super) const NAME: &str = "default";

/// What stands for all linear layers but the output head, as in PEFT.
const ALL_LINEAR: &str = "all-linear";

/// Which part of a model is trained in addition to its head.
#[derive(Debug, Clone)]
pub enum Trained {
    /// LoRA's factors.
    Lora(Box<LoraConfig>),
    /// Virtual tokens.
    Prompt(Box<PromptConfig>),
    /// Everything.
    Full,
}

/// What a family of models needs to know about its adapters.
pub(super) struct Family<'a> {
    /// Layers that LoRA adapts if nothing else is asked for.
    pub targets: &'a [&'a str],
    /// What is trained in full: the new head, and what makes its vector.
    pub saved: &'a [&'a str],
    /// As PEFT calls the task.
    pub task: Option<TaskType>,
}

impl Family<'_> {
    /// Settings of the configured LoRA.
    pub fn lora(&self, config: &Config) -> LoraConfig {
        let options: &AdapterOptions = &config.adapter;
        let targets = match &options.targets[..] {
            [] => Modules::from(self.targets.to_vec()),
            [all] if all == ALL_LINEAR => Modules::all_linear(),
            named => Modules::from(named.to_vec()),
        };
        let mut settings = LoraConfig::new()
            .with_r(options.rank)
            .with_lora_alpha(options.alpha)
            .with_lora_dropout(options.lora_dropout)
            .with_bias(options.bias.into())
            .with_target_modules(targets);
        if let Some(folder) = &config.model.folder {
            settings = settings.with_base_model(folder.display().to_string());
        }
        if !self.saved.is_empty() {
            settings = settings.with_modules_to_save(self.saved.iter().copied());
        }
        match self.task {
            Some(task) => settings.with_task_type(task),
            None => settings,
        }
    }

    /// Settings of the configured prompt, for a model of this size.
    pub fn prompt(&self, config: &Config, size: Size) -> PromptConfig {
        let mut settings = PromptConfig::new(config.adapter.virtual_tokens)
            .with_token_dim(size.width)
            .with_model_size(size.layers, size.heads)
            .with_num_transformer_submodules(size.parts)
            .with_sampled_vocabulary();
        if let Some(folder) = &config.model.folder {
            settings = settings.with_base_model(folder.display().to_string());
        }
        if !self.saved.is_empty() {
            settings = settings.with_modules_to_save(self.saved.iter().copied());
        }
        match self.task {
            Some(task) => settings.with_task_type(task),
            None => settings,
        }
    }
}

/// Sizes that PEFT notes down with a prompt.
pub(super) struct Size {
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    /// Encoder and decoder, or one of them.
    pub parts: usize,
}

/// Prompts are for texts.
pub(super) fn no_prompt(config: &Config) -> Result<(), Error> {
    match config.adapter.kind {
        AdapterKind::Prompt => {
            let expected = "lora or full for pictures";
            Err(Error::config("adapter.kind", "prompt", expected))
        }
        _ => Ok(()),
    }
}

/// Write LoRA's folder.
pub(super) fn save_lora<M: Module>(
    model: &M,
    settings: &LoraConfig,
    names: &[NameMap],
    folder: &Path,
) -> Result<(), Error> {
    let adapter = model.save_adapter(NAME, settings, names)?;
    Ok(adapter.write(folder)?)
}
