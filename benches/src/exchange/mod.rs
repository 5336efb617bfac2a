//! What a step over several devices sends and asks for, counted, and compared with the formulas of the book.

mod counted;
mod formula;
mod one;

use std::path::Path;

use programs::files;

use crate::args::Args;
use crate::settings::Setting;

pub use counted::Exchanged;
pub use formula::{LayerShape, SentBytes, sent, trained_layers};
pub use one::OneDevice;

/// What was measured: steps over several devices, and the cost of joining on one.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Measured {
    /// Steps over several devices.
    pub several: Vec<Exchanged>,
    /// Times on one device.
    pub one: Vec<OneDevice>,
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
        println!("{}", counted::table_of(&measured.several));
    }
    if !measured.one.is_empty() {
        println!("{}", one::table_of(&measured.one));
    }
    Ok(())
}

fn write(measured: &Measured, path: &Path) -> Result<(), String> {
    files::write_json(path, measured).map_err(|error| error.to_string())
}

#[cfg(not(feature = "remote"))]
fn count(_setting: Setting, _batch: usize, _devices: usize) -> Result<Exchanged, String> {
    Err("several devices are servers on this machine: build with `--features remote`".into())
}

#[cfg(feature = "remote")]
use servers::count;

#[cfg(feature = "remote")]
mod servers;
