//! Rows, as JSON and as a table.

use std::path::Path;

use programs::files;
use programs::table::{self, Style, Table, number};

use crate::method::Method;
use crate::settings::Setting;

/// One method at one batch size on one device.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Row {
    /// What was trained.
    pub setting: Setting,
    /// How.
    pub method: Method,
    /// Samples per batch.
    pub batch: usize,
    /// Whether activations, norms and attention are Burn's own operations (`--plain`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub plain: bool,
    /// Name of the device.
    pub device: String,
    /// Median of the interleaved steps.
    pub median_ms: Option<f64>,
    /// Fastest step.
    pub min_ms: Option<f64>,
    /// Median over SGD's median, if SGD was measured as well.
    pub ratio_to_sgd: Option<f64>,
    /// Largest resident set of a process of its own.
    pub peak_mib: Option<f64>,
    /// Why there are no times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Fill in the ratios of rows of one setting, batch size and device.
pub fn relate(rows: &mut [Row]) {
    let sgd = rows.iter().find(|row| row.method == Method::SGD);
    let Some(sgd) = sgd.and_then(|row| row.median_ms) else {
        return;
    };
    for row in rows {
        row.ratio_to_sgd = row.median_ms.map(|median| median / sgd);
    }
}

/// Write the rows as a JSON list.
///
/// # Errors
///
/// Says what could not be written.
pub fn write_json(rows: &[Row], path: &Path) -> Result<(), String> {
    files::write_json(path, &rows).map_err(|error| error.to_string())
}

/// A line per batch size and method, the devices side by side.
pub fn table(rows: &[Row]) -> Table {
    let mut devices: Vec<&str> = Vec::new();
    let mut lines: Vec<(usize, Method)> = Vec::new();
    for row in rows {
        if !devices.contains(&row.device.as_str()) {
            devices.push(&row.device);
        }
        if !lines.contains(&(row.batch, row.method)) {
            lines.push((row.batch, row.method));
        }
    }
    let mut header = vec!["M".to_string(), "method".to_string()];
    for device in &devices {
        let columns = ["median ms", "min ms", "x SGD", "peak MiB"];
        header.extend(columns.map(|column| format!("{device} {column}")));
    }
    let mut cells = Vec::new();
    for (batch, method) in lines {
        let mut line = vec![batch.to_string(), method.to_string()];
        for device in &devices {
            let mut same = rows.iter();
            let row = same.find(|row| {
                (row.batch, row.method, row.device.as_str()) == (batch, method, device)
            });
            line.extend(cells_of(row));
        }
        cells.push(line);
    }
    table::table(Style::Markdown, header, &[1], cells)
}

fn cells_of(row: Option<&Row>) -> [String; 4] {
    let Some(row) = row else {
        return Default::default();
    };
    let median = match &row.error {
        Some(error) => error.clone(),
        None => time(row.median_ms),
    };
    [
        median,
        time(row.min_ms),
        number(row.ratio_to_sgd, 2),
        number(row.peak_mib, 0),
    ]
}

/// Milliseconds to about three digits.
fn time(milliseconds: Option<f64>) -> String {
    let digits = match milliseconds {
        Some(short) if short < 1.0 => 3,
        Some(short) if short < 10.0 => 2,
        _ => 1,
    };
    number(milliseconds, digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use programs::optimizer::{OptimizerName, optimizer};

    fn row(method: Method, device: &str, median_ms: Option<f64>) -> Row {
        Row {
            setting: Setting::Mlp,
            method,
            batch: 64,
            plain: false,
            device: device.into(),
            median_ms,
            min_ms: median_ms,
            ratio_to_sgd: None,
            peak_mib: None,
            error: median_ms.is_none().then(|| "out of memory".into()),
        }
    }

    #[test]
    fn ratios_are_those_of_the_medians() {
        let mut rows = [
            row(Method::Optimizer(optimizer("ief")), "flex", Some(33.0)),
            row(Method::SGD, "flex", Some(30.0)),
            row(Method::Dense, "flex", None),
        ];
        relate(&mut rows);
        let ratios = rows.map(|row| row.ratio_to_sgd);
        assert_eq!(ratios, [Some(1.1), Some(1.0), None]);

        let mut alone = [row(Method::Optimizer(optimizer("ief")), "flex", Some(33.0))];
        relate(&mut alone);
        assert_eq!(alone[0].ratio_to_sgd, None);
    }

    #[test]
    fn json_has_the_documented_fields_where_they_are_null_too() {
        let value = serde_json::to_value(row(
            Method::Optimizer(OptimizerName::ADAMW),
            "flex",
            Some(1.5),
        ))
        .unwrap();
        let expected = serde_json::json!({
            "setting": "mlp", "method": "adamw", "batch": 64, "device": "flex",
            "median_ms": 1.5, "min_ms": 1.5, "ratio_to_sgd": null, "peak_mib": null,
        });
        assert_eq!(value, expected);
        let value = serde_json::to_value(row(Method::BySample, "flex", None)).unwrap();
        assert_eq!(value["method"], "by_sample");
        assert_eq!(value["error"], "out of memory");
        assert!(value["median_ms"].is_null());
        // Names on the command line are those of the rows.
        for method in Method::of(Setting::Lora) {
            assert_eq!(method.to_string().parse(), Ok(method));
            let name = serde_json::to_value(method).unwrap();
            assert_eq!(name, method.to_string());
            assert_eq!(serde_json::from_value::<Method>(name).unwrap(), method);
        }
    }

    #[test]
    fn devices_are_side_by_side() {
        let rows = [
            row(Method::SGD, "flex", Some(30.0)),
            row(Method::Dense, "flex", None),
            row(Method::SGD, "ndarray", Some(45.0)),
        ];
        let text = table(&rows).to_string();
        let line = text.lines().find(|line| line.contains("sgd")).unwrap();
        assert!(line.contains("30.0") && line.contains("45.0"), "{text}");
        assert!(text.contains("out of memory"), "{text}");
        assert!(text.contains("ndarray x SGD"), "{text}");
    }
}
