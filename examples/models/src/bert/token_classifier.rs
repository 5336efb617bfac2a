//! BERT with a classifier of each token.

use std::path::Path;

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear};
use burn::tensor::{Device, Tensor};
use burn_ief::nn::ForwardRecorded;
use burn_peft::{ForwardAdapted, NameMap};

use super::config::BertKind;
use super::model::bert_names;
use super::{BertConfig, BertForSequenceClassification, BertInput, BertModel};
use crate::encoder::initial_linear;
use crate::error::Error;
use crate::weights::{LoadOptions, load};

/// `BertForTokenClassification` of `transformers`: encoder, dropout and a linear layer on every token.
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
/// let model = config.with_labels(5).init_token_classifier(&device)?;
/// let ids = Tensor::<2, Int>::from_data([[1, 2, 3], [4, 5, 6]], &device);
/// assert_eq!(model.forward(BertInput::new(ids))?.logits.dims(), [2, 3, 5]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct BertForTokenClassification {
    /// The encoder, without a pooler.
    pub bert: BertModel,
    dropout: Dropout,
    /// d → classes.
    pub classifier: Linear,
}

/// What [`BertForTokenClassification::forward`] returns.
#[derive(Debug, Clone)]
pub struct BertTokenClassification {
    /// `[M, V + T, d]`.
    pub last_hidden_state: Tensor<3>,
    /// `[M, V + T, classes]`, virtual tokens first.
    pub logits: Tensor<3>,
}

impl BertConfig {
    /// A new classifier of tokens with [`num_labels`](BertConfig::num_labels) classes and random parameters.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a value is not supported.
    pub fn init_token_classifier(
        &self,
        device: &Device,
    ) -> Result<BertForTokenClassification, Error> {
        self.require_kind(BertKind::Bert, "bert")?;
        let dropout = self.classifier_dropout.unwrap_or(self.hidden_dropout_prob);
        let dims = [self.hidden_size, self.num_labels()];
        Ok(BertForTokenClassification {
            bert: self.init_model(false, device)?,
            dropout: DropoutConfig::new(dropout).init(),
            classifier: initial_linear(dims, true, self.initializer_range, device),
        })
    }
}

impl BertForTokenClassification {
    /// How its modules are called in `transformers`.
    pub fn names() -> Vec<NameMap> {
        vec![bert_names()]
    }

    /// Names with and without `bert.`; the pooler of a pretrained encoder is left out. To put a new head on one,
    /// add `.keep_initial("classifier")`.
    pub fn load_options() -> LoadOptions {
        BertForSequenceClassification::load_options().skip("pooler")
    }

    /// Load a Hugging Face folder, by [`load_options`](Self::load_options) or others.
    ///
    /// # Errors
    ///
    /// See [`BertConfig::from_folder`] and [`load`](crate::weights::load).
    pub fn load(folder: &Path, options: &LoadOptions, device: &Device) -> Result<Self, Error> {
        let model = BertConfig::from_folder(folder)?.init_token_classifier(device)?;
        load(model, &bert_names(), folder, options)
    }

    /// Classify the tokens of a batch.
    ///
    /// # Shapes
    ///
    /// - input: see [`BertInput`]
    /// - output: see [`BertTokenClassification`]; in a recording with drawn labels axis 0 also holds the copies
    ///
    /// # Errors
    ///
    /// [`Error::Input`] if the shapes do not fit each other or the model.
    pub fn forward(&self, input: BertInput) -> Result<BertTokenClassification, Error> {
        let hidden = self.bert.forward(input)?.last_hidden_state;
        let dropped = self.dropout.forward_recorded(hidden.clone());
        Ok(BertTokenClassification {
            last_hidden_state: hidden,
            logits: self.classifier.forward_adapted(dropped),
        })
    }
}
