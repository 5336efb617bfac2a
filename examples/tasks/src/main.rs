//! Compare optimizers on small tasks with real data.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use programs::command::between;
use programs::command_line::parse;
use programs::out_line;
use programs::table::{Style, table};
use tasks::optimizers::{self, Budget};
use tasks::plan::{Planned, Wanted, applies, pending};
use tasks::record::Run;
use tasks::store::{self, Store};
use tasks::{Error, page, pool, summary, tasks as list};

/// glibc's allocator costs up to 1.8 times the time of a step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Compare optimizers on small tasks with real data.
///
/// Does the runs that the results lack, each in a process of one thread. It can be stopped at any time and
/// started again.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Folder with what `scripts/fetch-data --out DIR mnist10k cifar10 minilm trec sentiment sms` makes.
    #[arg(long, value_name = "DIR", default_value = ".")]
    data: PathBuf,
    /// Folder of the results.
    #[arg(long, value_name = "DIR", default_value = "benches/results/tasks")]
    results: PathBuf,
    /// A task; candidates for a default run on it whichever half it belongs to. May be repeated [default: all].
    #[arg(long, value_name = "NAME")]
    task: Vec<String>,
    /// An optimizer. May be repeated [default: all].
    #[arg(long, value_name = "NAME")]
    optimizer: Vec<String>,
    /// Runs at a time.
    #[arg(long, default_value = "2", value_parser = between::<1, 256>)]
    jobs: usize,
    /// List tasks, optimizers and the runs that are pending, and do nothing.
    #[arg(long)]
    list: bool,
    /// Print the tables of the results, and do nothing.
    #[arg(long)]
    show: bool,
    /// With --show: write the tables into this page too, between its marks.
    #[arg(long, value_name = "FILE", requires = "show")]
    page: Option<PathBuf>,
    /// Do one run and print its line: for the processes that this program starts.
    #[arg(long, value_name = "JSON", hide = true)]
    run: Option<String>,
}

fn main() -> ExitCode {
    programs::command::end(start(&parse()), 1)
}

fn start(args: &Args) -> Result<(), Error> {
    if let Some(run) = &args.run {
        return one(run, args);
    }
    let wanted = wanted(args)?;
    if args.list {
        print_list(&wanted, args)?;
        return Ok(());
    }
    if args.show {
        let tables = summary::show(&wanted, &store::read(&args.results)?);
        if let Some(path) = &args.page {
            page::update(path, &tables)?;
        }
        out_line!("{tables}");
        return Ok(());
    }
    let store = Store::open(&args.results)?;
    let count = pending(&wanted, store.records()).len();
    out_line!(
        "{} results are there, at least {count} runs are left",
        store.records().len()
    );
    pool::work(&wanted, store, args.jobs, |planned: &Planned| {
        pool::in_child(planned, &args.data)
    })?;
    Ok(())
}

fn one(run: &str, args: &Args) -> Result<(), Error> {
    let run: Run = serde_json::from_str(run).map_err(|error| Error::Stopped {
        run: "--run".into(),
        problem: error.to_string(),
    })?;
    let entry = list::named(&run.task)?;
    let record = (entry.train)(&run, &args.data)?;
    let line = serde_json::to_string(&record).expect("a record is plain data");
    out_line!("{line}");
    Ok(())
}

fn wanted(args: &Args) -> Result<Wanted, Error> {
    let tasks = if args.task.is_empty() {
        list::definitions(None)
    } else {
        let entries = args.task.iter().map(|name| list::named(name));
        let definitions = entries.map(|entry| Ok(entry?.definition));
        definitions.collect::<Result<_, Error>>()?
    };
    let contenders = if args.optimizer.is_empty() {
        optimizers::all()
    } else {
        let named = args.optimizer.iter().map(|name| optimizers::named(name));
        named.collect::<Result<_, Error>>()?
    };
    Ok(Wanted {
        tasks,
        contenders,
        both_halves: !args.task.is_empty(),
    })
}

fn print_list(wanted: &Wanted, args: &Args) -> Result<(), Error> {
    let tasks = wanted.tasks.iter().map(|task| {
        [
            task.name.to_string(),
            task.title.into(),
            task.half.name().into(),
            task.steps.to_string(),
            task.batch.to_string(),
            task.folders.join(" "),
        ]
    });
    let header = ["task", "", "half", "steps", "batch", "data"];
    out_line!("{}\n", table(Style::Lines, header, &[0, 1, 2, 5], tasks));
    let contenders = wanted.contenders.iter().map(|contender| {
        let count = wanted.tasks.iter();
        let count = count
            .filter(|task| applies(wanted, contender, task))
            .count();
        let (searched, seeds) = match contender.budget {
            Budget::Fixed { seeds, .. } => (0, seeds),
            Budget::Searched {
                sizes,
                schedules,
                seeds,
                ..
            } => (sizes * schedules.len(), seeds),
        };
        [
            contender.name.to_string(),
            contender.title.into(),
            count.to_string(),
            searched.to_string(),
            seeds.to_string(),
        ]
    });
    let header = ["optimizer", "", "tasks", "search, runs", "seeds"];
    out_line!("{}\n", table(Style::Lines, header, &[0, 1], contenders));
    let records = store::read(&args.results)?;
    out_line!(
        "{} results are there, at least {} runs are left",
        records.len(),
        pending(wanted, &records).len()
    );
    Ok(())
}
