//! What a run is made of: the configuration file.

mod adapter;
mod layers;
mod sections;

use std::collections::BTreeMap;
use std::path::PathBuf;

use programs::optimizer::{OptimizerName, optimizer};
use programs::{DeviceKind, Floats};
use serde::{Deserialize, Serialize};

use crate::data::{DataSource, Task};
use crate::error::Error;
use crate::method_options::{MethodOptions, by_method};
use crate::problem::Problem;

pub use adapter::{AdapterKind, AdapterOptions, BiasKind, InitKind};
pub use layers::{layered, read};
pub use sections::{Architecture, DataOptions, ModelOptions, Pooling, TrainingOptions};

/// Everything that a run depends on.
///
/// ```
/// use finetune::config::Config;
///
/// let config = Config::default();
/// let text = config.to_toml()?;
/// assert!(text.contains("[method.ief]"));
/// # Ok::<(), finetune::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What reports call the setup.
    pub name: String,
    /// What is learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// Folder of the runs, a folder for each method and seed.
    pub out: PathBuf,
    /// Where to compute.
    pub device: DeviceKind,
    /// Optimizers, one run of each for every seed.
    pub methods: Vec<OptimizerName>,
    /// Seeds of new parameters, order, dropout and drawn labels.
    pub seeds: Vec<u64>,
    /// The pretrained model.
    pub model: ModelOptions,
    /// What is trained.
    pub adapter: AdapterOptions,
    /// The data.
    pub data: DataOptions,
    /// The run.
    pub training: TrainingOptions,
    /// Options of the methods.
    #[serde(deserialize_with = "by_method")]
    pub method: BTreeMap<OptimizerName, MethodOptions>,
}

impl Default for Config {
    fn default() -> Self {
        let options = |method| (method, MethodOptions::of(method));
        Self {
            name: "finetune".into(),
            task: None,
            out: "runs/finetune".into(),
            device: DeviceKind::default(),
            methods: vec![optimizer("ief")],
            seeds: vec![1],
            model: ModelOptions::default(),
            adapter: AdapterOptions::default(),
            data: DataOptions::default(),
            training: TrainingOptions::default(),
            method: OptimizerName::all().iter().copied().map(options).collect(),
        }
    }
}

impl Config {
    /// Sentence vectors of BERT: as configured; otherwise the pooler, as in `BertForSequenceClassification`, but the
    /// mean for a prompt, behind which the pooler would look at a virtual token.
    pub fn pooling(&self) -> Pooling {
        self.model.pooling.unwrap_or(match self.adapter.kind {
            kind if kind.has_virtual_tokens() => Pooling::Mean,
            _ => Pooling::Pooler,
        })
    }

    /// The longest text in tokens: as configured; otherwise 1,024 for language models and 128 for all others.
    pub fn max_length(&self) -> usize {
        let is_language = self.task.is_some_and(|task| task.is_language());
        let default = if is_language { 1024 } else { 128 };
        self.data.max_length.unwrap_or(default)
    }

    /// As a TOML file that [`read`] takes.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a path is not UTF-8.
    pub fn to_toml(&self) -> Result<String, Error> {
        toml::to_string(self).map_err(|error| Error::config("config", error, "plain text"))
    }

    /// Options of a method; those it has by default if there are none.
    pub fn options(&self, method: OptimizerName) -> MethodOptions {
        let options = self.method.get(&method).cloned();
        options.unwrap_or_else(|| MethodOptions::of(method))
    }

    /// The same with a method's options changed.
    pub fn with_options(mut self, method: OptimizerName, options: MethodOptions) -> Self {
        self.method.insert(method, options);
        self
    }

    /// What one run depends on: the configuration with its method and seed alone.
    pub fn of_run(&self, method: OptimizerName, seed: u64) -> Self {
        Self {
            methods: vec![method],
            seeds: vec![seed],
            method: [(method, self.options(method))].into(),
            ..self.clone()
        }
    }

    /// The task.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if there is none.
    pub fn task(&self) -> Result<Task, Error> {
        self.task
            .ok_or_else(|| Error::config("task", "not set", "a task (`--task`, see `--help`)"))
    }

    /// Where the data is and how it is split, for pictures of this size.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if no folder is set.
    pub fn data_source(&self, image_size: usize) -> Result<DataSource, Error> {
        let Some(folder) = &self.data.folder else {
            return Err(Error::config(
                "data.folder",
                "not set",
                "a folder (`--data DIR`)",
            ));
        };
        let data = &self.data;
        Ok(DataSource {
            folder: folder.clone(),
            seed: data.split_seed,
            train_rows: data.train_rows,
            valid_rows: data.valid_rows,
            test_rows: data.test_rows,
            valid_share: data.valid_share,
            test_share: data.test_share,
            text_column: data.text_column.clone(),
            second_column: data.second_column.clone(),
            label_column: data.label_column.clone(),
            label_columns: data.label_columns.clone(),
            label_separator: data.label_separator.clone(),
            quotes: data.quotes,
            labels: (!data.labels.is_empty()).then(|| data.labels.clone()),
            columns: data.columns.clone(),
            image_size,
        })
    }

    /// Refuse options of another problem than the task's.
    fn problem_options(&self, problem: Problem) -> Result<(), Error> {
        let usual = DataOptions::default();
        let data = &self.data;
        let own_separator = data.label_separator != usual.label_separator;
        let columns = data.label_columns.join(",");
        for (field, found, is_set, of) in [
            (
                "data.label_columns",
                columns,
                !data.label_columns.is_empty(),
                Problem::MultiLabel,
            ),
            (
                "data.label_separator",
                data.label_separator.clone(),
                own_separator,
                Problem::MultiLabel,
            ),
            (
                "data.standardize",
                "off".into(),
                !data.standardize,
                Problem::Regression,
            ),
            (
                "data.tagged_pieces",
                "all".into(),
                data.tagged_pieces != usual.tagged_pieces,
                Problem::Tokens,
            ),
        ] {
            if is_set && problem != of {
                let task = match of {
                    Problem::MultiLabel => "multi-label",
                    Problem::Regression => "regression",
                    _ => "token-classification",
                };
                let expected = format!("not set: only `--task {task}` has it");
                return Err(Error::config(field, found, expected));
            }
        }
        if problem == Problem::Regression && !data.labels.is_empty() {
            let expected = "not set for numbers, which have no classes";
            return Err(Error::config(
                "data.labels",
                data.labels.join(","),
                expected,
            ));
        }
        if !data.label_columns.is_empty() && !data.labels.is_empty() {
            let expected = "not set next to `data.label_columns`, which are the labels";
            return Err(Error::config(
                "data.labels",
                data.labels.join(","),
                expected,
            ));
        }
        if problem == Problem::Tokens && self.model.pooling.is_some() {
            let expected = "not set: a tag is given to every word, and not to a vector of the text";
            return Err(Error::config("model.pooling", "set", expected));
        }
        Ok(())
    }

    /// Check what can be checked without the files.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] and [`Error::Method`] naming the first field that does not fit.
    pub fn validate(&self) -> Result<(), Error> {
        let at_least_one = |field: &str, value: usize| match value {
            0 => Err(Error::config(field, 0, "at least 1")),
            _ => Ok(()),
        };
        self.problem_options(self.task()?.problem())?;
        self.data_source(32)?.validate()?;
        for (field, path) in [
            ("out", Some(&self.out)),
            ("data.folder", self.data.folder.as_ref()),
            ("model.folder", self.model.folder.as_ref()),
        ] {
            if let Some(path) = path.filter(|path| path.to_str().is_none()) {
                let expected = "a path in UTF-8: the record of a run is JSON, which has no others";
                return Err(Error::config(field, path.display(), expected));
            }
        }
        at_least_one("training.batch", self.training.batch)?;
        at_least_one("training.eval_batch", self.training.eval_batch)?;
        at_least_one("training.epochs", self.training.epochs)?;
        at_least_one("training.accumulation", self.training.accumulation)?;
        at_least_one("training.max_steps", self.training.max_steps.unwrap_or(1))?;
        at_least_one("training.eval_steps", self.training.eval_steps.unwrap_or(1))?;
        at_least_one("training.max_new_tokens", self.training.max_new_tokens)?;
        if let Some(norm) = self.training.clip_norm
            && self.methods.iter().all(|method| method.is_natural())
        {
            let expected = "not set without a first-order method: `--normalize` is for the others";
            return Err(Error::config("training.clip_norm", norm, expected));
        }
        let has_questions = |task: Task| task.is_language() && task != Task::Text;
        if self.training.eval_generate > 0 && !self.task.is_some_and(has_questions) {
            let expected = "0 for this task: only chat, instruct and completion have questions";
            let found = self.training.eval_generate;
            return Err(Error::config("training.eval_generate", found, expected));
        }
        if let Some(norm) = self.training.clip_norm
            && !((norm as f32).is_finite() && norm > 0.0)
        {
            let expected = "a finite number above 0";
            return Err(Error::config("training.clip_norm", norm, expected));
        }
        self.adapter.validate()?;
        at_least_one("methods", self.methods.len())?;
        at_least_one("seeds", self.seeds.len())?;
        if let Some(0) = self.model.hidden.iter().min() {
            return Err(Error::config("model.hidden", 0, "widths of at least 1"));
        }
        if self.model.dtype != Floats::F32 {
            let found = self.model.dtype.name();
            if !self.task()?.is_language() {
                let expected = "f32 for this task: only language models are trained on a base in half precision";
                return Err(Error::config("model.dtype", found, expected));
            }
            if self.adapter.kind == AdapterKind::Full {
                let expected =
                    "f32 with --adapter full: weights in half precision lose most of a small step";
                return Err(Error::config("model.dtype", found, expected));
            }
        }
        if self.max_length() < 4 {
            let expected = "at least 4 tokens";
            return Err(Error::config(
                "data.max_length",
                self.max_length(),
                expected,
            ));
        }
        for method in &self.methods {
            self.options(*method).check(*method)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> Config {
        let mut config = Config {
            task: Some(Task::Trec),
            ..Config::default()
        };
        config.data.folder = Some("data".into());
        config
    }

    #[test]
    fn the_toml_form_reads_back() {
        let config = complete();
        config.validate().unwrap();
        let text = config.to_toml().unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
    }

    #[test]
    fn fields_out_of_range_are_named() {
        let refused = |change: fn(&mut Config)| {
            let mut config = complete();
            change(&mut config);
            match config.validate().unwrap_err() {
                Error::Config { field, .. } => field,
                other => other.to_string(),
            }
        };
        assert_eq!(refused(|c| c.task = None), "task");
        assert_eq!(refused(|c| c.data.folder = None), "data.folder");
        assert_eq!(refused(|c| c.training.batch = 0), "training.batch");
        assert_eq!(refused(|c| c.seeds.clear()), "seeds");
        assert_eq!(refused(|c| c.data.max_length = Some(3)), "data.max_length");
        assert_eq!(refused(|c| c.adapter.alpha = f64::NAN), "adapter.alpha");
        assert!(refused(|c| c.data.valid_share = 2.0).contains("valid_share"));
        let step_size = refused(|c| {
            let mut options = c.options(optimizer("ief"));
            options.step_size = -1.0;
            c.method.insert(optimizer("ief"), options);
        });
        assert_eq!(step_size, "method.ief.step_size");
    }

    #[test]
    fn a_run_depends_on_its_own_method_alone() {
        let config = complete();
        let run = config.of_run(OptimizerName::SGD, 3);
        assert_eq!(
            (run.methods.as_slice(), run.seeds.as_slice()),
            (&[OptimizerName::SGD][..], &[3][..])
        );
        assert_eq!(run.method.len(), 1);
    }
}
