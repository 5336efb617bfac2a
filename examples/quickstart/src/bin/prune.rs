//! Prune a perceptron trained on the UCI digits, by iEF, EF and magnitude.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use programs::command_line::parse;
use programs::statistics::with_spread;
use programs::{DeviceKind, out_line};
use quickstart::Error;
use quickstart::data::Split;
use quickstart::experiment::Experiment;
use quickstart::prune::{DAMPINGS, Method, Options, SPARSITIES, table};

/// glibc's allocator costs up to 1.8 times the time of a step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Train a perceptron on the digits and prune it once, to several sparsities and in several ways;
/// ends with a table of test accuracies.
///
/// Biases are never pruned. The damping of EF and iEF comes from a search with equal budgets
/// (--tune repeats it).
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    device: DeviceKind,
    /// Ways to prune, separated by commas [default: all].
    #[arg(long, value_enum, value_delimiter = ',')]
    method: Vec<Method>,
    /// Seeds, separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 3])]
    seed: Vec<u64>,
    /// Shares of the weights to prune, 0 to 1, separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = SPARSITIES, value_parser = programs::command::share)]
    sparsity: Vec<f64>,
    /// Passes over the training images, for the dense model.
    #[arg(long, default_value_t = 30)]
    epochs: usize,
    /// Passes over the training images after pruning, with the pruned weights held at zero.
    #[arg(long, default_value_t = 0)]
    train_on: usize,
    #[command(flatten)]
    options: Options,
    /// Search the dampings instead: each for EF and iEF, by what the pruned models recognise of
    /// the training images.
    #[arg(long)]
    tune: bool,
}

fn main() -> ExitCode {
    programs::command::end(start(&parse()), 1)
}

fn start(args: &Args) -> Result<(), Error> {
    args.options.validate()?;
    let experiment = Experiment {
        split: Split::load()?,
        device: args.device.open()?,
        epochs: args.epochs,
    };
    if args.tune {
        return search(&experiment, args);
    }
    let methods = if args.method.is_empty() {
        Method::ALL.to_vec()
    } else {
        args.method.clone()
    };
    let started = Instant::now();
    let (mut rows, mut dense) = (Vec::new(), Vec::new());
    for &seed in &args.seed {
        let mlp = experiment.dense(seed)?;
        let row = experiment.row(&mlp, None, seed, 0.0);
        out_line!(
            "seed {seed}, dense: {:.1} % of the test images",
            100.0 * row.test_accuracy
        );
        dense.push(100.0 * row.test_accuracy);
        for &method in &methods {
            for &sparsity in &args.sparsity {
                let pruned = experiment.prune(&mlp, method, &args.options, sparsity)?;
                let pruned = match args.train_on {
                    0 => pruned.model,
                    epochs => experiment.train_on(pruned, seed, epochs)?,
                };
                let row = experiment.row(&pruned, Some(method), seed, sparsity);
                out_line!(
                    "seed {seed}, {}, {:.0} %: {:.1} % of the test images",
                    method.title(),
                    100.0 * sparsity,
                    100.0 * row.test_accuracy
                );
                rows.push(row);
            }
        }
    }
    out_line!("\n{}", table(&rows, &args.sparsity));
    out_line!(
        "test accuracy in %, mean ± standard deviation over {} seed(s); dense: {}; {} epochs after \
         pruning",
        args.seed.len(),
        with_spread(&dense, 1),
        args.train_on,
    );
    out_line!("took {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn search(experiment: &Experiment, args: &Args) -> Result<(), Error> {
    let mlp = experiment.dense(100)?;
    for method in [Method::Ef, Method::Ief] {
        for damping in DAMPINGS {
            let options = Options {
                damping: Some(damping),
                ..args.options.clone()
            };
            let mut accuracies = Vec::new();
            for &sparsity in &args.sparsity {
                let pruned = experiment.prune(&mlp, method, &options, sparsity)?;
                let row = experiment.row(&pruned.model, Some(method), 100, sparsity);
                accuracies.push(100.0 * row.train_accuracy);
            }
            let each: Vec<String> = accuracies.iter().map(|a| format!("{a:.1}")).collect();
            out_line!(
                "{:<16} damping {damping:<6} training images: mean {:.1} % ({})",
                method.title(),
                accuracies.iter().sum::<f64>() / accuracies.len() as f64,
                each.join(", "),
            );
        }
    }
    Ok(())
}
