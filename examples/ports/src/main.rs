//! Train Burn's examples with their own optimizers and with iEF.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use ports::training::{Changes, Run, Trainer, train};
use ports::{Error, Port};
use programs::command_line::parse;
use programs::files::{check_output, write_json};
use programs::statistics::with_spread;
use programs::table::{Style, table};
use programs::{DeviceKind, out_line};

/// glibc's allocator costs up to 1.8 times the time of a step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Train Burn's examples with their own optimizers, with SGD and with iEF at the library's defaults.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Examples to train [default: all].
    example: Vec<Example>,
    /// Folder with what `scripts/fetch-data --out DIR mnist10k cifar10 trec sentiment minilm` makes.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Optimizers, separated by commas.
    #[arg(long, value_delimiter = ',', default_values = ["own", "sgd", "ief"])]
    optimizer: Vec<Trainer>,
    /// Seeds, separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 3])]
    seed: Vec<u64>,
    /// Passes over the training data [default: one to 100, see `examples/ports/src/training/recipes.rs`].
    #[arg(long)]
    epochs: Option<usize>,
    /// The largest step size, in place of that of the recipe.
    #[arg(long, value_name = "SIZE")]
    step_size: Option<f64>,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    device: DeviceKind,
    /// Write the runs here, as a JSON list.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// An example, by the name of its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Example {
    Guide,
    CustomTrainingLoop,
    Mnist,
    SimpleRegression,
    TextClassification,
    TextGeneration,
    ModernLstm,
    Wgan,
    CustomImageDataset,
}

impl Example {
    fn name(self) -> &'static str {
        match self {
            Self::Guide => ports::Guide::NAME,
            Self::CustomTrainingLoop => ports::CustomTrainingLoop::NAME,
            Self::Mnist => ports::Mnist::NAME,
            Self::SimpleRegression => ports::SimpleRegression::NAME,
            Self::TextClassification => ports::TextClassification::NAME,
            Self::TextGeneration => ports::TextGeneration::NAME,
            Self::ModernLstm => ports::ModernLstm::NAME,
            Self::Wgan => ports::Wgan::NAME,
            Self::CustomImageDataset => ports::CustomImageDataset::NAME,
        }
    }

    fn run(self, args: &Args, trainer: Trainer, seed: u64) -> Result<Run, Error> {
        let device = args.device.open()?;
        let train = match self {
            Self::Guide => train::<ports::Guide>,
            Self::CustomTrainingLoop => train::<ports::CustomTrainingLoop>,
            Self::Mnist => train::<ports::Mnist>,
            Self::SimpleRegression => train::<ports::SimpleRegression>,
            Self::TextClassification => train::<ports::TextClassification>,
            Self::TextGeneration => train::<ports::TextGeneration>,
            Self::ModernLstm => train::<ports::ModernLstm>,
            Self::Wgan => train::<ports::Wgan>,
            Self::CustomImageDataset => train::<ports::CustomImageDataset>,
        };
        let changes = Changes {
            epochs: args.epochs,
            step_size: args.step_size,
        };
        train(trainer, seed, changes, args.data.as_deref(), &device)
    }
}

fn main() -> ExitCode {
    programs::command::end(start(&parse()), 1)
}

fn start(args: &Args) -> Result<(), Error> {
    if let Some(path) = &args.json {
        check_output(path)?;
    }
    let examples = if args.example.is_empty() {
        Example::value_variants()
    } else {
        &args.example
    };
    let mut runs = Vec::new();
    for &example in examples {
        for &seed in &args.seed {
            for &trainer in &args.optimizer {
                let run = example.run(args, trainer, seed)?;
                out_line!("{}", line(&run));
                runs.push(run);
                // What there is so far survives a crash.
                if let Some(path) = &args.json {
                    write_json(path, &runs)?;
                }
            }
        }
        out_line!("{}: {} seed(s)", example.name(), args.seed.len());
    }
    out_line!("{}", summary(&runs));
    Ok(())
}

fn line(run: &Run) -> String {
    let accuracy = run.test_accuracy.map_or(String::new(), |accuracy| {
        format!(", accuracy {:.1} %", 100.0 * accuracy)
    });
    format!(
        "{} {} seed {}: training loss {:.4} to {:.4}, test loss {:.4}{accuracy}, {:.0} s",
        run.example,
        run.optimizer,
        run.seed,
        run.train_loss_before,
        run.train_loss,
        run.test_loss,
        run.seconds,
    )
}

/// A line for each example and optimizer, over the seeds.
fn summary(runs: &[Run]) -> String {
    let mut lines: Vec<(&str, &str, bool)> = Vec::new();
    for run in runs {
        let line = (run.example, run.optimizer, run.own);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let header = [
        "example",
        "optimizer",
        "step size",
        "steps",
        "training loss before",
        "training loss",
        "test loss",
        "test accuracy %",
    ];
    let rows = lines.into_iter().map(|(example, optimizer, own)| {
        let same: Vec<&Run> = runs
            .iter()
            .filter(|run| (run.example, run.optimizer, run.own) == (example, optimizer, own))
            .collect();
        let of = |value: fn(&Run) -> f64, digits| {
            let values: Vec<f64> = same.iter().map(|run| value(run)).collect();
            with_spread(&values, digits)
        };
        let accuracy = match same[0].test_accuracy {
            Some(_) => of(|run| 100.0 * run.test_accuracy.unwrap_or(f64::NAN), 1),
            None => String::new(),
        };
        [
            example.to_string(),
            format!("{optimizer}{}", if own { ", the example's" } else { "" }),
            same[0].step_size.to_string(),
            same[0].steps.to_string(),
            of(|run| run.train_loss_before, 4),
            of(|run| run.train_loss, 4),
            of(|run| run.test_loss, 4),
            accuracy,
        ]
    });
    table(Style::Markdown, header, &[0, 1], rows).to_string()
}
