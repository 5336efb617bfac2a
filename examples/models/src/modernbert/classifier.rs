//! ModernBERT with a classifier of whole sequences.

use std::path::Path;

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, LayerNorm, Linear};
use burn::tensor::{Device, Int, Tensor};
use burn_ief::nn::ForwardRecorded;
use burn_peft::{ForwardAdapted, NameMap};

use super::model::{mask, modernbert_names};
use super::{ModernBertConfig, ModernBertModel, ModernBertPooling};
use crate::bert::{BertClassification, BertInput};
use crate::error::Error;
use crate::llama::GateActivation;
use crate::weights::{LoadOptions, load};

/// `ModernBertForSequenceClassification` of `transformers`: encoder, pooling, head, dropout and a
/// linear layer.
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
/// let model = config.with_labels(3).init_classifier(&device)?;
/// let ids = Tensor::<2, Int>::from_data([[1, 2, 3], [4, 5, 6]], &device);
/// assert_eq!(model.forward(BertInput::new(ids))?.logits.dims(), [2, 3]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct ModernBertForSequenceClassification {
    /// The encoder.
    pub model: ModernBertModel,
    /// The head below the classifier.
    pub head: ModernBertPredictionHead,
    dropout: Dropout,
    /// d → classes.
    pub classifier: Linear,
    #[module(skip)]
    pooling: ModernBertPooling,
}

/// A linear layer, the activation and a norm.
#[derive(Module, Debug)]
pub struct ModernBertPredictionHead {
    /// d → d.
    pub dense: Linear,
    /// After the activation.
    pub norm: LayerNorm,
    #[module(skip)]
    activation: GateActivation,
}

impl ModernBertConfig {
    /// A new classifier of [`num_labels`](ModernBertConfig::num_labels) classes with random
    /// parameters.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a value is not supported.
    pub fn init_classifier(
        &self,
        device: &Device,
    ) -> Result<ModernBertForSequenceClassification, Error> {
        let dims = [self.hidden_size, self.num_labels()];
        Ok(ModernBertForSequenceClassification {
            model: self.init_model(device)?,
            head: self.init_head(device)?,
            dropout: DropoutConfig::new(self.classifier_dropout).init(),
            classifier: self.linear(dims, true, device),
            pooling: self.classifier_pooling,
        })
    }

    pub(super) fn init_head(&self, device: &Device) -> Result<ModernBertPredictionHead, Error> {
        let d = self.hidden_size;
        Ok(ModernBertPredictionHead {
            dense: self.linear([d, d], self.classifier_bias, device),
            norm: self.norm(device),
            activation: self.head_activation()?,
        })
    }
}

impl ModernBertForSequenceClassification {
    /// How its modules are called in `transformers`.
    pub fn names() -> Vec<NameMap> {
        vec![modernbert_names()]
    }

    /// Names with and without `model.`. To put a new head on a pretrained encoder, add
    /// `.keep_initial("classifier")`, and for one without a head `.keep_initial("head")` too.
    pub fn load_options() -> LoadOptions {
        LoadOptions::default()
            .with_prefix("model")
            .skip("rotary_emb")
            .skip("decoder")
    }

    /// Load a Hugging Face folder, by [`load_options`](Self::load_options) or others.
    ///
    /// # Errors
    ///
    /// See [`ModernBertConfig::from_folder`] and [`load`](crate::weights::load).
    pub fn load(folder: &Path, options: &LoadOptions, device: &Device) -> Result<Self, Error> {
        let model = ModernBertConfig::from_folder(folder)?.init_classifier(device)?;
        load(model, &modernbert_names(), folder, options)
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
    /// May panic, depending on the backend, if an id is not in the vocabulary; see
    /// [`ModernBertModel::check`].
    pub fn forward(&self, input: BertInput) -> Result<BertClassification, Error> {
        let mask = mask(&input);
        let hidden = self.model.forward(input)?;
        let [batch, _, d] = hidden.dims();
        let pooled = match (self.pooling, mask) {
            (ModernBertPooling::Cls, _) => hidden.clone().narrow(1, 0, 1),
            (ModernBertPooling::Mean, None) => hidden.clone().mean_dim(1),
            (ModernBertPooling::Mean, Some(mask)) => mean(hidden.clone(), mask),
        };
        let pooled: Tensor<2> = self.head.forward(pooled).reshape([batch, d]);
        let pooled = self.dropout.forward_recorded(pooled);
        Ok(BertClassification {
            last_hidden_state: hidden,
            logits: self.classifier.forward_adapted(pooled),
        })
    }
}

/// The mean over the positions of `[M, T, d]` where the mask `[M, T]` is 1, `[M, 1, d]`.
fn mean(hidden: Tensor<3>, mask: Tensor<2, Int>) -> Tensor<3> {
    let weights = mask.float().cast(hidden.dtype());
    // Burn's gradient of a division by a number is f32, that of a product is not.
    let share = weights.clone().sum_dim(1).recip();
    (hidden * weights.unsqueeze_dim(2)).sum_dim(1) * share.unsqueeze_dim(2)
}

impl ModernBertPredictionHead {
    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = self.activation.apply(self.dense.forward_adapted(x));
        self.norm.forward_recorded(x)
    }
}
