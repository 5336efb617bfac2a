//! The families of decoders, and what each has otherwise than Llama.
//!
//! To add one, add an entry to [`FAMILIES`], and if it computes something new, a field of
//! [`LlamaConfig`](super::LlamaConfig) for that.

use crate::error::Error;
use crate::fields::refuse;

/// What the `config.json` of a family does not say, or says in its own way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Family {
    /// Its `model_type`.
    pub model_type: &'static str,
    /// The first part of its classes' names in `transformers`.
    pub class: &'static str,
    /// Field with the activation, and the default.
    pub activation: (&'static str, &'static str),
    pub head_dim: Option<usize>,
    /// Heads of keys and values if the field is absent; as many as of queries without a number.
    pub key_value_heads: Option<usize>,
    pub rms_norm_eps: f64,
    pub tied: bool,
    pub attention_bias: AttentionBias,
    /// Whether `mlp_bias` counts.
    pub mlp_bias: bool,
    pub windows: Windows,
    /// Width of the window if the field is absent.
    pub sliding_window: Option<usize>,
    pub rope_theta: f64,
    /// Base of the rotations in sliding layers, where they have their own.
    pub local_rope_theta: Option<f64>,
    /// One projection for queries, keys and values, and one for gate and input. These models also
    /// rotate a part of each head only, and drop outputs of layers.
    pub is_phi3: bool,
    /// Some layers do not rotate.
    pub no_rope_layers: bool,
    /// Norms of the heads' queries and keys.
    pub head_norms: bool,
    /// The further properties of Gemma: norms after attention and feed-forward networks too, all with
    /// 1 added to their weights, and scaled embeddings.
    pub gemma: Option<Gemma>,
}

/// The `model_type` of every family that [`LlamaForCausalLM`](super::LlamaForCausalLM) loads.
///
/// ```
/// assert!(burn_hf_models::llama::model_types().contains(&"qwen3"));
/// ```
pub fn model_types() -> Vec<&'static str> {
    FAMILIES.iter().map(|family| family.model_type).collect()
}

/// Defaults of Gemma.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gemma {
    pub query_pre_attn_scalar: f64,
    pub attention_soft_cap: SoftCap,
    /// Soft cap of the logits if the field is absent.
    pub logit_soft_cap: Option<f64>,
}

/// The soft cap of attention scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum SoftCap {
    /// By `attn_logit_softcapping`, or this if the field is absent.
    Field(f64),
    /// The field does not count: `transformers` has it in Gemma 3's configuration, and does not use
    /// it.
    Never,
}

/// Which projections have biases.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum AttentionBias {
    Never,
    QueryKeyValue,
    /// All four, or none, by `attention_bias`.
    Field,
}

/// Which layers see a window of the text only.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Windows {
    /// None, whatever `sliding_window` says.
    Never,
    /// All, if there is a `sliding_window`.
    All,
    /// With `use_sliding_window`, those from `max_window_layers` on, unless `layer_types` says otherwise.
    Later,
    /// With `use_sliding_window`, those without rotations, unless `layer_types` says otherwise.
    Unrotated,
    /// The first, third, …, unless `layer_types` says otherwise.
    Alternate,
    /// All but the last of every `sliding_window_pattern` layers, unless `layer_types` says otherwise.
    Pattern,
}

const LLAMA: Family = Family {
    model_type: "llama",
    class: "Llama",
    activation: ("hidden_act", "silu"),
    head_dim: None,
    key_value_heads: None,
    rms_norm_eps: 1e-6,
    tied: false,
    attention_bias: AttentionBias::Field,
    mlp_bias: true,
    windows: Windows::Never,
    sliding_window: None,
    rope_theta: 1e4,
    local_rope_theta: None,
    is_phi3: false,
    no_rope_layers: false,
    head_norms: false,
    gemma: None,
};

const QWEN2: Family = Family {
    model_type: "qwen2",
    class: "Qwen2",
    attention_bias: AttentionBias::QueryKeyValue,
    mlp_bias: false,
    windows: Windows::Later,
    sliding_window: Some(4096),
    ..LLAMA
};

const GEMMA2: Family = Family {
    model_type: "gemma2",
    class: "Gemma2",
    activation: ("hidden_activation", "gelu_pytorch_tanh"),
    head_dim: Some(256),
    key_value_heads: Some(4),
    tied: true,
    mlp_bias: false,
    windows: Windows::Alternate,
    sliding_window: Some(4096),
    gemma: Some(Gemma {
        query_pre_attn_scalar: 256.0,
        attention_soft_cap: SoftCap::Field(50.0),
        logit_soft_cap: Some(30.0),
    }),
    ..LLAMA
};

/// Every family that loads.
pub(crate) const FAMILIES: [Family; 8] = [
    LLAMA,
    Family {
        model_type: "mistral",
        class: "Mistral",
        key_value_heads: Some(8),
        attention_bias: AttentionBias::Never,
        mlp_bias: false,
        windows: Windows::All,
        sliding_window: Some(4096),
        ..LLAMA
    },
    QWEN2,
    Family {
        model_type: "qwen3",
        class: "Qwen3",
        head_dim: Some(128),
        attention_bias: AttentionBias::Field,
        head_norms: true,
        ..QWEN2
    },
    GEMMA2,
    Family {
        model_type: "gemma3_text",
        class: "Gemma3",
        windows: Windows::Pattern,
        rope_theta: 1e6,
        local_rope_theta: Some(1e4),
        head_norms: true,
        gemma: Some(Gemma {
            query_pre_attn_scalar: 256.0,
            attention_soft_cap: SoftCap::Never,
            logit_soft_cap: None,
        }),
        ..GEMMA2
    },
    Family {
        model_type: "phi3",
        class: "Phi3",
        rms_norm_eps: 1e-5,
        attention_bias: AttentionBias::Never,
        mlp_bias: false,
        windows: Windows::All,
        is_phi3: true,
        ..LLAMA
    },
    Family {
        model_type: "smollm3",
        class: "SmolLM3",
        key_value_heads: Some(4),
        tied: true,
        windows: Windows::Unrotated,
        rope_theta: 2e6,
        no_rope_layers: true,
        ..LLAMA
    },
];

impl Family {
    /// The family of a `model_type`.
    pub fn of(model_type: &str) -> Result<Self, Error> {
        let mut families = FAMILIES.iter();
        match families.find(|family| family.model_type == model_type) {
            Some(family) => Ok(*family),
            None => refuse("model_type", format!("`{model_type}`"), known()),
        }
    }
}

/// The names of the families, as a message lists them.
pub(crate) fn known() -> String {
    let names: Vec<&str> = FAMILIES.iter().map(|family| family.model_type).collect();
    match names.split_last() {
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_families_get_the_list() {
        assert!(Family::of("smollm3").is_ok_and(|family| family.class == "SmolLM3"));
        let error = Family::of("gpt2").unwrap_err().to_string();
        assert!(error.contains("`gpt2`"), "{error}");
        for family in FAMILIES {
            assert!(error.contains(family.model_type), "{error}");
        }
    }
}
