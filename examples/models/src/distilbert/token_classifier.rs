//! DistilBERT with a classifier of each token.

use std::path::Path;

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear};
use burn::tensor::Device;
use burn_ief::nn::ForwardRecorded;
use burn_peft::{ForwardAdapted, NameMap};

use super::DistilBertForSequenceClassification;
use crate::bert::{
    BertConfig, BertInput, BertKind, BertModel, BertTokenClassification, distilbert_names,
};
use crate::encoder::initial_linear;
use crate::error::Error;
use crate::weights::{LoadOptions, load};

/// `DistilBertForTokenClassification` of `transformers`: encoder, dropout and a linear layer on every
/// token.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_hf_models::bert::{BertConfig, BertInput};
///
/// let config = BertConfig {
///     model_type: Some("distilbert".into()),
///     vocab_size: 50,
///     hidden_size: 16,
///     num_hidden_layers: 1,
///     num_attention_heads: 2,
///     intermediate_size: 32,
///     type_vocab_size: 0,
///     ..BertConfig::default()
/// };
/// let device = Device::flex().autodiff();
/// let model = config.with_labels(5).init_distilbert_token_classifier(&device)?;
/// let ids = Tensor::<2, Int>::from_data([[2, 3, 4], [4, 5, 6]], &device);
/// assert_eq!(model.forward(BertInput::new(ids))?.logits.dims(), [2, 3, 5]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct DistilBertForTokenClassification {
    /// The encoder.
    pub distilbert: BertModel,
    dropout: Dropout,
    /// d → classes.
    pub classifier: Linear,
}

impl BertConfig {
    /// A new DistilBERT classifier of tokens with [`num_labels`](BertConfig::num_labels) classes and
    /// random parameters.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a value is not supported, or the `model_type` is not `distilbert`.
    pub fn init_distilbert_token_classifier(
        &self,
        device: &Device,
    ) -> Result<DistilBertForTokenClassification, Error> {
        self.require_kind(BertKind::DistilBert, "distilbert")?;
        let dims = [self.hidden_size, self.num_labels()];
        Ok(DistilBertForTokenClassification {
            distilbert: self.init_model(false, device)?,
            dropout: DropoutConfig::new(self.hidden_dropout_prob).init(),
            classifier: initial_linear(dims, true, self.initializer_range, device),
        })
    }
}

impl DistilBertForTokenClassification {
    /// How its modules are called in `transformers`.
    pub fn names() -> Vec<NameMap> {
        vec![distilbert_names()]
    }

    /// Names with and without `distilbert.`. To put a new head on a pretrained encoder, add
    /// `.keep_initial("classifier")`.
    pub fn load_options() -> LoadOptions {
        DistilBertForSequenceClassification::load_options()
    }

    /// Load a Hugging Face folder, by [`load_options`](Self::load_options) or others.
    ///
    /// # Errors
    ///
    /// See [`BertConfig::from_folder`] and [`load`](crate::weights::load).
    pub fn load(folder: &Path, options: &LoadOptions, device: &Device) -> Result<Self, Error> {
        let config = BertConfig::from_folder(folder)?;
        let model = config.init_distilbert_token_classifier(device);
        let model = model.map_err(|error| error.in_config(folder))?;
        load(model, &distilbert_names(), folder, options)
    }

    /// Classify the tokens of a batch.
    ///
    /// # Shapes
    ///
    /// - input: see [`BertInput`]
    /// - output: see [`BertTokenClassification`]; in a recording with drawn labels axis 0 also holds
    ///   the copies
    ///
    /// # Errors
    ///
    /// [`Error::Input`] if the shapes do not fit each other or the model.
    ///
    /// # Panics
    ///
    /// May panic, depending on the backend, if an id is outside of its table; see
    /// [`BertModel::check`].
    pub fn forward(&self, input: BertInput) -> Result<BertTokenClassification, Error> {
        let hidden = self.distilbert.forward(input)?.last_hidden_state;
        let dropped = self.dropout.forward_recorded(hidden.clone());
        Ok(BertTokenClassification {
            last_hidden_state: hidden,
            logits: self.classifier.forward_adapted(dropped),
        })
    }
}
