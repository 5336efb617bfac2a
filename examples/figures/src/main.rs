//! All pictures into a folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use figures::Error;
use figures::digits::{self, Training};
use figures::kept;
use figures::survey::{self, Stage};
use figures::toy::{self, Problem, Toy};
use finetune::model::Judged;
use finetune::stages::{KeptRun, Stages, Visit};
use programs::command::{between, end};
use programs::command_line::parse;
use programs::files::check_output_folder;
use programs::{DeviceKind, guard, out_line};
use quickstart::experiment::EPOCHS;
use quickstart::fit::BATCH;
use quickstart::tuned::Tuned;

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
    /// Pictures to draw, separated by commas [default: all but adamw].
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Name>,
    /// A run of `finetune` whose stages are judged, trained with --keep-checkpoints
    /// (OUT/METHOD-seedSEED) [default: the quickstart's model].
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// What the files about the model are called [default: digits, or the name of the run].
    #[arg(long)]
    name: Option<String>,
    /// What trains the quickstart's model: adamw, sgd, ef, sf or ief.
    #[arg(long, default_value = "ief", conflicts_with = "run", value_parser = Tuned::named)]
    trained_by: Tuned,
    /// Passes over the quickstart's training images.
    #[arg(long, default_value_t = EPOCHS, conflicts_with = "run")]
    epochs: usize,
    /// Epochs after which the model is judged, separated by commas; 0 is before training [default:
    /// all there are].
    #[arg(long, value_delimiter = ',', value_name = "EPOCHS")]
    stages: Vec<usize>,
    /// Seed of the batches, and of the quickstart's training.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Batches that updates are judged on, at every stage.
    #[arg(long, default_value_t = 30, value_parser = between::<2, 10_000>)]
    batches: usize,
    /// Samples in each of these.
    #[arg(long, default_value_t = BATCH)]
    batch_size: usize,
    /// λ from 1e-12 to 1e3 in the sweep.
    #[arg(long, default_value_t = 31, value_parser = between::<2, 10_000>)]
    lambdas: usize,
    /// Where to compute; the toy problems need f64 [default: flex, or what the run was trained on].
    #[arg(long, value_enum)]
    device: Option<DeviceKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Fields and paths of SGD, NGD, iEF and EF on two toy problems.
    Toy,
    /// γ of EF, SF and iEF, and the imbalance, over the stages of a training.
    Stages,
    /// γ against λ at three stages.
    Sweep,
    /// γ of KFAC, eKFAC and ieKFAC next to iEF.
    Kfac,
    /// γ of AdamW's own steps next to SF and iEF, in a training by AdamW; drawn if it is named.
    Adamw,
}

/// Pictures of a model in training.
const SURVEYS: [Name; 4] = [Name::Stages, Name::Sweep, Name::Kfac, Name::Adamw];
/// Those that are drawn if none is named.
const UNNAMED: [Name; 4] = [Name::Toy, Name::Stages, Name::Sweep, Name::Kfac];

fn main() -> ExitCode {
    let args: Args = parse();
    guard::keep_messages();
    match guard::catch(|| start(&args)) {
        Ok(outcome) => end(outcome, 1),
        Err(panic) => end(Err::<(), _>(panic), 1),
    }
}

fn start(args: &Args) -> Result<(), Error> {
    let started = Instant::now();
    check_output_folder(&args.out)?;
    let names = match (&args.only[..], &args.run) {
        ([], None) => &UNNAMED,
        ([], Some(_)) => &UNNAMED[1..],
        (only, _) => only,
    };
    if names.contains(&Name::Toy) {
        let device = args.device.unwrap_or_default().open()?;
        for problem in Problem::ALL {
            let path = toy::draw(&args.out, &Toy::new(problem, &device)?)?;
            out_line!("{}", path.display());
        }
    }
    if SURVEYS.iter().any(|name| names.contains(name)) {
        match &args.run {
            None => of_digits(args, names)?,
            Some(folder) => of_run(args, names, folder)?,
        }
    }
    out_line!("took {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn of_digits(args: &Args, names: &[Name]) -> Result<(), Error> {
    let training = Training {
        by: args.trained_by,
        epochs: args.epochs,
        seed: args.seed,
    };
    if let Some(epoch) = args.stages.iter().find(|epoch| **epoch > args.epochs) {
        return Err(Error::Option {
            option: "--stages",
            found: epoch.to_string(),
            expected: format!("0 to {}, the epochs of the training", args.epochs),
        });
    }
    let device = args.device.unwrap_or_default().open()?;
    let batches = digits::batches(args.batches, args.batch_size, args.seed, &device)?;
    let mut stages = training.stages(&device)?;
    stages.retain(|stage| args.stages.is_empty() || args.stages.contains(&stage.epoch));
    draw(args, names, "digits", &stages, &batches)
}

fn of_run(args: &Args, names: &[Name], folder: &Path) -> Result<(), Error> {
    let run = KeptRun::open_with(folder, |config| {
        if let Some(device) = args.device {
            config.device = device;
        }
    })?;
    run.visit(Draw { args, names })
}

/// The pictures of a run, whose model may be of any type.
struct Draw<'a> {
    args: &'a Args,
    names: &'a [Name],
}

impl Visit for Draw<'_> {
    type Output = ();
    type Error = Error;

    fn visit<M: Judged>(self, run: Stages<'_, M>) -> Result<(), Error> {
        let Self { args, names } = self;
        let batches = run.batches(args.batches, args.batch_size, args.seed)?;
        let stages = kept::stages(&run, &args.stages)?;
        draw(args, names, &run.history().config.name, &stages, &batches)
    }
}

fn draw<M: Judged>(
    args: &Args,
    names: &[Name],
    default_name: &str,
    stages: &[Stage<M>],
    batches: &[M::Batch],
) -> Result<(), Error> {
    let (out, name) = (&args.out, args.name.as_deref().unwrap_or(default_name));
    for picture in SURVEYS.iter().filter(|picture| names.contains(picture)) {
        let path = match picture {
            Name::Sweep => survey::sweep(out, name, stages, batches, args.lambdas)?,
            Name::Kfac => survey::kfac(out, name, stages, batches)?,
            Name::Adamw => survey::adamw(out, name, stages, batches)?,
            _ => survey::stages(out, name, stages, batches)?,
        };
        out_line!("{}", path.display());
    }
    Ok(())
}
