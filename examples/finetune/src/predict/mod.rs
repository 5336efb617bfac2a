//! Predictions of what was trained, for the rows of a file.
//!
//! Rows are read, predicted and written a batch at a time, in the order of the file.

mod answers;
mod classifier;
mod columns;
mod input;
mod judge;
mod options;
mod output;
mod pictures;
mod prediction;
mod rows;
mod texts;
mod words;

use std::io::Write;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use burn_hf_models::class::Task;
use burn_hf_models::weights::read_config;
use burn_peft::AdapterFolder;
use programs::DeviceKind;
use serde_json::{Map, Value};

pub use classifier::Classifier;
pub use input::Input;
pub use judge::Summary;
pub use options::PredictOptions;
pub use output::OutputFormat;
pub(crate) use output::{applying, number, tag_name};
pub use prediction::Prediction;

use crate::class_labels::{Labels, class_of, stated_problem};
use crate::config::{Architecture, DataOptions};
use crate::error::Error;
use crate::model::{HEAD, architecture};
use crate::problem::Problem;
use crate::target::{Target, numbered};
use columns::{Columns, Row};
use judge::Judge;
use output::Output;
use prediction::{Predict, refuse_nan};

/// Predict the rows of `input`, and write them to `to` as they are done.
///
/// Each row is written with the columns that it had. Classifiers add `predicted`, the class with the largest
/// probability (or the labels with one above ½), and all probabilities; models of numbers and of tags add `predicted` alone;
/// language models add `generated`. T5 gives classes: the probability of one
/// is that of its words after the text, divided by the sum over all classes.
///
/// ```no_run
/// use finetune::predict::{Input, OutputFormat, PredictOptions, predict};
/// use finetune::target::Target;
/// use programs::DeviceKind;
///
/// let target = Target::of("runs/ief-seed1".as_ref(), None)?;
/// let input = Input::file("new.csv".as_ref())?;
/// let (options, device) = (PredictOptions::default(), DeviceKind::default());
/// let mut out = std::io::stdout();
/// let summary = predict(&target, input, &mut out, OutputFormat::Csv, &options, device)?;
/// println!("{} rows", summary.rows);
/// # Ok::<(), finetune::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Data`] with file and line for rows that are not as they should be; [`Error::Config`] for what the model does
/// not say or the record does not have; [`Error::Model`], [`Error::Adapter`] and [`Error::Read`] for the files of the
/// model; [`Error::Write`] if the output cannot be written.
pub fn predict(
    target: &Target,
    input: Input,
    to: &mut impl Write,
    format: OutputFormat,
    options: &PredictOptions,
    device: DeviceKind,
) -> Result<Summary, Error> {
    let run = target.run.as_deref();
    let batch = options
        .batch
        .or_else(|| run.map(|run| run.training.eval_batch))
        .unwrap_or(32);
    if batch == 0 {
        return Err(Error::config("batch", 0, "at least 1"));
    }
    let device = device.open()?.inner();
    let kind = architecture_of(target)?;
    let is_image = matches!(
        kind,
        Architecture::Vit | Architecture::Dinov2 | Architecture::Mlp
    );
    let labels = match kind {
        Architecture::Causal => Vec::new(),
        _ => labels(target)?,
    };
    let problem = problem_of(target, kind)?;
    let columns = Columns::of(run.map(|run| &run.data), options, kind, problem);
    let usual = DataOptions::default();
    let separator = run.map_or(&usual.label_separator, |run| &run.data.label_separator);
    let mut rows = input.rows(&columns, is_image, run.and_then(|run| run.data.quotes))?;
    let options = &PredictOptions {
        path: rows.path().into(),
        ..options.clone()
    };
    let predictor: Box<dyn Predict> = match kind {
        Architecture::Causal => Box::new(answers::Answers::open(target, options, &device)?),
        Architecture::T5 | Architecture::Bert => {
            of_texts(kind, target, (problem, &labels), options, &device)?
        }
        _ => Box::new(pictures::Pictures::open(target, &labels, kind, &device)?),
    };
    let of = (problem, labels.as_slice());
    let mut output = Output::new(to, format, of, separator, rows.header())?;
    let path = rows.path().to_path_buf();
    let mut judge = Judge::new(problem, &labels, separator, &path);
    let mut done = 0;
    let mut progress = Progress::new();
    loop {
        let some: Vec<Row> = rows.by_ref().take(batch).collect::<Result<_, _>>()?;
        if some.is_empty() {
            break;
        }
        let predictions = predictor.predict(&some)?;
        for (row, prediction) in some.iter().zip(predictions) {
            refuse_nan(&prediction, row, target.folder())?;
            judge.add(row, &prediction)?;
            output.write(row, &prediction)?;
        }
        output.flush()?;
        done += some.len();
        if output.is_closed() {
            break;
        }
        progress.show(done);
    }
    if done == 0 {
        return Err(crate::data::Error::file(&path, "no rows").into());
    }
    Ok(judge.summary())
}

/// A classifier of texts: T5 or an encoder.
fn of_texts(
    kind: Architecture,
    target: &Target,
    (problem, labels): (Problem, &[String]),
    options: &PredictOptions,
    device: &Device,
) -> Result<Box<dyn Predict>, Error> {
    Ok(match kind {
        Architecture::T5 => Box::new(words::Words::open(target, labels, options, device)?),
        _ => Box::new(texts::Texts::open(
            target,
            (problem, labels),
            options,
            device,
        )?),
    })
}

/// The kind of model; relatives of BERT are one.
fn architecture_of(target: &Target) -> Result<Architecture, Error> {
    if let Some(run) = &target.run
        && run.model.folder.is_none()
    {
        return Ok(Architecture::Mlp);
    }
    let mut found = crate::config::Config::default();
    found.model.folder = Some(target.base.clone());
    architecture(&found)
}

/// What a model of this kind says about a row: by the record, or by its class and configuration.
fn problem_of(target: &Target, kind: Architecture) -> Result<Problem, Error> {
    match (target.problem, kind) {
        (_, Architecture::Causal) => Ok(Problem::Language),
        (Some(problem), _) => Ok(problem),
        (None, Architecture::Bert) if target.folder().join(HEAD).is_file() => {
            Ok(Problem::SingleLabel)
        }
        (None, Architecture::Bert) => {
            let adapter = target.adapter.as_deref().map(AdapterFolder::read);
            let class = class_of(&target.base, adapter.transpose()?.as_ref())?;
            match class.task() {
                Task::TokenClassification => Ok(Problem::Tokens),
                _ => {
                    let outputs = labels(target)?.len();
                    stated_problem(target, &read_config(&target.base)?, outputs)
                }
            }
        }
        (None, _) => Ok(Problem::SingleLabel),
    }
}

/// The names of the classes: by the record, or by `config.json`, or else as `transformers` makes them up.
fn labels(target: &Target) -> Result<Vec<String>, Error> {
    if !target.labels.is_empty() {
        return Ok(target.labels.clone());
    }
    let config: Map<String, Value> = read_config(&target.base)?;
    let adapter = target.adapter.as_deref().map(AdapterFolder::read);
    let found = Labels::find(&[], adapter.transpose()?.as_ref(), &config);
    let names = config.get("id2label").and_then(Value::as_object);
    match (found.new_names(), names) {
        (Some(names), _) => Ok(names),
        (None, Some(names)) => numbered(names).ok_or_else(|| {
            let problem = "`id2label`: expected a name for each of 0, 1, 2, … without gaps";
            Error::read(&target.base.join("config.json"), problem)
        }),
        (None, None) => Ok((0..found.count()).map(|id| format!("LABEL_{id}")).collect()),
    }
}

/// Says on standard error how many rows are done, now and then.
struct Progress {
    started: Instant,
    said: Instant,
}

impl Progress {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            said: now,
        }
    }

    fn show(&mut self, rows: usize) {
        const PAUSE: Duration = Duration::from_secs(5);
        if self.said.elapsed() < PAUSE {
            return;
        }
        self.said = Instant::now();
        let rate = rows as f64 / self.started.elapsed().as_secs_f64();
        programs::err_line!("{rows} rows, {rate:.1} per second");
    }
}
