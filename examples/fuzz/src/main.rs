//! Try damaged and unusual inputs on `finetune`, `replay` and `figures`.
//!
//! Every case changes one input of a working command (a configuration, weights, a table, a tokenizer, flags,
//! a picture, a record) in a way that its format allows or nearly allows, and runs the program. Whatever the
//! input is, the program must end by itself, without a panic, with a message of at most 2,000 characters, and
//! without half-written files.
//!
//! ```text
//! cargo build --workspace --bins --examples
//! target/debug/fuzz --cases 500
//! ```
//!
//! The same seed gives the same cases. What fails is kept in the folder of `--keep`.

mod change;
mod entry;
mod inputs;
mod runs;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use entry::Entry;
use verdict::Verdict;

/// Try damaged and unusual inputs on the programs of this workspace.
#[derive(Debug, Parser)]
struct Args {
    /// Cases of each entry point.
    #[arg(long, default_value_t = 100)]
    cases: u64,
    /// Seed of the changes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only entry points whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Folder of the programs [default: that of this program].
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Root of the repository, whose tests have the small models that the cases start from.
    #[arg(long, default_value = ".")]
    root: PathBuf,
    /// Keep the inputs of failed cases here.
    #[arg(long, default_value = "target/fuzz-failures")]
    keep: PathBuf,
    /// Seconds after which a program counts as hanging.
    #[arg(long, default_value_t = 60)]
    limit: u64,
}

/// The cases of one entry point by outcome.
#[derive(Default)]
struct Count {
    passed: usize,
    refused: usize,
    failed: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let programs = args.programs.clone().unwrap_or_else(|| {
        let own = std::env::current_exe().expect("this program has a path");
        own.parent().map(Path::to_path_buf).unwrap_or_default()
    });
    let limit = Duration::from_secs(args.limit);
    let mut failed = 0;
    println!(
        "{:<24} {:>7} {:>8} {:>8}",
        "entry point", "ran", "refused", "failed"
    );
    for (entry, name) in Entry::ALL {
        if args.only.as_ref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        let mut count = Count::default();
        for case in 0..args.cases {
            let mut generator = ChaCha8Rng::seed_from_u64(args.seed);
            generator.set_stream((entry as u64) << 32 | case);
            let folder = tempfile::tempdir().expect("a temporary folder");
            let command = match entry.prepare(&args.root, &programs, folder.path(), &mut generator)
            {
                Ok(command) => command,
                Err(error) => {
                    eprintln!("{name}: cannot prepare a case: {error}");
                    return ExitCode::from(2);
                }
            };
            match verdict::run(&programs, &command, folder.path(), limit) {
                Verdict::Passed => count.passed += 1,
                Verdict::Refused => count.refused += 1,
                Verdict::Failed(why) => {
                    count.failed += 1;
                    let kept = args.keep.join(format!("{name}-{}-{case}", args.seed));
                    println!("  {name}, case {case}: {why}\n    {}", command.join(" "));
                    if let Err(error) = keep(folder.path(), &kept, &command) {
                        eprintln!("  cannot keep it: {error}");
                    }
                }
            }
        }
        println!(
            "{name:<24} {:>7} {:>8} {:>8}",
            count.passed, count.refused, count.failed
        );
        failed += count.failed;
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        println!(
            "{failed} case(s) failed; their inputs are in {}",
            args.keep.display()
        );
        ExitCode::FAILURE
    }
}

/// Copy the folder of a case, with its command.
fn keep(folder: &Path, target: &Path, command: &[String]) -> std::io::Result<()> {
    copy(folder, target)?;
    std::fs::write(target.join("command.txt"), command.join("\n"))
}

/// Copy a folder with all that is in it; links and special files are left out.
pub fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
