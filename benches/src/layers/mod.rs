//! What recording costs, layer by layer: forward and backward of one layer, plain and recorded.
//!
//! The plain pass is what SGD does with the layer: Burn's `forward` and `backward`, and the gradients
//! collected. The recorded pass is what iEF does: the recorded call, `backward`, the rows collected, their
//! Gram matrix, and one combination of them. The M × M system of iEF, which a whole model solves once, is
//! not part of it.

mod entry;
mod image;
mod sequence;

use std::path::PathBuf;
use std::time::Duration;

use burn::tensor::Device;
use clap::Parser;
use programs::command::at_least;
use programs::table::{Style, Table, number, table};
use programs::{DeviceKind, files};

use crate::measure::{Effort, interleave, median};
use entry::Entry;

/// Time of forward and backward of each layer, recorded and plain.
///
/// Both passes of a layer take turns in one process, after a warm-up; times are medians. The input needs a
/// gradient, as in all layers but the first.
#[derive(Debug, Clone, Parser)]
#[command(name = "layers")]
pub struct Args {
    /// Layers, comma-separated [default: all].
    #[arg(long, value_delimiter = ',', value_name = "LAYER")]
    pub layers: Vec<String>,

    /// Samples per batch.
    #[arg(long, default_value_t = 32, value_name = "M", value_parser = at_least::<1>)]
    pub batch: usize,

    /// Device; others than flex need the feature of that name.
    #[arg(long, value_enum, default_value = "flex")]
    pub device: DeviceKind,

    /// Write the rows here, as a JSON list.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Timed rounds over the two passes of a layer.
    #[arg(long, default_value_t = 30, value_parser = at_least::<1>)]
    pub rounds: usize,

    /// Seconds after which a pass sits the other rounds out (it takes part in three at least).
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
}

/// How large the layers are.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Samples M.
    pub batch: usize,
    /// What widths, channels, positions and sizes of images are divided by: 1 for the sizes that are
    /// measured, more for tests.
    pub divisor: usize,
}

impl Size {
    /// A width or a length.
    fn of(self, full: usize) -> usize {
        (full / self.divisor).max(1)
    }
}

/// One layer.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Row {
    /// Its name in Burn.
    pub layer: &'static str,
    /// Shape of its input.
    pub input: Vec<usize>,
    /// Trained parameters.
    pub parameters: usize,
    /// Name of the device.
    pub device: String,
    /// Median of the plain passes.
    pub plain_ms: Option<f64>,
    /// Median of the recorded passes.
    pub recorded_ms: Option<f64>,
    /// Recorded over plain.
    pub ratio: Option<f64>,
}

/// Every layer that is measured.
fn entries(size: Size, device: &Device) -> Vec<Entry> {
    let mut entries = sequence::entries(size, device);
    entries.extend(image::entries(size, device));
    entries
}

/// Measure what the arguments ask for.
///
/// # Errors
///
/// A message for the user: an unknown layer, a device that this program was built without, or a file that
/// cannot be written.
pub fn run(args: &Args) -> Result<(), String> {
    let device = args.device.device().map_err(|error| error.to_string())?;
    let device = device.autodiff();
    device.seed(1);
    let size = Size {
        batch: args.batch,
        divisor: 1,
    };
    let entries = entries(size, &device);
    let names: Vec<&str> = entries.iter().map(|entry| entry.layer).collect();
    if let Some(unknown) = args.layers.iter().find(|l| !names.contains(&l.as_str())) {
        return Err(format!(
            "unknown layer `{unknown}`: expected one of {}",
            names.join(", ")
        ));
    }
    let effort = Effort {
        rounds: args.rounds,
        budget: Duration::from_secs_f64(args.seconds.max(0.0)),
    };
    let mut rows = Vec::new();
    for entry in entries {
        if args.layers.is_empty() || args.layers.iter().any(|name| name == entry.layer) {
            eprintln!("{}", entry.layer);
            rows.push(measure(&entry, effort, args.device));
            // What there is so far survives a crash.
            if let Some(path) = &args.json {
                files::write_json(path, &rows).map_err(|error| error.to_string())?;
            }
        }
    }
    println!("{}", report(&rows));
    Ok(())
}

fn measure(entry: &Entry, effort: Effort, place: DeviceKind) -> Row {
    let mut steps = [entry.step(false), entry.step(true)];
    let times = interleave(&mut steps, effort);
    let milliseconds = |times| median(times).map(|time| time.as_secs_f64() * 1e3);
    let [plain_ms, recorded_ms] = [milliseconds(&times[0]), milliseconds(&times[1])];
    Row {
        layer: entry.layer,
        input: entry.input.clone(),
        parameters: entry.parameters,
        device: place.to_string(),
        plain_ms,
        recorded_ms,
        ratio: recorded_ms.zip(plain_ms).map(|(own, plain)| own / plain),
    }
}

fn report(rows: &[Row]) -> Table {
    let header = [
        "layer",
        "input",
        "parameters",
        "plain ms",
        "recorded ms",
        "recorded / plain",
    ];
    let lines = rows.iter().map(|row| {
        [
            row.layer.to_string(),
            format!("{:?}", row.input),
            row.parameters.to_string(),
            number(row.plain_ms, 2),
            number(row.recorded_ms, 2),
            number(row.ratio, 2),
        ]
    });
    table(Style::Markdown, header, &[0, 1], lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::random_state;

    fn small() -> Vec<Entry> {
        let size = Size {
            batch: 3,
            divisor: 16,
        };
        let device = Device::flex().autodiff();
        device.seed(1);
        entries(size, &device)
    }

    #[test]
    fn every_layer_takes_both_passes_and_their_gradients_agree() {
        let _random = random_state();
        for entry in small() {
            let [plain, recorded] = [false, true].map(|recorded| entry.summed_gradient(recorded));
            assert_eq!(plain.len(), entry.parameters, "{}", entry.layer);
            let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
            let difference: Vec<f64> = plain.iter().zip(&recorded).map(|(a, b)| a - b).collect();
            let error = norm(&difference) / norm(&plain);
            assert!(error < 1e-4, "{}: {error:e}", entry.layer);
        }
    }

    #[test]
    fn names_are_unique_and_rows_have_times() {
        let _random = random_state();
        let entries = small();
        let mut names: Vec<&str> = entries.iter().map(|entry| entry.layer).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), entries.len());
        let effort = Effort {
            rounds: 1,
            budget: Duration::ZERO,
        };
        let row = measure(&entries[0], effort, DeviceKind::Flex);
        assert!(row.ratio.is_some_and(|ratio| ratio > 0.0));
        assert!(report(&[row]).to_string().contains("recorded / plain"));
    }

    #[test]
    fn unknown_layers_are_refused() {
        let args = Args::try_parse_from(["layers", "--layers", "Conv9d"]).unwrap();
        assert!(run(&args).unwrap_err().contains("Conv9d"));
        assert!(Args::try_parse_from(["layers", "--batch", "0"]).is_err());
    }
}
