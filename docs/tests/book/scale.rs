//! The table of several-devices.md: what a step costs with LoRA on large models.
//!
//! `UPDATE_BOOK=1 cargo test --workspace --test book` writes it anew.

use std::fmt::Write;
use std::fs;

use super::markdown::{read, root};

const PAGE: &str = "docs/src/several-devices.md";
const MARKS: [&str; 2] = ["<!-- scale: begin -->", "<!-- scale: end -->"];

/// Tokens of a sample.
const TOKENS: f64 = 512.0;
/// Rank of LoRA.
const RANK: f64 = 8.0;
/// Bytes of a number.
const NUMBER: f64 = 4.0;
/// Floating-point operations of a device and bytes of its link, per second.
const COMPUTE: f64 = 400e12;
const LINK: f64 = 100e9 / 8.0;

/// A base model with LoRA on the projections to queries and values.
struct Base {
    name: &'static str,
    parameters: f64,
    layers: f64,
    hidden: f64,
    /// Width of all values of a position.
    values: f64,
}

const BASES: [Base; 3] = [
    Base {
        name: "1B",
        parameters: 1.24e9,
        layers: 16.0,
        hidden: 2048.0,
        values: 512.0,
    },
    Base {
        name: "7B",
        parameters: 6.74e9,
        layers: 32.0,
        hidden: 4096.0,
        values: 4096.0,
    },
    Base {
        name: "70B",
        parameters: 69.0e9,
        layers: 80.0,
        hidden: 8192.0,
        values: 1024.0,
    },
];

impl Base {
    /// Inputs and outputs of the factors of LoRA in a layer.
    fn factors(&self) -> [[f64; 2]; 4] {
        [
            [self.hidden, RANK],
            [RANK, self.hidden],
            [self.hidden, RANK],
            [RANK, self.values],
        ]
    }

    /// Trained parameters.
    fn trained(&self) -> f64 {
        let factors = self.factors().into_iter();
        self.layers * factors.map(|[i, o]| i * o).sum::<f64>()
    }

    /// Numbers of the rows of a sample on their way: dense, or as inputs and errors.
    fn row(&self) -> f64 {
        let factors = self.factors().into_iter();
        let smaller = factors.map(|[i, o]| (i * o).min(TOKENS * (i + o)));
        self.layers * smaller.sum::<f64>()
    }

    /// A line of the table.
    fn line(&self, samples: f64, devices: f64) -> String {
        let others = (devices - 1.0) / devices;
        let (trained, own) = (self.trained(), samples / devices);
        // Rows of the device's layers, of all samples.
        let kept = NUMBER * samples * self.row() / devices;
        // What the first device sends: its rows of other devices' layers, the previous update for these layers, and the
        // new weights once in each round in which all that have them send them on.
        let rows = NUMBER * own * self.row() * others;
        let weights = NUMBER * trained * (others + devices.log2().ceil());
        let sent = rows + weights;
        let averaged = 2.0 * NUMBER * trained * others;
        // Forward, and errors backwards; the frozen base has no weight gradients.
        let passes = 4.0 * self.parameters * TOKENS * own / COMPUTE;
        let gram = 2.0 * samples * samples * trained / devices / COMPUTE;
        let link = sent / LINK;
        format!(
            "| {} | {samples} | {devices} | {} | {} | {} | {} | {} |",
            self.name,
            bytes(kept),
            bytes(sent),
            bytes(averaged),
            time(passes + gram),
            time(link),
        )
    }
}

fn bytes(bytes: f64) -> String {
    if bytes >= 0.9995e9 {
        format!("{} GB", rounded(bytes / 1e9))
    } else {
        format!("{} MB", rounded(bytes / 1e6))
    }
}

fn time(seconds: f64) -> String {
    if seconds >= 0.9995 {
        format!("{} s", rounded(seconds))
    } else {
        format!("{} ms", rounded(seconds * 1e3))
    }
}

/// Two digits.
fn rounded(x: f64) -> f64 {
    let unit = 10f64.powf(x.log10().floor() - 1.0);
    let whole = (x / unit).round() * unit;
    // Without what is left of the division.
    format!("{whole:.4}").parse().expect("a number")
}

fn table() -> String {
    let mut table = String::from(
        "| base | M | devices | rows kept by a device | sent by the first device | averaged gradients | passes and Gram matrix | on the link |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for base in &BASES {
        for samples in [32.0, 256.0, 1024.0, 4096.0] {
            for devices in [8.0, 64.0] {
                if samples >= devices {
                    writeln!(table, "{}", base.line(samples, devices)).expect("a string");
                }
            }
        }
    }
    table
}

#[test]
fn the_table_of_large_models_follows_from_the_formulas() {
    let path = root().join(PAGE);
    let text = read(&path);
    let begin = text.find(MARKS[0]).expect("the mark of the table") + MARKS[0].len();
    let end = text.find(MARKS[1]).expect("the end of the table");
    let renewed = format!("{}\n\n{}\n{}", &text[..begin], table(), &text[end..]);
    if renewed == text {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_BOOK").is_some(),
        "{PAGE} has another table: UPDATE_BOOK=1 cargo test --workspace --test book writes it anew"
    );
    fs::write(path, renewed).expect("the page");
}
