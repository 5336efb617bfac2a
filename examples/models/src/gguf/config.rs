//! `config.json` from a GGUF file's metadata.

use serde_json::{Map, Value, json};

use super::{GgufFile, GgufValue};
use crate::error::Error;

impl GgufFile {
    /// The fields of `transformers`' `config.json` for this model.
    ///
    /// # Errors
    ///
    /// [`Error::Weights`] naming a key of the metadata that is missing, or holds what is not supported.
    pub fn config(&self) -> Result<Map<String, Value>, Error> {
        let keys = Keys {
            file: self,
            prefix: self.family.architecture,
        };
        keys.check()?;
        let mut config = Map::new();
        let mut set = |name: &str, value: Value| {
            config.insert(name.into(), value);
        };
        let heads = keys.size("attention.head_count")?;
        let width = keys.size("embedding_length")?;
        let layers = keys.size("block_count")?;
        let head_dim = match keys.find("attention.key_length") {
            Some(_) => keys.size("attention.key_length")?,
            None => width / heads.max(1),
        };
        if let Some(value) = keys.find("attention.value_length")
            && value.as_usize() != Some(head_dim)
        {
            return keys.refuse("attention.value_length", value, head_dim);
        }
        set("model_type", self.family.model_type.into());
        set("hidden_size", width.into());
        set("num_hidden_layers", layers.into());
        set("num_attention_heads", heads.into());
        set("head_dim", head_dim.into());
        set(
            "intermediate_size",
            keys.size("feed_forward_length")?.into(),
        );
        set(
            "max_position_embeddings",
            keys.size("context_length")?.into(),
        );
        let groups = match keys.find("attention.head_count_kv") {
            Some(_) => keys.size("attention.head_count_kv")?,
            None => heads,
        };
        set("num_key_value_heads", groups.into());
        set("vocab_size", self.rows_of_vocabulary()?.into());
        let eps = keys.number("attention.layer_norm_rms_epsilon")?;
        set("rms_norm_eps", eps.into());
        set("rope_theta", keys.theta()?.into());
        let rotated = match keys.find("rope.dimension_count") {
            Some(_) => keys.size("rope.dimension_count")?,
            None => head_dim,
        };
        if rotated != head_dim {
            set(
                "partial_rotary_factor",
                (rotated as f64 / head_dim as f64).into(),
            );
        }
        if let Some(scaling) = self.rope_scaling(&keys)? {
            set("rope_scaling", scaling);
        }
        if let Some(first) = keys.find("rope.scaling.original_context_length") {
            set("original_max_position_embeddings", number(first));
        }
        // Without a head of its own a model uses its table of embeddings.
        let is_tied = self.info("output.weight").is_none();
        set("tie_word_embeddings", is_tied.into());
        let has = |name: &str| self.info(name).is_some();
        set("attention_bias", has("blk.0.attn_output.bias").into());
        set("mlp_bias", has("blk.0.ffn_down.bias").into());
        if has("blk.0.attn_q.bias") != has("blk.0.attn_output.bias")
            && self.family.model_type != "qwen2"
        {
            return self.failed(
                "queries have a bias, and the attention's output has none (or the other way round)",
            );
        }
        let id = |name: &str| self.metadata.get(name).and_then(GgufValue::as_usize);
        for (name, key) in [
            ("bos_token_id", "tokenizer.ggml.bos_token_id"),
            ("eos_token_id", "tokenizer.ggml.eos_token_id"),
            ("pad_token_id", "tokenizer.ggml.padding_token_id"),
        ] {
            if let Some(id) = id(key) {
                set(name, id.into());
            }
        }
        if let Some(window) = keys.find("attention.sliding_window") {
            set("sliding_window", number(window));
            match self.family.architecture {
                // Mistral's models are stored as Llama's, which have no window.
                "llama" => set("model_type", "mistral".into()),
                "qwen2" | "qwen3" => set("use_sliding_window", true.into()),
                _ => {}
            }
        }
        for (name, key) in [
            ("attn_logit_softcapping", "attn_logit_softcapping"),
            ("final_logit_softcapping", "final_logit_softcapping"),
        ] {
            if let Some(cap) = keys.find(key) {
                set(name, number(cap));
            }
        }
        match self.family.architecture {
            "gemma2" | "gemma3" => {
                // The largest models (46 and 62 layers, of 27 billion values) divide by another number than the
                // others; the file does not have it.
                let is_largest = (self.family.architecture, layers) == ("gemma2", 46)
                    || (self.family.architecture, layers) == ("gemma3", 62);
                let divisor = if is_largest {
                    width / heads.max(1)
                } else {
                    head_dim
                };
                set("query_pre_attn_scalar", divisor.into());
                set("hidden_activation", "gelu_pytorch_tanh".into());
                if self.family.architecture == "gemma3" {
                    let pattern = match keys.find("attention.sliding_window_pattern") {
                        Some(_) => keys.size("attention.sliding_window_pattern")?,
                        None => 6,
                    };
                    set("sliding_window_pattern", pattern.into());
                    let local = match keys.find("rope.freq_base_swa") {
                        Some(_) => keys.number("rope.freq_base_swa")?,
                        None => 10_000.0,
                    };
                    set("rope_local_base_freq", local.into());
                }
            }
            "smollm3" => set("no_rope_layer_interval", 4.into()),
            _ => {}
        }
        if !self.family.norms_plus_one {
            set("hidden_act", "silu".into());
        }
        Ok(config)
    }

    /// Rows of the table of embeddings, which may be more than the tokenizer's tokens.
    fn rows_of_vocabulary(&self) -> Result<usize, Error> {
        match self.info("token_embd.weight") {
            Some(info) if info.shape.len() == 2 => Ok(info.shape[0]),
            _ => self.failed("expected a matrix `token_embd.weight`"),
        }
    }

    fn rope_scaling(&self, keys: &Keys<'_>) -> Result<Option<Value>, Error> {
        if self.info("rope_freqs.weight").is_some() {
            let table = self.values("rope_freqs.weight")?;
            return match llama3(&table, keys.theta()?) {
                Some(scaling) => Ok(Some(scaling)),
                None => self.failed(
                    "`rope_freqs.weight` is not a table of Llama 3, whose scaling is the only one read from such a table",
                ),
            };
        }
        if self.info("rope_factors_long.weight").is_some() {
            let mut scaling = json!({
                "rope_type": "longrope",
                "short_factor": self.values("rope_factors_short.weight")?,
                "long_factor": self.values("rope_factors_long.weight")?,
            });
            if keys.find("rope.scaling.attn_factor").is_some() {
                scaling["attention_factor"] = keys.number("rope.scaling.attn_factor")?.into();
            }
            return Ok(Some(scaling));
        }
        if let Some(value) = keys.find("rope.scaling.attn_factor")
            && value.as_f64() != Some(1.0)
        {
            return keys.refuse(
                "rope.scaling.attn_factor",
                value,
                "1 without tables of factors",
            );
        }
        let Some(kind) = keys.find("rope.scaling.type").and_then(GgufValue::as_str) else {
            return Ok(None);
        };
        match kind {
            "none" => Ok(None),
            "linear" => Ok(Some(
                json!({"rope_type": "linear", "factor": keys.number("rope.scaling.factor")?}),
            )),
            "yarn" => {
                let mut scaling = json!({
                    "rope_type": "yarn",
                    "factor": keys.number("rope.scaling.factor")?,
                    "original_max_position_embeddings":
                        keys.size("rope.scaling.original_context_length")?,
                });
                for (name, key) in [
                    ("beta_fast", "rope.scaling.yarn_beta_fast"),
                    ("beta_slow", "rope.scaling.yarn_beta_slow"),
                ] {
                    if keys.find(key).is_some() {
                        scaling[name] = keys.number(key)?.into();
                    }
                }
                Ok(Some(scaling))
            }
            other => self.failed(format!(
                "the metadata has rope.scaling.type `{}`; expected none, linear or yarn",
                crate::message::short(other)
            )),
        }
    }
}

/// The settings of Llama 3's scaling that give a table of divisors of the rotary frequencies.
pub(super) fn llama3(table: &[f32], theta: f64) -> Option<Value> {
    let factor = table.iter().copied().fold(1.0, f32::max) as f64;
    let (low, high) = (1.0, 4.0);
    let fits = |first: &f64| {
        table.iter().enumerate().all(|(pair, &divisor)| {
            let wavelength = std::f64::consts::TAU * theta.powf(pair as f64 / table.len() as f64);
            let smooth = ((first / wavelength - low) / (high - low)).clamp(0.0, 1.0);
            let expected = 1.0 / ((1.0 - smooth) / factor + smooth);
            (expected - divisor as f64).abs() <= 1e-4 * expected
        })
    };
    let first = [8192.0, 4096.0, 2048.0, 16384.0, 32768.0]
        .into_iter()
        .find(fits)?;
    Some(json!({
        "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
        "original_max_position_embeddings": first,
    }))
}

/// Keys of the metadata that begin with the architecture.
struct Keys<'a> {
    file: &'a GgufFile,
    prefix: &'static str,
}

/// Keys that decide what a model computes, or that nothing here depends on.
const KNOWN: [&str; 27] = [
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "attention.value_length",
    "attn_logit_softcapping",
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "final_logit_softcapping",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.attn_factor",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_log_multiplier",
    "tensor_data_layout",
    "vocab_size",
    "expert_count",
];

/// Those of layers with a window, which Gemma 3 has next to others.
const OF_GEMMA3: [&str; 2] = ["attention.sliding_window_pattern", "rope.freq_base_swa"];

/// Known keys that change the model, with the values at which they do not.
const WITHOUT_EFFECT: [(&str, f64); 4] = [
    ("expert_count", 0.0),
    ("rope.scaling.yarn_attn_factor", 1.0),
    ("rope.scaling.yarn_ext_factor", 1.0),
    ("rope.scaling.yarn_log_multiplier", 0.0),
];

impl Keys<'_> {
    /// Refuse keys of the architecture that nobody here knows: they may change what the model computes.
    fn check(&self) -> Result<(), Error> {
        let prefix = format!("{}.", self.prefix);
        for (key, value) in &self.file.metadata {
            let Some(key) = key.strip_prefix(&prefix) else {
                continue;
            };
            let is_own = self.prefix == "gemma3" && OF_GEMMA3.contains(&key);
            if !KNOWN.contains(&key) && !is_own {
                return self.refuse(key, value, "no such key: what it changes is not known here");
            }
            let neutral = WITHOUT_EFFECT.iter().find(|(other, _)| *other == key);
            if let Some((_, neutral)) = neutral
                && value.as_f64() != Some(*neutral)
            {
                return self.refuse(key, value, neutral);
            }
        }
        Ok(())
    }

    fn find(&self, key: &str) -> Option<&GgufValue> {
        self.file.metadata.get(&format!("{}.{key}", self.prefix))
    }

    fn size(&self, key: &str) -> Result<usize, Error> {
        let Some(value) = self.find(key) else {
            return self.missing(key);
        };
        // Some writers repeat one number for each layer.
        let one = match value {
            GgufValue::Array(values) => values
                .first()
                .filter(|first| values.iter().all(|other| other == *first)),
            value => Some(value),
        };
        match one.and_then(GgufValue::as_usize) {
            Some(size) => Ok(size),
            None => self.refuse(key, value, "one number for all layers"),
        }
    }

    fn number(&self, key: &str) -> Result<f64, Error> {
        let Some(value) = self.find(key) else {
            return self.missing(key);
        };
        match value.as_f64() {
            Some(number) => Ok(number),
            None => self.refuse(key, value, "a number"),
        }
    }

    /// The base of the rotary frequencies.
    fn theta(&self) -> Result<f64, Error> {
        match self.find("rope.freq_base") {
            Some(_) => self.number("rope.freq_base"),
            None => Ok(10_000.0),
        }
    }

    fn missing<T>(&self, key: &str) -> Result<T, Error> {
        self.file
            .failed(format!("the metadata lacks `{}.{key}`", self.prefix))
    }

    fn refuse<T>(
        &self,
        key: &str,
        found: &GgufValue,
        expected: impl std::fmt::Display,
    ) -> Result<T, Error> {
        let found = crate::message::short(&found.to_string());
        self.file.failed(format!(
            "the metadata has {found} at `{}.{key}`; expected {expected}",
            self.prefix
        ))
    }
}

/// Whole numbers stay whole.
fn number(value: &GgufValue) -> Value {
    match (value.as_usize(), value.as_f64()) {
        (Some(whole), _) => whole.into(),
        (None, Some(number)) => number.into(),
        (None, None) => Value::Null,
    }
}
