//! `config.json` of DINOv2.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::encoder::{check_activation, classifier_config, labels};
use crate::error::Error;
use crate::fields::{
    check_classes, check_heads, check_layers, check_model_type, check_only, check_positive,
    check_probability, check_size, check_table,
};
use crate::vit::config::{check_patches, pair};

/// The fields of a DINOv2 `config.json`, with the names and defaults of `transformers`.
///
/// ```
/// use burn_hf_models::vit::dinov2::Dinov2Config;
///
/// let config = Dinov2Config {
///     hidden_size: 384,
///     num_attention_heads: 6,
///     patch_size: [14, 14],
///     ..Dinov2Config::default()
/// };
/// assert_eq!(config.mlp_size(), 1536);
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Dinov2Config {
    /// `dinov2`, or not stated.
    pub model_type: Option<String>,
    /// Width d of a token.
    pub hidden_size: usize,
    /// Layers of the encoder.
    pub num_hidden_layers: usize,
    /// Attention heads; they divide the width.
    pub num_attention_heads: usize,
    /// Width of the hidden layer of a feed-forward network, as a multiple of d.
    pub mlp_ratio: f64,
    /// `gelu`, `gelu_new`, `gelu_pytorch_tanh` or `relu`.
    pub hidden_act: String,
    /// Dropout of embeddings and of the outputs of attention.
    pub hidden_dropout_prob: f64,
    /// Dropout of attention weights.
    pub attention_probs_dropout_prob: f64,
    /// Deviation of new weights.
    pub initializer_range: f64,
    /// ε of the layer norms.
    pub layer_norm_eps: f64,
    /// Height and width of the images that the position embeddings are for.
    #[serde(deserialize_with = "pair")]
    pub image_size: [usize; 2],
    /// Height and width of a patch.
    #[serde(deserialize_with = "pair")]
    pub patch_size: [usize; 2],
    /// Channels of an image.
    pub num_channels: usize,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Value of new layer scales.
    pub layerscale_value: f64,
    /// 0: stochastic depth is not supported.
    pub drop_path_rate: f64,
    /// Not supported.
    pub use_swiglu_ffn: bool,
    /// Names of the classes.
    #[serde(deserialize_with = "labels")]
    pub id2label: Option<BTreeMap<String, String>>,
    /// Number of classes where they have no names; two where not stated.
    pub num_labels: Option<usize>,
}

impl Default for Dinov2Config {
    fn default() -> Self {
        Self {
            model_type: None,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            mlp_ratio: 4.0,
            hidden_act: "gelu".into(),
            hidden_dropout_prob: 0.0,
            attention_probs_dropout_prob: 0.0,
            initializer_range: 0.02,
            layer_norm_eps: 1e-6,
            image_size: [224; 2],
            patch_size: [14; 2],
            num_channels: 3,
            qkv_bias: true,
            layerscale_value: 1.0,
            drop_path_rate: 0.0,
            use_swiglu_ffn: false,
            id2label: None,
            num_labels: None,
        }
    }
}

classifier_config!(Dinov2Config, &["encoder.layer", "layers"]);

impl Dinov2Config {
    /// Width of the hidden layer of a feed-forward network.
    pub fn mlp_size(&self) -> usize {
        (self.hidden_size as f64 * self.mlp_ratio) as usize
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        check_model_type(self.model_type.as_deref(), "dinov2")?;
        check_heads(self.hidden_size, self.num_attention_heads)?;
        check_layers("num_hidden_layers", self.num_hidden_layers)?;
        check_positive("mlp_ratio", self.mlp_ratio)?;
        check_size("mlp_ratio", self.mlp_size())?;
        check_classes(self.id2label.is_some(), self.num_labels(), self.hidden_size)?;
        check_activation(&self.hidden_act)?;
        check_probability("hidden_dropout_prob", self.hidden_dropout_prob)?;
        check_probability(
            "attention_probs_dropout_prob",
            self.attention_probs_dropout_prob,
        )?;
        check_positive("initializer_range", self.initializer_range)?;
        check_positive("layer_norm_eps", self.layer_norm_eps)?;
        check_table("mlp_ratio", self.mlp_size(), self.hidden_size)?;
        check_patches(
            self.image_size,
            self.patch_size,
            self.num_channels,
            self.hidden_size,
        )?;
        let why = "stochastic depth is not supported";
        check_only("drop_path_rate", self.drop_path_rate, 0.0, why)?;
        let why = "gated networks are not supported";
        check_only("use_swiglu_ffn", self.use_swiglu_ffn, false, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::refused_field;

    #[test]
    fn unsupported_values_are_named() {
        let refused = |change: fn(&mut Dinov2Config)| {
            let mut config = Dinov2Config::default();
            assert!(config.check().is_ok());
            change(&mut config);
            refused_field(config.check())
        };
        assert_eq!(refused(|c| c.model_type = Some("vit".into())), "model_type");
        assert_eq!(refused(|c| c.use_swiglu_ffn = true), "use_swiglu_ffn");
        assert_eq!(refused(|c| c.drop_path_rate = 0.1), "drop_path_rate");
        assert_eq!(refused(|c| c.mlp_ratio = f64::NAN), "mlp_ratio");
        assert_eq!(refused(|c| c.mlp_ratio = 1e300), "mlp_ratio");
        assert_eq!(refused(|c| c.hidden_size = 0), "hidden_size");
    }
}
