//! DINOv2: ViT with scaled layers and positions for any image size.

mod config;
mod layer;

use std::path::Path;

use burn::module::Module;
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{Device, Tensor};
use burn_ief::nn::ForwardRecorded;
use burn_peft::{ForwardAdapted, NameMap};

use super::ViTEmbeddings;
use super::attention::PROJECTIONS;
use super::embeddings::Sizes;
use crate::encoder::{initial_linear, initial_norm};
use crate::error::Error;
use crate::names::renamed;
use crate::weights::{LoadOptions, load_named};

pub use config::Dinov2Config;
pub use layer::{Dinov2Encoder, Dinov2Layer, Dinov2Mlp, LayerScale};

/// `Dinov2Model` of `transformers`.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_hf_models::vit::dinov2::Dinov2Config;
///
/// let config = Dinov2Config {
///     hidden_size: 16,
///     num_hidden_layers: 1,
///     num_attention_heads: 2,
///     image_size: [8, 8],
///     patch_size: [4, 4],
///     ..Dinov2Config::default()
/// };
/// let device = Device::flex();
/// let model = config.init_model(&device)?;
/// // Images of any size.
/// let output = model.forward(Tensor::zeros([2, 3, 12, 8], &device))?;
/// assert_eq!(output.last_hidden_state.dims(), [2, 7, 16]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct Dinov2Model {
    /// From pixels to tokens.
    pub embeddings: ViTEmbeddings,
    /// Layers of attention and feed-forward networks.
    pub encoder: Dinov2Encoder,
    /// After the last layer.
    pub layernorm: LayerNorm,
}

/// What [`Dinov2Model::forward`] returns.
#[derive(Debug, Clone)]
pub struct Dinov2Output {
    /// Tokens after the last layer, before the layer norm, `[M, 1 + patches, d]`.
    pub encoder_output: Tensor<3>,
    /// Tokens after the layer norm, `[M, 1 + patches, d]`.
    pub last_hidden_state: Tensor<3>,
}

/// `Dinov2ForImageClassification` of `transformers`: a linear layer on the class token next to the
/// mean of the patches.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_hf_models::vit::dinov2::Dinov2Config;
///
/// let config = Dinov2Config {
///     hidden_size: 16,
///     num_hidden_layers: 1,
///     num_attention_heads: 2,
///     image_size: [8, 8],
///     patch_size: [4, 4],
///     ..Dinov2Config::default()
/// };
/// let device = Device::flex().autodiff();
/// let model = config.with_labels(10).init_classifier(&device)?;
/// let output = model.forward(Tensor::zeros([2, 3, 8, 8], &device))?;
/// assert_eq!(output.logits.dims(), [2, 10]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct Dinov2ForImageClassification {
    /// The encoder.
    pub dinov2: Dinov2Model,
    /// 2 d → classes.
    pub classifier: Linear,
}

/// What [`Dinov2ForImageClassification::forward`] returns.
#[derive(Debug, Clone)]
pub struct Dinov2Classification {
    /// Tokens after the layer norm, `[M, 1 + patches, d]`.
    pub last_hidden_state: Tensor<3>,
    /// `[M, classes]`.
    pub logits: Tensor<2>,
}

impl Dinov2Config {
    /// A new encoder with random parameters.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a value is not supported.
    pub fn init_model(&self, device: &Device) -> Result<Dinov2Model, Error> {
        self.check()?;
        let sizes = Sizes {
            width: self.hidden_size,
            channels: self.num_channels,
            image: self.image_size,
            patch: self.patch_size,
            dropout: self.hidden_dropout_prob,
            initializer_range: self.initializer_range,
        };
        Ok(Dinov2Model {
            embeddings: ViTEmbeddings::new(&sizes, device),
            encoder: Dinov2Encoder::new(self, device)?,
            layernorm: initial_norm(self.hidden_size, self.layer_norm_eps, device),
        })
    }

    /// A new classifier of [`num_labels`](Dinov2Config::num_labels) classes with random parameters.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a value is not supported.
    pub fn init_classifier(&self, device: &Device) -> Result<Dinov2ForImageClassification, Error> {
        let dinov2 = self.init_model(device)?;
        let dims = [2 * self.hidden_size, self.num_labels()];
        Ok(Dinov2ForImageClassification {
            dinov2,
            classifier: initial_linear(dims, true, self.initializer_range, device),
        })
    }
}

/// Those of `transformers` 4, which are the fields' own names, and of 5.
fn namings() -> Vec<NameMap> {
    vec![NameMap::default(), renamed(&PROJECTIONS)]
}

impl Dinov2Model {
    /// How its modules are called in `transformers` 4 and 5.
    pub fn names() -> Vec<NameMap> {
        namings()
    }

    /// Names with and without `dinov2.`; the classifier is left out.
    pub fn load_options() -> LoadOptions {
        Dinov2ForImageClassification::load_options().skip("classifier")
    }

    /// Load a Hugging Face folder.
    ///
    /// # Errors
    ///
    /// See [`Dinov2Config::from_folder`] and [`load`](crate::weights::load).
    pub fn load(folder: &Path, device: &Device) -> Result<Self, Error> {
        let model = Dinov2Config::from_folder(folder)?.init_model(device)?;
        load_named(model, &namings(), folder, &Self::load_options())
    }

    /// Encode images of any size, `[M, channels, height, width]`.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] if the images have other channels or are smaller than a patch.
    pub fn forward(&self, pixel_values: Tensor<4>) -> Result<Dinov2Output, Error> {
        let tokens = self.embeddings.forward(pixel_values, true)?;
        let encoder_output = self.encoder.forward(tokens);
        Ok(Dinov2Output {
            last_hidden_state: self.layernorm.forward_recorded(encoder_output.clone()),
            encoder_output,
        })
    }
}

impl Dinov2ForImageClassification {
    /// How its modules are called in `transformers` 4 and 5.
    pub fn names() -> Vec<NameMap> {
        namings()
    }

    /// Names with and without `dinov2.`. To put a new head on a pretrained encoder, add
    /// `.keep_initial("classifier")`.
    pub fn load_options() -> LoadOptions {
        LoadOptions::default()
            .with_prefix("dinov2")
            .skip("embeddings.mask_token")
    }

    /// Load a Hugging Face folder, by [`load_options`](Self::load_options) or others.
    ///
    /// # Errors
    ///
    /// See [`Dinov2Config::from_folder`] and [`load`](crate::weights::load).
    pub fn load(folder: &Path, options: &LoadOptions, device: &Device) -> Result<Self, Error> {
        let model = Dinov2Config::from_folder(folder)?.init_classifier(device)?;
        load_named(model, &namings(), folder, options)
    }

    /// Classify images of any size, `[M, channels, height, width]`.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] if the images have other channels or are smaller than a patch.
    pub fn forward(&self, pixel_values: Tensor<4>) -> Result<Dinov2Classification, Error> {
        let tokens = self.dinov2.forward(pixel_values)?.last_hidden_state;
        let [batch, length, d] = tokens.dims();
        let class = tokens.clone().narrow(1, 0, 1);
        let mean = tokens.clone().narrow(1, 1, length - 1).mean_dim(1);
        let features = Tensor::cat(vec![class, mean], 2).reshape([batch, 2 * d]);
        Ok(Dinov2Classification {
            last_hidden_state: tokens,
            logits: self.classifier.forward_adapted(features),
        })
    }
}
