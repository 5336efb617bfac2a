//! What a step over several devices sends and asks for, counted, and compared with the formulas of the book.

mod formula;
mod one;

use std::path::Path;

use burn_ief::prelude::*;
use programs::files;
use programs::table::{Style, Table, number, table};

use crate::args::Args;
use crate::settings::Setting;

pub use formula::{LayerShape, SentBytes, sent, trained_layers};
pub use one::OneDevice;

/// A step of iEF with momentum in the solve over D devices that share out the layers.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Exchanged {
    /// What was trained.
    pub setting: Setting,
    /// D.
    pub devices: usize,
    /// M, over all devices.
    pub batch: usize,
    /// Trained layers.
    pub layers: usize,
    /// What the devices send each other by the formulas of the book.
    pub formula: SentBytes,
    /// The sum of `formula`.
    pub formula_bytes: f64,
    /// Tensors that burn-ief moved from device to device, each of them one message up to 256 MiB.
    pub messages: usize,
    /// Their bytes.
    pub moved_bytes: usize,
    /// Bytes of those that the first device sent.
    pub moved_by_first: usize,
    /// Bytes between the servers, as proxies counted them.
    pub counted_bytes: f64,
    /// Reads that wait for a device, for each device.
    pub reads: f64,
    /// Answers of a device that the client waited for, as the proxies counted them: the mean over the devices.
    pub round_trips: f64,
}

/// What was measured: steps over several devices, and the cost of joining on one.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Measured {
    /// Steps over several devices.
    pub several: Vec<Exchanged>,
    /// Times on one device.
    pub one: Vec<OneDevice>,
}

/// iEF with momentum in the solve, and without a metric, whose squares would be sent as well.
fn config() -> IefConfig {
    let solve = SolveOptions::plain(Damping::relative(1e-3));
    IefConfig::new().with_solve(solve.with_momentum(Some(0.9)))
}

/// Measure what `--devices` asks for.
///
/// # Errors
///
/// A message for the user: a setting that is not counted, a build without feature `remote`, a server that fails,
/// or a file that cannot be written.
pub fn run(args: &Args) -> Result<(), String> {
    let mut measured = Measured::default();
    for &setting in &args.setting {
        if !matches!(setting, Setting::Mlp | Setting::Lora | Setting::Tiny) {
            return Err(format!(
                "--devices: expected mlp, lora or tiny, found {setting}"
            ));
        }
        for batch in args.batches(setting) {
            for &devices in &args.devices {
                eprintln!("{setting} M = {batch}, {devices} devices");
                if devices == 1 {
                    measured.one.push(one::measure(setting, batch, args)?);
                } else {
                    measured.several.push(count(setting, batch, devices)?);
                }
                if let Some(path) = &args.json {
                    write(&measured, path)?;
                }
            }
        }
    }
    if !measured.several.is_empty() {
        println!("{}", several(&measured.several));
    }
    if !measured.one.is_empty() {
        println!("{}", one::table_of(&measured.one));
    }
    Ok(())
}

fn write(measured: &Measured, path: &Path) -> Result<(), String> {
    files::write_json(path, measured).map_err(|error| error.to_string())
}

fn several(rows: &[Exchanged]) -> Table {
    let header = [
        "setting",
        "D",
        "M",
        "formula MB",
        "moved MB",
        "counted MB",
        "counted / formula",
        "first sends MB",
        "messages",
        "reads",
        "round trips",
    ];
    let lines = rows.iter().map(|row| {
        let megabytes = |bytes: f64| number(Some(bytes / 1e6), 2);
        [
            row.setting.to_string(),
            row.devices.to_string(),
            row.batch.to_string(),
            megabytes(row.formula_bytes),
            megabytes(row.moved_bytes as f64),
            megabytes(row.counted_bytes),
            number(Some(row.counted_bytes / row.formula_bytes), 3),
            megabytes(row.moved_by_first as f64),
            row.messages.to_string(),
            number(Some(row.reads), 1),
            number(Some(row.round_trips), 1),
        ]
    });
    table(Style::Markdown, header, &[0], lines)
}

#[cfg(not(feature = "remote"))]
fn count(_setting: Setting, _batch: usize, _devices: usize) -> Result<Exchanged, String> {
    Err("several devices are servers on this machine: build with `--features remote`".into())
}

#[cfg(feature = "remote")]
use servers::count;

#[cfg(feature = "remote")]
mod servers;
