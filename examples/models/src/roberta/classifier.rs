//! RoBERTa with a classifier of whole sequences.

use std::path::Path;

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear};
use burn::tensor::{Device, Tensor};
use burn_ief::nn::ForwardRecorded;
use burn_peft::{ForwardAdapted, NameMap};

use crate::bert::{BertClassification, BertConfig, BertInput, BertKind, BertModel, bert_names};
use crate::encoder::initial_linear;
use crate::error::Error;
use crate::weights::{LoadOptions, load};

/// `RobertaForSequenceClassification` of `transformers`: encoder and a head on the first token.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_hf_models::bert::{BertConfig, BertInput};
///
/// let config = BertConfig {
///     model_type: Some("roberta".into()),
///     vocab_size: 50,
///     hidden_size: 16,
///     num_hidden_layers: 1,
///     num_attention_heads: 2,
///     intermediate_size: 32,
///     type_vocab_size: 1,
///     pad_token_id: Some(1),
///     ..BertConfig::default()
/// };
/// let device = Device::flex().autodiff();
/// let model = config.with_labels(3).init_roberta_classifier(&device)?;
/// let ids = Tensor::<2, Int>::from_data([[0, 2, 3], [0, 2, 1]], &device);
/// assert_eq!(model.forward(BertInput::new(ids))?.logits.dims(), [2, 3]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct RobertaForSequenceClassification {
    /// The encoder, without a pooler.
    pub roberta: BertModel,
    /// The head.
    pub classifier: RobertaClassificationHead,
}

/// Two linear layers with tanh between them, each after dropout.
#[derive(Module, Debug)]
pub struct RobertaClassificationHead {
    /// d → d.
    pub dense: Linear,
    dropout: Dropout,
    /// d → classes.
    pub out_proj: Linear,
}

impl BertConfig {
    /// A new RoBERTa classifier of [`num_labels`](BertConfig::num_labels) classes with random
    /// parameters.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a value is not supported, or the `model_type` is not `roberta`.
    pub fn init_roberta_classifier(
        &self,
        device: &Device,
    ) -> Result<RobertaForSequenceClassification, Error> {
        self.require_kind(BertKind::Roberta, "roberta")?;
        let (d, std) = (self.hidden_size, self.initializer_range);
        let dropout = self.classifier_dropout.unwrap_or(self.hidden_dropout_prob);
        Ok(RobertaForSequenceClassification {
            roberta: self.init_model(false, device)?,
            classifier: RobertaClassificationHead {
                dense: initial_linear([d, d], true, std, device),
                dropout: DropoutConfig::new(dropout).init(),
                out_proj: initial_linear([d, self.num_labels()], true, std, device),
            },
        })
    }
}

impl RobertaForSequenceClassification {
    /// How its modules are called in `transformers`.
    pub fn names() -> Vec<NameMap> {
        vec![bert_names()]
    }

    /// Names with and without `roberta.`; the pooler of a pretrained encoder is left out. To put a new
    /// head on one, add `.keep_initial("classifier")`.
    pub fn load_options() -> LoadOptions {
        LoadOptions::default()
            .with_prefix("roberta")
            .skip("embeddings.position_ids")
            .skip("embeddings.token_type_ids")
            .skip("pooler")
            .skip("lm_head")
    }

    /// Load a Hugging Face folder, by [`load_options`](Self::load_options) or others.
    ///
    /// # Errors
    ///
    /// See [`BertConfig::from_folder`] and [`load`](crate::weights::load).
    pub fn load(folder: &Path, options: &LoadOptions, device: &Device) -> Result<Self, Error> {
        let config = BertConfig::from_folder(folder)?;
        let model = config.init_roberta_classifier(device);
        let model = model.map_err(|error| error.in_config(folder))?;
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
    /// [`Error::Input`] if the shapes do not fit each other or the model.
    ///
    /// # Panics
    ///
    /// May panic, depending on the backend, if an id is outside of its table; see
    /// [`BertModel::check`].
    pub fn forward(&self, input: BertInput) -> Result<BertClassification, Error> {
        let hidden = self.roberta.forward(input)?.last_hidden_state;
        Ok(BertClassification {
            logits: self.classifier.forward(&hidden),
            last_hidden_state: hidden,
        })
    }
}

impl RobertaClassificationHead {
    fn forward(&self, hidden: &Tensor<3>) -> Tensor<2> {
        let [batch, _, d] = hidden.dims();
        let first: Tensor<2> = hidden.clone().narrow(1, 0, 1).reshape([batch, d]);
        let x = self.dropout.forward_recorded(first);
        let x = self.dense.forward_adapted(x).tanh();
        self.out_proj
            .forward_adapted(self.dropout.forward_recorded(x))
    }
}
