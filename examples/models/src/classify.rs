//! What classifiers of one kind have in common.

use burn::module::Module;
use burn::tensor::Tensor;

use crate::bert::{BertForSequenceClassification, BertForTokenClassification, BertInput};
use crate::distilbert::{DistilBertForSequenceClassification, DistilBertForTokenClassification};
use crate::error::Error;
use crate::modernbert::{ModernBertForSequenceClassification, ModernBertForTokenClassification};
use crate::roberta::{RobertaForSequenceClassification, RobertaForTokenClassification};
use crate::vit::dinov2::Dinov2ForImageClassification;
use crate::vit::{ViTForImageClassification, ViTInput};

/// A classifier of whole texts.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_hf_models::bert::{BertConfig, BertInput};
/// use burn_hf_models::classify::TextClassifier;
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
/// let model = config.with_labels(3).init_classifier(&device)?;
/// let ids = Tensor::<2, Int>::from_data([[1, 2, 3], [4, 5, 6]], &device);
/// assert_eq!(TextClassifier::logits(&model, BertInput::new(ids))?.dims(), [2, 3]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
pub trait TextClassifier: Module + 'static {
    /// Logits `[M, classes]`.
    ///
    /// # Errors
    ///
    /// Those of the model's `forward`.
    fn logits(&self, input: BertInput) -> Result<Tensor<2>, Error>;
}

macro_rules! text_classifiers {
    ($($class:ident),*) => {
        $(impl TextClassifier for $class {
            fn logits(&self, input: BertInput) -> Result<Tensor<2>, Error> {
                Ok(self.forward(input)?.logits)
            }
        })*
    };
}

text_classifiers!(
    BertForSequenceClassification,
    RobertaForSequenceClassification,
    DistilBertForSequenceClassification,
    ModernBertForSequenceClassification
);

/// A classifier of the tokens of texts.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_hf_models::bert::{BertConfig, BertInput};
/// use burn_hf_models::classify::TokenClassifier;
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
/// let model = config.with_labels(5).init_token_classifier(&device)?;
/// let ids = Tensor::<2, Int>::from_data([[1, 2, 3], [4, 5, 6]], &device);
/// assert_eq!(TokenClassifier::logits(&model, BertInput::new(ids))?.dims(), [2, 3, 5]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
pub trait TokenClassifier: Module + 'static {
    /// Logits `[M, V + T, classes]`, virtual tokens first.
    ///
    /// # Errors
    ///
    /// Those of the model's `forward`.
    fn logits(&self, input: BertInput) -> Result<Tensor<3>, Error>;
}

macro_rules! token_classifiers {
    ($($class:ident),*) => {
        $(impl TokenClassifier for $class {
            fn logits(&self, input: BertInput) -> Result<Tensor<3>, Error> {
                Ok(self.forward(input)?.logits)
            }
        })*
    };
}

token_classifiers!(
    BertForTokenClassification,
    RobertaForTokenClassification,
    DistilBertForTokenClassification,
    ModernBertForTokenClassification
);

/// A classifier of images.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_hf_models::classify::ImageClassifier;
/// use burn_hf_models::vit::ViTConfig;
///
/// let config = ViTConfig {
///     hidden_size: 16,
///     num_hidden_layers: 1,
///     num_attention_heads: 2,
///     intermediate_size: 32,
///     image_size: [8, 8],
///     patch_size: [4, 4],
///     ..ViTConfig::default()
/// };
/// let device = Device::flex();
/// let model = config.with_labels(5).init_classifier(&device)?;
/// let pixels = Tensor::<4>::zeros([2, 3, 12, 8], &device);
/// assert_eq!(ImageClassifier::logits(&model, pixels)?.dims(), [2, 5]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
pub trait ImageClassifier: Module + 'static {
    /// Logits `[M, classes]` of images of any size, `[M, channels, height, width]`.
    ///
    /// # Errors
    ///
    /// Those of the model's `forward`.
    fn logits(&self, pixels: Tensor<4>) -> Result<Tensor<2>, Error>;
}

impl ImageClassifier for ViTForImageClassification {
    fn logits(&self, pixels: Tensor<4>) -> Result<Tensor<2>, Error> {
        Ok(self.forward(ViTInput::new(pixels).interpolated())?.logits)
    }
}

impl ImageClassifier for Dinov2ForImageClassification {
    fn logits(&self, pixels: Tensor<4>) -> Result<Tensor<2>, Error> {
        Ok(self.forward(pixels)?.logits)
    }
}
