//! Compare optimizers on small tasks with real data.

use std::path::{Path, PathBuf};
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
use tasks::{Error, page, parts, pool, summary, tasks as list};

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
    /// Folder of the results [default: benches/results/tasks, or benches/results/parts with --parts].
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    /// A task; candidates for a default run on it whichever half it belongs to. May be repeated [default: all].
    #[arg(long, value_name = "NAME")]
    task: Vec<String>,
    /// An optimizer. May be repeated [default: all].
    #[arg(long, value_name = "NAME")]
    optimizer: Vec<String>,
    /// Compare, in place of optimizers, iEF whose batches are cut into 1, 2, 4 and 8 parts, as several devices would
    /// measure them, and three ways to make one update of them [tasks: digits-lora and trec-lora].
    #[arg(long)]
    parts: bool,
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
    let folder = results(args);
    if args.list {
        print_list(&wanted, &folder)?;
        return Ok(());
    }
    if args.show {
        let records = store::read(&folder)?;
        let tables = if args.parts {
            parts::show(&wanted.tasks, &records)
        } else {
            summary::show(&wanted, &records)
        };
        if let Some(path) = &args.page {
            page::update(path, &tables)?;
        }
        out_line!("{tables}");
        return Ok(());
    }
    let store = Store::open(&folder)?;
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

fn results(args: &Args) -> PathBuf {
    let folder = if args.parts { "parts" } else { "tasks" };
    let default = || Path::new("benches/results").join(folder);
    args.results.clone().unwrap_or_else(default)
}

fn wanted(args: &Args) -> Result<Wanted, Error> {
    let named = |names: &[&str]| {
        let entries = names.iter().map(|name| list::named(name));
        let definitions = entries.map(|entry| Ok(entry?.definition));
        definitions.collect::<Result<Vec<_>, Error>>()
    };
    let tasks = if !args.task.is_empty() {
        let names: Vec<&str> = args.task.iter().map(String::as_str).collect();
        named(&names)?
    } else if args.parts {
        named(&parts::TASKS)?
    } else {
        list::definitions(None)
    };
    let contenders = if args.optimizer.is_empty() && args.parts {
        optimizers::parts::all()
    } else if args.optimizer.is_empty() {
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

fn print_list(wanted: &Wanted, folder: &Path) -> Result<(), Error> {
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
    let records = store::read(folder)?;
    out_line!(
        "{} results are there, at least {} runs are left",
        records.len(),
        pending(wanted, &records).len()
    );
    Ok(())
}
