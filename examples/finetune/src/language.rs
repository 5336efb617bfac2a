//! Language models in use: what was trained, or a pretrained model, answers.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_hf_models::generate::Sampling;
use burn_hf_models::gguf::GgufFile;
use burn_hf_models::llama::{LlamaConfig, LlamaForCausalLM, LlamaInput};
use burn_peft::{AdapterFolder, Peft, PeftConfig, SoftPrompt};
use programs::{guard, reading};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use tokenizers::Tokenizer;

use crate::config::AdapterKind;
use crate::conversation::{ChatTemplate, Message, SpecialTokens};
use crate::data::load_tokenizer;
use crate::error::Error;
use crate::history::{FILE, History};

/// The name of the adapter in the model.
const NAME: &str = "default";
const ADAPTER: &str = "adapter_config.json";

/// Where a language model is: the base, and what was trained of it.
///
/// ```no_run
/// use finetune::language::Place;
///
/// let place = Place::of("runs/ief-seed1".as_ref())?;
/// println!("{}", place.base.display());
/// # Ok::<(), finetune::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// Hugging Face folder or GGUF file.
    pub base: PathBuf,
    /// PEFT folder.
    pub adapter: Option<PathBuf>,
    /// Whether it was trained on plain texts, without a chat template.
    pub plain: bool,
    /// The chat template by name that it was trained with.
    pub template: Option<String>,
}

impl Place {
    /// Of the folder of a run, a PEFT folder, a Hugging Face folder or a GGUF file.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] for a damaged record of a run, [`Error::Config`] for a run of another kind or a PEFT folder that
    /// does not say where its base is.
    pub fn of(target: &Path) -> Result<Self, Error> {
        if target.join(FILE).is_file() {
            return Self::of_run(target);
        }
        let new = |base, adapter| Self {
            base,
            adapter,
            plain: false,
            template: None,
        };
        if !target.join(ADAPTER).is_file() {
            return Ok(new(target.into(), None));
        }
        #[derive(Deserialize)]
        struct Base {
            base_model_name_or_path: Option<PathBuf>,
        }
        let path = target.join(ADAPTER);
        let text = reading::text(&path).map_err(|error| Error::read(&path, error))?;
        let base: Base = serde_json::from_str(&text).map_err(|error| Error::read(&path, error))?;
        let base = base.base_model_name_or_path.unwrap_or_default();
        if !base.exists() {
            let field = format!("{}: base_model_name_or_path", path.display());
            let expected = "the path of the base model (or give its path with --model)";
            return Err(Error::config(field, base.display(), expected));
        }
        Ok(new(base, Some(target.into())))
    }

    fn of_run(folder: &Path) -> Result<Self, Error> {
        let config = History::read(folder)?.config;
        let task = config.task()?;
        if !task.is_language() {
            let expected = "a run of chat, instruct, completion or text";
            let field = format!("{}: task", folder.join(FILE).display());
            let found = serde_json::to_string(&task).unwrap_or_default();
            return Err(Error::config(field, found, expected));
        }
        let is_full = config.adapter.kind == AdapterKind::Full;
        let base = config.model.folder.clone().unwrap_or_default();
        Ok(Self {
            base: if is_full { folder.join("model") } else { base },
            adapter: (!is_full).then(|| folder.join("adapter")),
            plain: task.is_plain(),
            template: config.data.template,
        })
    }

    /// With another base, which may have moved.
    pub fn with_base(self, base: PathBuf) -> Self {
        Self { base, ..self }
    }
}

/// A language model with tokenizer and chat template.
pub struct Language {
    llm: LlamaForCausalLM,
    prompt: Option<SoftPrompt>,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    ends: Vec<i64>,
}

impl Language {
    /// Load it.
    ///
    /// # Errors
    ///
    /// [`Error::Model`], [`Error::Adapter`], [`Error::Data`] and [`Error::Read`] for its files.
    pub fn open(place: &Place, device: &Device) -> Result<Self, Error> {
        let base = place.base.as_path();
        let config = LlamaConfig::from_folder(base)?;
        let tokenizer = load_tokenizer(base, config.vocab_size)?;
        let template = if place.plain {
            None
        } else {
            ChatTemplate::of_model(base, place.template.as_deref(), &tokenizer)?
        };
        let mut ends = config.eos.clone();
        ends.extend(stated_ends(base)?);
        let special = SpecialTokens::from_folder(base)?;
        let end = special.get("eos_token");
        ends.extend(
            end.and_then(|end| tokenizer.token_to_id(end))
                .map(i64::from),
        );
        ends.sort_unstable();
        ends.dedup();
        let llm = LlamaForCausalLM::load(base, device)?;
        let adapter = place.adapter.as_deref().map(AdapterFolder::read);
        let adapter = adapter.transpose()?;
        let prompt = match &adapter {
            Some(folder) if matches!(folder.config, PeftConfig::PromptTuning(_)) => {
                Some(SoftPrompt::from_folder(folder, device)?)
            }
            _ => None,
        };
        let llm = match &adapter {
            Some(folder) => llm.load_adapter(NAME, folder, &LlamaForCausalLM::names())?,
            None => llm,
        };
        Ok(Self {
            llm: llm.valid(),
            prompt: prompt.map(|prompt| prompt.valid()),
            tokenizer,
            template,
            ends,
        })
    }

    /// Whether it has a chat template.
    pub fn can_chat(&self) -> bool {
        self.template.is_some()
    }

    /// The answer to a conversation.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] if the template refuses it, [`Error::Config`] without a template, and as
    /// [`continued`](Self::continued).
    pub fn answer(
        &self,
        messages: &[Message],
        sampling: &Sampling,
        seed: u64,
    ) -> Result<String, Error> {
        let Some(template) = &self.template else {
            let expected = "a model with a chat template, or --plain";
            return Err(Error::config("model.folder", "no chat template", expected));
        };
        let rendered = template.render(messages, None, true)?;
        // The template prints the first token itself.
        self.go_on(&rendered.text, false, sampling, seed)
    }

    /// How a plain text goes on.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] for a text that cannot be turned into tokens, [`Error::Model`] for settings out of range.
    pub fn continued(&self, text: &str, sampling: &Sampling, seed: u64) -> Result<String, Error> {
        self.go_on(text, true, sampling, seed)
    }

    fn go_on(
        &self,
        text: &str,
        with_first: bool,
        sampling: &Sampling,
        seed: u64,
    ) -> Result<String, Error> {
        let failed = |problem: String| {
            Error::from(crate::data::Error::Tokens {
                index: 0,
                text: text.chars().take(40).collect(),
                problem,
            })
        };
        let encoding = guard::catch(|| self.tokenizer.encode(text, with_first));
        let encoding = encoding
            .map_err(|panic| failed(panic.message))?
            .map_err(|error| failed(error.to_string()))?;
        let ids: Vec<i64> = encoding.get_ids().iter().map(|&id| id.into()).collect();
        // Some tokenizers put an end behind a text.
        let own = ids.len()
            - usize::from(with_first && ids.last().is_some_and(|id| self.ends.contains(id)));
        let ids = TensorData::new(ids[..own].to_vec(), [1, own]);
        let device = self.llm.devices().into_iter().next().unwrap_or_default();
        let mut input = LlamaInput::new(Tensor::<2, Int>::from_data(ids, &device));
        if let Some(prompt) = &self.prompt {
            input = input.with_prompt(prompt.forward(1));
        }
        let sampling = sampling.clone().with_eos(self.ends.clone());
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let rows = self.llm.generate(input, &sampling, &mut generator)?;
        let new = rows.into_iter().next().unwrap_or_default();
        let new: Vec<u32> = new
            .into_iter()
            .filter(|id| !self.ends.contains(id))
            .map(|id| id as u32)
            .collect();
        let text = self.tokenizer.decode(&new, true);
        text.map_err(|error| failed(error.to_string()))
    }
}

/// The end tokens of `generation_config.json`, which may be more than those of the model.
fn stated_ends(base: &Path) -> Result<Vec<i64>, Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Ids {
        One(i64),
        Several(Vec<i64>),
    }
    #[derive(Deserialize)]
    struct Generation {
        eos_token_id: Option<Ids>,
    }
    let path = base.join("generation_config.json");
    if GgufFile::is_named(base) || !path.is_file() {
        return Ok(Vec::new());
    }
    let text = reading::text(&path).map_err(|error| Error::read(&path, error))?;
    let stated: Generation =
        serde_json::from_str(&text).map_err(|error| Error::read(&path, error))?;
    Ok(match stated.eos_token_id {
        None => Vec::new(),
        Some(Ids::One(id)) => vec![id],
        Some(Ids::Several(ids)) => ids,
    })
}
