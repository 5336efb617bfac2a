//! The encoder with its embeddings.

use std::path::Path;

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Embedding, EmbeddingConfig, LayerNorm};
use burn::tensor::{Device, Int, Tensor};
use burn_ief::nn::ForwardRecorded;
use burn_peft::{ForwardAdapted, NameMap};

use super::ModernBertConfig;
use super::encoder::{ModernBertLayer, Surroundings};
use crate::bert::BertInput;
use crate::encoder::initial_normal;
use crate::error::Error;
use crate::names::renamed;
use crate::rope::Rope;
use crate::weights::{LoadOptions, load};

/// `ModernBertModel` of `transformers`: embeddings, layers and the last norm.
///
/// It takes a [`BertInput`] without segments. There is no limit to the length: rotary positions go on
/// beyond `max_position_embeddings`.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_hf_models::bert::BertInput;
/// use burn_hf_models::modernbert::ModernBertConfig;
///
/// let mut config = ModernBertConfig::default();
/// (config.vocab_size, config.hidden_size, config.intermediate_size) = (50, 16, 32);
/// (config.num_hidden_layers, config.num_attention_heads) = (3, 2);
/// let device = Device::flex();
/// let model = config.init_model(&device)?;
/// let ids = Tensor::<2, Int>::from_data([[1, 2, 3], [4, 5, 6]], &device);
/// assert_eq!(model.forward(BertInput::new(ids))?.dims(), [2, 3, 16]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct ModernBertModel {
    /// From token ids to vectors.
    pub embeddings: ModernBertEmbeddings,
    /// Layers of attention and feed-forward networks.
    pub layers: Vec<ModernBertLayer>,
    /// After the last layer.
    pub final_norm: LayerNorm,
    /// Rotations in layers that see the whole text, and in local ones.
    #[module(skip)]
    ropes: [Rope; 2],
}

/// Token vectors, normalised.
#[derive(Module, Debug)]
pub struct ModernBertEmbeddings {
    /// Vocabulary, `[vocab_size, d]`.
    pub tok_embeddings: Embedding,
    /// Norm of the vectors.
    pub norm: LayerNorm,
    dropout: Dropout,
}

impl ModernBertConfig {
    /// A new encoder with random parameters.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a value is not supported.
    pub fn init_model(&self, device: &Device) -> Result<ModernBertModel, Error> {
        self.check()?;
        let layers = 0..self.num_hidden_layers;
        Ok(ModernBertModel {
            embeddings: ModernBertEmbeddings {
                tok_embeddings: EmbeddingConfig::new(self.vocab_size, self.hidden_size)
                    .with_initializer(initial_normal(self.initializer_range))
                    .init(device),
                norm: self.norm(device),
                dropout: DropoutConfig::new(self.embedding_dropout).init(),
            },
            layers: layers
                .map(|layer| ModernBertLayer::new(self, layer, device))
                .collect::<Result<_, _>>()?,
            final_norm: self.norm(device),
            ropes: self.ropes()?,
        })
    }
}

impl ModernBertModel {
    /// How its modules are called in `transformers`.
    pub fn names() -> Vec<NameMap> {
        vec![modernbert_names()]
    }

    /// Names with and without `model.`; heads are left out.
    pub fn load_options() -> LoadOptions {
        LoadOptions::default()
            .with_prefix("model")
            .skip("rotary_emb")
            .skip("head")
            .skip("decoder")
            .skip("classifier")
    }

    /// Load a Hugging Face folder.
    ///
    /// # Errors
    ///
    /// See [`ModernBertConfig::from_folder`] and [`load`](crate::weights::load).
    pub fn load(folder: &Path, device: &Device) -> Result<Self, Error> {
        let model = ModernBertConfig::from_folder(folder)?.init_model(device)?;
        load(model, &modernbert_names(), folder, &Self::load_options())
    }

    /// Check shapes, token ids and mask of an input.
    ///
    /// [`forward`](Self::forward) checks the shapes alone: looking at the values waits for the device.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] naming what does not fit.
    pub fn check(&self, input: &BertInput) -> Result<(), Error> {
        let [vocabulary, width] = self.embeddings.tok_embeddings.weight.shape().dims();
        input.check(width, usize::MAX)?;
        input.check_values(vocabulary, 0)
    }

    /// Hidden states after the last norm, `[M, V + T, d]`, virtual tokens first.
    ///
    /// # Shapes
    ///
    /// - input: see [`BertInput`]
    /// - output: `[M, V + T, d]`; in a recording with drawn labels axis 0 also holds the copies
    ///
    /// # Errors
    ///
    /// [`Error::Input`] if the shapes do not fit each other or the model, or for segments.
    ///
    /// # Panics
    ///
    /// May panic, depending on the backend, if an id is not in the vocabulary; see
    /// [`check`](Self::check).
    pub fn forward(&self, input: BertInput) -> Result<Tensor<3>, Error> {
        let [_, width] = self.embeddings.tok_embeddings.weight.shape().dims();
        input.check(width, usize::MAX)?;
        if input.token_type_ids.is_some() {
            return Err(Error::Input {
                name: "token_type_ids",
                reason: "expected none, the model has no segments".into(),
            });
        }
        let mut x = self.embeddings.forward(&input);
        let [_, length, _] = x.dims();
        let positions = [(0..length as i64).collect::<Vec<i64>>()];
        let [global, local] = self.ropes.each_ref();
        let around = Surroundings {
            global: global.at(&positions, length, &x),
            local: local.at(&positions, length, &x),
            padding: mask(&input).map(|mask| mask.equal_elem(0)),
        };
        for layer in &self.layers {
            x = layer.forward(x, &around);
        }
        Ok(self.final_norm.forward_recorded(x))
    }
}

/// 1 for tokens and virtual ones, 0 for padding, `[M, V + T]`, brought to the recorded batch.
pub(super) fn mask(input: &BertInput) -> Option<Tensor<2, Int>> {
    let mask = input.attention_mask.clone()?;
    Some(burn_ief::expand_input(input.behind_prompt(mask, 1)))
}

impl ModernBertEmbeddings {
    fn forward(&self, input: &BertInput) -> Tensor<3> {
        let mut tokens = self.tok_embeddings.forward_adapted(input.input_ids.clone());
        if let Some(prompt) = input.prompt.clone() {
            let prompt = burn_ief::expand_input(prompt).cast(tokens.dtype());
            tokens = Tensor::cat(vec![prompt, tokens], 1);
        }
        let normal = self.norm.forward_recorded(tokens);
        self.dropout.forward_recorded(normal)
    }
}

/// Some layers have capitals.
pub(super) fn modernbert_names() -> NameMap {
    renamed(&[(r"\bwqkv\b", "Wqkv"), (r"\bwo\b", "Wo"), (r"\bwi\b", "Wi")])
}
