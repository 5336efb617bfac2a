//! The command line.

mod adapter_flags;
mod chat_flags;
mod generate_flags;
mod language_flags;
mod merge_flags;
mod method_flags;
mod predict_flags;
mod prune_flags;
mod run_flags;
mod sampling_flags;
mod serve_flags;
mod shell_flags;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use chat_flags::ChatArgs;
pub use generate_flags::GenerateArgs;
pub use merge_flags::{ExportArgs, MergeArgs};
pub use method_flags::PerMethod;
pub use predict_flags::PredictArgs;
pub use prune_flags::PruneArgs;
pub use run_flags::{RunArgs, Switch};
pub use serve_flags::ServeArgs;
pub use shell_flags::{CompletionsArgs, DoctorArgs, ManArgs};

/// Fine-tune a pretrained model with natural-gradient and first-order optimizers.
///
/// Every run (a method and a seed) has a folder OUT/METHOD-seedSEED with its record `run.json`, its
/// checkpoints while it is not finished, and in the end what was trained: a PEFT folder `adapter`,
/// or `model`. Finished runs are left alone when the command is repeated.
///
/// Settings come from a preset, over it a file, over it flags; of a flag that is given twice the
/// last counts. Exit codes: 0 for success, 1 if a run
/// failed, was interrupted or could not be written, 2 if something was refused before a run began,
/// 130 after a second Ctrl-C.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    args_override_self = true
)]
pub struct Cli {
    /// What to do instead of running.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What else the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a table and pictures of runs.
    Report(ReportArgs),
    /// Prune the models of finished runs that trained them in full.
    Prune(PruneArgs),
    /// Let a language model answer.
    Generate(Box<GenerateArgs>),
    /// Predict the rows of a file.
    Predict(Box<PredictArgs>),
    /// Write an adapter and its model as one model folder.
    Merge(MergeArgs),
    /// Write a LoRA adapter as a GGUF file.
    ExportAdapter(ExportArgs),
    /// Talk to a language model.
    Chat(Box<ChatArgs>),
    /// Serve a language model to clients of OpenAI's interface.
    Serve(Box<ServeArgs>),
    /// Print a script that lets a shell complete commands and flags.
    Completions(CompletionsArgs),
    /// Write man pages.
    Man(ManArgs),
    /// Print what the program finds on this machine.
    Doctor(DoctorArgs),
}

/// Which runs to report.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Run folders, or folders that hold some.
    #[arg(required = true, value_name = "RUN_DIR")]
    pub folders: Vec<PathBuf>,
    /// Folder for the table, the pictures and their numbers [default: the first RUN_DIR].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config::Config;
    use crate::preset::Preset;
    use crate::schedule::Decay;
    use programs::optimizer::{OptimizerName, optimizer};

    fn effective(flags: &[&str]) -> Config {
        let words = std::iter::once("finetune").chain(flags.iter().copied());
        Cli::try_parse_from(words).unwrap().run.effective().unwrap()
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_go_before_the_preset() {
        let mut preset = Preset::MlpCifar10.config();
        // What is in effect has the default of the kind of adapter.
        preset.adapter.rank = Some(8);
        assert_eq!(effective(&["--preset", "mlp-cifar10"]), preset);
        let config = effective(&[
            "--preset=mlp-cifar10",
            "--method=sgd,ief",
            "--seed=1,2",
            "--step-size=0.5,sgd=0.25",
            "--schedule=drop:3",
            "--dropout=on",
        ]);
        assert_eq!(config.methods, [OptimizerName::SGD, optimizer("ief")]);
        assert_eq!(config.seeds, [1, 2]);
        assert_eq!(config.options(OptimizerName::SGD).step_size, 0.25);
        assert_eq!(config.options(optimizer("ief")).step_size, 0.5);
        assert_eq!(
            config.options(optimizer("ef")).schedule,
            Decay::Drop { epoch: 3 }.into()
        );
        assert!(config.model.dropout && !preset.model.dropout);
        assert_eq!(config.training, preset.training);
    }

    #[test]
    fn wrong_values_are_refused() {
        for flags in [
            &["--step-size", "fast"][..],
            &["--step-size", "iief=1"],
            &["--schedule", "sine"],
            &["--resume", "--force"],
            &["report"],
            &["--task", "trek"],
            &["--sharing", "iekfac=split"],
        ] {
            let words = std::iter::once("finetune").chain(flags.iter().copied());
            assert!(Cli::try_parse_from(words).is_err(), "{flags:?}");
        }
    }
}
