//! ViT with a classifier of images.

use std::path::Path;

use burn::module::Module;
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{Device, Tensor};
use burn_ief::nn::ForwardRecorded;
use burn_peft::{ForwardAdapted, NameMap};

use super::attention::PROJECTIONS;
use super::embeddings::Sizes;
use super::{ViTConfig, ViTEmbeddings, ViTEncoder};
use crate::encoder::{initial_linear, initial_norm};
use crate::error::Error;
use crate::names::renamed;
use crate::weights::{LoadOptions, load_named};

/// A batch of M images.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_hf_models::vit::ViTInput;
///
/// let images = Tensor::<4>::zeros([2, 3, 12, 16], &Device::flex());
/// let input = ViTInput::new(images).interpolated();
/// assert!(input.interpolate);
/// ```
#[derive(Debug, Clone)]
pub struct ViTInput {
    /// `[M, channels, height, width]`.
    pub pixel_values: Tensor<4>,
    /// Whether position embeddings are resized (bicubic) to images of another size.
    pub interpolate: bool,
}

impl ViTInput {
    /// Images of the size that the position embeddings are for.
    pub fn new(pixel_values: Tensor<4>) -> Self {
        Self {
            pixel_values,
            interpolate: false,
        }
    }

    /// Allow images of any size.
    pub fn interpolated(self) -> Self {
        Self {
            interpolate: true,
            ..self
        }
    }
}

/// `ViTModel` of `transformers`, without its pooler.
#[derive(Module, Debug)]
pub struct ViTModel {
    /// From pixels to tokens.
    pub embeddings: ViTEmbeddings,
    /// Layers of attention and feed-forward networks.
    pub encoder: ViTEncoder,
    /// After the last layer.
    pub layernorm: LayerNorm,
}

/// `ViTForImageClassification` of `transformers`: a linear layer on the class token.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_hf_models::vit::{ViTConfig, ViTInput};
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
/// let device = Device::flex().autodiff();
/// let model = config.with_labels(10).init_classifier(&device)?;
/// let images = Tensor::<4>::zeros([2, 3, 8, 8], &device);
/// assert_eq!(model.forward(ViTInput::new(images))?.logits.dims(), [2, 10]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct ViTForImageClassification {
    /// The encoder.
    pub vit: ViTModel,
    /// d → classes.
    pub classifier: Linear,
}

/// What [`ViTModel::forward`] returns.
#[derive(Debug, Clone)]
pub struct ViTEncoding {
    /// Tokens after the last layer, before the layer norm, `[M, 1 + patches, d]`.
    pub encoder_output: Tensor<3>,
    /// Tokens after the layer norm, `[M, 1 + patches, d]`.
    pub last_hidden_state: Tensor<3>,
}

/// What [`ViTForImageClassification::forward`] returns.
#[derive(Debug, Clone)]
pub struct ViTClassification {
    /// Tokens after the last layer, before the layer norm, `[M, 1 + patches, d]`.
    pub encoder_output: Tensor<3>,
    /// Tokens after the layer norm, `[M, 1 + patches, d]`.
    pub last_hidden_state: Tensor<3>,
    /// `[M, classes]`.
    pub logits: Tensor<2>,
}

impl ViTConfig {
    /// A new classifier of [`num_labels`](ViTConfig::num_labels) classes with random parameters.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a value is not supported.
    pub fn init_classifier(&self, device: &Device) -> Result<ViTForImageClassification, Error> {
        self.check()?;
        let dims = [self.hidden_size, self.num_labels()];
        let sizes = Sizes {
            width: self.hidden_size,
            channels: self.num_channels,
            image: self.image_size,
            patch: self.patch_size,
            dropout: self.hidden_dropout_prob,
            initializer_range: self.initializer_range,
        };
        Ok(ViTForImageClassification {
            vit: ViTModel {
                embeddings: ViTEmbeddings::new(&sizes, device),
                encoder: ViTEncoder::new(self, device)?,
                layernorm: initial_norm(self.hidden_size, self.layer_norm_eps, device),
            },
            classifier: initial_linear(dims, true, self.initializer_range, device),
        })
    }
}

impl ViTForImageClassification {
    /// How its modules are called in `transformers` 4, which are the fields' own names, and 5.
    pub fn names() -> Vec<NameMap> {
        namings("vit.")
    }

    /// Names with and without `vit.`. To put a new head on a pretrained encoder, add
    /// `.keep_initial("classifier")`.
    pub fn load_options() -> LoadOptions {
        LoadOptions::default()
            .with_prefix("vit")
            .skip("pooler")
            .skip("embeddings.mask_token")
    }

    /// Load a Hugging Face folder of either naming, by [`load_options`](Self::load_options) or
    /// others.
    ///
    /// # Errors
    ///
    /// See [`ViTConfig::from_folder`] and [`load`](crate::weights::load).
    pub fn load(folder: &Path, options: &LoadOptions, device: &Device) -> Result<Self, Error> {
        let model = ViTConfig::from_folder(folder)?.init_classifier(device)?;
        load_named(model, &Self::names(), folder, options)
    }

    /// Classify a batch.
    ///
    /// # Shapes
    ///
    /// - input: see [`ViTInput`]
    /// - output: see [`ViTClassification`]; in a recording with drawn labels axis 0 also holds the
    ///   copies
    ///
    /// # Errors
    ///
    /// [`Error::Input`] if the images do not fit the model.
    pub fn forward(&self, input: ViTInput) -> Result<ViTClassification, Error> {
        let ViTEncoding {
            encoder_output,
            last_hidden_state,
        } = self.vit.forward(input)?;
        let [batch, _, d] = last_hidden_state.dims();
        let class = last_hidden_state.clone().narrow(1, 0, 1);
        let class: Tensor<2> = class.reshape([batch, d]);
        Ok(ViTClassification {
            encoder_output,
            last_hidden_state,
            logits: self.classifier.forward_adapted(class),
        })
    }
}

/// Names of the modules in `transformers` 4, which are the fields' own names, and 5; `below` is in front of the
/// encoder's names.
fn namings(below: &str) -> Vec<NameMap> {
    let (four, five) = (
        format!(r"^{below}encoder\.layer\."),
        format!("{below}layers."),
    );
    let mut rules = vec![(four.as_str(), five.as_str())];
    rules.extend(PROJECTIONS);
    rules.extend([
        (r"\bintermediate\.dense\b", "mlp.fc1"),
        (r"\boutput\.dense\b", "mlp.fc2"),
    ]);
    vec![NameMap::default(), renamed(&rules)]
}

impl ViTModel {
    /// How its modules are called in `transformers` 4, which are the fields' own names, and 5.
    pub fn names() -> Vec<NameMap> {
        namings("")
    }

    /// Names with and without `vit.`; pooler and classifier are left out.
    pub fn load_options() -> LoadOptions {
        ViTForImageClassification::load_options().skip("classifier")
    }

    /// Load a Hugging Face folder of either naming.
    ///
    /// # Errors
    ///
    /// See [`ViTConfig::from_folder`] and [`load`](crate::weights::load).
    pub fn load(folder: &Path, device: &Device) -> Result<Self, Error> {
        let model = ViTConfig::from_folder(folder)?.init_classifier(device)?.vit;
        load_named(model, &Self::names(), folder, &Self::load_options())
    }

    /// Encode a batch.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] if the images do not fit the model.
    pub fn forward(&self, input: ViTInput) -> Result<ViTEncoding, Error> {
        let ViTInput {
            pixel_values,
            interpolate,
        } = input;
        let tokens = self.embeddings.forward(pixel_values, interpolate)?;
        let encoder_output = self.encoder.forward(tokens);
        Ok(ViTEncoding {
            last_hidden_state: self.layernorm.forward_recorded(encoder_output.clone()),
            encoder_output,
        })
    }
}
