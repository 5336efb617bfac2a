//! `config.json` of ViT.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::encoder::{check_activation, classifier_config, labels};
use crate::error::Error;
use crate::fields::{
    check_classes, check_heads, check_layers, check_model_type, check_positive, check_probability,
    check_size, check_table, refuse,
};

/// The fields of a ViT `config.json`, with the names and defaults of `transformers`.
///
/// ```
/// use burn::tensor::Device;
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
/// let model = config.with_labels(10).init_classifier(&Device::flex())?;
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct ViTConfig {
    /// `vit`, or not stated.
    pub model_type: Option<String>,
    /// Names of the classes.
    #[serde(deserialize_with = "labels")]
    pub id2label: Option<BTreeMap<String, String>>,
    /// Number of classes where they have no names; two where not stated.
    pub num_labels: Option<usize>,
    /// Height and width of the images that the position embeddings are for.
    #[serde(deserialize_with = "pair")]
    pub image_size: [usize; 2],
    /// Height and width of a patch.
    #[serde(deserialize_with = "pair")]
    pub patch_size: [usize; 2],
    /// Channels of an image.
    pub num_channels: usize,
    /// Layers of the encoder.
    pub num_hidden_layers: usize,
    /// Width d of a token.
    pub hidden_size: usize,
    /// Width of the hidden layer of a feed-forward network.
    pub intermediate_size: usize,
    /// Attention heads; they divide the width.
    pub num_attention_heads: usize,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Dropout of attention weights.
    pub attention_probs_dropout_prob: f64,
    /// `gelu`, `gelu_new`, `gelu_pytorch_tanh` or `relu`.
    pub hidden_act: String,
    /// Dropout of embeddings and of the outputs of attention and feed-forward networks.
    pub hidden_dropout_prob: f64,
    /// ε of the layer norms.
    pub layer_norm_eps: f64,
    /// Deviation of new weights.
    pub initializer_range: f64,
}

impl Default for ViTConfig {
    fn default() -> Self {
        Self {
            model_type: None,
            id2label: None,
            num_labels: None,
            image_size: [224; 2],
            patch_size: [16; 2],
            num_channels: 3,
            num_hidden_layers: 12,
            hidden_size: 768,
            intermediate_size: 3072,
            num_attention_heads: 12,
            qkv_bias: true,
            attention_probs_dropout_prob: 0.0,
            hidden_act: "gelu".into(),
            hidden_dropout_prob: 0.0,
            layer_norm_eps: 1e-12,
            initializer_range: 0.02,
        }
    }
}

classifier_config!(ViTConfig, &["encoder.layer", "layers"]);

impl ViTConfig {
    pub(super) fn check(&self) -> Result<(), Error> {
        check_model_type(self.model_type.as_deref(), "vit")?;
        check_heads(self.hidden_size, self.num_attention_heads)?;
        check_layers("num_hidden_layers", self.num_hidden_layers)?;
        check_size("intermediate_size", self.intermediate_size)?;
        check_classes(self.id2label.is_some(), self.num_labels(), self.hidden_size)?;
        check_activation(&self.hidden_act)?;
        check_probability("hidden_dropout_prob", self.hidden_dropout_prob)?;
        check_probability(
            "attention_probs_dropout_prob",
            self.attention_probs_dropout_prob,
        )?;
        check_positive("initializer_range", self.initializer_range)?;
        check_positive("layer_norm_eps", self.layer_norm_eps)?;
        check_table(
            "intermediate_size",
            self.intermediate_size,
            self.hidden_size,
        )?;
        check_patches(
            self.image_size,
            self.patch_size,
            self.num_channels,
            self.hidden_size,
        )
    }
}

/// Sizes of images and patches.
pub(super) fn check_patches(
    image: [usize; 2],
    patch: [usize; 2],
    channels: usize,
    width: usize,
) -> Result<(), Error> {
    // Products of sides and channels stay far from overflow.
    const LARGEST: usize = 1 << 16;
    let fits = |(image, patch): (usize, usize)| (1..=image).contains(&patch) && image <= LARGEST;
    if !image.into_iter().zip(patch).all(fits) {
        let expected =
            format!("a part of the image, {image:?}, of at most {LARGEST} pixels a side");
        return refuse("patch_size", format!("{patch:?}"), expected);
    }
    if !(1..=LARGEST).contains(&channels) {
        return refuse("num_channels", channels, format!("1 to {LARGEST}"));
    }
    let patches = (image[0] / patch[0]) * (image[1] / patch[1]);
    check_table("patch_size", patches, width)?;
    check_table("num_channels", channels * patch[0] * patch[1], width)
}

/// Height and width, or one number for both.
pub(super) fn pair<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[usize; 2], D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Pair {
        Square(usize),
        Sides([usize; 2]),
    }
    Ok(match Pair::deserialize(deserializer)? {
        Pair::Square(side) => [side; 2],
        Pair::Sides(sides) => sides,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::refused_field;

    #[test]
    fn sizes_are_one_number_or_two() {
        let read = |json| serde_json::from_str::<ViTConfig>(json);
        let config = read(r#"{"image_size": [32, 48], "patch_size": 8}"#).unwrap();
        assert_eq!(config.image_size, [32, 48]);
        assert_eq!(config.patch_size, [8, 8]);
        assert!(read(r#"{"image_size": [32]}"#).is_err());
        assert!(read(r#"{"image_size": -1}"#).is_err());
    }

    #[test]
    fn unsupported_values_are_named() {
        let refused = |change: fn(&mut ViTConfig)| {
            let mut config = ViTConfig::default();
            assert!(config.check().is_ok());
            change(&mut config);
            refused_field(config.check())
        };
        assert_eq!(
            refused(|c| c.model_type = Some("bert".into())),
            "model_type"
        );
        assert_eq!(refused(|c| c.patch_size = [0, 16]), "patch_size");
        assert_eq!(refused(|c| c.patch_size = [16, 225]), "patch_size");
        assert_eq!(refused(|c| c.image_size = [usize::MAX; 2]), "patch_size");
        assert_eq!(refused(|c| c.num_channels = 0), "num_channels");
        assert_eq!(refused(|c| c.layer_norm_eps = -1.0), "layer_norm_eps");
    }
}
