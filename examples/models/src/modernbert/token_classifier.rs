//! ModernBERT with a classifier of each token.

use std::path::Path;

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear};
use burn::tensor::Device;
use burn_ief::nn::ForwardRecorded;
use burn_peft::{ForwardAdapted, NameMap};

use super::model::modernbert_names;
use super::{
    ModernBertConfig, ModernBertForSequenceClassification, ModernBertModel,
    ModernBertPredictionHead,
};
use crate::bert::{BertInput, BertTokenClassification};
use crate::error::Error;
use crate::weights::{LoadOptions, load};

/// `ModernBertForTokenClassification` of `transformers`: encoder, head, dropout and a linear layer on
/// every token.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_hf_models::bert::BertInput;
/// use burn_hf_models::modernbert::ModernBertConfig;
///
/// let mut config = ModernBertConfig::default();
/// (config.vocab_size, config.hidden_size, config.intermediate_size) = (50, 16, 32);
/// (config.num_hidden_layers, config.num_attention_heads) = (3, 2);
/// let device = Device::flex().autodiff();
/// let model = config.with_labels(5).init_token_classifier(&device)?;
/// let ids = Tensor::<2, Int>::from_data([[1, 2, 3], [4, 5, 6]], &device);
/// assert_eq!(model.forward(BertInput::new(ids))?.logits.dims(), [2, 3, 5]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct ModernBertForTokenClassification {
    /// The encoder.
    pub model: ModernBertModel,
    /// The head below the classifier.
    pub head: ModernBertPredictionHead,
    dropout: Dropout,
    /// d → classes.
    pub classifier: Linear,
}

impl ModernBertConfig {
    /// A new classifier of tokens with [`num_labels`](ModernBertConfig::num_labels) classes and random
    /// parameters.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a value is not supported.
    pub fn init_token_classifier(
        &self,
        device: &Device,
    ) -> Result<ModernBertForTokenClassification, Error> {
        let dims = [self.hidden_size, self.num_labels()];
        Ok(ModernBertForTokenClassification {
            model: self.init_model(device)?,
            head: self.init_head(device)?,
            dropout: DropoutConfig::new(self.classifier_dropout).init(),
            classifier: self.linear(dims, true, device),
        })
    }
}

impl ModernBertForTokenClassification {
    /// How its modules are called in `transformers`.
    pub fn names() -> Vec<NameMap> {
        vec![modernbert_names()]
    }

    /// As those of [`ModernBertForSequenceClassification`].
    pub fn load_options() -> LoadOptions {
        ModernBertForSequenceClassification::load_options()
    }

    /// Load a Hugging Face folder, by [`load_options`](Self::load_options) or others.
    ///
    /// # Errors
    ///
    /// See [`ModernBertConfig::from_folder`] and [`load`](crate::weights::load).
    pub fn load(folder: &Path, options: &LoadOptions, device: &Device) -> Result<Self, Error> {
        let model = ModernBertConfig::from_folder(folder)?.init_token_classifier(device)?;
        load(model, &modernbert_names(), folder, options)
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
    /// [`Error::Input`] if the shapes do not fit each other or the model, or for segments.
    ///
    /// # Panics
    ///
    /// May panic, depending on the backend, if an id is not in the vocabulary; see
    /// [`ModernBertModel::check`].
    pub fn forward(&self, input: BertInput) -> Result<BertTokenClassification, Error> {
        let hidden = self.model.forward(input)?;
        let x = self
            .dropout
            .forward_recorded(self.head.forward(hidden.clone()));
        Ok(BertTokenClassification {
            last_hidden_state: hidden,
            logits: self.classifier.forward_adapted(x),
        })
    }
}
