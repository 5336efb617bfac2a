//! Fine-tune pretrained models on real data.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Instant;

use finetune::Error;
use finetune::cli::{Cli, Command, PruneArgs, ReportArgs, RunArgs};
use finetune::experiment::{Ended, Experiment, Flags};
use finetune::history::History;
use finetune::prune;
use finetune::report;
use finetune::stages::KeptRun;
use finetune::stop::Stop;
use finetune::tune::tune;
use programs::command_line::parse;
use programs::files::check_output_folder;
use programs::optimizer::OptimizerName;
use programs::printing::{message, quoted_list, to_stdout};
use programs::{err_line, guard, out_line};

/// glibc's allocator costs up to 1.8 times the time of a step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli: Cli = parse();
    guard::keep_messages();
    let done = guard::catch(|| match &cli.command {
        Some(Command::Report(args)) => write_report(args),
        Some(Command::Prune(args)) => write_pruned(args),
        Some(Command::Predict(args)) => args.predict().map(|summary| {
            let scores = summary.scores.iter();
            let mut said: String = scores
                .map(|(metric, score)| format!(", {metric} {score:.4}"))
                .collect();
            if summary.labelled > 0 {
                said += &format!(" on {} with a label", summary.labelled);
            }
            err_line!("{} rows{said}", summary.rows);
            ExitCode::SUCCESS
        }),
        Some(Command::ExportAdapter(args)) => args.export().map(|()| ExitCode::SUCCESS),
        Some(Command::Merge(args)) => args
            .merge(|line| err_line!("{line}"))
            .map(|()| ExitCode::SUCCESS),
        Some(Command::Generate(args)) => args.answer().map(|()| ExitCode::SUCCESS),
        Some(Command::Chat(args)) => args.chat().map(|()| ExitCode::SUCCESS),
        Some(Command::Serve(args)) => args.serve().map(|()| ExitCode::SUCCESS),
        Some(Command::Completions(args)) => {
            args.print();
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Man(args)) => args.write().map(|pages| {
            pages
                .iter()
                .for_each(|page| out_line!("{}", page.display()));
            ExitCode::SUCCESS
        }),
        Some(Command::Doctor(args)) => {
            args.print();
            Ok(ExitCode::SUCCESS)
        }
        None => start(&cli.run),
    });
    match done {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            say(&error);
            ExitCode::from(error.exit_code())
        }
        Err(panic) => {
            say(&panic);
            ExitCode::FAILURE
        }
    }
}

/// Print an error.
fn say(error: &dyn Display) {
    err_line!("error: {}", message(error));
}

fn start(args: &RunArgs) -> Result<ExitCode, Error> {
    let config = args.effective()?;
    if args.write_config {
        to_stdout(format_args!("{}", config.to_toml()?));
        return Ok(ExitCode::SUCCESS);
    }
    // Reading the data may take a while.
    check_output_folder(&config.out)?;
    let experiment = Experiment::open(config)?.with_devices(&args.devices, &args.workers)?;
    for note in experiment.notes() {
        err_line!("{note}");
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
    // Methods take turns, so that a busy machine slows all of them.
    let of_seed = |&seed| config.methods.iter().map(move |&method| (method, seed));
    let all: Vec<(OptimizerName, u64)> = config.seeds.iter().flat_map(of_seed).collect();
    for &(method, seed) in &all {
        experiment.check_folder(method, seed, flags)?;
    }
    let mut code = ExitCode::SUCCESS;
    let mut has_begun = false;
    let mut histories = Vec::new();
    for (method, seed) in all {
        match experiment.run(method, seed, flags, stop) {
            Ok(ended) => {
                has_begun |= matches!(ended, Ended::Now(_));
                out_line!("{}", line(&ended));
                let plain = &ended.history().plain_gradients;
                if !plain.is_empty() {
                    let plain = quoted_list(plain);
                    out_line!("  plain gradients, for want of factors: {plain}");
                }
                histories.push(ended.history().clone());
            }
            Err(error @ Error::Stopped { .. }) => {
                has_begun = true;
                say(&error);
                code = ExitCode::from(error.exit_code());
            }
            // Exit code 2 says that nothing was done.
            Err(error) if has_begun => {
                say(&error);
                return Ok(ExitCode::FAILURE);
            }
            Err(error) => return Err(error),
        }
    }
    if histories.len() > 1 {
        out_line!("\n{}", report::table(&histories));
        for note in report::untuned(&histories) {
            out_line!("note: {note}");
        }
        out_line!("pictures: finetune report {}", config.out.display());
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
    ) + &history.answers.map_or(String::new(), |answers| {
        format!(
            ", right answers {:.1} % of {}",
            100.0 * answers.exact_match,
            answers.rows
        )
    })
}

fn search(experiment: Experiment, args: &RunArgs, stop: &Stop) -> Result<ExitCode, Error> {
    let (factors, seed) = (&args.tune_factors, args.tune_seed);
    let found = tune(experiment, factors, seed, args.flags(), stop, |trial| {
        let result = match (trial.valid, &trial.reason) {
            (Some(valid), _) => format!("validation {valid:.4} (loss {:.4})", trial.loss),
            (None, reason) => {
                let reason = reason.as_deref().unwrap_or("no reason noted");
                format!("failed: {}", message(&reason))
            }
        };
        out_line!(
            "{:<9} step size {:<9} {result}",
            trial.method.title(),
            trial.step_size
        );
    })?;
    if let Some((tuned, path)) = &found.tuned {
        for &method in &tuned.methods {
            out_line!(
                "{:<9} best: {}",
                method.title(),
                tuned.options(method).step_size
            );
        }
        out_line!("for --config: {}", path.display());
    }
    for (method, reasons) in &found.failed {
        let title = method.title();
        let problem = format!("no step size for {title}: all of its trials failed ({reasons})");
        say(&problem);
    }
    if found.failed.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::FAILURE)
    }
}

fn write_report(args: &ReportArgs) -> Result<ExitCode, Error> {
    let found = report::find_runs(&args.folders)?;
    let mut code = ExitCode::SUCCESS;
    for error in &found.unreadable {
        say(&format!("left out: {error}"));
        code = ExitCode::FAILURE;
    }
    let histories = found.histories();
    let out = args.out.as_ref().or(args.folders.first());
    out_line!("{}", report::table(&histories));
    for trouble in report::troubles(&histories) {
        out_line!("{}", message(&trouble));
    }
    for note in report::untuned(&histories) {
        out_line!("note: {note}");
    }
    for path in report::write(out.map_or(".".as_ref(), |out| out.as_path()), &histories)? {
        out_line!("{}", path.display());
    }
    Ok(code)
}

fn write_pruned(args: &PruneArgs) -> Result<ExitCode, Error> {
    let runs = prune::open(&args.folders, &args.options)?;
    let started = Instant::now();
    let mut rows = Vec::new();
    // A file that cannot be written shows before the first gradient.
    args.check()?;
    for folder in runs {
        let pruned = KeptRun::open_with(&folder, |config| args.change(config)).and_then(|run| {
            prune::prune(&run, &args.options, |row| {
                out_line!("{row} [{:.0} s]", started.elapsed().as_secs_f64());
            })
        });
        match pruned {
            Ok(pruned) => rows.extend(pruned),
            Err(error) if rows.is_empty() => return Err(error),
            // Exit code 2 says that nothing was done.
            Err(error) => {
                say(&error);
                return Ok(ExitCode::FAILURE);
            }
        }
        args.write(&rows)?;
    }
    for (title, table) in prune::tables(&rows) {
        out_line!("\n{title}\n{table}");
    }
    Ok(ExitCode::SUCCESS)
}
