//! An adapter and its model as one model folder, which `transformers` loads without PEFT.

mod companions;
mod decoder;
mod gguf;

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{DType, Device};
use burn_hf_models::class::{ModelClass, Task};
use burn_hf_models::gguf::GgufFile;
use burn_hf_models::open::{OpenOptions, Opened, WithOpened, open};
use burn_hf_models::weights::{SaveOptions, read_config, save_folder};
use burn_peft::{AdapterFolder, Peft};
use clap::ValueEnum;
use programs::new_folder::NewFolder;
use programs::{DeviceKind, files};
use serde_json::{Map, Value, json};

pub use burn_hf_models::gguf::GgufType;
pub use gguf::export_adapter;

use crate::class_labels::{Labels, class_of, stated_problem};
use crate::error::Error;
use crate::model::described;
use crate::problem::Problem;
use crate::target::Target;

/// The name of the adapter in the model.
const NAME: &str = "default";

/// How the values of weights are written.
///
/// ```
/// use finetune::merge::WeightType;
///
/// assert_eq!(WeightType::Bf16.name(), "bfloat16");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WeightType {
    /// 32 bits.
    F32,
    /// 16 bits with the range of f32.
    Bf16,
    /// 16 bits with a range up to 65504.
    F16,
}

impl WeightType {
    /// Its name in `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
            Self::F16 => "float16",
        }
    }

    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }

    /// That of a model by its configuration. Values of 64 bits are rounded; those of a GGUF file were rounded before,
    /// and nothing more is lost of them in 32 bits.
    fn of(config: &Map<String, Value>) -> Self {
        let stated = ["dtype", "torch_dtype"].iter().find_map(|field| {
            let name = config.get(*field)?.as_str()?;
            Some(name.trim_start_matches("torch."))
        });
        match stated {
            Some("bfloat16") => Self::Bf16,
            Some("float16") => Self::F16,
            _ => Self::F32,
        }
    }
}

/// What is written of a merged model.
///
/// ```
/// use finetune::merge::{MergeOptions, WeightType};
///
/// let options = MergeOptions::default().with_weight_type(WeightType::Bf16);
/// ```
#[derive(Debug, Clone, Default)]
pub struct MergeOptions {
    weight_type: Option<WeightType>,
    save: SaveOptions,
    gguf: Option<(PathBuf, GgufType)>,
}

impl MergeOptions {
    /// Weights of this type; otherwise as those of the base.
    pub fn with_weight_type(self, weight_type: WeightType) -> Self {
        Self {
            weight_type: Some(weight_type),
            ..self
        }
    }

    /// A language model as a GGUF file, too.
    pub fn with_gguf(self, path: impl Into<PathBuf>, kind: GgufType) -> Self {
        Self {
            gguf: Some((path.into(), kind)),
            ..self
        }
    }

    /// At most so many bytes of weights in a file; otherwise 5 GB.
    pub fn with_max_shard(self, bytes: u64) -> Self {
        Self {
            save: self.save.with_max_shard(bytes),
            ..self
        }
    }
}

/// Write a complete model folder at `out`: weights under the names of `transformers`, configuration, tokenizer, chat
/// template and settings of generation. A GGUF file as the base is turned into floats. A folder without an adapter is
/// written as it is, in the wanted type.
///
/// The folder is there as a whole or not at all. Without `out` only the GGUF file that `options` ask for is written.
/// Gives notes for the user.
///
/// ```no_run
/// use finetune::merge::{MergeOptions, merge};
/// use finetune::target::Target;
///
/// let target = Target::of("runs/ief-seed1".as_ref(), None)?;
/// merge(&target, Some("merged".as_ref()), &MergeOptions::default())?;
/// # Ok::<(), finetune::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Config`] for a prompt, which is a part of the input and not of the weights; [`Error::Model`] and
/// [`Error::Adapter`] for files that do not fit together, and for adapters that cannot be merged; [`Error::Write`] if
/// `out` is not a new or an empty folder, or cannot be written.
pub fn merge(
    target: &Target,
    out: Option<&Path>,
    options: &MergeOptions,
) -> Result<Vec<String>, Error> {
    let source = Source::read(target)?;
    if let Some((path, _)) = &options.gguf {
        gguf::check(&source, path)?;
    }
    let folder = out.map(NewFolder::begin).transpose()?;
    let weight_type = options
        .weight_type
        .unwrap_or_else(|| WeightType::of(&source.config));
    let save = options.save.clone().with_dtype(weight_type.dtype());
    let mut config = source.described(weight_type)?;
    if source.class == ModelClass::LlamaForCausalLM {
        let merged = decoder::merged(&target.base, source.adapter.as_ref(), &source.device)?;
        if merged.is_untied {
            config.insert("tie_word_embeddings".into(), false.into());
        }
        if let Some((path, kind)) = &options.gguf {
            gguf::write_model(&merged.model, target, path, *kind)?;
        }
        if let Some(folder) = &folder {
            let opened = Opened::of(merged.model, decoder::names());
            write_weights(&opened, folder.path(), &save)?;
        }
    } else if let Some(folder) = &folder {
        let write = Write {
            adapter: source.adapter.as_ref(),
            folder: folder.path(),
            save: &save,
        };
        let options = source.open_options();
        open(&target.base, source.class, &options, &source.device, write)?;
    }
    let Some(folder) = folder else {
        return Ok(Vec::new());
    };
    files::write_json(&folder.path().join("config.json"), &config)?;
    let notes = companions::write(target, folder.path())?;
    folder.finish()?;
    Ok(notes)
}

/// What is merged, read and checked before the weights are.
struct Source {
    adapter: Option<AdapterFolder>,
    class: ModelClass,
    config: Map<String, Value>,
    labels: Option<Labels>,
    problem: Problem,
    device: Device,
}

impl Source {
    fn read(target: &Target) -> Result<Self, Error> {
        let base = target.base.as_path();
        if !base.is_dir() && !GgufFile::is_named(base) {
            let expected = "the path of a Hugging Face folder or GGUF file";
            return Err(Error::config("--model", base.display(), expected));
        }
        let adapter = target.adapter.as_deref().map(AdapterFolder::read);
        let adapter = adapter.transpose()?;
        if let Some(folder) = &adapter
            && folder.config.virtual_tokens().is_some()
        {
            let field = format!(
                "{}: peft_type",
                target.folder().join("adapter_config.json").display()
            );
            let expected = "an adapter of weights: a prompt is a part of the input and cannot be merged. Use it with \
                            PEFT, or with `finetune predict` and `finetune generate`";
            return Err(Error::config(field, folder.config.peft_type(), expected));
        }
        if !base.join("config.json").is_file() && !GgufFile::is_named(base) {
            let problem = "no config.json: the model of a run without a pretrained model has no class in transformers";
            return Err(Error::read(base, problem));
        }
        let config: Map<String, Value> = read_config(base)?;
        let class = class_of(base, adapter.as_ref())?;
        let has_classes = matches!(
            class.task(),
            Task::SequenceClassification | Task::TokenClassification | Task::ImageClassification
        );
        let labels = has_classes.then(|| Labels::find(&target.labels, adapter.as_ref(), &config));
        let problem = match (target.problem, class.task()) {
            (Some(problem), _) => problem,
            (None, Task::TokenClassification) => Problem::Tokens,
            (None, Task::SequenceClassification) => {
                let outputs = labels.as_ref().map_or(0, Labels::count);
                stated_problem(target, &config, outputs)?
            }
            (None, _) => Problem::SingleLabel,
        };
        Ok(Self {
            adapter,
            class,
            config,
            labels,
            problem,
            device: DeviceKind::default().open()?.inner(),
        })
    }

    /// Parts that the adapter brings along, and the number of its classes.
    fn open_options(&self) -> OpenOptions {
        let options = OpenOptions::default();
        let options = match &self.labels {
            Some(labels) => options.with_labels(labels.count()),
            None => options,
        };
        match &self.adapter {
            Some(folder) => options.with_new_parts(folder.config.modules_to_save()),
            None => options,
        }
    }

    /// `config.json` of the merged model.
    fn described(&self, weight_type: WeightType) -> Result<Map<String, Value>, Error> {
        let model_type = self.config.get("model_type").and_then(Value::as_str);
        let class = self.class.name(model_type.unwrap_or_default())?;
        let names = self.labels.as_ref().and_then(Labels::new_names);
        let mut config = described(
            self.config.clone(),
            Some(&class),
            names.as_deref().map(|names| (names, self.problem)),
            weight_type.name(),
        );
        if !config.contains_key("dtype") && !config.contains_key("torch_dtype") {
            // Old and new versions read this name.
            config.insert("torch_dtype".into(), json!(weight_type.name()));
        }
        Ok(config)
    }
}

/// Merges the adapter into a model of any class, and writes its weights.
struct Write<'a> {
    adapter: Option<&'a AdapterFolder>,
    folder: &'a Path,
    save: &'a SaveOptions,
}

impl WithOpened for Write<'_> {
    type Output = ();
    type Error = Error;

    fn apply<M: Module>(self, mut opened: Opened<M>) -> Result<(), Error> {
        if let Some(adapter) = self.adapter {
            let model = opened.model.load_adapter(NAME, adapter, &opened.names)?;
            opened.model = model.merge_and_unload()?;
        }
        write_weights(&opened, self.folder, self.save)
    }
}

fn write_weights<M: Module>(
    opened: &Opened<M>,
    folder: &Path,
    save: &SaveOptions,
) -> Result<(), Error> {
    let unused: Vec<(&str, Vec<usize>)> = opened.unused.clone();
    let written = save_folder(&opened.model, &opened.file_names, &unused, folder, save);
    written.map_err(|error| match error {
        burn_hf_models::Error::Weights { path, reason } => Error::write(&path, reason),
        other => other.into(),
    })
}
