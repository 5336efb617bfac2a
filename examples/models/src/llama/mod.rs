//! The Llama family: decoders with rotary positions, grouped-query attention and gated
//! feed-forward networks.
//!
//! | `model_type` | next to Llama |
//! | --- | --- |
//! | `llama` | Llama 1 to 3, with and without biases |
//! | `mistral` | every layer sees a window of the text |
//! | `qwen2` | biases of queries, keys and values; windows in later layers |
//! | `qwen3` | norms of each head's queries and keys; windows in later layers |
//! | `gemma2` | windows in every other layer, soft caps of scores and logits, four norms in a layer, scaled embeddings |
//! | `gemma3_text` | Gemma 2 with norms of the heads in the place of soft caps; sliding layers have their own rotary base |
//! | `phi3` | one projection for queries, keys and values, and one for gate and input |
//! | `smollm3` | some layers without rotary positions |
//!
//! All are one configurable decoder, [`LlamaForCausalLM`], made by [`LlamaConfig`]. Rotary positions
//! can be stretched as [`RopeScaling`] says.
//!
//! Modules have the names of `transformers`: `model.layers.0.self_attn.q_proj`, `lm_head`.

mod attention;
mod config;
mod decoder;
pub(crate) mod family;
pub(crate) mod feed_forward;
mod file;
mod generate;
mod init;
mod input;
mod layer_types;
mod mask;
mod norm;
mod past;
mod validate;

use std::path::Path;

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use burn_ief::VocabularyHead;
use burn_peft::{ForwardAdapted, NameMap, tied_vocabulary_head, unembed_adapted, vocabulary_head};

pub use attention::LlamaAttention;
pub use config::LlamaConfig;
pub use decoder::{LlamaDecoderLayer, LlamaModel};
pub use family::model_types;
pub use feed_forward::{GateActivation, LlamaMlp};
pub use generate::LlamaGeneration;
pub use input::{LlamaInput, LlamaOutput};

pub use crate::rope::RopeScaling;

use crate::error::Error;
use crate::weights::{LoadOptions, load_named};

/// Whether a `model_type` is one of the families of decoders.
///
/// ```
/// assert!(burn_hf_models::llama::is_family("smollm3"));
/// assert!(!burn_hf_models::llama::is_family("t5"));
/// ```
pub fn is_family(model_type: &str) -> bool {
    family::Family::of(model_type).is_ok()
}

/// What to do about a head in the file that is not the embedding table.
const DIFFERENT_HEAD: &str = "config.json ties the head to the embeddings. Set `tie_word_embeddings` to false in it to \
                              use the head of the file, as transformers 5 does; or remove `lm_head.weight` from the \
                              file to use the embeddings, as transformers 4 does";

/// A causal language model of the Llama family: `transformers`' `LlamaForCausalLM`,
/// `MistralForCausalLM`, `Qwen2ForCausalLM`, `Qwen3ForCausalLM`, `Gemma2ForCausalLM`,
/// `Gemma3ForCausalLM`, `Phi3ForCausalLM` and `SmolLM3ForCausalLM`.
///
/// Made by [`LlamaConfig`], or read from a folder by [`load`](Self::load). Every
/// linear layer and the embedding table can carry adapters, and in a [`burn_ief::Tape`] every
/// trainable parameter is recorded per sample.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_hf_models::llama::{LlamaConfig, LlamaInput};
///
/// let device = Device::flex();
/// let model = LlamaConfig::new(100, 32, 64, 2, 4).init(&device)?;
/// let ids = Tensor::<2, Int>::from_data([[5, 7, 9], [1, 2, 3]], &device);
/// let output = model.forward(LlamaInput::new(ids))?;
/// assert_eq!(output.logits.dims(), [2, 3, 100]);
///
/// let unknown = Tensor::<2, Int>::from_data([[100]], &device);
/// assert!(model.validate(&LlamaInput::new(unknown)).is_err());
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct LlamaForCausalLM {
    /// Everything below the output head.
    pub model: LlamaModel,
    /// Output head, `[d, V]`; without it the embedding table is the head.
    pub lm_head: Option<Linear>,
    #[module(skip)]
    config: LlamaConfig,
}

impl LlamaForCausalLM {
    /// The model of a Hugging Face folder, with the dropout of its configuration.
    ///
    /// # Errors
    ///
    /// Those of [`LlamaConfig::from_folder`] and of [`load`](crate::weights::load).
    pub fn load(folder: &Path, device: &Device) -> Result<Self, Error> {
        let model = LlamaConfig::from_folder(folder)?.init(device)?;
        let options = model.load_options();
        load_named(model, &Self::names(), folder, &options)
    }

    /// The model of a folder with an output head of its own, which is a copy of the embedding table where the folder
    /// ties the two: adapters can then be merged into one of them and not into the other.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_untied(folder: &Path, device: &Device) -> Result<Self, Error> {
        let config = LlamaConfig::from_folder(folder)?;
        let is_tied = config.tie_word_embeddings;
        let model = config.with_tie_word_embeddings(false).init(device)?;
        let mut options = model.load_options();
        if is_tied {
            options = options.tied("lm_head.weight", "model.embed_tokens.weight");
        }
        load_named(model, &Self::names(), folder, &options)
    }

    /// Its configuration.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// The names of its modules in `transformers`: those of the fields.
    pub fn names() -> Vec<NameMap> {
        vec![NameMap::new().with_tied_head("lm_head", "model.embed_tokens")]
    }

    /// What [`load`](crate::weights::load) needs to know about the files: a tied head may be there
    /// as a copy, and old files hold the frequencies of the rotary positions.
    pub fn load_options(&self) -> LoadOptions {
        let options = LoadOptions::default()
            .with_prefix("model")
            .skip("rotary_emb");
        match self.lm_head {
            Some(_) => options,
            None => options.tied_or(
                "model.embed_tokens.weight",
                "lm_head.weight",
                DIFFERENT_HEAD,
            ),
        }
    }

    /// Hidden states and logits.
    ///
    /// # Shapes
    ///
    /// - input: see [`LlamaInput`]
    /// - output: see [`LlamaOutput`]; in a recording with drawn labels axis 0 also holds the
    ///   copies
    ///
    /// # Errors
    ///
    /// [`Error::Input`] if the shapes do not fit each other or the model. The values are looked at
    /// by [`validate`](Self::validate) alone, since that reads them to the host.
    ///
    /// # Panics
    ///
    /// Panics if an id is not in the vocabulary, as a look-up in Burn does.
    pub fn forward(&self, input: LlamaInput) -> Result<LlamaOutput, Error> {
        let hidden = self.model.forward(input)?;
        Ok(LlamaOutput {
            logits: self.logits(hidden.clone()),
            last_hidden_state: hidden,
        })
    }

    /// The hidden states below the head, `[M, V + T, d]`, virtual tokens of a prompt first; in a
    /// recording with drawn labels axis 0 also holds the copies.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn hidden(&self, input: LlamaInput) -> Result<Tensor<3>, Error> {
        self.model.forward(input)
    }

    /// The output head with its adapters, for a loss that never forms all logits.
    ///
    /// ```
    /// use burn::tensor::{Device, Int, Tensor};
    /// use burn_hf_models::llama::{LlamaConfig, LlamaInput};
    /// use burn_ief::token_cross_entropy;
    ///
    /// let device = Device::flex();
    /// let model = LlamaConfig::new(100, 32, 64, 2, 4).init(&device)?;
    /// let ids = Tensor::<2, Int>::from_data([[5, 7, 9, 11]], &device);
    /// let labels = Tensor::<2, Int>::from_data([[-100, -100, 9, 11]], &device);
    /// let hidden = model.hidden(LlamaInput::new(ids))?;
    /// let losses = token_cross_entropy(hidden, labels, &model.head()).expect("labels that fit");
    /// assert_eq!(losses.tokens(), 2);
    /// # Ok::<(), burn_hf_models::Error>(())
    /// ```
    pub fn head(&self) -> VocabularyHead {
        let head = match &self.lm_head {
            Some(head) => vocabulary_head(head),
            None => tied_vocabulary_head(&self.model.embed_tokens),
        };
        match self.config.final_logit_softcapping {
            Some(cap) => head.with_soft_cap(cap),
            None => head,
        }
    }

    /// Logits of hidden states `[M, …, d]`.
    fn logits<const D: usize>(&self, hidden: Tensor<D>) -> Tensor<D> {
        let logits = match &self.lm_head {
            Some(head) => head.forward_adapted(hidden),
            None => unembed_adapted(&self.model.embed_tokens, hidden),
        };
        match self.config.final_logit_softcapping {
            Some(cap) => (logits * (1.0 / cap)).tanh() * cap,
            None => logits,
        }
    }
}

impl LlamaModel {
    /// The model of a Hugging Face folder without its output head.
    ///
    /// # Errors
    ///
    /// Those of [`LlamaConfig::from_folder`] and of [`load`](crate::weights::load).
    pub fn load(folder: &Path, device: &Device) -> Result<Self, Error> {
        let model = LlamaConfig::from_folder(folder)?.init(device)?.model;
        load_named(model, &Self::names(), folder, &Self::load_options())
    }

    /// The names of its modules in `transformers`: those of the fields.
    pub fn names() -> Vec<NameMap> {
        vec![NameMap::default()]
    }

    /// Names with and without `model.`; the output head and old files' frequencies are left out.
    pub fn load_options() -> LoadOptions {
        LoadOptions::default()
            .with_prefix("model")
            .skip("lm_head")
            .skip("rotary_emb")
    }
}
