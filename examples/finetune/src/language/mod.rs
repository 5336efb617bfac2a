//! Language models in use: what was trained, or a pretrained model, answers.
//!
//! A [`Place`] says where a model is, [`Language`] loads it, with several adapters on one base if there are some, and
//! [`Language::start`] makes an [`Answer`], which gives its text piece by piece. [`GenerationOptions`] say how tokens
//! are chosen: those of the model's `generation_config.json`, and over them those of a request.

mod answer;
mod options;
mod place;
mod stop_text;
mod token_text;
mod variant;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use burn_hf_models::llama::{LlamaConfig, LlamaForCausalLM};
use programs::guard;
use programs::printing::quoted_list;
use tokenizers::Tokenizer;

use crate::conversation::{ChatTemplate, SpecialTokens};
use crate::data::load_tokenizer;
use crate::error::Error;

pub use answer::{Answer, AnswerNumbers, AnswerRequest, FinishReason, PromptText};
pub use options::GenerationOptions;
pub use place::Place;

use variant::Variant;

/// A language model with its tokenizer, as it is or with one of several adapters.
///
/// ```no_run
/// use burn::tensor::Device;
/// use finetune::conversation::{Message, Role};
/// use finetune::language::{AnswerRequest, Language, Place, PromptText};
///
/// let place = Place::of("runs/ief-seed1".as_ref())?;
/// let language = Language::open(&place, &Device::flex())?;
/// let question = Message::new(Role::User, "Define the noun “burn”.");
/// let request = AnswerRequest::new(PromptText::Messages(vec![question]));
/// for piece in language.start(&request)? {
///     print!("{}", piece?);
/// }
/// # Ok::<(), finetune::Error>(())
/// ```
pub struct Language {
    base: PathBuf,
    llm: LlamaForCausalLM,
    tokenizer: Tokenizer,
    special: BTreeSet<u32>,
    ends: Vec<i64>,
    context: Option<usize>,
    options: GenerationOptions,
    device: Device,
    variants: Vec<Variant>,
}

impl Language {
    /// Load it under the name `default`.
    ///
    /// # Errors
    ///
    /// As [`open_named`](Self::open_named).
    pub fn open(place: &Place, device: &Device) -> Result<Self, Error> {
        Self::open_named("default", place, device)
    }

    /// Load it; `name` is what it is called among several.
    ///
    /// # Errors
    ///
    /// [`Error::Model`], [`Error::Adapter`], [`Error::Data`] and [`Error::Read`] for its files.
    pub fn open_named(name: &str, place: &Place, device: &Device) -> Result<Self, Error> {
        let base = place.base.as_path();
        let config = LlamaConfig::from_folder(base)?;
        let mut tokenizer = load_tokenizer(base, config.vocab_size)?;
        // Nothing is cut off silently.
        tokenizer.with_padding(None);
        let uncut = tokenizer.with_truncation(None).map(|_| ());
        uncut.map_err(|error| Error::config("tokenizer.json: truncation", error, "null"))?;
        let options = GenerationOptions::of_model(base)?;
        let mut ends = config.eos.clone();
        ends.extend(&options.eos);
        let special = SpecialTokens::from_folder(base)?;
        let end = special.get("eos_token");
        ends.extend(
            end.and_then(|end| tokenizer.token_to_id(end))
                .map(i64::from),
        );
        ends.sort_unstable();
        ends.dedup();
        let added = tokenizer.get_added_tokens_decoder();
        let mut language = Self {
            base: base.into(),
            llm: LlamaForCausalLM::load(base, device)?.valid(),
            special: added
                .into_iter()
                .filter(|(_, token)| token.special)
                .map(|(id, _)| id)
                .collect(),
            tokenizer,
            ends,
            context: config.context_length(),
            options,
            device: device.clone(),
            variants: Vec::new(),
        };
        language.add(name, place)?;
        Ok(language)
    }

    /// Add another adapter of the same base, or the base itself. All of them share the base's tensors.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a name that is taken or empty; [`Error::Adapter`], [`Error::Data`] and [`Error::Read`] for
    /// its files.
    pub fn add(&mut self, name: &str, place: &Place) -> Result<(), Error> {
        if name.is_empty() || self.names().any(|taken| taken == name) {
            let expected = "a name that no other model has";
            return Err(Error::config("--adapter", format!("`{name}`"), expected));
        }
        let template = if place.plain {
            None
        } else {
            ChatTemplate::of_model(&self.base, place.template.as_deref(), &self.tokenizer)?
        };
        let adapter = place.adapter.as_deref();
        let variant = Variant::load(name, &self.llm, adapter, template, &self.device)?;
        self.variants.push(variant);
        Ok(())
    }

    /// Folder or file of the base.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The names of what can answer; the first is the one that was opened.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variants.iter().map(|variant| variant.name.as_str())
    }

    /// Where the chat template of a model is from, if it has one.
    pub fn template(&self, name: &str) -> Option<&str> {
        let variant = self.variants.iter().find(|variant| variant.name == name);
        variant?.template.as_ref().map(ChatTemplate::name)
    }

    /// Let texts have at most so many tokens, prompt and answer together; the model's own limit stays, if it is less.
    pub fn limit_context(&mut self, tokens: usize) {
        self.context = Some(self.context.map_or(tokens, |own| own.min(tokens)));
    }

    /// Tokens of the longest text, if the model says so or it was limited.
    pub fn context(&self) -> Option<usize> {
        self.context
    }

    fn variant(&self, name: Option<&str>) -> Result<&Variant, Error> {
        let mut variants = self.variants.iter();
        let found = match name {
            None => variants.next(),
            Some(name) => variants.find(|variant| variant.name == name),
        };
        found.ok_or_else(|| {
            let expected = format!("one of {}", quoted_list(self.names()));
            Error::config("model", format!("`{}`", name.unwrap_or_default()), expected)
        })
    }

    /// The tokens of a text. A chat template prints the first token itself, other texts get it `with_first`.
    fn encode(&self, text: &str, with_first: bool) -> Result<Vec<i64>, Error> {
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
        let mut ids: Vec<i64> = encoding.get_ids().iter().map(|&id| id.into()).collect();
        // Some tokenizers put an end behind a text.
        if with_first && ids.last().is_some_and(|id| self.ends.contains(id)) {
            ids.pop();
        }
        Ok(ids)
    }
}
