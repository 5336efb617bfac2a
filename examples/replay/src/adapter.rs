//! A Hugging Face model with a PEFT adapter.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn_hf_models::bert::{BertForSequenceClassification, BertModel};
use burn_hf_models::llama::LlamaForCausalLM;
use burn_hf_models::t5::T5ForConditionalGeneration;
use burn_hf_models::vit::ViTForImageClassification;
use burn_peft::{AdapterFolder, Peft, PeftConfig, SoftPrompt};

use crate::error::Error;
use crate::family::{Call, Family};
use crate::inputs::Inputs;
use crate::place::Place;
use crate::results::Output;

/// A model folder and an adapter folder for it.
///
/// ```no_run
/// use replay::{AdapterCase, DeviceKind, Inputs, Place, Precision, adapter};
///
/// let case = AdapterCase::new("bert", "bert/lora");
/// let place = Place::open(DeviceKind::Flex, Precision::F32)?;
/// let inputs = Inputs::read("golden.safetensors".as_ref())?;
/// let outputs = adapter(&case, &inputs, false, &place)?;
/// println!("{:?}", outputs["logits"].shape);
/// # Ok::<(), replay::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct AdapterCase {
    /// With `config.json` and `model.safetensors`.
    pub model: PathBuf,
    /// With `adapter_config.json` and `adapter_model.safetensors`.
    pub adapter: PathBuf,
}

/// The name of the adapter in the model.
const NAME: &str = "default";

impl AdapterCase {
    /// Both folders.
    pub fn new(model: impl Into<PathBuf>, adapter: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            adapter: adapter.into(),
        }
    }
}

/// Run the model with its adapter, or with the adapter merged into the weights.
///
/// # Errors
///
/// [`Error::Model`] and [`Error::Adapter`] for folders that cannot be used or do not fit,
/// [`Error::UnknownModel`], [`Error::Unused`] and others for inputs that the model does not take.
pub fn adapter(
    case: &AdapterCase,
    inputs: &Inputs,
    merged: bool,
    place: &Place,
) -> Result<BTreeMap<String, Output>, Error> {
    dispatch(
        &case.model,
        Run {
            case,
            inputs,
            merged,
            place,
        },
    )
}

/// Load the adapter into the model and give back the folder that this project writes of it.
///
/// # Errors
///
/// As [`adapter`].
pub fn roundtrip(case: &AdapterCase, place: &Place) -> Result<AdapterFolder, Error> {
    dispatch(&case.model, Again { case, place })
}

/// What is done with a model of a kind.
trait Task {
    type Output;

    fn run<F: Family>(self) -> Result<Self::Output, Error>;
}

fn dispatch<T: Task>(folder: &Path, task: T) -> Result<T::Output, Error> {
    let config: serde_json::Value = burn_hf_models::weights::read_config(folder)?;
    let text = |field: &str| config.get(field).and_then(serde_json::Value::as_str);
    let architecture = config.pointer("/architectures/0");
    let architecture = architecture.and_then(serde_json::Value::as_str);
    match (text("model_type"), architecture) {
        (Some("bert"), Some("BertModel")) => task.run::<BertModel>(),
        (Some("bert"), _) => task.run::<BertForSequenceClassification>(),
        (Some("vit"), _) => task.run::<ViTForImageClassification>(),
        (Some("t5"), _) => task.run::<T5ForConditionalGeneration>(),
        (Some("llama" | "qwen2"), _) => task.run::<LlamaForCausalLM>(),
        (found, _) => Err(Error::UnknownModel {
            path: folder.join("config.json"),
            found: found.unwrap_or("missing").into(),
        }),
    }
}

struct Run<'a> {
    case: &'a AdapterCase,
    inputs: &'a Inputs,
    merged: bool,
    place: &'a Place,
}

impl Task for Run<'_> {
    type Output = BTreeMap<String, Output>;

    fn run<F: Family>(self) -> Result<Self::Output, Error> {
        self.inputs.only(F::ARGUMENTS)?;
        let folder = AdapterFolder::read(&self.case.adapter)?;
        let prompt = match &folder.config {
            PeftConfig::PromptTuning(_) if self.merged => {
                return Err(Error::Arguments {
                    problem: "--merged: a soft prompt cannot be merged into weights".into(),
                });
            }
            PeftConfig::PromptTuning(_) => {
                Some(SoftPrompt::from_folder(&folder, &self.place.device)?)
            }
            _ => None,
        };
        let model = F::open(&self.case.model, &self.place.device)?;
        let model = model.load_adapter(NAME, &folder, &F::names())?;
        let model = if self.merged {
            model.merge_and_unload()?
        } else {
            model
        };
        // `valid`: without dropout.
        let call = Call {
            inputs: self.inputs,
            prompt: prompt.map(|prompt| prompt.valid()),
            place: Place {
                device: self.place.device.clone().inner(),
                dtype: self.place.dtype,
            },
        };
        let outputs = model.valid().run(&call)?;
        let named = outputs.into_iter();
        Ok(named.map(|(name, output)| (name.into(), output)).collect())
    }
}

struct Again<'a> {
    case: &'a AdapterCase,
    place: &'a Place,
}

impl Task for Again<'_> {
    type Output = AdapterFolder;

    fn run<F: Family>(self) -> Result<AdapterFolder, Error> {
        let mut folder = AdapterFolder::read(&self.case.adapter)?;
        let model = F::open(&self.case.model, &self.place.device)?;
        let model = model.load_adapter(NAME, &folder, &F::names())?;
        if let PeftConfig::PromptTuning(_) = &folder.config {
            let prompt = SoftPrompt::from_folder(&folder, &self.place.device)?;
            folder = prompt.update_folder(&folder)?;
        }
        Ok(model.update_folder(NAME, &folder, &F::names())?)
    }
}
