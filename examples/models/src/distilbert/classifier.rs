//! DistilBERT with a classifier of whole sequences.

use std::path::Path;

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use burn_ief::nn::ForwardRecorded;
use burn_peft::{ForwardAdapted, NameMap};

use crate::bert::{
    BertClassification, BertConfig, BertInput, BertKind, BertModel, distilbert_names,
};
use crate::encoder::initial_linear;
use crate::error::Error;
use crate::weights::{LoadOptions, load};

/// `DistilBertForSequenceClassification` of `transformers`: encoder, two linear layers on the first
/// token with a ReLU between them, and dropout before the second.
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
/// let model = config.with_labels(3).init_distilbert_classifier(&device)?;
/// let ids = Tensor::<2, Int>::from_data([[1, 2, 3], [4, 5, 6]], &device);
/// assert_eq!(model.forward(BertInput::new(ids))?.logits.dims(), [2, 3]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct DistilBertForSequenceClassification {
    /// The encoder.
    pub distilbert: BertModel,
    /// d → d.
    pub pre_classifier: Linear,
    dropout: Dropout,
    /// d → classes.
    pub classifier: Linear,
}

impl BertConfig {
    /// A new DistilBERT classifier of [`num_labels`](BertConfig::num_labels) classes with random
    /// parameters.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a value is not supported, or the `model_type` is not `distilbert`.
    pub fn init_distilbert_classifier(
        &self,
        device: &Device,
    ) -> Result<DistilBertForSequenceClassification, Error> {
        self.require_kind(BertKind::DistilBert, "distilbert")?;
        let (d, std) = (self.hidden_size, self.initializer_range);
        let dropout = self.classifier_dropout.unwrap_or(0.2);
        Ok(DistilBertForSequenceClassification {
            distilbert: self.init_model(false, device)?,
            pre_classifier: initial_linear([d, d], true, std, device),
            dropout: DropoutConfig::new(dropout).init(),
            classifier: initial_linear([d, self.num_labels()], true, std, device),
        })
    }
}

impl DistilBertForSequenceClassification {
    /// How its modules are called in `transformers`.
    pub fn names() -> Vec<NameMap> {
        vec![distilbert_names()]
    }

    /// Names with and without `distilbert.`. To put a new head on a pretrained encoder, add
    /// `.keep_initial("pre_classifier")` and `.keep_initial("classifier")`.
    pub fn load_options() -> LoadOptions {
        LoadOptions::default()
            .with_prefix("distilbert")
            .skip("embeddings.position_ids")
            .skip("vocab_transform")
            .skip("vocab_layer_norm")
            .skip("vocab_projector")
    }

    /// Load a Hugging Face folder, by [`load_options`](Self::load_options) or others.
    ///
    /// # Errors
    ///
    /// See [`BertConfig::from_folder`] and [`load`](crate::weights::load).
    pub fn load(folder: &Path, options: &LoadOptions, device: &Device) -> Result<Self, Error> {
        let config = BertConfig::from_folder(folder)?;
        let model = config.init_distilbert_classifier(device);
        let model = model.map_err(|error| error.in_config(folder))?;
        load(model, &distilbert_names(), folder, options)
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
    /// [`Error::Input`] if the shapes do not fit each other or the model, or for segments.
    ///
    /// # Panics
    ///
    /// May panic, depending on the backend, if an id is outside of its table; see
    /// [`BertModel::check`].
    pub fn forward(&self, input: BertInput) -> Result<BertClassification, Error> {
        let hidden = self.distilbert.forward(input)?.last_hidden_state;
        let [batch, _, d] = hidden.dims();
        let first: Tensor<2> = hidden.clone().narrow(1, 0, 1).reshape([batch, d]);
        let pooled = relu(self.pre_classifier.forward_adapted(first));
        let pooled = self.dropout.forward_recorded(pooled);
        Ok(BertClassification {
            last_hidden_state: hidden,
            logits: self.classifier.forward_adapted(pooled),
        })
    }
}
