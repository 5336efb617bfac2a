//! Language models that go on with a text: Llama, Qwen2 and their relatives.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor};
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use burn_hf_models::llama::{LlamaConfig, LlamaForCausalLM, LlamaInput};
use burn_hf_models::weights::{load_named, read_config};
use burn_ief::{TokenLosses, token_cross_entropy};
use burn_peft::settings::TaskType;
use burn_peft::{NameMap, SoftPrompt};
use serde::Deserialize;

use super::adapter::{Family, Size, Trained, save_layers};
use super::export::{Class, Destination, load_weights, write_model_folder};
use super::{Answered, FineTune, Judged, Outcome, fits};
use crate::config::{AdapterKind, Config};
use crate::conversation::{ConversationBatch, NO_LABEL};
use crate::error::Error;

/// A language model that learns the answers of conversations, or whole texts.
///
/// The loss of a sample is the sum over its trained tokens. What is displayed, and what first-order optimizers
/// follow, is the mean over the trained tokens of the batch, as in `transformers`. Logits are formed a few positions
/// at a time ([`token_cross_entropy`]).
///
/// ```no_run
/// use std::path::Path;
/// use burn::tensor::Device;
/// use finetune::config::Config;
/// use finetune::model::CausalLm;
///
/// let device = Device::flex().autodiff();
/// let model = CausalLm::load(&Config::default(), Path::new("SmolLM2-135M-Instruct"), &device)?;
/// # Ok::<(), finetune::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct CausalLm {
    prompt: Option<SoftPrompt>,
    llm: LlamaForCausalLM,
    #[module(skip)]
    trained: Trained,
}

impl CausalLm {
    /// The model of a folder or GGUF file with what is trained.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] for the folder, [`Error::Adapter`] for the adapter's settings, [`Error::Config`] for a GGUF
    /// file whose whole model would be trained.
    pub fn load(config: &Config, folder: &Path, device: &Device) -> Result<Self, Error> {
        let sizes = llama_config(config, folder)?;
        let llm = sizes.init(device)?;
        let options = llm.load_options();
        let llm = load_named(llm, &LlamaForCausalLM::names(), folder, &options)?;
        let model_type = model_type(folder)?;
        let family = family(&model_type);
        let new = |llm, prompt, trained| Self {
            prompt,
            llm,
            trained,
        };
        match config.adapter.kind {
            AdapterKind::Full => {
                if folder.is_file() {
                    let expected = "lora or prompt for a GGUF file, whose values are rounded; a Hugging Face folder \
                                    can be trained in full";
                    return Err(Error::config("adapter.kind", "full", expected));
                }
                Ok(new(llm, None, Trained::Full))
            }
            kind if kind.has_virtual_tokens() => {
                let size = Size {
                    width: sizes.hidden_size,
                    layers: sizes.num_hidden_layers,
                    heads: sizes.num_attention_heads,
                    parts: 1,
                };
                let llm = llm.freeze();
                let table = llm.model.embed_tokens.weight.val();
                let (prompt, settings) = family.prompt(config, size, table, device)?;
                Ok(new(llm, Some(prompt), Trained::Prompt(settings)))
            }
            // Adapters of layers.
            _ => {
                let (llm, trained) = family.adapted(llm, config, &[names()])?;
                Ok(new(llm, None, trained))
            }
        }
    }

    /// Entries of the vocabulary of a folder or GGUF file.
    ///
    /// # Errors
    ///
    /// [`Error::Model`].
    pub fn vocabulary(config: &Config, folder: &Path) -> Result<usize, Error> {
        Ok(llama_config(config, folder)?.vocab_size)
    }

    fn input(&self, batch: &ConversationBatch) -> LlamaInput {
        let [samples, _] = batch.input_ids.dims();
        let input = LlamaInput::new(batch.input_ids.clone());
        let input = input.with_attention_mask(batch.attention_mask.clone());
        match &self.prompt {
            Some(prompt) => input.with_prompt(prompt.forward(samples)),
            None => input,
        }
    }

    /// Virtual tokens in front of every sample.
    fn virtual_tokens(&self) -> usize {
        match &self.trained {
            Trained::Prompt(settings) => settings.virtual_tokens().unwrap_or_default(),
            _ => 0,
        }
    }

    fn losses(&self, batch: &ConversationBatch) -> TokenLosses {
        let hidden = fits(self.llm.hidden(self.input(batch)));
        let labels = match self.virtual_tokens() {
            0 => batch.labels.clone(),
            count => {
                let [samples, _] = batch.labels.dims();
                let none = Tensor::full([samples, count], NO_LABEL, &batch.labels.device());
                Tensor::cat(vec![none, batch.labels.clone()], 1)
            }
        };
        match token_cross_entropy(hidden, labels, &self.llm.head()) {
            Ok(losses) => losses,
            Err(error) => panic!("a batch does not fit the model: {error}"),
        }
    }

    fn outcome(&self, batch: &ConversationBatch) -> Outcome {
        let losses = self.losses(batch);
        Outcome {
            loss: losses.token_mean(),
            answered: Answered::Tokens {
                correct: losses.correct(),
                tokens: losses.tokens(),
            },
        }
    }
}

fn names() -> NameMap {
    let names = LlamaForCausalLM::names();
    names.into_iter().next().unwrap_or_default()
}

/// LoRA adapts query and value by default; where they are one layer, that layer.
fn family(model_type: &str) -> Family<'_> {
    Family {
        model_type,
        targets: match model_type {
            "phi3" => &["qkv_proj"],
            _ => &["q_proj", "v_proj"],
        },
        saved: &[],
        task: Some(TaskType::CausalLm),
    }
}

fn model_type(folder: &Path) -> Result<String, Error> {
    #[derive(Deserialize)]
    struct Kind {
        model_type: Option<String>,
    }
    let kind: Kind = read_config(folder)?;
    Ok(kind.model_type.unwrap_or_default())
}

/// The folder's configuration with the dropout that was asked for.
fn llama_config(config: &Config, folder: &Path) -> Result<LlamaConfig, Error> {
    let mut sizes = LlamaConfig::from_folder(folder)?;
    if !config.model.dropout {
        sizes.attention_dropout = 0.0;
    }
    Ok(sizes)
}

impl TrainStep for CausalLm {
    type Input = ConversationBatch;
    type Output = Outcome;

    fn step(&self, batch: ConversationBatch) -> TrainOutput<Outcome> {
        self.outcome(&batch).trained(self)
    }
}

impl InferenceStep for CausalLm {
    type Input = ConversationBatch;
    type Output = Outcome;

    fn step(&self, batch: ConversationBatch) -> Outcome {
        self.outcome(&batch)
    }
}

impl Judged for CausalLm {
    type Batch = ConversationBatch;

    fn outputs(&self, batch: &ConversationBatch) -> Tensor<3> {
        let logits = fits(self.llm.forward(self.input(batch))).logits;
        // The logits at t are about the token at t + 1; those of virtual tokens are about nothing.
        let [_, positions, _] = logits.dims();
        logits.narrow(1, self.virtual_tokens(), positions - self.virtual_tokens())
    }

    fn loss(&self, batch: &ConversationBatch) -> Tensor<1> {
        self.losses(batch).mean()
    }

    fn padding(batch: &ConversationBatch) -> Option<Tensor<2, Bool>> {
        Some(Self::nothing(batch))
    }

    fn samples(batch: &ConversationBatch) -> usize {
        let [samples, _] = batch.labels.dims();
        samples
    }
}

impl CausalLm {
    /// Positions at which nothing is predicted, `[M, T]`.
    fn nothing(batch: &ConversationBatch) -> Tensor<2, Bool> {
        next_labels(batch).lower_elem(0)
    }
}

/// The label of the next position at every position, `[M, T]`; −100 behind the last.
fn next_labels(batch: &ConversationBatch) -> Tensor<2, Int> {
    let [samples, length] = batch.labels.dims();
    let none = Tensor::full([samples, 1], NO_LABEL, &batch.labels.device());
    let later = batch.labels.clone().narrow(1, 1, length - 1);
    Tensor::cat(vec![later, none], 1)
}

impl FineTune for CausalLm {
    fn save(&self, to: &Destination<'_>) -> Result<(), Error> {
        match (&self.trained, &self.prompt) {
            (Trained::Layers(settings), _) => {
                save_layers(&self.llm, settings, &[names()], &to.adapter())
            }
            (Trained::Prompt(settings), Some(prompt)) => {
                Ok(prompt.to_folder(&**settings)?.write(to.adapter())?)
            }
            _ => {
                let class = Class {
                    name: None,
                    has_head: false,
                    mask_token: None,
                };
                write_model_folder(&self.llm, &names(), Some(class), to)
            }
        }
    }

    fn load_full(self, folder: &Path) -> Result<Self, Error> {
        let llm = load_weights(self.llm, &names(), folder)?;
        Ok(Self { llm, ..self })
    }

    fn head(&self) -> String {
        "llm.lm_head".into()
    }
}
