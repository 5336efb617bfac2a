//! Run a program on a case, and judge how it ended.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Most characters of a message.
const MESSAGE: usize = 2_000;
/// Address space of a program, in KiB: an input of a few KB must not ask for more.
const ADDRESSES: u64 = 12 << 20;

/// How a case ended.
pub enum Verdict {
    /// The program accepted the input.
    Passed,
    /// It refused it, with a message.
    Refused,
    /// It did something that it never should, and what.
    Failed(String),
}

/// Run `command` (a program of `programs`, then its arguments) in `folder`.
pub fn run(programs: &Path, command: &[String], folder: &Path, limit: Duration) -> Verdict {
    match attempt(programs, command, folder, limit) {
        Ok(verdict) => verdict,
        Err(error) => Verdict::Failed(format!("it cannot be run: {error}")),
    }
}

fn attempt(
    programs: &Path,
    command: &[String],
    folder: &Path,
    limit: Duration,
) -> std::io::Result<Verdict> {
    let [program, arguments @ ..] = command else {
        return Ok(Verdict::Failed("there is no program".into()));
    };
    let program = fs::canonicalize(programs.join(program))?;
    let before = unfinished(folder)?;
    let logs = tempfile::tempdir()?;
    let (out, err) = (logs.path().join("out"), logs.path().join("err"));
    // The shell sets the limit and is replaced by the program.
    let mut child = Command::new("sh")
        .args(["-c", &format!("ulimit -v {ADDRESSES}; exec \"$@\""), "sh"])
        .arg(program)
        .args(arguments)
        .current_dir(folder)
        .env("RAYON_NUM_THREADS", "1")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(File::create(&out)?)
        .stderr(File::create(&err)?)
        .spawn()?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(Verdict::Failed(format!("it hangs ({limit:?})")));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let said = String::from_utf8_lossy(&fs::read(&err)?).into_owned();
    let left = unfinished(folder)?.into_iter();
    let left = left
        .filter(|file| !before.contains(file))
        .collect::<Vec<_>>();
    Ok(judge(status, &said, &left))
}

/// `left` are the unfinished files that were not there before.
fn judge(status: ExitStatus, said: &str, left: &[String]) -> Verdict {
    let first_lines = || said.chars().take(300).collect::<String>();
    if said.contains("panicked at") || status.code() == Some(101) {
        return Verdict::Failed(format!("it panics: {}", first_lines()));
    }
    if let Some(signal) = status.signal() {
        return Verdict::Failed(format!("signal {signal}: {}", first_lines()));
    }
    let messages = said.lines().filter(|line| line.contains("error"));
    if let Some(length) = messages.map(|line| line.chars().count()).max()
        && length > MESSAGE
    {
        return Verdict::Failed(format!(
            "a message of {length} characters: {}",
            first_lines()
        ));
    }
    if !left.is_empty() {
        return Verdict::Failed(format!("it leaves {}", left.join(", ")));
    }
    match status.code() {
        Some(0) => Verdict::Passed,
        Some(_) if said.trim().is_empty() => Verdict::Failed("it fails without a message".into()),
        _ => Verdict::Refused,
    }
}

/// Unfinished files of a folder, by the endings of their names.
fn unfinished(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".tmp") || name.ends_with(".part") || name.starts_with(".tmp") {
            found.push(name.clone());
        }
        if entry.file_type()?.is_dir() {
            let inside = unfinished(&entry.path())?;
            found.extend(inside.into_iter().map(|file| format!("{name}/{file}")));
        }
    }
    Ok(found)
}
