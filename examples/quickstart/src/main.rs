//! Fine-tune a pretrained vision transformer on the UCI digits with AdamW, SGD, EF, SF and iEF.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use programs::command::at_least;
use programs::command_line::parse;
use programs::files::{check_output, check_output_folder};
use programs::{DeviceKind, out_line};
use quickstart::Error;
use quickstart::data::Split;
use quickstart::experiment::{EPOCHS, Experiment, Run};
use quickstart::tuned::Tuned;
use quickstart::{picture, report, tune};

/// glibc's allocator costs up to 1.8 times the time of a step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Fine-tune a small vision transformer on real digits with five optimizers, side by side.
///
/// The model was pretrained on the digits 0 to 4; LoRA adapters on its query and value projections
/// and a new head learn all ten. Each method uses the best step size of a search with equal
/// budgets (--tune repeats it). Ends with one table and a picture of the training curves.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    device: DeviceKind,
    /// Methods to run, separated by commas: adamw, sgd, ef, sf, ief [default: all].
    #[arg(long, value_delimiter = ',', value_parser = Tuned::named)]
    method: Vec<Tuned>,
    /// Seeds to run every method with, separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 3])]
    seed: Vec<u64>,
    /// Passes over the 1,198 training images.
    #[arg(long, default_value_t = EPOCHS, value_parser = at_least::<1>)]
    epochs: usize,
    /// Folder for the picture, quickstart.svg.
    #[arg(long, value_name = "DIR", default_value = "target/quickstart")]
    out: PathBuf,
    /// Write a row for each run: method, seed, final_train_loss, test_accuracy, ms_per_step.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Search the step sizes instead: five for each method, one run each.
    #[arg(long)]
    tune: bool,
}

fn main() -> ExitCode {
    programs::command::end(start(parse()), 1)
}

/// What to try next, printed at the end.
const NEXT: &str = "\
next:
  cargo run --release -p quickstart -- --method ief,adamw --epochs 20   two methods, longer
  cargo run --release -p quickstart -- --tune                           search the step sizes again
  cargo run --release -p quickstart --bin prune                         prune a perceptron
  cargo run --release -p finetune -- --help                             your own data and model
  docs/src/SUMMARY.md                                                   the book";

fn start(args: Args) -> Result<(), Error> {
    let started = Instant::now();
    if !args.tune {
        // What cannot be written shows before the training.
        check_output_folder(&args.out)?;
        if args.out.exists() {
            check_output(&args.out.join("quickstart.svg"))?;
        }
        if let Some(path) = &args.json {
            check_output(path)?;
        }
    }
    let methods = if args.method.is_empty() {
        Tuned::all().to_vec()
    } else {
        args.method
    };
    out_line!("Fine-tune a small vision transformer on the UCI digits, by LoRA and a new head");
    let experiment = Experiment {
        split: Split::load()?,
        device: args.device.open()?,
        epochs: args.epochs,
    };
    if args.tune {
        return search(&experiment, &methods);
    }
    let (seeds, count) = (args.seed.len(), args.seed.len() * methods.len());
    out_line!(
        "{count} runs ({} method(s), {seeds} seed(s)) of {} epochs on {}",
        methods.len(),
        args.epochs,
        args.device,
    );
    let mut runs = Vec::new();
    // Methods take turns, so that a busy machine slows all of them.
    for &seed in &args.seed {
        for tuned in &methods {
            let run = experiment.run(tuned, seed, tuned.step_size)?;
            let number = runs.len() + 1;
            out_line!("{number:>2}/{count} {}", line(&run));
            runs.push(run);
        }
    }
    out_line!("\n{}", report::table(&runs));
    out_line!(
        "mean ± standard deviation over {seeds} seed(s), {} epochs, {} training and {} test images",
        experiment.epochs,
        experiment.split.train.len(),
        experiment.split.test.len(),
    );
    let picture = picture::draw(&args.out, &runs, experiment.epochs)?;
    out_line!("curves: {}", picture.display());
    if let Some(path) = &args.json {
        report::write_json(path, &runs)?;
        out_line!("rows: {}", path.display());
    }
    out_line!("took {:.0} s\n\n{NEXT}", started.elapsed().as_secs_f64());
    Ok(())
}

fn line(run: &Run) -> String {
    format!(
        "{:<5} seed {}: training loss {:.4}, test accuracy {:.1} %, {:.1} ms per step",
        run.method.title(),
        run.seed,
        run.final_train_loss,
        100.0 * run.history.test_accuracy(),
        run.history.ms_per_step(),
    )
}

fn search(experiment: &Experiment, methods: &[Tuned]) -> Result<(), Error> {
    for tuned in methods {
        let title = tuned.method.title();
        let trials = tune::tune(experiment, tuned, |trial| {
            out_line!(
                "{title:<5} step size {:<7} final training loss {:.4}",
                trial.step_size,
                trial.final_train_loss
            );
        })?;
        if let Some(best) = tune::best(&trials) {
            out_line!("{title:<5} best: {}\n", best.step_size);
        }
    }
    Ok(())
}
