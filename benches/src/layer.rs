//! One linear layer, 768 to 768, on `[32, 128, 768]`: Burn's dense layer, its `apply_lora`, and an
//! adapter of burn-peft (r = 8).

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use burn::module::{Lora, Module};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Distribution, Tensor};
use burn_ief::Tape;
use burn_ief::jacobian::RecordedBatch;
use burn_peft::{ForwardAdapted, LoraConfig};
use clap::{Parser, ValueEnum};
use programs::table::{Style, Table, number, table};
use programs::{DeviceKind, files, memory};

use crate::measure::{Effort, interleave, median};
use crate::method::Step;

const WIDTH: usize = 768;
/// Samples of the input.
pub const SAMPLES: usize = 32;
const INPUT: [usize; 3] = [SAMPLES, 128, WIDTH];
const RANK: usize = 8;

/// Time and memory of forward and backward through one linear layer under LoRA.
///
/// The variants take turns in one process. Memory is what a process of its own adds to its
/// resident set over a few passes, layer and input being there already.
#[derive(Debug, Clone, Parser)]
#[command(name = "lora")]
pub struct Args {
    /// Write the rows here, as a JSON list.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Device; others than flex need the feature of that name.
    #[arg(long, value_enum, default_value = "flex")]
    pub device: DeviceKind,

    /// Timed rounds over the variants.
    #[arg(long, default_value_t = 30)]
    pub rounds: usize,

    /// Take a few passes of one variant and print what they add to this process.
    #[arg(long, hide = true, value_enum)]
    peak: Option<Variant>,

    /// With `--peak`: the input needs a gradient.
    #[arg(long, hide = true)]
    input_gradient: bool,
}

/// How the layer is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Variant {
    /// Burn's `Linear`, all of it.
    Dense,
    /// Burn's `apply_lora`.
    ApplyLora,
    /// An adapter of burn-peft.
    BurnPeft,
    /// The same inside a recording, with the rows collected.
    BurnPeftRecorded,
}

const VARIANTS: [Variant; 4] = [
    Variant::Dense,
    Variant::ApplyLora,
    Variant::BurnPeft,
    Variant::BurnPeftRecorded,
];

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dense => "dense",
            Self::ApplyLora => "apply_lora",
            Self::BurnPeft => "burn_peft",
            Self::BurnPeftRecorded => "burn_peft_recorded",
        })
    }
}

/// One variant.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Row {
    /// Which.
    pub variant: Variant,
    /// Whether the input needs a gradient, as in all layers but the first.
    pub input_gradient: bool,
    /// Median of the interleaved passes.
    pub median_ms: Option<f64>,
    /// Fastest pass.
    pub min_ms: Option<f64>,
    /// Median over that of `apply_lora`.
    pub ratio_to_apply_lora: Option<f64>,
    /// What the passes add to the resident set of a process of their own.
    pub peak_mib: Option<f64>,
}

/// Measure all variants.
///
/// # Errors
///
/// A message for the user: a device that this program was built without, or a file that cannot
/// be written.
pub fn run(args: &Args) -> Result<(), String> {
    let device = args
        .device
        .device()
        .map_err(|error| error.to_string())?
        .autodiff();
    if let Some(variant) = args.peak {
        return measure_here(variant, args.input_gradient, &device);
    }
    let mut rows = Vec::new();
    for input_gradient in [false, true] {
        eprintln!("input gradient {input_gradient}");
        let mut steps: Vec<Box<dyn Step>> = VARIANTS
            .iter()
            .map(|&variant| -> Box<dyn Step> {
                Box::new(Pass::new(variant, input_gradient, &device))
            })
            .collect();
        let effort = Effort {
            rounds: args.rounds,
            budget: Duration::from_secs(60),
        };
        let times = interleave(&mut steps, effort);
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let baseline = median(&times[1]).map(milliseconds);
        for (&variant, times) in VARIANTS.iter().zip(&times) {
            let median_ms = median(times).map(milliseconds);
            rows.push(Row {
                variant,
                input_gradient,
                median_ms,
                min_ms: times.iter().min().copied().map(milliseconds),
                ratio_to_apply_lora: median_ms.zip(baseline).map(|(own, base)| own / base),
                peak_mib: measure_child(variant, input_gradient, args.device)?,
            });
        }
    }
    println!("{}", report(&rows));
    if let Some(path) = &args.json {
        files::write_json(path, &rows).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A variant whose input needs no gradient, ready to be timed.
pub fn prepare(variant: Variant, device: &Device) -> Box<dyn Step> {
    Box::new(Pass::new(variant, false, &device.clone().autodiff()))
}

/// A layer and its input.
struct Pass {
    variant: Variant,
    layer: Linear,
    input: Tensor<3>,
    device: Device,
}

impl Pass {
    fn new(variant: Variant, input_gradient: bool, device: &Device) -> Self {
        let layer = LinearConfig::new(WIDTH, WIDTH).init(device);
        let layer = match variant {
            Variant::Dense => layer,
            Variant::ApplyLora => layer.apply_lora(Lora::new(RANK, RANK as f64)),
            Variant::BurnPeft | Variant::BurnPeftRecorded => LoraConfig::new()
                .with_r(RANK)
                .with_lora_alpha(8.0)
                .linear("default", layer)
                .unwrap_or_else(|error| panic!("{error}")),
        };
        let input = Tensor::random(INPUT, Distribution::Normal(0.0, 1.0), device);
        let input = if input_gradient {
            input.require_grad()
        } else {
            input
        };
        let pass = Self {
            variant,
            layer,
            input,
            device: device.clone(),
        };
        pass.device.sync().unwrap_or_else(|error| panic!("{error}"));
        pass
    }
}

impl Step for Pass {
    fn step(&mut self) {
        let x = self.input.clone();
        match self.variant {
            Variant::Dense | Variant::ApplyLora => {
                let grads = self.layer.forward(x).sum().backward();
                drop(grads);
            }
            Variant::BurnPeft => {
                let grads = self.layer.forward_adapted(x).sum().backward();
                drop(grads);
            }
            Variant::BurnPeftRecorded => {
                let tape = Tape::start();
                let grads = self.layer.forward_adapted(x).sum().backward();
                let rows = RecordedBatch::collect(tape, grads, &self.layer, None);
                drop(rows.unwrap_or_else(|error| panic!("{error}")));
            }
        }
        self.device.sync().unwrap_or_else(|error| panic!("{error}"));
    }
}

fn measure_here(variant: Variant, input_gradient: bool, device: &Device) -> Result<(), String> {
    let mut pass = Pass::new(variant, input_gradient, device);
    // A lazy layer gets its value now.
    let _ = (
        pass.layer.weight.base(),
        pass.layer.bias.as_ref().map(|bias| bias.base()),
    );
    memory::reset_peak();
    let before = memory::resident_mib();
    for _ in 0..4 {
        pass.step();
    }
    match memory::peak_mib().zip(before) {
        Some((peak, before)) => println!("{}", peak - before),
        None => println!("null"),
    }
    Ok(())
}

fn measure_child(
    variant: Variant,
    input_gradient: bool,
    place: DeviceKind,
) -> Result<Option<f64>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(["--peak", &variant.to_string()]);
    command.args(["--device", &place.to_string()]);
    if input_gradient {
        command.arg("--input-gradient");
    }
    let child = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if child.status.success() {
        Ok(String::from_utf8_lossy(&child.stdout).trim().parse().ok())
    } else {
        Err(format!(
            "{variant}: {}",
            String::from_utf8_lossy(&child.stderr)
        ))
    }
}

fn report(rows: &[Row]) -> Table {
    let header = [
        "variant",
        "input gradient",
        "median ms",
        "min ms",
        "x apply_lora",
        "peak MiB",
    ];
    let lines = rows.iter().map(|row| {
        [
            row.variant.to_string(),
            row.input_gradient.to_string(),
            number(row.median_ms, 1),
            number(row.min_ms, 1),
            number(row.ratio_to_apply_lora, 2),
            number(row.peak_mib, 0),
        ]
    });
    table(Style::Markdown, header, &[0, 1], lines)
}
