//! The loss of a language model from all logits, and in slices of the answer tokens.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use burn_flex_fused::cross_entropy;
use burn_ief::nn::ForwardRecorded;
use burn_ief::prelude::*;
use burn_ief::tokens::IGNORED;
use clap::{Parser, ValueEnum};
use programs::files;
use programs::memory::peak_mib;
use programs::table::{Style, number, table};

use crate::call::Call;
use crate::operations::Operations;
use crate::settings::Transformer;

/// Positions of a sample: one more than it has answer tokens.
const POSITIONS: usize = 65;
const WIDTH: usize = 384;
/// Steps of a process; the first one is not timed.
const STEPS: usize = 4;

/// Time and peak memory of a LoRA step of a transformer with 6 layers of width 384, a frozen output head and 64
/// answer tokens per sample. Every line is a process of its own.
#[derive(Debug, Clone, Parser)]
#[command(name = "head")]
pub struct Args {
    /// How the loss is formed, comma-separated.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "plain,sliced"
    )]
    pub form: Vec<LossForm>,

    /// Entries of the vocabulary, comma-separated.
    #[arg(long, value_delimiter = ',', default_value = "1000,151936")]
    pub vocabulary: Vec<usize>,

    /// Methods, comma-separated.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "adamw,ief")]
    pub methods: Vec<HeadMethod>,

    /// Samples of 64 answer tokens.
    #[arg(long, default_value_t = 32)]
    pub samples: usize,

    /// Write the rows here, as a JSON list.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Take a few steps of the one line and print its row.
    #[arg(long, hide = true)]
    pub child: bool,
}

/// How the loss is formed from the hidden states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossForm {
    /// From all logits.
    Plain,
    /// By `token_cross_entropy`.
    Sliced,
}

/// How the model is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadMethod {
    /// AdamW, without a recording.
    Adamw,
    /// iEF.
    Ief,
    /// SF, with one drawn label per token.
    Sf,
}

/// One line.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Row {
    /// How the loss is formed.
    pub form: LossForm,
    /// How the model is trained.
    pub method: HeadMethod,
    /// Entries of the vocabulary.
    pub vocabulary: usize,
    /// Answer tokens of the batch.
    pub tokens: usize,
    /// The weight of the head.
    pub head_mib: f64,
    /// Median of the steps after the first.
    pub median_ms: f64,
    /// Largest resident set of the process.
    pub peak_mib: Option<f64>,
}

/// Measure all lines.
///
/// # Errors
///
/// A message for the user: a process that ended early, a file that cannot be written.
pub fn run(args: &Args) -> Result<(), String> {
    let lines = args.methods.iter().flat_map(|&method| {
        let of_forms = args.form.iter();
        of_forms.flat_map(move |&form| args.vocabulary.iter().map(move |&v| (method, form, v)))
    });
    let mut rows = Vec::new();
    for (method, form, vocabulary) in lines {
        if args.child {
            let row = measure(method, form, vocabulary, args.samples);
            let text = serde_json::to_string(&row).map_err(|error| error.to_string())?;
            println!("{text}");
        } else {
            let row = in_child(method, form, vocabulary, args.samples)?;
            eprintln!("{row:?}");
            rows.push(row);
        }
    }
    if args.child {
        return Ok(());
    }
    println!("{}", report(&rows));
    match &args.json {
        Some(path) => files::write_json(path, &rows).map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

fn name(value: impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_string())
}

fn in_child(
    method: HeadMethod,
    form: LossForm,
    vocabulary: usize,
    samples: usize,
) -> Result<Row, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let child = Command::new(program)
        .args(["--child", "--methods", &name(method), "--form", &name(form)])
        .args(["--vocabulary", &vocabulary.to_string()])
        .args(["--samples", &samples.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let words = String::from_utf8_lossy(&child.stderr);
    serde_json::from_slice(&child.stdout)
        .map_err(|_| format!("the process ended early ({}): {words}", child.status))
}

/// A transformer and its output head.
#[derive(Module, Debug)]
struct LanguageModel {
    body: Transformer,
    head: Linear,
}

impl LanguageModel {
    fn loss(&self, x: Tensor<3>, labels: Tensor<2, Int>, form: LossForm, call: &Call) -> Tensor<1> {
        let hidden = self.body.hidden(x, call);
        match form {
            LossForm::Sliced => {
                let head = VocabularyHead::linear(&self.head);
                let losses = token_cross_entropy(hidden, labels, &head);
                losses.expect("labels of this vocabulary").token_mean()
            }
            LossForm::Plain => {
                let [samples, positions] = labels.dims();
                let tokens = samples * (positions - 1);
                let own = hidden.narrow(1, 0, positions - 1);
                let logits = mark_output(self.head.forward_recorded(own));
                let [_, _, vocabulary] = logits.dims();
                let labels = labels.narrow(1, 1, positions - 1).reshape([tokens]);
                let losses = cross_entropy(logits.reshape([tokens, vocabulary]), labels, None);
                let factor = 1.0 / tokens as f64;
                declare_loss_scale(LossScale::Factor(factor));
                mark_loss(losses.sum() * factor)
            }
        }
    }
}

fn measure(method: HeadMethod, form: LossForm, vocabulary: usize, samples: usize) -> Row {
    let device = Device::flex().autodiff();
    device.seed(1);
    let head = LinearConfig::new(WIDTH, vocabulary).with_bias(false);
    let model = LanguageModel {
        body: Transformer::adapted(&device, Operations::Fused),
        head: head.init(&device).no_grad(),
    };
    let x = Tensor::random(
        [samples, POSITIONS, WIDTH],
        Distribution::Normal(0.0, 1.0),
        &device,
    );
    let labels = (0..samples * POSITIONS).map(|at| match at % POSITIONS {
        0 => IGNORED,
        _ => (at * 7919 % vocabulary) as i64,
    });
    let labels = TensorData::new(labels.collect::<Vec<_>>(), [samples, POSITIONS]);
    let labels = Tensor::<2, Int>::from_data(labels, &device);
    let loss =
        |model: &LanguageModel, call: &Call| model.loss(x.clone(), labels.clone(), form, call);
    let times = match method {
        HeadMethod::Adamw => {
            let mut optim = AdamWConfig::new().init();
            timed(model, |model| {
                let loss = loss(&model, &Call::Folded(Operations::Fused));
                let grads = GradientsParams::from_grads(loss.backward(), &model);
                optim.step(1e-4, model, grads)
            })
        }
        HeadMethod::Ief => recorded(IefConfig::new(), model, loss),
        HeadMethod::Sf => recorded(SfConfig::new(), model, loss),
    };
    Row {
        form,
        method,
        vocabulary,
        tokens: samples * (POSITIONS - 1),
        head_mib: (4 * WIDTH * vocabulary) as f64 / f64::from(1 << 20),
        median_ms: times,
        peak_mib: peak_mib(),
    }
}

fn recorded(
    config: impl Into<burn_ief::methods::AnyConfig>,
    model: LanguageModel,
    loss: impl Fn(&LanguageModel, &Call) -> Tensor<1>,
) -> f64 {
    let config = config.into();
    let mut optim = config.init(&model);
    timed(model, |model| {
        let stepped = optim.step_closure(1e-3, model, |model| loss(model, &Call::Recorded));
        stepped.expect("a recorded step")
    })
}

/// The median of the steps after the first, in milliseconds.
fn timed(mut model: LanguageModel, mut step: impl FnMut(LanguageModel) -> LanguageModel) -> f64 {
    let mut times = Vec::new();
    for _ in 0..STEPS {
        let clock = Instant::now();
        model = step(model);
        times.push(clock.elapsed());
    }
    let median = crate::measure::median(&times[1..]);
    median.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

fn report(rows: &[Row]) -> programs::table::Table {
    let header = [
        "method",
        "loss",
        "vocabulary",
        "head MiB",
        "median ms",
        "peak MiB",
    ];
    let lines = rows.iter().map(|row| {
        vec![
            name(row.method),
            name(row.form),
            row.vocabulary.to_string(),
            number(Some(row.head_mib), 0),
            number(Some(row.median_ms), 0),
            number(row.peak_mib, 0),
        ]
    });
    table(Style::Markdown, header, &[0, 1], lines)
}
