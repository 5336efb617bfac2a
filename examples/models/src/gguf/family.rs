//! What differs between the kinds of models that GGUF files hold (`general.architecture`).

/// A kind of models.
#[derive(Debug)]
pub(super) struct Family {
    /// `general.architecture`, and the beginning of its keys in the metadata.
    pub architecture: &'static str,
    /// `model_type` of `transformers`.
    pub model_type: &'static str,
    /// Whether the rows of query and key weights are stored as rotary pairs side by side, and not as two halves.
    pub interleaved: bool,
    /// Whether weights of norms are stored with the one that Gemma adds to them.
    pub norms_plus_one: bool,
    /// Whether a norm follows attention and feed-forward, in addition to the one in front of each.
    pub norms_behind: bool,
}

const PLAIN: Family = Family {
    architecture: "",
    model_type: "",
    interleaved: false,
    norms_plus_one: false,
    norms_behind: false,
};

/// All that are read. Mistral's models are stored as `llama`.
pub(super) const FAMILIES: [Family; 7] = [
    Family {
        architecture: "llama",
        model_type: "llama",
        interleaved: true,
        ..PLAIN
    },
    Family {
        architecture: "qwen2",
        model_type: "qwen2",
        ..PLAIN
    },
    Family {
        architecture: "qwen3",
        model_type: "qwen3",
        ..PLAIN
    },
    Family {
        architecture: "smollm3",
        model_type: "smollm3",
        interleaved: true,
        ..PLAIN
    },
    Family {
        architecture: "phi3",
        model_type: "phi3",
        ..PLAIN
    },
    Family {
        architecture: "gemma2",
        model_type: "gemma2",
        norms_plus_one: true,
        norms_behind: true,
        ..PLAIN
    },
    Family {
        architecture: "gemma3",
        model_type: "gemma3_text",
        norms_plus_one: true,
        norms_behind: true,
        ..PLAIN
    },
];

impl Family {
    /// The family of an architecture.
    pub fn of(architecture: &str) -> Option<&'static Self> {
        FAMILIES
            .iter()
            .find(|family| family.architecture == architecture)
    }

    /// The names of all architectures.
    pub fn known() -> String {
        let names: Vec<&str> = FAMILIES.iter().map(|f| f.architecture).collect();
        names.join(", ")
    }

    /// The name of a tensor in `transformers`; `None` for a name that no such model has.
    pub fn name(&self, stored: &str) -> Option<String> {
        let whole = match stored {
            "token_embd.weight" => Some("model.embed_tokens.weight"),
            "output_norm.weight" => Some("model.norm.weight"),
            "output.weight" => Some("lm_head.weight"),
            _ => None,
        };
        if let Some(whole) = whole {
            return Some(whole.into());
        }
        let (layer, rest) = stored.strip_prefix("blk.")?.split_once('.')?;
        let layer: usize = layer.parse().ok()?;
        let (module, leaf) = rest.rsplit_once('.')?;
        if leaf != "weight" && leaf != "bias" {
            return None;
        }
        let is_fused = self.architecture == "phi3";
        let module = match module {
            "attn_norm" => "input_layernorm",
            "ffn_norm" if self.norms_behind => "pre_feedforward_layernorm",
            "ffn_norm" => "post_attention_layernorm",
            "post_attention_norm" if self.norms_behind => "post_attention_layernorm",
            "post_ffw_norm" if self.norms_behind => "post_feedforward_layernorm",
            "attn_q" => "self_attn.q_proj",
            "attn_k" => "self_attn.k_proj",
            "attn_v" => "self_attn.v_proj",
            "attn_qkv" if is_fused => "self_attn.qkv_proj",
            "attn_output" => "self_attn.o_proj",
            "attn_q_norm" => "self_attn.q_norm",
            "attn_k_norm" => "self_attn.k_norm",
            "ffn_gate" => "mlp.gate_proj",
            "ffn_up" if is_fused => "mlp.gate_up_proj",
            "ffn_up" => "mlp.up_proj",
            "ffn_down" => "mlp.down_proj",
            _ => return None,
        };
        Some(format!("model.layers.{layer}.{module}.{leaf}"))
    }
}

impl Family {
    /// The name that a tensor of `transformers` has in a file; `None` for a name that no such model has.
    pub fn stored(&self, name: &str) -> Option<String> {
        const MODULES: [&str; 14] = [
            "attn_norm",
            "ffn_norm",
            "post_attention_norm",
            "post_ffw_norm",
            "attn_q",
            "attn_k",
            "attn_v",
            "attn_qkv",
            "attn_output",
            "attn_q_norm",
            "attn_k_norm",
            "ffn_gate",
            "ffn_up",
            "ffn_down",
        ];
        const WHOLE: [&str; 3] = ["token_embd", "output_norm", "output"];
        let layer = name.strip_prefix("model.layers.");
        let layer = layer.and_then(|rest| rest.split_once('.'));
        let (_, leaf) = name.rsplit_once('.')?;
        let candidates: Vec<String> = match layer {
            Some((layer, _)) => {
                let of = |module| format!("blk.{layer}.{module}.{leaf}");
                MODULES.into_iter().map(of).collect()
            }
            None => WHOLE.map(|module| format!("{module}.{leaf}")).into(),
        };
        let mut candidates = candidates.into_iter();
        candidates.find(|stored| self.name(stored).as_deref() == Some(name))
    }
}

/// Tables for rotary positions, which are part of the configuration and not of the weights.
pub(super) const ROPE_TABLES: [&str; 3] = [
    "rope_freqs.weight",
    "rope_factors_long.weight",
    "rope_factors_short.weight",
];

/// Put rows that are stored as rotary pairs side by side back into two halves per head.
///
/// A head with the rows 0, 1, 2, 3 is stored as 0, 2, 1, 3. Each row has `width` values.
pub(super) fn into_halves(values: &[f32], heads: usize, width: usize) -> Vec<f32> {
    let head = values.len() / heads.max(1);
    let half = head / width.max(1) / 2;
    let mut halves = Vec::with_capacity(values.len());
    for values in values.chunks(head.max(1)) {
        for side in 0..2 {
            for pair in 0..half {
                let start = (2 * pair + side) * width;
                halves.extend_from_slice(&values[start..start + width]);
            }
        }
    }
    halves
}

/// What [`into_halves`] undoes.
pub(super) fn into_pairs(values: &[f32], heads: usize, width: usize) -> Vec<f32> {
    let head = values.len() / heads.max(1);
    let half = head / width.max(1) / 2;
    let mut pairs = Vec::with_capacity(values.len());
    for values in values.chunks(head.max(1)) {
        for pair in 0..half {
            for side in 0..2 {
                let start = (side * half + pair) * width;
                pairs.extend_from_slice(&values[start..start + width]);
            }
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        let modules = [
            "model.embed_tokens.weight",
            "model.norm.weight",
            "lm_head.weight",
            "model.layers.7.input_layernorm.weight",
            "model.layers.7.self_attn.o_proj.bias",
            "model.layers.7.mlp.down_proj.weight",
        ];
        for family in &FAMILIES {
            for name in modules {
                let stored = family.stored(name).unwrap();
                assert_eq!(family.name(&stored).unwrap(), name);
            }
            let gates = ["model.layers.0.mlp.gate_up_proj.weight"];
            let is_fused = family.architecture == "phi3";
            assert_eq!(family.stored(gates[0]).is_some(), is_fused);
            assert_eq!(family.stored("model.layers.0.mlp.other.weight"), None);
        }
    }

    #[test]
    fn names_are_those_of_transformers() {
        let name = |architecture, stored| Family::of(architecture).unwrap().name(stored);
        let some = |name: &str| Some(name.to_string());
        assert_eq!(
            name("llama", "blk.11.attn_q.weight"),
            some("model.layers.11.self_attn.q_proj.weight")
        );
        assert_eq!(
            name("llama", "blk.0.ffn_norm.weight"),
            some("model.layers.0.post_attention_layernorm.weight")
        );
        assert_eq!(
            name("gemma2", "blk.0.ffn_norm.weight"),
            some("model.layers.0.pre_feedforward_layernorm.weight")
        );
        assert_eq!(
            name("phi3", "blk.1.ffn_up.weight"),
            some("model.layers.1.mlp.gate_up_proj.weight")
        );
        assert_eq!(name("llama", "blk.0.ffn_gate_exps.weight"), None);
        assert_eq!(name("llama", "blk.0.post_ffw_norm.weight"), None);
        assert!(Family::of("rwkv6").is_none());
    }

    proptest::proptest! {
        #[test]
        fn pairs_and_halves_are_inverse(heads in 1usize..5, half in 1usize..5, width in 1usize..4) {
            let count = heads * 2 * half * width;
            let values: Vec<f32> = (0..count).map(|value| value as f32).collect();
            let stored = into_pairs(&values, heads, width);
            proptest::prop_assert_eq!(into_halves(&stored, heads, width), values);
        }
    }

    #[test]
    fn rotary_pairs_become_halves() {
        // Two heads of four rows of one and of two values.
        let stored = [0.0, 2.0, 1.0, 3.0, 10.0, 12.0, 11.0, 13.0];
        let halves = [0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0];
        assert_eq!(into_halves(&stored, 2, 1), halves);
        let twice = |values: &[f32]| values.iter().flat_map(|&v| [v, -v]).collect::<Vec<_>>();
        assert_eq!(into_halves(&twice(&stored), 2, 2), twice(&halves));
        assert_eq!(into_pairs(&halves, 2, 1), stored);
        assert_eq!(into_pairs(&twice(&halves), 2, 2), twice(&stored));
    }
}
