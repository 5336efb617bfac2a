//! The whole programme: peaks, times, table, file.

use std::time::Duration;

use programs::DeviceKind;
use programs::memory::available_bytes;

use crate::args::Args;
use crate::exchange;
use crate::measure::{Effort, interleave, median};
use crate::memory;
use crate::method::{Method, Step, prepare};
use crate::settings::Setting;
use crate::table::{self, Row};

/// Measure what the arguments ask for.
///
/// # Errors
///
/// A message for the user: a method that the setting does not have, a device that this program
/// was built without, or a file that cannot be written.
pub fn run(args: &Args) -> Result<(), String> {
    if args.peak {
        let (setting, place) = (args.setting[0], args.device[0]);
        return memory::measure_here(
            setting,
            args.methods(setting)?[0],
            args.batches(setting)[0],
            args.operations(),
            place,
        );
    }
    if !args.devices.is_empty() {
        return exchange::run(args);
    }
    for &setting in &args.setting {
        args.methods(setting)?;
    }
    for place in &args.device {
        place.device().map_err(|error| error.to_string())?;
    }
    let mut rows = Vec::new();
    for &setting in &args.setting {
        let before = rows.len();
        for batch in args.batches(setting) {
            for &place in &args.device {
                rows.extend(measure(args, setting, batch, place)?);
                // What there is so far survives a crash.
                if let Some(path) = &args.json {
                    table::write_json(&rows, path)?;
                }
            }
        }
        println!(
            "{setting}: whole step, interleaved\n{}",
            table::table(&rows[before..])
        );
    }
    Ok(())
}

/// All methods at one batch size on one device.
fn measure(
    args: &Args,
    setting: Setting,
    batch: usize,
    place: DeviceKind,
) -> Result<Vec<Row>, String> {
    let mut rows: Vec<Row> = Vec::new();
    for method in args.methods(setting)? {
        eprintln!("{setting} M = {batch} {place}: peak memory of {method}");
        let peak = fits(setting, method, batch).and_then(|()| {
            if args.no_memory {
                Ok(None)
            } else {
                memory::measure_child(setting, method, batch, args.operations(), place)
            }
        });
        rows.push(Row {
            setting,
            method,
            batch,
            plain: args.plain,
            device: place.to_string(),
            median_ms: None,
            min_ms: None,
            ratio_to_sgd: None,
            peak_mib: peak.clone().ok().flatten(),
            error: peak.err(),
        });
    }
    eprintln!("{setting} M = {batch} {place}: times");
    let device = place.device().map_err(|error| error.to_string())?;
    let mut timed: Vec<&mut Row> = rows.iter_mut().filter(|row| row.error.is_none()).collect();
    let mut steps: Vec<_> = timed
        .iter()
        .map(|row| {
            let step = prepare(setting, row.method, batch, args.operations(), &device);
            Box::new(Cycle(step, args.cycle)) as Box<dyn Step>
        })
        .collect();
    let effort = Effort {
        rounds: args.rounds,
        budget: Duration::from_secs_f64(args.seconds.max(0.0)),
    };
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3 / args.cycle as f64;
    for (row, times) in timed.iter_mut().zip(interleave(&mut steps, effort)) {
        row.median_ms = median(&times).map(milliseconds);
        row.min_ms = times.iter().min().copied().map(milliseconds);
    }
    table::relate(&mut rows);
    Ok(rows)
}

/// Several steps as one.
struct Cycle(Box<dyn Step>, usize);

impl Step for Cycle {
    fn step(&mut self) {
        (0..self.1).for_each(|_| self.0.step());
    }
}

fn fits(setting: Setting, method: Method, batch: usize) -> Result<(), String> {
    let predicted = memory::predicted_bytes(setting, method, batch);
    memory::check(predicted, available_bytes())
}
