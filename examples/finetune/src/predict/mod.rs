//! Predictions of what was trained, for the rows of a file.
//!
//! Rows are read, predicted and written a batch at a time, in the order of the file.

mod answers;
mod classifier;
mod columns;
mod input;
mod judge;
mod output;
mod pictures;
mod rows;
mod texts;
mod words;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};
use burn_hf_models::class::Task;
use burn_hf_models::weights::read_config;
use burn_peft::AdapterFolder;
use programs::DeviceKind;
use serde_json::{Map, Value};

pub use classifier::Classifier;
pub use input::Input;
pub use judge::Summary;
pub use output::OutputFormat;
pub(crate) use output::{applying, number, tag_name};

use crate::class_labels::{Labels, class_of, stated_problem};
use crate::config::{Architecture, DataOptions};
use crate::error::Error;
use crate::language::GenerationOptions;
use crate::model::{HEAD, architecture};
use crate::problem::Problem;
use crate::target::{Target, numbered};
use columns::{Columns, Row};
use judge::Judge;
use output::Output;

/// What is read of a row, and how much at once.
///
/// ```
/// use finetune::predict::PredictOptions;
///
/// let mut options = PredictOptions::default();
/// options.batch = Some(64);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PredictOptions {
    /// Column of the text, or of a picture's path; otherwise the run's.
    pub text_column: Option<String>,
    /// Column of the second text of a pair; otherwise the run's.
    pub second_column: Option<String>,
    /// Column of the true label, which may be missing; otherwise the run's.
    pub label_column: Option<String>,
    /// Rows of a batch; otherwise those of the run's validation, or 32.
    pub batch: Option<usize>,
    /// Longest text in tokens; otherwise the run's, or 128.
    pub max_length: Option<usize>,
    /// How a language model answers; otherwise with up to 256 of its most probable tokens.
    pub generation: GenerationOptions,
    /// Seed of what a language model draws.
    pub seed: u64,
    /// What is read, for messages.
    path: PathBuf,
}

impl Default for PredictOptions {
    fn default() -> Self {
        Self {
            text_column: None,
            second_column: None,
            label_column: None,
            batch: None,
            max_length: None,
            generation: GenerationOptions::greedy(256),
            seed: 1,
            path: PathBuf::new(),
        }
    }
}

/// What is predicted for a row.
///
/// ```
/// use finetune::predict::Prediction;
///
/// assert_ne!(Prediction::Number(0.5), Prediction::Classes(vec![0.5]));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Prediction {
    /// The probability of each class.
    Classes(Vec<f32>),
    /// The probability of each label, which are independent of each other.
    Labels(Vec<f32>),
    /// A number.
    Number(f32),
    /// Words with the place of the tag of each; none for words that were cut off.
    Tags {
        /// The words.
        words: Vec<String>,
        /// Their tags.
        tags: Vec<Option<usize>>,
    },
    /// A text.
    Answer(String),
}

/// Something that predicts.
trait Predict: Send {
    /// The predictions of these rows, in their order.
    fn predict(&self, rows: &[Row]) -> Result<Vec<Prediction>, Error>;
}

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

/// A model that diverged gives no classes.
fn refuse_nan(prediction: &Prediction, row: &Row, model: &Path) -> Result<(), Error> {
    let has_nan = match prediction {
        Prediction::Classes(values) | Prediction::Labels(values) => {
            values.iter().any(|value| value.is_nan())
        }
        Prediction::Number(number) => number.is_nan(),
        Prediction::Tags { .. } | Prediction::Answer(_) => false,
    };
    if has_nan {
        Err(diverged(row, model))
    } else {
        Ok(())
    }
}

fn diverged(row: &Row, model: &Path) -> Error {
    let problem = format!(
        "the model computes NaN (for line {} of the rows): its training diverged",
        row.line
    );
    Error::read(model, problem)
}

/// The place of the largest value.
fn largest(values: &[f32]) -> usize {
    let mut places = 0..values.len();
    let first = places.next().unwrap_or(0);
    places.fold(first, |best, place| {
        if values[place] > values[best] {
            place
        } else {
            best
        }
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

/// The classes' probabilities in each row of logits `[M, C]`.
fn probabilities(logits: Tensor<2>, classes: usize) -> Result<Vec<Prediction>, Error> {
    let [_, found] = logits.dims();
    if found != classes {
        let expected = format!("{found}, the classes of the model's head");
        return Err(Error::config("labels", classes, expected));
    }
    let values = softmax(logits, 1).into_data().convert::<f32>();
    let values = values.try_into_vec::<f32>().unwrap_or_default();
    let rows = values.chunks(classes.max(1));
    Ok(rows.map(|row| Prediction::Classes(row.to_vec())).collect())
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

/// What is read, for messages: a path, or standard input.
fn shown(path: &Path) -> PathBuf {
    if path.as_os_str() == "-" {
        "standard input".into()
    } else {
        path.into()
    }
}

/// An error about tokens with the line of its text.
fn failed_at(rows: &[Row], path: &Path, error: crate::data::Error) -> Error {
    match error {
        crate::data::Error::Tokens { index, problem, .. } => {
            let line = rows.get(index).map_or(0, |row| row.line);
            crate::data::Error::line(path, line, problem).into()
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_classes_is_taken() {
        assert_eq!(largest(&[0.2, 0.4, 0.4]), 1);
        assert_eq!(largest(&[1.0]), 0);
        let device = Device::flex();
        let logits = Tensor::<2>::from_data([[0.0, 0.0], [3.0f32.ln(), 0.0]], &device);
        let found = probabilities(logits.clone(), 2).unwrap();
        let Prediction::Classes(second) = &found[1] else {
            panic!("classes");
        };
        assert!((second[0] - 0.75).abs() < 1e-6);
        assert!(probabilities(logits, 3).is_err());
    }
}
