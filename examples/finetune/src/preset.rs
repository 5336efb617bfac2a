//! Settings by name: those of the paper, and those that small machines can run.

use std::path::PathBuf;

use burn_ief::methods::SolveOptions;
use burn_ief::solve::{DampedMatrix, Damping, DampingAmount};
use programs::optimizer::{OptimizerName, optimizer};
use serde::{Deserialize, Serialize};

use crate::config::{AdapterKind, Architecture, BiasKind, Config};
use crate::data::Task;
use crate::method_options::MethodOptions;
use crate::schedule::Decay;

/// A named configuration; every flag and every field of a file goes before it.
///
/// The first four are the paper's setups (Wu et al., NeurIPS 2024), in sum form: its numbers
/// belong to losses that are means over N terms (N = 32 pictures, 64 tokens of 32 texts on T5), so
/// that a step size η becomes η / N and a damping λ becomes N² λ. Step sizes and dampings of iEF,
/// dropout (off) and alpha (8) are those of the released configurations, which differ from the
/// paper's text; everything else follows the text. Where neither says how long or how a step size
/// changes, the presets train for 10 epochs at a constant one. The model and data folders are
/// yours to give. The paper does not train with the K-FAC family: its options are the program's own.
///
/// The others run on two cores and the files of `scripts/fetch-data`. Their step sizes are starting
/// points for `--tune`.
///
/// ```
/// use programs::optimizer::optimizer;
/// use finetune::preset::Preset;
///
/// let config = Preset::MlpCifar10.config();
/// assert_eq!(config.training.batch, 64);
/// assert_eq!(config.options(optimizer("ief")).step_size, 50.0 / 64.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// The paper's T5-base with LoRA on a GLUE task (`--task`).
    T5LoraGlue,
    /// The paper's T5-base with a prompt of 20 tokens on a GLUE task (`--task`).
    T5PromptGlue,
    /// The paper's ViT-B/16 with LoRA on CIFAR-100.
    VitLoraCifar100,
    /// The paper's MLP on CIFAR-10, from scratch.
    #[value(name = "mlp-cifar10")]
    #[serde(rename = "mlp-cifar10")]
    MlpCifar10,
    /// MiniLM with LoRA on the questions of TREC.
    MinilmLoraTrec,
    /// MiniLM with a prompt on the questions of TREC.
    MinilmPromptTrec,
    /// MiniLM with LoRA on movie reviews.
    MinilmLoraSentiment,
    /// MiniLM with LoRA on text messages.
    MinilmLoraSms,
    /// DINOv2-small with LoRA on a part of CIFAR-10 at 98 × 98 pixels.
    #[value(name = "dino-lora-cifar10")]
    #[serde(rename = "dino-lora-cifar10")]
    DinoLoraCifar10,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::T5LoraGlue,
        Self::T5PromptGlue,
        Self::VitLoraCifar100,
        Self::MlpCifar10,
        Self::MinilmLoraTrec,
        Self::MinilmPromptTrec,
        Self::MinilmLoraSentiment,
        Self::MinilmLoraSms,
        Self::DinoLoraCifar10,
    ];

    /// Its name on the command line, in files and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::T5LoraGlue => "t5-lora-glue",
            Self::T5PromptGlue => "t5-prompt-glue",
            Self::VitLoraCifar100 => "vit-lora-cifar100",
            Self::MlpCifar10 => "mlp-cifar10",
            Self::MinilmLoraTrec => "minilm-lora-trec",
            Self::MinilmPromptTrec => "minilm-prompt-trec",
            Self::MinilmLoraSentiment => "minilm-lora-sentiment",
            Self::MinilmLoraSms => "minilm-lora-sms",
            Self::DinoLoraCifar10 => "dino-lora-cifar10",
        }
    }

    /// Its settings for a task: GLUE's have epochs of their own ([`glue_epochs`]).
    pub fn config_for(self, task: Option<Task>) -> Config {
        let mut config = self.config();
        if let (Self::T5LoraGlue | Self::T5PromptGlue, Some(task)) = (self, task) {
            config.task = Some(task);
            config.training.epochs = glue_epochs(task).unwrap_or(config.training.epochs);
        }
        config
    }

    /// Its settings.
    pub fn config(self) -> Config {
        let mut config = Config {
            name: self.name().into(),
            out: PathBuf::from("runs").join(self.name()),
            ..Config::default()
        };
        match self {
            Self::T5LoraGlue => t5_lora(&mut config),
            Self::T5PromptGlue => t5_prompt(&mut config),
            Self::VitLoraCifar100 => vit_lora(&mut config),
            Self::MlpCifar10 => mlp(&mut config),
            Self::MinilmLoraTrec => minilm(&mut config, Task::Trec, "trec"),
            Self::MinilmPromptTrec => {
                minilm(&mut config, Task::Trec, "trec");
                config.adapter.kind = AdapterKind::Prompt;
                config.training.epochs = 4;
                steps(&mut config, [1.0, 1.0, 1.0, 2.0, 0.03, 0.03]);
                change(&mut config, optimizer("ief"), without_solve_momentum);
                family(&mut config, |options| options.step_size = 1.0);
            }
            Self::MinilmLoraSentiment => minilm(&mut config, Task::Sentiment, "sentiment"),
            Self::MinilmLoraSms => minilm(&mut config, Task::Sms, "sms"),
            Self::DinoLoraCifar10 => dino(&mut config),
        }
        config
    }
}

/// The folder of `scripts/fetch-data`: `$BURN_IEF_DATA`, or `~/.cache/burn-ief/data`.
fn fetched(name: &str) -> PathBuf {
    let cache = match std::env::var_os("BURN_IEF_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .unwrap_or_else(|| std::env::home_dir().unwrap_or_default().join(".cache"))
            .join("burn-ief/data"),
    };
    cache.join(name)
}

/// Set the step sizes of these optimizers, in this order.
fn steps(config: &mut Config, sizes: [f64; 6]) {
    let names = ["ief", "ef", "sf", "sgd", "adamw", "adafactor"];
    for (name, step_size) in names.into_iter().zip(sizes) {
        change(config, optimizer(name), |options| {
            options.step_size = step_size
        });
    }
}

/// Change the options of the K-FAC family.
fn family(config: &mut Config, with: impl Fn(&mut MethodOptions)) {
    for &method in OptimizerName::all() {
        change(config, method, |options| {
            if options.optimizer.factors_mut().is_some() {
                with(options);
            }
        });
    }
}

fn without_solve_momentum(options: &mut MethodOptions) {
    if let Some(solve) = options.optimizer.solve_mut() {
        solve.momentum = Some(0.0);
    }
}

fn change(config: &mut Config, method: OptimizerName, with: impl FnOnce(&mut MethodOptions)) {
    let mut options = config.options(method);
    with(&mut options);
    config.method.insert(method, options);
}

/// Schedules and dampings that the paper's setups share: `lambda` and the terms N of its means. The
/// K-FAC family, which the paper does not train with, keeps its own dampings.
fn paper(config: &mut Config, lambda: f64, terms: f64) {
    for &method in OptimizerName::all() {
        change(config, method, |options| {
            let decay = match method.name() {
                "ef" | "sf" | "ekfac" => Decay::Linear,
                _ => Decay::Constant,
            };
            options.schedule = decay.into();
            options.optimizer.set_weight_decay(0.0);
            if let Some(solve) = options.optimizer.solve_mut() {
                let damping = Damping::absolute(lambda * terms * terms);
                *solve = SolveOptions::plain(damping.on(DampedMatrix::Gram));
            }
        });
    }
}

fn t5_lora(config: &mut Config) {
    config.model.architecture = Some(Architecture::T5);
    config.adapter.targets = vec!["q".into(), "v".into()];
    config.training.epochs = 10;
    paper(config, 1e-12, 64.0);
    // The loss here is a mean over texts, SGD's 0.1 belongs to one over their two tokens.
    steps(config, [100.0 / 64.0, 0.01, 0.01, 0.05, 1e-3, 1e-3]);
    change(config, OptimizerName::ADAMW, |options| {
        options.optimizer.set_weight_decay(0.01);
    });
}

fn t5_prompt(config: &mut Config) {
    config.model.architecture = Some(Architecture::T5);
    config.adapter.kind = AdapterKind::Prompt;
    config.training.epochs = 10;
    paper(config, 1e-7, 64.0);
    steps(config, [50.0 / 64.0, 1.0, 1.0, 50.0, 0.3, 0.3]);
    family(config, |options| options.step_size = 1.0);
    change(config, OptimizerName::ADAFACTOR, |options| {
        options.optimizer.set_weight_decay(1e-5);
    });
}

fn vit_lora(config: &mut Config) {
    config.task = Some(Task::Cifar100);
    config.model.architecture = Some(Architecture::Vit);
    config.adapter.bias = BiasKind::LoraOnly;
    config.training.epochs = 10;
    paper(config, 1e-12, 32.0);
    steps(config, [50.0 / 32.0, 0.01, 0.01, 0.1, 1e-3, 1e-3]);
    change(config, OptimizerName::ADAMW, |options| {
        options.optimizer.set_weight_decay(0.01);
    });
}

fn mlp(config: &mut Config) {
    config.task = Some(Task::Cifar10);
    config.data.folder = Some(fetched("cifar10"));
    config.model.architecture = Some(Architecture::Mlp);
    config.adapter.kind = AdapterKind::Full;
    config.training.batch = 64;
    config.training.eval_batch = 500;
    config.training.epochs = 60;
    paper(config, 1e-7, 64.0);
    steps(config, [50.0 / 64.0, 0.1, 0.1, 0.1, 1e-4, 1e-4]);
    // Its first factor has more entries a side than twenty batches have pictures.
    family(config, |options| {
        if let Some(amount) = options.optimizer.damping_mut() {
            *amount = DampingAmount::Relative(10.0);
        }
    });
    for method in [OptimizerName::SGD, OptimizerName::ADAMW] {
        change(config, method, |options| {
            options.schedule = Decay::Drop { epoch: 15 }.into();
        });
    }
}

fn minilm(config: &mut Config, task: Task, folder: &str) {
    config.task = Some(task);
    config.data.folder = Some(fetched(folder));
    config.data.max_length = Some(64);
    config.model.folder = Some(fetched("minilm"));
    config.training.epochs = 3;
    steps(config, [1.0, 0.1, 0.1, 0.1, 2e-3, 4e-3]);
}

fn dino(config: &mut Config) {
    config.task = Some(Task::Cifar10);
    config.data.folder = Some(fetched("cifar10"));
    config.data.image_size = Some(98);
    config.data.train_rows = Some(2000);
    config.data.valid_rows = Some(500);
    config.data.test_rows = Some(1000);
    config.model.folder = Some(fetched("dinov2-small"));
    config.training.epochs = 3;
    steps(config, [1.0, 0.1, 0.1, 0.1, 1e-3, 1e-3]);
}

/// Epochs of a GLUE task in the paper.
///
/// ```
/// use finetune::data::Task;
/// use finetune::preset::glue_epochs;
///
/// assert_eq!(glue_epochs(Task::Cola), Some(20));
/// assert_eq!(glue_epochs(Task::Trec), None);
/// ```
pub fn glue_epochs(task: Task) -> Option<usize> {
    match task {
        Task::Cola | Task::Sst2 => Some(20),
        Task::Qqp | Task::Mnli | Task::MnliMismatched => Some(5),
        Task::Mrpc => Some(30),
        Task::Qnli => Some(15),
        Task::Rte => Some(40),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn the_command_line_and_files_have_the_same_names() {
        for preset in Preset::ALL {
            let value = preset.to_possible_value().unwrap();
            assert_eq!(value.get_name(), preset.name());
            let json = format!("\"{}\"", preset.name());
            assert_eq!(serde_json::to_string(&preset).unwrap(), json);
        }
    }

    #[test]
    fn every_preset_is_valid_once_task_and_data_are_given() {
        for preset in Preset::ALL {
            let mut config = preset.config();
            config.methods = OptimizerName::all().to_vec();
            config.task.get_or_insert(Task::Rte);
            config.data.folder.get_or_insert("data".into());
            config.validate().unwrap();
            let text = config.to_toml().unwrap();
            assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
        }
    }

    #[test]
    fn the_papers_dampings_are_in_sum_form() {
        let damping = |preset: Preset| {
            let mut options = preset.config().options(optimizer("ief"));
            let amount = options.optimizer.damping_mut().copied();
            let Some(DampingAmount::Absolute(lambda)) = amount else {
                panic!("{amount:?}");
            };
            lambda
        };
        assert!((damping(Preset::T5LoraGlue) - 4.096e-9).abs() < 1e-12);
        assert!((damping(Preset::T5PromptGlue) - 4.096e-4).abs() < 1e-7);
        assert!((damping(Preset::VitLoraCifar100) - 1.024e-9).abs() < 1e-12);
    }
}
