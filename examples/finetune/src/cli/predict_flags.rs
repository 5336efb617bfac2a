//! Flags of `finetune predict`.

use std::fs::{self, File};
use std::io::{BufWriter, Write, stdout};
use std::path::{Path, PathBuf};

use clap::Args;
use programs::{DeviceKind, files};

use crate::error::Error;
use crate::language::GenerationOptions;
use crate::predict::{Input, OutputFormat, PredictOptions, Summary, predict};
use crate::target::Target;

/// Predict the rows of a file with what was trained: classes with their probabilities, or answers of a language model.
///
/// Rows are written in the order of the file, with the columns that they had, as they are done.
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Folder of a run, PEFT folder, Hugging Face folder, or GGUF file.
    #[arg(value_name = "RUN|DIR|FILE.gguf")]
    pub target: PathBuf,
    /// Rows in CSV with a header or JSON lines, `-` for standard input; for pictures also their folder.
    #[arg(long, value_name = "FILE|-")]
    data: PathBuf,
    /// File to write [default: standard output].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How to write [default: by the ending of the file that is written, or as the rows are].
    #[arg(long, value_enum)]
    format: Option<OutputFormat>,
    /// Column of the text, or of the path of a picture [default: the run's, or text; prompt, question, instruction or text
    /// for a language model; image or file for pictures].
    #[arg(long, value_name = "NAME")]
    text_column: Option<String>,
    /// Column of the second text of a pair [default: the run's].
    #[arg(long, value_name = "NAME")]
    second_column: Option<String>,
    /// Column of the true label, for the accuracy; it may be missing [default: the run's, or label].
    #[arg(long, value_name = "NAME")]
    label_column: Option<String>,
    /// Rows of a batch [default: the run's --eval-batch, or 32].
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Longest text in tokens [default: the run's, or 128].
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// Tokens of a language model's answer at most.
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_new_tokens: usize,
    /// Let a language model draw tokens; lower numbers make the most probable ones more so.
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// Seed of what is drawn, the same for each row.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    device: DeviceKind,
    /// Hugging Face folder or GGUF file of the base model, if it has moved.
    #[arg(long, value_name = "DIR|FILE.gguf")]
    model: Option<PathBuf>,
}

impl PredictArgs {
    /// Predict, and write the rows.
    ///
    /// # Errors
    ///
    /// Those of [`Target::of`] and [`predict`].
    pub fn predict(&self) -> Result<Summary, Error> {
        let target = Target::of(&self.target, self.model.as_deref())?;
        let input = if self.data.as_os_str() == "-" {
            Input::stdin()
        } else {
            Input::file(&self.data)?
        };
        let format = self.format.unwrap_or_else(|| self.usual_format());
        let mut options = PredictOptions::default();
        options.text_column.clone_from(&self.text_column);
        options.second_column.clone_from(&self.second_column);
        options.label_column.clone_from(&self.label_column);
        options.batch = self.batch;
        options.max_length = self.max_length;
        options.generation = GenerationOptions::greedy(self.max_new_tokens);
        if self.temperature.is_some() {
            options.generation.do_sample = Some(true);
            options.generation.temperature = self.temperature;
        }
        options.seed = self.seed;
        let Some(out) = &self.out else {
            let mut to = BufWriter::new(stdout().lock());
            return predict(&target, input, &mut to, format, &options, self.device);
        };
        files::check_output(out)?;
        let part = files::unfinished(out);
        let written = (|| {
            let file = File::create(&part).map_err(|error| Error::write(out, error))?;
            let mut to = BufWriter::new(file);
            let summary = predict(&target, input, &mut to, format, &options, self.device)?;
            to.flush().map_err(|error| Error::write(out, error))?;
            files::put_in_place(out).map_err(|error| Error::write(out, error))?;
            Ok(summary)
        })();
        if written.is_err() {
            // Nothing half written is left behind.
            let _ = fs::remove_file(&part);
        }
        written
    }

    fn usual_format(&self) -> OutputFormat {
        let is_json = |path: &Path| {
            let extension = path.extension();
            extension.is_some_and(|end| {
                end.eq_ignore_ascii_case("jsonl") || end.eq_ignore_ascii_case("json")
            })
        };
        if is_json(self.out.as_deref().unwrap_or(&self.data)) {
            OutputFormat::Jsonl
        } else {
            OutputFormat::Csv
        }
    }
}
