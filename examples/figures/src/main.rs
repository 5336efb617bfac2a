//! All pictures into a folder.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use burn::tensor::Device;
use clap::{Parser, ValueEnum};
use devices::DeviceKind;
use figures::Error;
use figures::digits::{self, Training};
use figures::survey;
use figures::toy::{self, Problem, Toy};
use quickstart::experiment::EPOCHS;
use quickstart::fit::BATCH;
use quickstart::method::Method;

/// glibc's allocator costs up to 1.8 times the time of a step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Draw how good natural gradients are, as SVG files with the numbers behind them as CSV.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Folder for pictures and numbers.
    #[arg(long, value_name = "DIR", default_value = "target/figures")]
    out: PathBuf,
    /// Pictures to draw, separated by commas [default: all].
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Name>,
    /// What the files about the quickstart's model are called.
    #[arg(long, default_value = "digits")]
    name: String,
    /// What trains the quickstart's model, whose stages are judged.
    #[arg(long, value_enum, default_value = "ief")]
    trained_by: Method,
    /// Passes over its training images.
    #[arg(long, default_value_t = EPOCHS)]
    epochs: usize,
    /// Seed of that training.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Batches that updates are judged on, at every stage.
    #[arg(long, default_value_t = 30, value_parser = at_least_two)]
    batches: usize,
    /// Images in each of these.
    #[arg(long, default_value_t = BATCH)]
    batch_size: usize,
    /// Where to compute; the toy problems need f64.
    #[arg(long, value_enum, default_value_t)]
    device: DeviceKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Fields and paths of SGD, NGD, iEF and EF on two toy problems.
    Toy,
    /// γ of EF, SF and iEF, and the imbalance, over the stages of a training.
    Stages,
    /// γ against λ at three stages.
    Sweep,
    /// γ of KFAC, eKFAC and ieKFAC beside iEF.
    Kfac,
}

fn at_least_two(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0 | 1) => Err("at least 2, for a standard error".into()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

fn main() -> ExitCode {
    match start(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: &Args) -> Result<(), Error> {
    let started = Instant::now();
    let device = args.device.open()?;
    let names = match args.only.is_empty() {
        true => Name::value_variants(),
        false => &args.only,
    };
    let wants = |name| names.contains(&name);
    if wants(Name::Toy) {
        for problem in Problem::ALL {
            let path = toy::draw(&args.out, &Toy::new(problem, &device)?)?;
            println!("{}", path.display());
        }
    }
    let surveyed = [Name::Stages, Name::Sweep, Name::Kfac];
    if surveyed.into_iter().any(wants) {
        digits(args, wants, &device)?;
    }
    println!("took {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn digits(args: &Args, wants: impl Fn(Name) -> bool, device: &Device) -> Result<(), Error> {
    let training = Training {
        method: args.trained_by,
        epochs: args.epochs,
        seed: args.seed,
    };
    let batches = digits::batches(args.batches, args.batch_size, args.seed, device)?;
    let stages = training.stages(device)?;
    let (out, name) = (&args.out, &args.name);
    if wants(Name::Stages) {
        let path = survey::stages(out, name, &stages, &batches)?;
        println!("{}", path.display());
    }
    if wants(Name::Sweep) {
        let path = survey::sweep(out, name, &stages, &batches)?;
        println!("{}", path.display());
    }
    if wants(Name::Kfac) {
        let path = survey::kfac(out, name, &stages, &batches)?;
        println!("{}", path.display());
    }
    Ok(())
}
