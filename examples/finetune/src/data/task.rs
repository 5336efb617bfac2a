//! The tasks by name.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{
    DataSource, Dataset, Error, cifar, glue, images, questions, reviews, sms, table, tagged,
};
use crate::conversation::{self, Columns, ReadOptions};
use crate::metric::Metric;
use crate::problem::Problem;

/// A data set that is known by its format.
///
/// Published parts are kept: the training rows of GLUE are those of `train.tsv`. GLUE's test
/// labels are hidden, so `dev.tsv` is halved into validation and test (in the shares of the
/// classes, by the seed of the split); results on it are not leaderboard results. CIFAR keeps its
/// test set and gives a share of the training set to validation. Everything else is one pool that
/// is split by shares, or comes with files or folders `train`, `valid` and `test`.
///
/// Of rows with the same text (or picture) one is kept, in the test set before validation and
/// validation before training; only within GLUE's own training sets do repetitions stay. Rows
/// without text are left out. [`LeftOut`](super::LeftOut) has the counts.
///
/// ```no_run
/// use finetune::data::{Dataset, DataSource, Task};
///
/// let dataset = Task::Trec.load(&DataSource::new("data/trec"))?;
/// println!("{:?}, {}", dataset.sizes(), dataset.left_out());
/// # Ok::<(), finetune::data::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// GLUE: is a sentence grammatical? `train.tsv`, `dev.tsv` without header.
    Cola,
    /// GLUE: sentiment of movie reviews. `train.tsv`, `dev.tsv`.
    Sst2,
    /// GLUE: paraphrases. `train.tsv`, `dev.tsv`, or the `msr_paraphrase_*.txt` of the corpus.
    Mrpc,
    /// GLUE: duplicate questions. `train.tsv`, `dev.tsv`.
    Qqp,
    /// GLUE: inference, tested on the genres of the training set. `train.tsv`, `dev_matched.tsv`.
    Mnli,
    /// GLUE: inference, tested on other genres. `train.tsv`, `dev_mismatched.tsv`.
    MnliMismatched,
    /// GLUE: is the answer in the sentence? `train.tsv`, `dev.tsv`.
    Qnli,
    /// GLUE: entailment. `train.tsv`, `dev.tsv`.
    Rte,
    /// Questions by the kind of answer, 6 classes. `question_labels.txt`, or `train_5500.label`
    /// and `TREC_10.label`.
    Trec,
    /// The same questions, 50 classes.
    TrecFine,
    /// Movie review snippets with mean scores of −4 to 4: the sign where it is 0.5 or more away
    /// from 0. `movieReviewSnippets_GroundTruth.txt`.
    Sentiment,
    /// The same with the scores as numbers to learn.
    SentimentScore,
    /// Text messages, ham or spam. `sms-spam.csv`.
    Sms,
    /// Your own table with a header: a `.csv` or `.tsv` file, or a folder with `train.csv` and
    /// perhaps `valid.csv` and `test.csv`.
    Csv,
    /// Your own JSON lines: a `.jsonl` file, or a folder with `train.jsonl` and perhaps
    /// `valid.jsonl` and `test.jsonl`.
    Jsonl,
    /// Your own table of texts with a number each: `.csv`, `.tsv` or `.jsonl`, files and folders as above.
    Regression,
    /// Your own table of texts with any number of labels each: a list or names between separators in one column, or a
    /// column of 0 and 1 for each label.
    MultiLabel,
    /// Your own sentences with a tag for each word: JSON lines with `tokens` and `tags`, or files of CoNLL's form.
    TokenClassification,
    /// Conversations for a language model, through its chat template: a `.jsonl`, `.json` or `.parquet` file, or a
    /// folder with `train` and perhaps `valid` and `test`.
    Chat,
    /// The same with instructions or questions, one turn each.
    Instruct,
    /// Prompts with completions for a language model, as plain text.
    Completion,
    /// Whole texts for a language model.
    Text,
    /// 32×32 pictures, 10 classes. `data_batch_1.bin` … `test_batch.bin`, or the same as `.png`
    /// sheets of one picture a row with `train_lables.json` and `test_lables.json`.
    Cifar10,
    /// 32×32 pictures, 100 classes. `train.bin`, `test.bin`.
    Cifar100,
    /// Your own pictures: a folder of PNG or JPEG files for each class, perhaps inside of `train`,
    /// `valid` and `test`.
    Images,
}

impl Task {
    /// Read and split the files.
    ///
    /// # Errors
    ///
    /// [`Error`] that names the file, the line and the option.
    pub fn load(&self, options: &DataSource) -> Result<Dataset, Error> {
        options.validate()?;
        let folder = &options.folder;
        if !folder.exists() {
            return Err(Error::missing(folder, self.files()));
        }
        match self {
            Self::Cola => glue::load(&glue::COLA, options),
            Self::Sst2 => glue::load(&glue::SST2, options),
            Self::Mrpc => glue::load(&glue::MRPC, options),
            Self::Qqp => glue::load(&glue::QQP, options),
            Self::Mnli => glue::load(&glue::MNLI, options),
            Self::MnliMismatched => glue::load(&glue::MNLI_MISMATCHED, options),
            Self::Qnli => glue::load(&glue::QNLI, options),
            Self::Rte => glue::load(&glue::RTE, options),
            Self::Trec => questions::load(questions::Classes::Coarse, options),
            Self::TrecFine => questions::load(questions::Classes::Fine, options),
            Self::Sentiment | Self::SentimentScore => reviews::load(self.problem(), options),
            Self::Sms => sms::load(options),
            Self::Csv => table::load(table::Format::Csv, self.problem(), options),
            Self::Jsonl => table::load(table::Format::Jsonl, self.problem(), options),
            Self::Regression | Self::MultiLabel => table::load_any(self.problem(), options),
            Self::TokenClassification => return tagged::load(options).map(Dataset::Tokens),
            Self::Chat | Self::Instruct | Self::Completion | Self::Text => {
                let reading = ReadOptions {
                    columns: Columns::parse(&options.columns)?,
                    ..ReadOptions::default()
                };
                let found = conversation::load(options, &reading)?;
                return Ok(Dataset::Language(Box::new(found)));
            }
            Self::Cifar10 => return cifar::load_10(options).map(Dataset::Image),
            Self::Cifar100 => return cifar::load_100(options).map(Dataset::Image),
            Self::Images => return images::load(options).map(Dataset::Image),
        }
        .map(Dataset::Text)
    }

    /// What a model learns to say about a row.
    pub fn problem(&self) -> Problem {
        match self {
            Self::SentimentScore | Self::Regression => Problem::Regression,
            Self::MultiLabel => Problem::MultiLabel,
            Self::TokenClassification => Problem::Tokens,
            Self::Chat | Self::Instruct | Self::Completion | Self::Text => Problem::Language,
            _ => Problem::SingleLabel,
        }
    }

    /// What results are measured in, for these classes or tags: accuracy, then F1 or Matthews where the task has them, and
    /// what is usual for other [problems](Problem::metrics).
    pub fn metrics(&self, labels: &[String]) -> Vec<Metric> {
        match self {
            Self::Mrpc | Self::Qqp | Self::Sms => vec![Metric::Accuracy, Metric::F1],
            Self::Cola => vec![Metric::Accuracy, Metric::Matthews],
            _ => self.problem().metrics(labels),
        }
    }

    /// Whether examples are pictures.
    pub fn is_image(&self) -> bool {
        matches!(self, Self::Cifar10 | Self::Cifar100 | Self::Images)
    }

    /// Whether a language model learns to go on with texts.
    pub fn is_language(&self) -> bool {
        matches!(
            self,
            Self::Chat | Self::Instruct | Self::Completion | Self::Text
        )
    }

    /// Whether a language model learns texts as they are, without a chat template.
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Completion | Self::Text)
    }

    /// The files that the task reads, in words.
    fn files(&self) -> &'static str {
        match self {
            Self::Cola | Self::Sst2 | Self::Qqp | Self::Qnli | Self::Rte => {
                "a folder with `train.tsv` and `dev.tsv` of GLUE"
            }
            Self::Mrpc => {
                "a folder with `train.tsv` and `dev.tsv` of GLUE, or with \
                 `msr_paraphrase_train.txt` and `msr_paraphrase_test.txt`"
            }
            Self::Mnli => "a folder with `train.tsv` and `dev_matched.tsv` of GLUE",
            Self::MnliMismatched => "a folder with `train.tsv` and `dev_mismatched.tsv` of GLUE",
            Self::Trec | Self::TrecFine => questions::FILES,
            Self::Sentiment | Self::SentimentScore => reviews::FILES,
            Self::Sms => sms::FILES,
            Self::Csv => table::Format::Csv.files(),
            Self::Jsonl => table::Format::Jsonl.files(),
            Self::Regression | Self::MultiLabel => table::FILES,
            Self::TokenClassification => tagged::FILES,
            Self::Chat | Self::Instruct | Self::Completion | Self::Text => {
                "a file in JSON lines, JSON or Parquet, or a folder with `train.jsonl`"
            }
            Self::Cifar10 => cifar::FILES_10,
            Self::Cifar100 => cifar::FILES_100,
            Self::Images => images::FILES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_and_config_files_have_the_same_names() {
        for task in Task::value_variants() {
            let name = task.to_possible_value().unwrap().get_name().to_string();
            let json = format!("\"{name}\"");
            assert_eq!(serde_json::to_string(task).unwrap(), json);
            assert_eq!(serde_json::from_str::<Task>(&json).unwrap(), *task);
        }
        assert_eq!(
            serde_json::to_string(&Task::TrecFine).unwrap(),
            "\"trec-fine\""
        );
        assert_eq!(serde_json::to_string(&Task::Sst2).unwrap(), "\"sst2\"");
    }

    #[test]
    fn a_missing_folder_is_named_with_the_files_of_the_task() {
        for task in Task::value_variants() {
            let error = task.load(&DataSource::new("no/such/folder")).unwrap_err();
            assert!(matches!(error, Error::Missing { .. }));
            let text = error.to_string();
            assert!(
                text.starts_with("no/such/folder: not found; expected a f"),
                "{text}"
            );
        }
    }
}
