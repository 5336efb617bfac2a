//! What was counted in a step over several devices.

use burn_ief::prelude::*;
use programs::table::{Style, Table, number, table};

use super::formula::SentBytes;
use crate::settings::Setting;

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

/// iEF with momentum in the solve, and without a metric, whose squares would be sent as well.
pub(super) fn config() -> IefConfig {
    let solve = SolveOptions::plain(Damping::relative(1e-3));
    IefConfig::new().with_solve(solve.with_momentum(Some(0.9)))
}

/// The table of these steps.
pub(super) fn table_of(rows: &[Exchanged]) -> Table {
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
