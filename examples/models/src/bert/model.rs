//! The encoder with embeddings and pooler.

use std::path::Path;

use burn::module::Module;
use burn::nn::{Embedding, Linear};
use burn::tensor::{Device, Tensor};
use burn_ief::recorder;
use burn_peft::{ForwardAdapted, NameMap};

use super::{BertConfig, BertEmbeddings, BertEncoder, BertInput, distilbert_names};
use crate::encoder::initial_linear;
use crate::error::Error;
use crate::names::renamed;
use crate::weights::{LoadOptions, load_named};

/// `BertModel` of `transformers`: embeddings, encoder and, if wanted, the pooler. `RobertaModel` and
/// `DistilBertModel` are it too, as the [`BertConfig`] says.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_hf_models::bert::{BertConfig, BertInput};
///
/// let config = BertConfig {
///     vocab_size: 50,
///     hidden_size: 16,
///     num_hidden_layers: 1,
///     num_attention_heads: 2,
///     intermediate_size: 32,
///     ..BertConfig::default()
/// };
/// let device = Device::flex();
/// let model = config.init_model(true, &device)?;
/// let ids = Tensor::<2, Int>::from_data([[1, 2, 3], [4, 5, 6]], &device);
/// let output = model.forward(BertInput::new(ids))?;
/// assert_eq!(output.last_hidden_state.dims(), [2, 3, 16]);
/// assert_eq!(output.pooler_output.unwrap().dims(), [2, 16]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct BertModel {
    /// From token ids to vectors.
    pub embeddings: BertEmbeddings,
    /// Layers of attention and feed-forward networks.
    pub encoder: BertEncoder,
    /// From the first token to a vector of the sequence.
    pub pooler: Option<BertPooler>,
}

/// A linear layer and tanh on the first token.
#[derive(Module, Debug)]
pub struct BertPooler {
    /// d → d.
    pub dense: Linear,
}

/// What [`BertModel::forward`] returns.
#[derive(Debug, Clone)]
pub struct BertOutput {
    /// `[M, V + T, d]`.
    pub last_hidden_state: Tensor<3>,
    /// `[M, d]`, of a model with a pooler.
    pub pooler_output: Option<Tensor<2>>,
}

impl BertConfig {
    /// A new encoder with random parameters. DistilBERT has no pooler.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a value is not supported.
    pub fn init_model(&self, pooler: bool, device: &Device) -> Result<BertModel, Error> {
        self.check()?;
        let d = self.hidden_size;
        Ok(BertModel {
            embeddings: BertEmbeddings::new(self, device),
            encoder: BertEncoder::new(self, device)?,
            pooler: pooler.then(|| BertPooler {
                dense: initial_linear([d, d], true, self.initializer_range, device),
            }),
        })
    }
}

impl BertModel {
    /// How its modules are called in `transformers`.
    pub fn names() -> Vec<NameMap> {
        vec![bert_names(), distilbert_names()]
    }

    /// Names with and without `bert.`, `roberta.` or `distilbert.`; heads for other tasks are left out.
    pub fn load_options() -> LoadOptions {
        LoadOptions::default()
            .with_prefix("bert")
            .with_prefix("roberta")
            .with_prefix("distilbert")
            .skip("embeddings.position_ids")
            .skip("embeddings.token_type_ids")
            .skip("cls")
            .skip("classifier")
            .skip("qa_outputs")
            .skip("lm_head")
            .skip("pre_classifier")
            .skip("vocab_transform")
            .skip("vocab_layer_norm")
            .skip("vocab_projector")
    }

    /// Load a Hugging Face folder, with or without the pooler.
    ///
    /// # Errors
    ///
    /// See [`BertConfig::from_folder`] and [`load`](crate::weights::load).
    pub fn load(folder: &Path, pooler: bool, device: &Device) -> Result<Self, Error> {
        let model = BertConfig::from_folder(folder)?.init_model(pooler, device)?;
        let options = if pooler {
            Self::load_options()
        } else {
            Self::load_options().skip("pooler")
        };
        load_named(model, &Self::names(), folder, &options)
    }

    /// Check shapes, token ids, mask and segments of an input.
    ///
    /// [`forward`](Self::forward) checks the shapes alone: looking at the values waits for the
    /// device.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] naming what does not fit.
    pub fn check(&self, input: &BertInput) -> Result<(), Error> {
        let entries = |table: &Embedding| {
            let [entries, _] = table.weight.shape().dims();
            entries
        };
        let [_, width] = self.embeddings.position_embeddings.weight.shape().dims();
        input.check(width, self.embeddings.longest())?;
        let segments = self.embeddings.token_type_embeddings.as_ref();
        input.check_values(
            entries(&self.embeddings.word_embeddings),
            segments.map_or(0, entries),
        )
    }

    /// Encode a batch.
    ///
    /// # Shapes
    ///
    /// - input: see [`BertInput`]
    /// - output: see [`BertOutput`]; in a recording with drawn labels axis 0 also holds the copies
    ///
    /// # Errors
    ///
    /// [`Error::Input`] if the shapes do not fit each other or the model.
    ///
    /// # Panics
    ///
    /// May panic, depending on the backend, if an id is outside of its table; see
    /// [`check`](Self::check).
    pub fn forward(&self, input: BertInput) -> Result<BertOutput, Error> {
        let x = self.embeddings.forward(&input)?;
        let left_out = input.attention_mask.clone().map(|mask| {
            let left_out = input.behind_prompt(mask, 1).equal_elem(0);
            let left_out = match recorder() {
                Some(recorder) => recorder.batch(left_out),
                None => left_out,
            };
            let [batch, length] = left_out.dims();
            left_out.reshape([batch, 1, 1, length])
        });
        let x = self.encoder.forward(x, left_out.as_ref());
        Ok(BertOutput {
            pooler_output: self.pooler.as_ref().map(|pooler| pooler.forward(&x)),
            last_hidden_state: x,
        })
    }
}

impl BertPooler {
    fn forward(&self, x: &Tensor<3>) -> Tensor<2> {
        let [batch, _, d] = x.dims();
        let first: Tensor<2> = x.clone().narrow(1, 0, 1).reshape([batch, d]);
        self.dense.forward_adapted(first).tanh()
    }
}

/// `self` is a word of Rust; layer norms are in capitals.
pub(crate) fn bert_names() -> NameMap {
    renamed(&[
        (r"\bself_attention\b", "self"),
        (r"\blayer_norm\b", "LayerNorm"),
    ])
}
