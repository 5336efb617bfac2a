//! Fine-tune pretrained models on real data.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use finetune::Error;
use finetune::cli::{Cli, Command, PruneArgs, ReportArgs, RunArgs};
use finetune::experiment::{Ended, Experiment, Flags};
use finetune::history::History;
use finetune::prune;
use finetune::report;
use finetune::stages::KeptRun;
use finetune::stop::Stop;
use finetune::tune::tune;

/// glibc's allocator costs up to 1.8 times the time of a step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Some(Command::Report(args)) => write_report(args),
        Some(Command::Prune(args)) => write_pruned(args),
        None => start(&cli.run),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn start(args: &RunArgs) -> Result<ExitCode, Error> {
    let config = args.effective()?;
    if args.write_config {
        print!("{}", config.to_toml()?);
        return Ok(ExitCode::SUCCESS);
    }
    let experiment = Experiment::open(config)?;
    for note in experiment.notes() {
        eprintln!("{note}");
    }
    let stop = Stop::listen();
    if args.tune {
        search(experiment, args, &stop)
    } else {
        runs(&experiment, args.flags(), &stop)
    }
}

/// All runs; one that fails does not keep the others from running.
fn runs(experiment: &Experiment, flags: Flags, stop: &Stop) -> Result<ExitCode, Error> {
    let config = experiment.config();
    let mut code = ExitCode::SUCCESS;
    let mut histories = Vec::new();
    // Methods take turns, so that a busy machine slows all of them.
    for &seed in &config.seeds {
        for &method in &config.methods {
            match experiment.run(method, seed, flags, stop) {
                Ok(ended) => {
                    println!("{}", line(&ended));
                    let plain = &ended.history().plain_gradients;
                    if !plain.is_empty() {
                        println!(
                            "  plain gradients, for want of factors: {}",
                            plain.join(", ")
                        );
                    }
                    histories.push(ended.history().clone());
                }
                Err(error @ Error::Stopped { .. }) => {
                    eprintln!("error: {error}");
                    code = ExitCode::from(error.exit_code());
                }
                Err(error) => return Err(error),
            }
        }
    }
    if histories.len() > 1 {
        println!("\n{}", report::table(&histories));
        println!("pictures: finetune report {}", config.out.display());
    }
    Ok(code)
}

fn line(ended: &Ended) -> String {
    let note = match ended {
        Ended::Before(_) => " (finished before)",
        Ended::Now(_) => "",
    };
    let history = ended.history();
    let History { method, seed, .. } = history;
    let metric = history.metrics.first().map_or("", String::as_str);
    let test = history
        .test
        .as_ref()
        .and_then(|test| test.metrics.get(metric));
    format!(
        "{:<9} seed {seed}: training loss {:.4}, best epoch {} with validation {metric} {:.4}, \
         test {metric} {:.4}, {:.1} ms per step{note}",
        method.title(),
        history.final_train_loss(),
        history.best_epoch.unwrap_or(0),
        history.best_valid(),
        test.copied().unwrap_or(f64::NAN),
        history.ms_per_step(),
    )
}

fn search(experiment: Experiment, args: &RunArgs, stop: &Stop) -> Result<ExitCode, Error> {
    let (factors, seed) = (&args.tune_factors, args.tune_seed);
    let (tuned, path) = tune(experiment, factors, seed, args.flags(), stop, |trial| {
        let result = match trial.valid {
            Some(valid) => format!("validation {valid:.4} (loss {:.4})", trial.loss),
            None => "failed".into(),
        };
        println!(
            "{:<9} step size {:<9} {result}",
            trial.method.title(),
            trial.step_size
        );
    })?;
    for &method in &tuned.methods {
        println!(
            "{:<9} best: {}",
            method.title(),
            tuned.options(method).step_size
        );
    }
    println!("for --config: {}", path.display());
    Ok(ExitCode::SUCCESS)
}

fn write_report(args: &ReportArgs) -> Result<ExitCode, Error> {
    let histories = report::collect(&args.folders)?;
    let out = args.out.as_ref().or(args.folders.first());
    println!("{}", report::table(&histories));
    for path in report::write(out.map_or(".".as_ref(), |out| out.as_path()), &histories)? {
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn write_pruned(args: &PruneArgs) -> Result<ExitCode, Error> {
    let runs = prune::open(&args.folders, &args.options)?;
    let started = Instant::now();
    let mut rows = Vec::new();
    // A file that cannot be written shows before the first gradient.
    args.write(&rows)?;
    for folder in runs {
        let run = KeptRun::open_with(&folder, |config| args.change(config))?;
        let pruned = prune::prune(&run, &args.options, |row| {
            println!("{row} [{:.0} s]", started.elapsed().as_secs_f64());
        })?;
        rows.extend(pruned);
        args.write(&rows)?;
    }
    for (title, table) in prune::tables(&rows) {
        println!("\n{title}\n{table}");
    }
    Ok(ExitCode::SUCCESS)
}
