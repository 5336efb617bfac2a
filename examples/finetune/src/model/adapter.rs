//! What of a model is trained, and how it is written.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn_peft::ia3::{default_feedforward_modules, default_ia3_targets};
use burn_peft::settings::{Modules, OneOrMany, TaskType};
use burn_peft::{
    AdapterFolder, Ia3Config, LohaConfig, LokrConfig, LoraConfig, NameMap, PTuningConfig, Peft,
    PeftConfig, PromptConfig, SoftPrompt, VeraConfig,
};

use crate::config::{AdapterKind, AdapterOptions, Config};
use crate::error::Error;

/// The name that adapters have in a model.
pub(super) const NAME: &str = "default";

/// What stands for all linear layers but the output head, as in PEFT.
const ALL_LINEAR: &str = "all-linear";

/// Which part of a model is trained in addition to its head.
#[derive(Debug, Clone)]
pub enum Trained {
    /// Adapters of layers.
    Layers(Box<PeftConfig>),
    /// Virtual tokens.
    Prompt(Box<PeftConfig>),
    /// Everything.
    Full,
}

/// What a family of models needs to know about its adapters.
pub(super) struct Family<'a> {
    /// `model_type` of its `config.json`.
    pub model_type: &'a str,
    /// Layers that are adapted if nothing else is asked for.
    pub targets: &'a [&'a str],
    /// What is trained in full: the new head, and what makes its vector.
    pub saved: &'a [&'a str],
    /// As PEFT calls the task.
    pub task: Option<TaskType>,
}

impl Family<'_> {
    /// Put the configured adapter on the layers of a model, new or from a folder.
    pub fn adapted<M: Module>(
        &self,
        model: M,
        config: &Config,
        names: &[NameMap],
    ) -> Result<(M, Trained), Error> {
        let (model, settings) = match &config.adapter.from {
            Some(folder) => {
                let folder = AdapterFolder::read(folder)?;
                self.check_saved(&folder.config)?;
                let model = model.load_adapter(NAME, &folder, names)?;
                (model, on_base(folder.config, config))
            }
            None => {
                let settings = on_base(self.settings(config)?, config);
                let model = model.adapt(NAME, settings.clone(), names)?;
                (model, settings)
            }
        };
        Ok((model, Trained::Layers(Box::new(settings))))
    }

    /// Settings of the configured adapter of layers.
    fn settings(&self, config: &Config) -> Result<PeftConfig, Error> {
        let options = &config.adapter;
        let settings: PeftConfig = match options.kind {
            AdapterKind::Ia3 => self.ia3(options)?.into(),
            AdapterKind::Vera => self.vera(options).into(),
            AdapterKind::Loha => self.loha(options)?.into(),
            AdapterKind::Lokr => self.lokr(options)?.into(),
            _ => self.lora(options)?.into(),
        };
        let saved = self.saved_with_heads(options.modules_to_save.clone());
        Ok(settings.with_task(self.task, saved))
    }

    fn lora(&self, options: &AdapterOptions) -> Result<LoraConfig, Error> {
        let mut settings = LoraConfig::new()
            .with_r(options.rank())
            .with_lora_alpha(options.alpha)
            .with_use_rslora(options.rslora)
            .with_use_dora(options.dora)
            .with_init_lora_weights(options.init.into())
            .with_rank_pattern(options.ranks()?)
            .with_alpha_pattern(options.alphas()?)
            .with_lora_dropout(options.lora_dropout)
            .with_bias(options.bias.into())
            .with_target_modules(modules(&options.targets, self.targets));
        if !options.exclude.is_empty() {
            settings = settings.with_exclude_modules(options.exclude.clone());
        }
        if !options.layers.is_empty() {
            settings = settings.with_layers_to_transform(OneOrMany(options.layers.clone()));
        }
        if !options.trainable_tokens.is_empty() {
            let tokens = options.trainable_tokens.clone();
            settings = settings.with_trainable_token_indices(tokens);
        }
        Ok(settings)
    }

    fn vera(&self, options: &AdapterOptions) -> VeraConfig {
        let settings = VeraConfig::new()
            .with_r(options.rank())
            .with_vera_dropout(options.lora_dropout)
            .with_bias(options.bias.into())
            .with_target_modules(modules(&options.targets, self.targets));
        match &options.layers[..] {
            [] => settings,
            layers => settings.with_layers_to_transform(OneOrMany(layers.to_vec())),
        }
    }

    fn loha(&self, options: &AdapterOptions) -> Result<LohaConfig, Error> {
        let mut settings = LohaConfig::new()
            .with_r(options.rank())
            .with_alpha(options.alpha)
            .with_rank_pattern(options.ranks()?)
            .with_alpha_pattern(options.alphas()?)
            .with_target_modules(modules(&options.targets, self.targets));
        if !options.exclude.is_empty() {
            settings = settings.with_exclude_modules(options.exclude.clone());
        }
        if !options.layers.is_empty() {
            settings = settings.with_layers_to_transform(OneOrMany(options.layers.clone()));
        }
        Ok(settings)
    }

    fn lokr(&self, options: &AdapterOptions) -> Result<LokrConfig, Error> {
        let mut settings = LokrConfig::new()
            .with_r(options.rank())
            .with_alpha(options.alpha)
            .with_rank_pattern(options.ranks()?)
            .with_alpha_pattern(options.alphas()?)
            .with_target_modules(modules(&options.targets, self.targets));
        if !options.exclude.is_empty() {
            settings = settings.with_exclude_modules(options.exclude.clone());
        }
        if !options.layers.is_empty() {
            settings = settings.with_layers_to_transform(OneOrMany(options.layers.clone()));
        }
        Ok(settings)
    }

    fn ia3(&self, options: &AdapterOptions) -> Result<Ia3Config, Error> {
        let own = default_ia3_targets(self.model_type);
        if own.is_none() && options.targets.is_empty() {
            let expected = format!(
                "layers for ia3 (`--targets`): PEFT has no default for a model of the type {}",
                self.model_type
            );
            return Err(Error::config("adapter.targets", "not set", expected));
        }
        let feedforward = match &options.feedforward[..] {
            [] => {
                let own = default_feedforward_modules(self.model_type).unwrap_or_default();
                let is_target = |name: &&&str| {
                    let targets = &options.targets;
                    targets.is_empty() || targets.iter().any(|target| target == **name)
                };
                own.iter()
                    .filter(is_target)
                    .map(|name| name.to_string())
                    .collect()
            }
            named => named.to_vec(),
        };
        let mut settings = Ia3Config::new()
            .with_target_modules(modules(&options.targets, own.unwrap_or_default()))
            .with_feedforward_modules(feedforward);
        if !options.exclude.is_empty() {
            settings.exclude_modules = Some(options.exclude.clone().into());
        }
        Ok(settings)
    }

    /// What is trained in full: what the family needs, these modules, and the heads that PEFT saves for the task.
    fn saved_with_heads(&self, more: Vec<String>) -> Option<Vec<String>> {
        let own = self.saved.iter().map(ToString::to_string);
        let mut saved: Vec<String> = own.chain(more).collect();
        for head in self.task.map_or(&[][..], |task| task.heads()) {
            if !saved.iter().any(|name| name == head) {
                saved.push(head.to_string());
            }
        }
        Some(saved).filter(|saved| !saved.is_empty())
    }

    /// A head that an adapter does not bring along would stay random.
    fn check_saved(&self, config: &PeftConfig) -> Result<(), Error> {
        let brought = config.modules_to_save();
        let is_missing = |name: &&&str| !brought.iter().any(|module| module == **name);
        match self.saved.iter().find(is_missing) {
            None => Ok(()),
            Some(missing) => {
                let found = format!("modules_to_save {brought:?}");
                let expected = format!("an adapter folder with `{missing}` among them");
                Err(Error::config("adapter.from", found, expected))
            }
        }
    }

    /// The configured virtual tokens of a model with this table of its vocabulary, new or from a folder.
    pub fn prompt(
        &self,
        config: &Config,
        size: Size,
        table: Tensor<2>,
        device: &Device,
    ) -> Result<(SoftPrompt, Box<PeftConfig>), Error> {
        let Some(from) = &config.adapter.from else {
            return self.new_prompt(config, size, table, device);
        };
        let folder = AdapterFolder::read(from)?;
        if !self.saved.is_empty() {
            let expected = "no prompt of a classifier: go on from a folder of adapters of layers, or begin anew";
            return Err(Error::config("adapter.from", from.display(), expected));
        }
        if folder.config.virtual_tokens().is_none() {
            let expected = "the folder of a prompt";
            let found = folder.config.peft_type();
            return Err(Error::config("adapter.from", found, expected));
        }
        let prompt = SoftPrompt::from_folder(&folder, device)?;
        let [_, width] = table.dims();
        let [_, _, found] = prompt.forward(1).dims();
        if found != width {
            let found = format!("virtual tokens of width {found}");
            let expected = format!("width {width}, that of the model");
            return Err(Error::config("adapter.from", found, expected));
        }
        Ok((prompt, Box::new(on_base(folder.config, config))))
    }

    /// New virtual tokens, for a model of this size.
    fn new_prompt(
        &self,
        config: &Config,
        size: Size,
        table: Tensor<2>,
        device: &Device,
    ) -> Result<(SoftPrompt, Box<PeftConfig>), Error> {
        let options = &config.adapter;
        let (prompt, settings): (_, PeftConfig) = match options.kind {
            AdapterKind::PTuning => {
                let mut settings = PTuningConfig::new(options.virtual_tokens)
                    .with_token_dim(size.width)
                    .with_model_size(size.layers, size.heads)
                    .with_num_transformer_submodules(size.parts);
                settings.encoder_hidden_size = options.encoder_width;
                (SoftPrompt::encoded(&settings, device)?, settings.into())
            }
            _ => {
                let settings = PromptConfig::new(options.virtual_tokens)
                    .with_token_dim(size.width)
                    .with_model_size(size.layers, size.heads)
                    .with_num_transformer_submodules(size.parts)
                    .with_sampled_vocabulary();
                let prompt = SoftPrompt::from_vocabulary(&settings, table, device)?;
                (prompt, settings.into())
            }
        };
        let settings = settings.with_task(self.task, self.saved_with_heads(Vec::new()));
        Ok((prompt, Box::new(on_base(settings, config))))
    }
}

/// These layers, or the default ones.
fn modules(named: &[String], default: &[&str]) -> Modules {
    match named {
        [] => Modules::from(default.to_vec()),
        [all] if all == ALL_LINEAR => Modules::all_linear(),
        named => Modules::from(named.to_vec()),
    }
}

/// The settings with the base that they are used on here.
fn on_base(settings: PeftConfig, config: &Config) -> PeftConfig {
    let Some(folder) = &config.model.folder else {
        return settings;
    };
    let base = folder.display().to_string();
    settings.with_base_model(base)
}

/// The virtual tokens of an adapter, if it is a prompt.
pub(crate) fn prompt_of(
    adapter: Option<&AdapterFolder>,
    device: &Device,
) -> Result<Option<SoftPrompt>, Error> {
    let is_prompt = |folder: &&AdapterFolder| folder.config.virtual_tokens().is_some();
    let prompt = adapter
        .filter(is_prompt)
        .map(|folder| SoftPrompt::from_folder(folder, device));
    Ok(prompt.transpose()?)
}

/// The kind of the adapter in a PEFT folder.
pub(crate) fn kind_of_folder(folder: &Path) -> Result<AdapterKind, Error> {
    let config = AdapterFolder::read(folder)?.config;
    match &config {
        PeftConfig::Lora(_) => Ok(AdapterKind::Lora),
        PeftConfig::Ia3(_) => Ok(AdapterKind::Ia3),
        PeftConfig::Vera(_) => Ok(AdapterKind::Vera),
        PeftConfig::Loha(_) => Ok(AdapterKind::Loha),
        PeftConfig::Lokr(_) => Ok(AdapterKind::Lokr),
        PeftConfig::PromptTuning(_) => Ok(AdapterKind::Prompt),
        PeftConfig::PTuning(_) => Ok(AdapterKind::PTuning),
        other => {
            let expected = "LORA, IA3, VERA, LOHA, LOKR, PROMPT_TUNING or P_TUNING";
            Err(Error::config("adapter.from", other.peft_type(), expected))
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
        kind if kind.has_virtual_tokens() => {
            let expected = "an adapter of layers, or full, for pictures";
            Err(Error::config("adapter.kind", kind.title(), expected))
        }
        _ => Ok(()),
    }
}

/// Write the folder of an adapter of layers.
pub(super) fn save_layers<M: Module>(
    model: &M,
    settings: &PeftConfig,
    names: &[NameMap],
    folder: &Path,
) -> Result<(), Error> {
    let adapter = model.save_adapter(NAME, settings.clone(), names)?;
    Ok(adapter.write(folder)?)
}
