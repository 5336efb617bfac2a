//! BERT with a classifier of whole sequences.

use std::path::Path;

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear};
use burn::tensor::{Device, Tensor};
use burn_ief::nn::ForwardRecorded;
use burn_peft::{ForwardAdapted, NameMap};

use super::config::BertKind;
use super::model::bert_names;
use super::{BertConfig, BertInput, BertModel};
use crate::encoder::initial_linear;
use crate::error::Error;
use crate::weights::{LoadOptions, load};

/// `BertForSequenceClassification` of `transformers`: encoder, pooler, dropout and a linear layer.
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
/// let device = Device::flex().autodiff();
/// let model = config.with_labels(3).init_classifier(&device)?;
/// let ids = Tensor::<2, Int>::from_data([[1, 2, 3], [4, 5, 6]], &device);
/// assert_eq!(model.forward(BertInput::new(ids))?.logits.dims(), [2, 3]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct BertForSequenceClassification {
    /// The encoder, with its pooler.
    pub bert: BertModel,
    dropout: Dropout,
    /// d → classes.
    pub classifier: Linear,
}

/// What [`BertForSequenceClassification::forward`] returns.
#[derive(Debug, Clone)]
pub struct BertClassification {
    /// `[M, V + T, d]`.
    pub last_hidden_state: Tensor<3>,
    /// `[M, classes]`.
    pub logits: Tensor<2>,
}

impl BertConfig {
    /// A new classifier of [`num_labels`](BertConfig::num_labels) classes with random parameters.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a value is not supported.
    pub fn init_classifier(&self, device: &Device) -> Result<BertForSequenceClassification, Error> {
        self.require_kind(BertKind::Bert, "bert")?;
        let dropout = self.classifier_dropout.unwrap_or(self.hidden_dropout_prob);
        let dims = [self.hidden_size, self.num_labels()];
        Ok(BertForSequenceClassification {
            bert: self.init_model(true, device)?,
            dropout: DropoutConfig::new(dropout).init(),
            classifier: initial_linear(dims, true, self.initializer_range, device),
        })
    }
}

impl BertForSequenceClassification {
    /// How its modules are called in `transformers`.
    pub fn names() -> Vec<NameMap> {
        vec![bert_names()]
    }

    /// Names with and without `bert.`. To put a new head on a pretrained encoder, add
    /// `.keep_initial("classifier")`.
    pub fn load_options() -> LoadOptions {
        LoadOptions::default()
            .with_prefix("bert")
            .skip("embeddings.position_ids")
            .skip("embeddings.token_type_ids")
            .skip("cls")
    }

    /// Load a Hugging Face folder, by [`load_options`](Self::load_options) or others.
    ///
    /// # Errors
    ///
    /// See [`BertConfig::from_folder`] and [`load`](crate::weights::load).
    pub fn load(folder: &Path, options: &LoadOptions, device: &Device) -> Result<Self, Error> {
        let model = BertConfig::from_folder(folder)?.init_classifier(device)?;
        load(model, &bert_names(), folder, options)
    }

    /// Classify a batch.
    ///
    /// # Shapes
    ///
    /// - input: see [`BertInput`]
    /// - output: see [`BertClassification`]; in a recording with drawn labels axis 0 also holds the
    ///   copies
    ///
    /// # Errors
    ///
    /// [`Error::Input`] if the shapes do not fit each other or the model, or the encoder has no
    /// pooler.
    pub fn forward(&self, input: BertInput) -> Result<BertClassification, Error> {
        let output = self.bert.forward(input)?;
        let Some(pooled) = output.pooler_output else {
            return Err(Error::Input {
                name: "bert",
                reason: "the encoder has no pooler".into(),
            });
        };
        let pooled = self.dropout.forward_recorded(pooled);
        Ok(BertClassification {
            last_hidden_state: output.last_hidden_state,
            logits: self.classifier.forward_adapted(pooled),
        })
    }
}
