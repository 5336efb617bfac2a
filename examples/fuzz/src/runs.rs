//! Commands of `finetune`, and runs of them that cases start from.

use std::fs;
use std::io::{Error, Result};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::inputs::{pictures, texts};

pub const ON_TEXTS: [&str; 2] = ["--task=csv", "--data=texts.csv"];

pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_string()).collect()
}

pub fn finetune(more: &[&str]) -> Vec<String> {
    let own = [
        "finetune",
        "--model=model",
        "--method=adamw",
        "--step-size=0.01",
        "--max-length=12",
        "--batch=16",
        "--epochs=1",
        "--out=runs",
        "--plain",
        "--keep-checkpoints",
    ];
    words(&[&own[..], more].concat())
}

/// Training of a perceptron on pictures.
pub fn on_pictures(epochs: &str) -> Vec<String> {
    words(&[
        "finetune",
        "--task=images",
        "--data=pictures",
        "--adapter=full",
        "--hidden=4",
        "--image-size=8",
        "--method=adamw",
        "--batch=8",
        "--out=runs",
        "--plain",
        "--keep-checkpoints",
        epochs,
    ])
}

/// A run that takes long enough to be broken off.
pub fn long_run() -> Vec<String> {
    [finetune(&ON_TEXTS), words(&["--epochs=60"])].concat()
}

/// A finished run of a perceptron on pictures, made once.
pub fn finished_run(programs: &Path) -> Result<&'static Path> {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    if let Some(run) = RUN.get() {
        return Ok(run.path());
    }
    let folder = tempfile::tempdir()?;
    pictures(folder.path())?;
    let status = start(programs, &on_pictures("--epochs=2"), folder.path())?.wait()?;
    if !status.success() {
        return Err(Error::other("the run that the cases start from fails"));
    }
    Ok(RUN.get_or_init(|| folder).path())
}

/// A run of a small BERT that was killed after a few epochs, made once.
pub fn broken_run(fixtures: &Path, programs: &Path) -> Result<&'static Path> {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    if let Some(run) = RUN.get() {
        return Ok(run.path());
    }
    let folder = tempfile::tempdir()?;
    texts(fixtures, folder.path())?;
    let mut child = start(programs, &long_run(), folder.path())?;
    let record = folder.path().join("runs/adamw-seed1/run.json");
    let epochs = || {
        let record = fs::read(&record).ok()?;
        let record: Value = serde_json::from_slice(&record).ok()?;
        record["epochs"].as_array().map(Vec::len)
    };
    while epochs().unwrap_or(0) < 3 {
        if child.try_wait()?.is_some() {
            return Err(Error::other("the run that the cases start from ends early"));
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill()?;
    child.wait()?;
    Ok(RUN.get_or_init(|| folder).path())
}

fn start(programs: &Path, command: &[String], folder: &Path) -> Result<Child> {
    Command::new(fs::canonicalize(programs.join(&command[0]))?)
        .args(&command[1..])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// The settings of the command as a configuration file.
pub fn settings(programs: &Path, folder: &Path) -> Result<&'static str> {
    static SETTINGS: OnceLock<String> = OnceLock::new();
    if let Some(settings) = SETTINGS.get() {
        return Ok(settings);
    }
    let command = finetune(&ON_TEXTS);
    let output = Command::new(fs::canonicalize(programs.join(&command[0]))?)
        .args(&command[1..])
        .arg("--write-config")
        .current_dir(folder)
        .output()?;
    let text = String::from_utf8(output.stdout).map_err(Error::other)?;
    if text.is_empty() {
        return Err(Error::other("`finetune --write-config` prints nothing"));
    }
    Ok(SETTINGS.get_or_init(|| text))
}
