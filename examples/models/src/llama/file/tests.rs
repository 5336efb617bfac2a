//! Configurations of every family, as files have them.

use super::*;
use serde_json::{Value, json};

fn read(changes: Value) -> Result<LlamaConfig, Error> {
    let mut all = json!({
        "model_type": "llama", "vocab_size": 100, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64
    });
    for (name, value) in changes.as_object().unwrap() {
        all[name] = value.clone();
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), all.to_string()).unwrap();
    LlamaConfig::from_folder(folder.path())
}

#[test]
fn what_a_file_does_not_say_is_as_in_transformers() {
    let plain = LlamaConfig::new(100, 32, 64, 2, 4).with_max_position_embeddings(Some(64));
    assert_eq!(read(json!({})).unwrap(), plain);
    let null = json!({"rope_scaling": null, "head_dim": null, "pad_token_id": -1});
    assert_eq!(read(null).unwrap(), plain);
    let qwen = json!({"model_type": "qwen2", "use_sliding_window": false});
    assert_eq!(read(qwen).unwrap(), plain.clone().with_qkv_bias(true));
    let biased = json!({"attention_bias": true, "eos_token_id": [1, 2], "pad_token_id": 3});
    let expected = plain.with_qkv_bias(true).with_output_bias(true);
    let expected = expected.with_eos(vec![1, 2]).with_pad(Some(3));
    assert_eq!(read(biased).unwrap(), expected);
}

#[test]
fn scalings_are_read_under_old_and_new_names() {
    let linear = RopeScaling::Linear { factor: 4.0 };
    for changes in [
        json!({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 4}}),
        json!({"rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
        json!({"rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", "factor": 4.0}}),
    ] {
        let config = read(changes).unwrap();
        assert_eq!(config.rope_scaling, linear);
        assert_eq!(config.rope_theta, 5e5);
    }
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
    let config = read(json!({"rope_scaling": llama3})).unwrap();
    assert!(matches!(
        config.rope_scaling,
        RopeScaling::Llama3 { factor: 8.0, .. }
    ));
    // As `convert_rope_params_to_dict` of `transformers` 5.24.
    let both = json!({"rope_theta": 3e4, "rope_scaling": {"rope_type": "linear", "factor": 4.0},
            "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}});
    let config = read(both).unwrap();
    assert_eq!((config.rope_scaling, config.rope_theta), (linear, 3e4));
    let neither = json!({"rope_scaling": {}, "rope_parameters": {"rope_theta": 5e5}});
    let config = read(neither).unwrap();
    assert_eq!(
        (config.rope_scaling, config.rope_theta),
        (RopeScaling::None, 5e5)
    );
    let first = |changes: Value| match read(changes).unwrap().rope_scaling {
        RopeScaling::Llama3 {
            original_max_position_embeddings,
            ..
        } => original_max_position_embeddings,
        other => panic!("{other}"),
    };
    let shorter = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0});
    assert_eq!(first(json!({"rope_parameters": shorter})), 64.0);
    let outside = json!({"rope_parameters": shorter, "original_max_position_embeddings": 32});
    assert_eq!(first(outside), 32.0);
    let default = json!({"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}});
    assert_eq!(read(default).unwrap().rope_scaling, RopeScaling::None);
}

#[test]
fn families_have_their_own_defaults() {
    let of = |changes: Value| read(changes).unwrap();
    let mistral = of(json!({"model_type": "mistral", "num_key_value_heads": 2}));
    assert_eq!(mistral.sliding_window, Some(4096));
    assert_eq!(mistral.sliding_layers, [true, true]);
    let whole =
        json!({"model_type": "mistral", "num_key_value_heads": null, "sliding_window": null});
    let whole = of(whole);
    assert_eq!((whole.sliding_window, whole.key_value_heads()), (None, 4));
    assert!(whole.sliding_layers.is_empty());
    let qwen = json!({"model_type": "qwen2", "num_key_value_heads": 2,
            "use_sliding_window": true, "sliding_window": 8, "max_window_layers": 1});
    assert_eq!(of(qwen).sliding_layers, [false, true]);
    let qwen = of(json!({"model_type": "qwen3", "num_key_value_heads": 2, "attention_bias": true}));
    assert_eq!((qwen.head_width(), qwen.sliding_window), (128, None));
    assert!(qwen.head_norms && qwen.qkv_bias && qwen.output_bias);
    let gemma = of(json!({"model_type": "gemma2"}));
    assert_eq!(gemma.sliding_layers, [true, false]);
    assert_eq!(gemma.attn_logit_softcapping, Some(50.0));
    assert_eq!(gemma.final_logit_softcapping, Some(30.0));
    assert_eq!(gemma.query_pre_attn_scalar, Some(256.0));
    assert!(gemma.tie_word_embeddings && gemma.unit_offset_norms && gemma.output_norms);
    let capless = json!({"model_type": "gemma2", "attn_logit_softcapping": null,
            "final_logit_softcapping": null});
    let capless = of(capless);
    assert_eq!(capless.attn_logit_softcapping, None);
    assert_eq!(capless.final_logit_softcapping, None);
    // As published: global and local base next to each other, the scaling for global layers alone.
    let published = json!({"model_type": "gemma3_text", "num_hidden_layers": 7,
            "rope_theta": 1e6, "rope_local_base_freq": 2e4,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"}});
    let published = of(published);
    assert_eq!(published.rope_scaling, RopeScaling::Linear { factor: 8.0 });
    assert_eq!(published.local_rope_theta, Some(2e4));
    assert_eq!(published.local_rope_scaling, RopeScaling::None);
    assert_eq!(
        published.sliding_layers,
        [true, true, true, true, true, false, true]
    );
    let phi = json!({"model_type": "phi3", "partial_rotary_factor": 0.75, "resid_pdrop": 0.1});
    let phi = of(phi);
    assert_eq!((phi.rotary_width(), phi.residual_dropout), (6, 0.1));
    assert!(phi.fused_projections && phi.sliding_window.is_none());
    // An old name, and the length next to the object goes before the one in it.
    let long = json!({"model_type": "phi3", "original_max_position_embeddings": 32,
            "rope_scaling": {"type": "su", "short_factor": [1.0, 1.0, 1.0, 1.0],
            "long_factor": [2.0, 2.0, 2.0, 2.0], "original_max_position_embeddings": 16}});
    let RopeScaling::LongRope {
        attention_factor,
        original_max_position_embeddings,
        ..
    } = of(long).rope_scaling
    else {
        panic!("not LongRoPE");
    };
    assert_eq!(original_max_position_embeddings, 32.0);
    let expected = (1.0 + 2f64.ln() / 32f64.ln()).sqrt();
    assert!((attention_factor - expected).abs() < 1e-15);
    for (list, expected) in [
        (json!([1, 0]), vec![true, false]),
        (json!([]), vec![true, true]),
        (json!(null), vec![true, true]),
    ] {
        let smol = json!({"model_type": "smollm3", "no_rope_layers": list});
        assert_eq!(of(smol).rotated_layers, expected);
    }
    let four = of(json!({"model_type": "smollm3", "num_hidden_layers": 4}));
    assert_eq!(four.rotated_layers, [true, true, true, false]);
    assert_eq!(four.rope_theta, 2e6);
}

#[test]
fn yarn_is_read_with_its_defaults() {
    let yarn = |changes: Value| {
        let mut rope = json!({"rope_type": "yarn", "factor": 4.0});
        for (name, value) in changes.as_object().unwrap() {
            rope[name] = value.clone();
        }
        match read(json!({"rope_scaling": rope})).unwrap().rope_scaling {
            RopeScaling::Yarn {
                factor,
                attention_factor,
                beta_fast,
                beta_slow,
                original_max_position_embeddings: first,
                truncate,
            } => (
                [factor, attention_factor, beta_fast, beta_slow, first],
                truncate,
            ),
            other => panic!("{other}"),
        }
    };
    let usual = 0.1 * 4f64.ln() + 1.0;
    assert_eq!(yarn(json!({})), ([4.0, usual, 32.0, 1.0, 64.0], true));
    // Without a factor, how much longer texts are than in the first training.
    let ratio = json!({"factor": null, "original_max_position_embeddings": 16});
    assert_eq!(yarn(ratio), ([4.0, usual, 32.0, 1.0, 16.0], true));
    let given = json!({"attention_factor": 1.5, "beta_fast": 8, "truncate": false});
    assert_eq!(yarn(given), ([4.0, 1.5, 8.0, 1.0, 64.0], false));
}

#[test]
fn what_is_not_supported_is_named() {
    for (changes, expected) in [
        (json!({"model_type": "bert"}), "model_type"),
        (json!({"model_type": "gpt2"}), "model_type"),
        (json!({"hidden_act": "mish"}), "hidden_act"),
        (
            json!({"model_type": "gemma2", "hidden_activation": "mish"}),
            "hidden_activation",
        ),
        (json!({"use_sliding_window": true}), "use_sliding_window"),
        (json!({"layer_types": ["sliding_attention"]}), "layer_types"),
        (
            json!({"layer_types": ["sliding_attention", "full_attention"]}),
            "layer_types",
        ),
        (
            json!({"model_type": "qwen3", "layer_types": ["full_attention", "chunked_attention"]}),
            "layer_types",
        ),
        (
            json!({"model_type": "qwen3", "layer_types": ["full_attention", "sliding_attention"]}),
            "use_sliding_window",
        ),
        (
            json!({"model_type": "mistral", "layer_types": ["full_attention", "full_attention"]}),
            "layer_types",
        ),
        (
            json!({"model_type": "gemma2", "sliding_window": null}),
            "sliding_window",
        ),
        (
            json!({"model_type": "mistral", "num_key_value_heads": 2, "sliding_window": 0}),
            "sliding_window",
        ),
        (
            json!({"model_type": "gemma3_text", "sliding_window_pattern": 0}),
            "sliding_window_pattern",
        ),
        (
            json!({"model_type": "gemma3_text", "rope_parameters": {"rope_theta": 1e4}}),
            "rope_parameters",
        ),
        (
            json!({"model_type": "gemma3_text", "rope_parameters": {"full_attention": 1}}),
            "rope_parameters",
        ),
        (
            json!({"model_type": "gemma2", "attn_logit_softcapping": 0.0}),
            "attn_logit_softcapping",
        ),
        (
            json!({"model_type": "gemma2", "use_bidirectional_attention": true}),
            "use_bidirectional_attention",
        ),
        (
            json!({"model_type": "smollm3", "no_rope_layers": [1]}),
            "no_rope_layers",
        ),
        (
            json!({"model_type": "smollm3", "no_rope_layer_interval": 0}),
            "no_rope_layer_interval",
        ),
        (
            json!({"model_type": "phi3", "rope_scaling": {"type": "linear", "factor": 2.0}}),
            "rope_scaling.rope_type",
        ),
        (
            json!({"model_type": "phi3", "rope_scaling": {"type": "longrope", "factor": 2.0,
                    "short_factor": [1.0], "long_factor": [1.0, 1.0, 1.0, 1.0]}}),
            "rope_scaling.short_factor",
        ),
        (
            json!({"model_type": "phi3", "rope_scaling": {"type": "longrope", "factor": 2.0,
                    "short_factor": [1.0, 1.0, 1.0, 1.0]}}),
            "rope_scaling.long_factor",
        ),
        (
            json!({"model_type": "phi3", "partial_rotary_factor": 0.05}),
            "partial_rotary_factor",
        ),
        (json!({"residual_multiplier": 0.5}), "residual_multiplier"),
        (json!({"num_local_experts": 8}), "num_local_experts"),
        (
            json!({"rope_scaling": {"type": "dynamic", "factor": 0.5}}),
            "rope_scaling.factor",
        ),
        (
            json!({"hidden_size": 8, "rope_scaling": {"type": "dynamic", "factor": 2.0}}),
            "head_dim",
        ),
        (
            json!({"rope_scaling": {"type": "proportional", "factor": 2.0}}),
            "rope_scaling.rope_type",
        ),
        (
            json!({"partial_rotary_factor": 0.5}),
            "partial_rotary_factor",
        ),
        (json!({"num_key_value_heads": 3}), "num_key_value_heads"),
        (
            json!({"rope_scaling": {"factor": 2.0}}),
            "rope_scaling.rope_type",
        ),
        (
            json!({"rope_scaling": {"type": "linear"}}),
            "rope_scaling.factor",
        ),
        (
            json!({"rope_scaling": {"type": "linear", "factor": 0.0}}),
            "rope_scaling.factor",
        ),
        (
            json!({"rope_scaling": {"rope_type": "llama3", "factor": 2.0}}),
            "rope_scaling.low_freq_factor",
        ),
        (
            json!({"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e6}}}),
            "rope_parameters",
        ),
        (
            json!({"per_layer_config": {"1": {"head_dim": 4}}}),
            "per_layer_config",
        ),
        (
            json!({"quantization_config": {"bits": 4}}),
            "quantization_config",
        ),
    ] {
        let Err(Error::Config { field, .. }) = read(changes.clone()) else {
            panic!("{changes} was accepted");
        };
        assert_eq!(field, expected);
    }
    let error = read(json!({"vocab_size": "many"})).unwrap_err();
    assert!(matches!(error, Error::Json { .. }), "{error}");
}
