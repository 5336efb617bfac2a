//! The same steps on every device of this build, in one table and one picture.

mod origin;
mod picture;
mod row;
mod workload;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use burn::tensor::Device;
use clap::{Parser, ValueEnum};
use programs::{DeviceKind, files, memory};

use crate::count::{Counts, count};
use crate::measure::{Effort, interleave, median};
pub use origin::Origin;
pub use row::Row;
pub use workload::Workload;

const MIB: f64 = 1024.0 * 1024.0;

/// Steps before the one that is counted: kernels are compiled, the optimizers have their state.
const WARM_UP: usize = 3;

/// Time, memory, kernel launches and blocking reads of the same tasks on several devices.
///
/// The tasks of a workload take turns in one process. Memory and counts are those of a process per
/// task. Launches are counted by CubeCL, the runtime of WGPU and CUDA; Flex and NdArray have none. Reads
/// are those that burn-ief makes.
#[derive(Debug, Clone, Parser)]
#[command(name = "devices")]
pub struct Args {
    /// Devices, comma-separated; others than flex need the feature of that name [default: all of this
    /// build].
    #[arg(long, value_delimiter = ',', value_enum)]
    pub device: Vec<DeviceKind>,

    /// Workloads, comma-separated [default: all].
    #[arg(long, value_delimiter = ',', value_enum)]
    pub workloads: Vec<Workload>,

    /// Write the rows here, as a JSON list; rows of other devices and machines that are there stay.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Draw all rows here, as SVG.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,

    /// Measure nothing: print and draw the rows of `--json`.
    #[arg(long, requires = "json")]
    pub show: bool,

    /// Timed rounds over the tasks of a workload.
    #[arg(long, default_value_t = 10)]
    pub rounds: usize,

    /// Seconds after which a task sits the other rounds out (it takes part in three at least).
    #[arg(long, default_value_t = 15.0)]
    pub seconds: f64,

    /// Repeat the one task of the one workload a few times, and print its memory and counts.
    #[arg(long, hide = true, value_name = "TASK")]
    once: Option<String>,
}

/// Measure what the arguments ask for.
///
/// # Errors
///
/// A message for the user: a device that this program was built without or this machine does not
/// have, or a file that cannot be read or written.
pub fn run(args: &Args) -> Result<(), String> {
    if let Some(task) = &args.once {
        return once(args, task);
    }
    let old = match &args.json {
        Some(path) => row::read(path)?,
        None => Vec::new(),
    };
    let rows = if args.show {
        old
    } else {
        let rows = measure_all(args, &old)?;
        row::merge(old, &rows)
    };
    println!("{}", row::report(&rows));
    if let Some(path) = &args.svg {
        let text = picture::svg(&rows).map_err(|error| error.to_string())?;
        files::write(path, text).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn measure_all(args: &Args, old: &[Row]) -> Result<Vec<Row>, String> {
    let kinds = match &args.device[..] {
        [] => {
            let all = DeviceKind::value_variants().iter().copied();
            all.filter(|kind| kind.device().is_ok()).collect()
        }
        kinds => kinds.to_vec(),
    };
    for kind in &kinds {
        kind.open().map_err(|error| error.to_string())?;
    }
    let workloads = match &args.workloads[..] {
        [] => Workload::value_variants(),
        workloads => workloads,
    };
    let mut rows = Vec::new();
    for &kind in &kinds {
        for &workload in workloads {
            rows.extend(measure(args, workload, kind)?);
            // What there is so far survives a crash.
            if let Some(path) = &args.json {
                row::write(path, &row::merge(old.to_vec(), &rows))?;
            }
        }
    }
    Ok(rows)
}

/// All tasks of a workload on one device.
fn measure(args: &Args, workload: Workload, kind: DeviceKind) -> Result<Vec<Row>, String> {
    let device = kind.device().map_err(|error| error.to_string())?;
    let origin = Origin::of(&device);
    let mut rows = Vec::new();
    for &task in workload.tasks() {
        eprintln!("{} on {kind}: memory and counts of {task}", workload.name());
        let once = child(workload, task, kind);
        let error = once.as_ref().err().cloned();
        let once = once.unwrap_or_default();
        rows.push(Row {
            workload,
            task: task.into(),
            batch: workload.batch(),
            device: kind.to_string(),
            origin: origin.clone(),
            median_ms: None,
            min_ms: None,
            ratio: None,
            host_mib: once.host_mib,
            device_mib: once.device_mib,
            launches: once.counts.and_then(|counts| counts.launches),
            reads: once.counts.map(|counts| counts.reads),
            error,
        });
    }
    eprintln!("{} on {kind}: times", workload.name());
    let mut timed: Vec<&mut Row> = rows.iter_mut().filter(|row| row.error.is_none()).collect();
    let mut steps = Vec::new();
    for row in &timed {
        steps.push(workload.prepare(&row.task, &device)?);
    }
    let effort = Effort {
        rounds: args.rounds,
        budget: Duration::from_secs_f64(args.seconds.max(0.0)),
    };
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    for (row, times) in timed.iter_mut().zip(interleave(&mut steps, effort)) {
        row.median_ms = median(&times).map(milliseconds);
        row.min_ms = times.iter().min().copied().map(milliseconds);
    }
    row::relate(&mut rows);
    Ok(rows)
}

/// What a process of its own reports.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
struct Once {
    host_mib: Option<f64>,
    device_mib: Option<f64>,
    counts: Option<Counts>,
}

/// Print memory and counts of this process.
fn once(args: &Args, task: &str) -> Result<(), String> {
    let (Some(&kind), Some(&workload)) = (args.device.first(), args.workloads.first()) else {
        return Err("--once needs --device and --workloads".into());
    };
    let device = kind.device().map_err(|error| error.to_string())?;
    let mut step = workload.prepare(task, &device)?;
    (0..WARM_UP).for_each(|_| step.step());
    let counts = count(kind, || step.step());
    let once = Once {
        host_mib: memory::peak_mib(),
        device_mib: device_mib(&device),
        counts: Some(counts),
    };
    let text = serde_json::to_string(&once).map_err(|error| error.to_string())?;
    println!("{text}");
    Ok(())
}

/// What the allocator of a device with memory of its own holds.
fn device_mib(device: &Device) -> Option<f64> {
    let usage = device.memory_pool_usage()?;
    Some(usage.bytes_reserved as f64 / MIB)
}

/// [`once`] in a process of its own.
fn child(workload: Workload, task: &str, kind: DeviceKind) -> Result<Once, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let child = Command::new(program)
        .args(["--once", task])
        .args(["--workloads", workload.name()])
        .args(["--device", kind.name()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if !child.status.success() {
        let words = String::from_utf8_lossy(&child.stderr);
        let last = words.lines().next_back().unwrap_or("failed");
        return Err(match child.status.code() {
            None => format!("the process was killed ({})", child.status),
            Some(_) => last.to_string(),
        });
    }
    let text = String::from_utf8_lossy(&child.stdout);
    serde_json::from_str(text.trim()).map_err(|error| format!("{error}: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_commands_parse() {
        let line = "devices --device flex,ndarray,wgpu --json devices.json --svg devices.svg";
        let args = Args::try_parse_from(line.split(' ')).unwrap();
        assert_eq!(args.device.len(), 3);
        assert!(args.workloads.is_empty());
        assert!(Args::try_parse_from(["devices", "--show"]).is_err());
    }

    #[test]
    fn rows_are_shown_without_measuring() {
        let folder = tempfile::tempdir().unwrap();
        let (json, svg) = (folder.path().join("a.json"), folder.path().join("a.svg"));
        let rows = [row::tests::row(Workload::Mlp, "sgd", "flex", 20.0)];
        row::write(&json, &rows).unwrap();
        let flags = [
            "--json".as_ref(),
            json.as_os_str(),
            "--svg".as_ref(),
            svg.as_os_str(),
        ];
        let line = ["devices".as_ref(), "--show".as_ref()]
            .into_iter()
            .chain(flags);
        run(&Args::try_parse_from(line).unwrap()).unwrap();
        assert_eq!(row::read(&json).unwrap(), rows);
        assert!(std::fs::read_to_string(svg).unwrap().contains("flex"));
    }
}
