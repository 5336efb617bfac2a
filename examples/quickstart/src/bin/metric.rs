//! Fine-tune on the UCI digits with iEF under several metrics.

use std::path::PathBuf;
use std::process::ExitCode;

use burn_ief::methods::{RunningSquares, SolveOptions, UpdateMetric};
use burn_ief::solve::{Damping, TrustRegion};
use clap::Parser;
use programs::command::at_least;
use programs::command_line::parse;
use programs::files::{check_output, write_json};
use programs::optimizer::{OptimizerConfig, OptimizerName, optimizer};
use programs::statistics::with_spread;
use programs::table::{Style, table};
use programs::{DeviceKind, out_line};
use quickstart::Error;
use quickstart::data::Split;
use quickstart::experiment::{EPOCHS, Experiment};
use quickstart::tuned::Tuned;
use serde::Serialize;

/// glibc's allocator costs up to 1.8 times the time of a step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The task of quickstart with iEF's default, larger damping, a trust region and metrics, and with
/// AdamW at its best step size of a search. Ends with one table.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    device: DeviceKind,
    /// Seeds to run every setting with, separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 3])]
    seed: Vec<u64>,
    /// Step sizes of iEF, separated by commas; they fall linearly to zero.
    #[arg(long, value_delimiter = ',', default_values_t = [1.0])]
    step_size: Vec<f64>,
    /// Passes over the 1,198 training images.
    #[arg(long, default_value_t = EPOCHS, value_parser = at_least::<1>)]
    epochs: usize,
    /// Write a row for each run: setting, its solve options, step size, seed, loss, accuracy.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One run, as written by `--json`.
#[derive(Serialize)]
struct Row {
    setting: &'static str,
    /// How iEF solved; none for AdamW.
    solve: Option<SolveOptions>,
    step_size: f64,
    seed: u64,
    final_train_loss: f64,
    test_accuracy: f64,
}

fn main() -> ExitCode {
    programs::command::end(start(&parse()), 1)
}

/// The settings of iEF, by name.
fn settings() -> [(&'static str, SolveOptions); 6] {
    let damped = SolveOptions::plain(Damping::relative(0.1)).with_momentum(Some(0.9));
    // ΔᵀF̃Δ of at most 0.03 for each sample.
    let bounded = damped
        .clone()
        .with_trust_region(Some(TrustRegion::per_sample(0.015)));
    let running = RunningSquares::default();
    [
        (
            "damping 0.001",
            SolveOptions::plain(Damping::relative(1e-3)).with_momentum(Some(0.9)),
        ),
        ("damping 0.1", damped),
        ("trust region", bounded.clone()),
        (
            "separable",
            bounded
                .clone()
                .with_metric(Some(UpdateMetric::Separable(running))),
        ),
        (
            "per tensor",
            bounded
                .clone()
                .with_metric(Some(UpdateMetric::PerTensor(running))),
        ),
        (
            "diagonal",
            bounded.with_metric(Some(UpdateMetric::Diagonal(running))),
        ),
    ]
}

fn start(args: &Args) -> Result<(), Error> {
    if let Some(path) = &args.json {
        check_output(path)?;
    }
    let experiment = Experiment {
        split: Split::load()?,
        device: args.device.open()?,
        epochs: args.epochs,
    };
    let mut rows = Vec::new();
    for &seed in &args.seed {
        let adamw = Tuned::named(OptimizerName::ADAMW.name()).expect("a step size of AdamW");
        let run = experiment.run(&adamw, seed, adamw.step_size)?;
        let mut add = |setting, solve, step_size, run: quickstart::experiment::Run| {
            let row = Row {
                setting,
                solve,
                step_size,
                seed,
                final_train_loss: run.final_train_loss,
                test_accuracy: run.history.test_accuracy(),
            };
            out_line!(
                "{setting:<12} step size {step_size} seed {seed}: training loss {:.4}, test accuracy {:.1} %",
                row.final_train_loss,
                100.0 * row.test_accuracy,
            );
            rows.push(row);
        };
        add("AdamW", None, adamw.step_size, run);
        for &step_size in &args.step_size {
            for (setting, solve) in settings() {
                let method = optimizer("ief");
                let mut config = OptimizerConfig::new(method).with_seed(seed);
                *config.solve_mut().expect("an exact method") = solve.clone();
                match experiment.run_with(method, &config, seed, step_size) {
                    Ok(run) => add(setting, Some(solve), step_size, run),
                    Err(Error::Stopped { reason, .. }) => {
                        out_line!("{setting} step size {step_size} seed {seed} stopped: {reason}");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        if let Some(path) = &args.json {
            write_json(path, &rows)?;
        }
    }
    let mut lines: Vec<[String; 4]> = Vec::new();
    for row in &rows {
        let step_size = row.step_size.to_string();
        if lines
            .iter()
            .any(|line| line[0] == row.setting && line[1] == step_size)
        {
            continue;
        }
        let same = |other: &&Row| other.setting == row.setting && other.step_size == row.step_size;
        let own: Vec<&Row> = rows.iter().filter(same).collect();
        let losses: Vec<f64> = own.iter().map(|row| row.final_train_loss).collect();
        let accuracies: Vec<f64> = own.iter().map(|row| 100.0 * row.test_accuracy).collect();
        lines.push([
            row.setting.into(),
            step_size,
            with_spread(&losses, 4),
            with_spread(&accuracies, 1),
        ]);
    }
    let header = [
        "setting",
        "step size",
        "final training loss",
        "test accuracy %",
    ];
    out_line!("\n{}", table(Style::Lines, header, &[0], lines));
    Ok(())
}
