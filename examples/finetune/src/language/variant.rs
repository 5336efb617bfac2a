//! A language model with one adapter or none.

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use burn_hf_models::llama::LlamaForCausalLM;
use burn_peft::{AdapterFolder, Peft, SoftPrompt};

use crate::conversation::ChatTemplate;
use crate::error::Error;
use crate::model::prompt_of;

/// The name of the adapter in the model.
const NAME: &str = "default";

/// The base with one adapter, or as it is.
///
/// Each adapter is on its own copy of the model, and these copies share all tensors of the base. So
/// nothing is switched between answers, and adapters of different methods can be used side by side.
pub(super) struct Variant {
    pub name: String,
    pub llm: LlamaForCausalLM,
    pub prompt: Option<SoftPrompt>,
    pub template: Option<ChatTemplate>,
}

impl Variant {
    pub fn load(
        name: &str,
        base: &LlamaForCausalLM,
        adapter: Option<&Path>,
        template: Option<ChatTemplate>,
        device: &Device,
    ) -> Result<Self, Error> {
        let adapter = adapter.map(AdapterFolder::read).transpose()?;
        let prompt = prompt_of(adapter.as_ref(), device)?;
        let llm = base.clone();
        let llm = match &adapter {
            Some(folder) => llm.load_adapter(NAME, folder, &LlamaForCausalLM::names())?,
            None => llm,
        };
        Ok(Self {
            name: name.into(),
            llm: llm.valid(),
            prompt: prompt.map(|prompt| prompt.valid()),
            template,
        })
    }

    /// Virtual tokens in front of every text.
    pub fn virtual_tokens(&self) -> usize {
        self.prompt
            .as_ref()
            .map_or(0, |prompt| prompt.forward(1).dims()[1])
    }
}
