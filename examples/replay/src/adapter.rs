//! A Hugging Face model with a PEFT adapter.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::module::Module;
use burn_hf_models::bert::{BertForSequenceClassification, BertForTokenClassification, BertModel};
use burn_hf_models::class::{ModelClass, Task};
use burn_hf_models::distilbert::{
    DistilBertForSequenceClassification, DistilBertForTokenClassification,
};
use burn_hf_models::llama::{LlamaForCausalLM, LlamaModel};
use burn_hf_models::modernbert::{
    ModernBertForSequenceClassification, ModernBertForTokenClassification, ModernBertModel,
};
use burn_hf_models::roberta::{RobertaForSequenceClassification, RobertaForTokenClassification};
use burn_hf_models::t5::T5ForConditionalGeneration;
use burn_hf_models::vit::{ViTForImageClassification, ViTModel};
use burn_peft::{AdapterFolder, Peft, SoftPrompt};

use crate::error::Error;
use crate::family::{Call, Family};
use crate::inputs::Inputs;
use crate::place::Place;
use crate::results::Output;
use crate::room;

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
    /// What the model is used for; without it the adapter and the model folder decide
    /// ([`ModelClass::choose`]).
    pub task: Option<Task>,
}

/// The name of the adapter in the model.
pub(crate) const NAME: &str = "default";

/// Arguments of a causal language model.
pub(crate) const CAUSAL_ARGUMENTS: &[&str] = <LlamaForCausalLM as Family>::ARGUMENTS;

impl AdapterCase {
    /// Both folders.
    pub fn new(model: impl Into<PathBuf>, adapter: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            adapter: adapter.into(),
            task: None,
        }
    }

    /// Set what the model is used for.
    pub fn with_task(self, task: Option<Task>) -> Self {
        Self { task, ..self }
    }
}

/// Run the model with its adapter, or with the adapter merged into the weights.
///
/// # Errors
///
/// [`Error::Model`] and [`Error::Adapter`] for folders that cannot be used or do not fit, [`Error::Head`] for a
/// head that neither of them holds, [`Error::Unused`] and others for inputs that the model does not take,
/// [`Error::Memory`] for inputs that need more memory than there is.
pub fn adapter(
    case: &AdapterCase,
    inputs: &Inputs,
    merged: bool,
    place: &Place,
) -> Result<BTreeMap<String, Output>, Error> {
    dispatch(
        case,
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
    dispatch(case, Again { case, place })
}

/// What is done with a model of a class.
trait Job {
    type Output;

    fn run<F: Family>(self, folder: AdapterFolder) -> Result<Self::Output, Error>;
}

fn dispatch<J: Job>(case: &AdapterCase, job: J) -> Result<J::Output, Error> {
    let folder = AdapterFolder::read(&case.adapter)?;
    match ModelClass::choose(&case.model, Some(&folder), case.task)? {
        ModelClass::BertModel => job.run::<BertModel>(folder),
        ModelClass::BertForSequenceClassification => {
            job.run::<BertForSequenceClassification>(folder)
        }
        ModelClass::BertForTokenClassification => job.run::<BertForTokenClassification>(folder),
        ModelClass::RobertaForSequenceClassification => {
            job.run::<RobertaForSequenceClassification>(folder)
        }
        ModelClass::RobertaForTokenClassification => {
            job.run::<RobertaForTokenClassification>(folder)
        }
        ModelClass::DistilBertForSequenceClassification => {
            job.run::<DistilBertForSequenceClassification>(folder)
        }
        ModelClass::DistilBertForTokenClassification => {
            job.run::<DistilBertForTokenClassification>(folder)
        }
        ModelClass::ModernBertModel => job.run::<ModernBertModel>(folder),
        ModelClass::ModernBertForSequenceClassification => {
            job.run::<ModernBertForSequenceClassification>(folder)
        }
        ModelClass::ModernBertForTokenClassification => {
            job.run::<ModernBertForTokenClassification>(folder)
        }
        ModelClass::ViTModel => job.run::<ViTModel>(folder),
        ModelClass::ViTForImageClassification => job.run::<ViTForImageClassification>(folder),
        ModelClass::T5ForConditionalGeneration => job.run::<T5ForConditionalGeneration>(folder),
        ModelClass::LlamaModel => job.run::<LlamaModel>(folder),
        ModelClass::LlamaForCausalLM => job.run::<LlamaForCausalLM>(folder),
        other => Err(Error::Arguments {
            problem: format!("this program does not run {other:?}"),
        }),
    }
}

/// A model of a class, with its adapter.
pub(crate) fn load<F: Family>(
    case: &AdapterCase,
    folder: &AdapterFolder,
    place: &Place,
) -> Result<F, Error> {
    let model = F::open(&case.model, folder, &place.device).map_err(|error| match error {
        // Otherwise the head would keep the random values of a new one.
        Error::Model(burn_hf_models::Error::Missing { names, .. })
            if names.iter().all(|name| is_head(name)) =>
        {
            Error::Head {
                names,
                model: case.model.clone(),
                adapter: case.adapter.clone(),
            }
        }
        error => error,
    })?;
    Ok(model.load_adapter(NAME, folder, &F::names())?)
}

fn is_head(parameter: &str) -> bool {
    const HEADS: [&str; 5] = ["classifier", "pre_classifier", "head", "score", "lm_head"];
    let module = parameter.split('.').next();
    module.is_some_and(|module| HEADS.contains(&module))
}

struct Run<'a> {
    case: &'a AdapterCase,
    inputs: &'a Inputs,
    merged: bool,
    place: &'a Place,
}

impl Job for Run<'_> {
    type Output = BTreeMap<String, Output>;

    fn run<F: Family>(self, folder: AdapterFolder) -> Result<Self::Output, Error> {
        self.inputs.only(F::ARGUMENTS)?;
        let prompt = match folder.config.virtual_tokens() {
            Some(_) if self.merged => {
                return Err(Error::Arguments {
                    problem: "--merged: a soft prompt cannot be merged into weights".into(),
                });
            }
            Some(_) => Some(SoftPrompt::from_folder(&folder, &self.place.device)?),
            None => None,
        };
        let model: F = load(self.case, &folder, self.place)?;
        room::check(&self.case.model, self.inputs)?;
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

impl Job for Again<'_> {
    type Output = AdapterFolder;

    fn run<F: Family>(self, mut folder: AdapterFolder) -> Result<AdapterFolder, Error> {
        let model: F = load(self.case, &folder, self.place)?;
        if folder.config.virtual_tokens().is_some() {
            let prompt = SoftPrompt::from_folder(&folder, &self.place.device)?;
            folder = prompt.update_folder(&folder)?;
        }
        Ok(model.update_folder(NAME, &folder, &F::names())?)
    }
}
