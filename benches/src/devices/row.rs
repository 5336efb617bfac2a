//! Rows of the comparison, as JSON and as a table.

use std::fs;
use std::path::Path;

use programs::files;
use programs::table::{self, Style, Table, number};

use super::origin::Origin;
use super::workload::Workload;

/// One task on one device.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Row {
    /// Model or layer.
    pub workload: Workload,
    /// What is done with it.
    pub task: String,
    /// Samples per batch.
    pub batch: usize,
    /// Name of the device.
    pub device: String,
    /// Where it was measured.
    #[serde(flatten)]
    pub origin: Origin,
    /// Median of the interleaved times.
    pub median_ms: Option<f64>,
    /// The fastest.
    pub min_ms: Option<f64>,
    /// Median over that of the workload's first task on the same device.
    pub ratio: Option<f64>,
    /// Largest resident set of a process of its own.
    pub host_mib: Option<f64>,
    /// What the device's allocator holds in the end; it keeps what it needed at its peak. `None` for
    /// devices that use the memory of the host.
    pub device_mib: Option<f64>,
    /// Kernel launches of a step; `None` where there are no kernels.
    pub launches: Option<usize>,
    /// Blocking reads of a step.
    pub reads: Option<usize>,
    /// Why there are no numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Row {
    /// Whether a new row takes the place of this one.
    fn same_place(&self, other: &Self) -> bool {
        let key = |row: &Self| {
            let Origin {
                machine, hardware, ..
            } = &row.origin;
            let place = (row.device.clone(), machine.clone(), hardware.clone());
            (row.workload, row.task.clone(), place)
        };
        key(self) == key(other)
    }
}

/// Fill in the ratios of the rows of one workload on one device, the first of them the basis.
pub fn relate(rows: &mut [Row]) {
    let Some(basis) = rows.first().and_then(|row| row.median_ms) else {
        return;
    };
    for row in rows {
        row.ratio = row.median_ms.map(|median| median / basis);
    }
}

/// The rows of a file, none if it does not exist.
///
/// # Errors
///
/// Says what is wrong with the file.
pub fn read(path: &Path) -> Result<Vec<Row>, String> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Write the rows as a JSON list.
///
/// # Errors
///
/// Says what could not be written.
pub fn write(path: &Path, rows: &[Row]) -> Result<(), String> {
    files::write_json(path, &rows).map_err(|error| error.to_string())
}

/// Old rows with the new ones in their places.
pub fn merge(old: Vec<Row>, new: &[Row]) -> Vec<Row> {
    let replaced = |row: &Row| new.iter().any(|new| new.same_place(row));
    let kept = old.into_iter().filter(|row| !replaced(row));
    kept.chain(new.iter().cloned()).collect()
}

/// The hardware of each device, and a line per workload and task, the devices below each other.
pub fn report(rows: &[Row]) -> String {
    let mut text = String::new();
    for (device, origin) in origins(rows) {
        let Origin {
            machine,
            hardware,
            versions,
        } = origin;
        text += &format!("- {device}: {hardware}; {machine}; {versions}\n");
    }
    format!("{text}\n{}", table(rows))
}

/// Each device and where it was measured, once.
pub fn origins(rows: &[Row]) -> Vec<(&str, &Origin)> {
    let mut origins: Vec<(&str, &Origin)> = Vec::new();
    for row in rows {
        let origin = (row.device.as_str(), &row.origin);
        if !origins.contains(&origin) {
            origins.push(origin);
        }
    }
    origins
}

fn table(rows: &[Row]) -> Table {
    let header = [
        "workload",
        "M",
        "task",
        "device",
        "median ms",
        "min ms",
        "x first",
        "host MiB",
        "device MiB",
        "launches",
        "reads",
    ];
    let mut sorted: Vec<&Row> = rows.iter().collect();
    let tasks: Vec<_> = rows.iter().map(|row| (row.workload, &row.task)).collect();
    sorted.sort_by_key(|row| {
        tasks
            .iter()
            .position(|task| *task == (row.workload, &row.task))
    });
    let lines = sorted.into_iter().map(|row| {
        let median = match &row.error {
            Some(error) => error.clone(),
            None => number(row.median_ms, 1),
        };
        let count =
            |count: Option<usize>| count.map_or("–".to_string(), |count| count.to_string());
        [
            row.workload.name().to_string(),
            row.batch.to_string(),
            row.task.clone(),
            row.device.clone(),
            median,
            number(row.min_ms, 1),
            number(row.ratio, 2),
            number(row.host_mib, 0),
            row.device_mib
                .map_or("–".to_string(), |mib| format!("{mib:.0}")),
            count(row.launches),
            count(row.reads),
        ]
    });
    table::table(Style::Markdown, header, &[0, 2, 3], lines)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn row(workload: Workload, task: &str, device: &str, median_ms: f64) -> Row {
        Row {
            workload,
            task: task.into(),
            batch: 4,
            device: device.into(),
            origin: Origin {
                machine: "here".into(),
                hardware: format!("{device} card"),
                versions: "burn 0".into(),
            },
            median_ms: Some(median_ms),
            min_ms: Some(median_ms),
            ratio: None,
            host_mib: Some(100.0),
            device_mib: (device == "wgpu").then_some(50.0),
            launches: (device == "wgpu").then_some(120),
            reads: Some(2),
            error: None,
        }
    }

    #[test]
    fn ratios_are_those_to_the_first_task() {
        let mut rows = [
            row(Workload::Mlp, "sgd", "flex", 20.0),
            row(Workload::Mlp, "ief", "flex", 22.0),
        ];
        relate(&mut rows);
        assert_eq!(rows[1].ratio, Some(1.1));
    }

    #[test]
    fn a_file_keeps_the_rows_of_other_devices_and_machines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("devices.json");
        assert_eq!(read(&path), Ok(Vec::new()));
        let mut elsewhere = row(Workload::Mlp, "ief", "wgpu", 9.0);
        elsewhere.origin.machine = "elsewhere".into();
        let old = [
            row(Workload::Mlp, "ief", "flex", 30.0),
            row(Workload::Mlp, "ief", "wgpu", 7.0),
            elsewhere.clone(),
        ];
        write(&path, &old).unwrap();
        let new = [row(Workload::Mlp, "ief", "wgpu", 5.0)];
        let merged = merge(read(&path).unwrap(), &new);
        assert_eq!(merged, [old[0].clone(), elsewhere, new[0].clone()]);
        std::fs::write(&path, "[{}]").unwrap();
        assert!(read(&path).unwrap_err().contains("devices.json"));
    }

    /// `devices --show --json benches/results/devices.json` prints what the page shows.
    #[test]
    fn the_page_has_the_committed_results() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let rows = read(&folder.join("results/devices.json")).unwrap();
        let page = fs::read_to_string(folder.join("../docs/src/devices.md")).unwrap();
        let report = report(&rows);
        assert!(report.lines().count() > 20, "{report}");
        for line in report.lines().filter(|line| !line.is_empty()) {
            assert!(page.contains(line), "{line}");
        }
    }

    #[test]
    fn devices_are_below_each_other() {
        let mut failed = row(Workload::Lora, "sf", "flex", 1.0);
        failed.median_ms = None;
        failed.error = Some("out of memory".into());
        let rows = [
            row(Workload::Mlp, "sgd", "flex", 20.0),
            row(Workload::Mlp, "ief", "flex", 22.0),
            failed,
            row(Workload::Mlp, "sgd", "wgpu", 70.0),
            row(Workload::Mlp, "ief", "wgpu", 75.0),
        ];
        let text = report(&rows);
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(" mlp ")).collect();
        let devices = lines.iter().map(|line| line.contains("wgpu"));
        assert_eq!(
            devices.collect::<Vec<_>>(),
            [false, true, false, true],
            "{text}"
        );
        assert!(lines[0].contains("–") && lines[1].contains("120"), "{text}");
        assert!(
            text.starts_with("- flex: flex card; here; burn 0\n- wgpu"),
            "{text}"
        );
        assert!(text.contains("out of memory"), "{text}");
    }
}
