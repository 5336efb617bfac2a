//! The memory that a forward pass takes, before anything is allocated.

use std::path::Path;

use programs::memory::available_bytes;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::inputs::Inputs;

/// Bytes of a value in f64.
const VALUE: u128 = 8;

/// Refuse inputs whose forward pass takes more memory than there is. Where the system does not say how much there
/// is, nothing is refused.
pub(crate) fn check(model: &Path, inputs: &Inputs) -> Result<(), Error> {
    let config: Map<String, Value> = burn_hf_models::weights::read_config(model)?;
    let needed = estimate(&config, inputs);
    match available_bytes() {
        Some(available) if needed as f64 > available => Err(Error::Memory {
            needed: gib(needed as f64),
            available: gib(available),
        }),
        _ => Ok(()),
    }
}

/// Bytes of the largest tensors that are there at once: attention scores and weights, hidden states, logits.
fn estimate(config: &Map<String, Value>, inputs: &Inputs) -> u128 {
    let size = |names: &[&str]| {
        let values = names.iter().filter_map(|name| config.get(*name)?.as_u64());
        values.map(u128::from).next().unwrap_or(1)
    };
    let heads = size(&["num_attention_heads", "num_heads", "n_heads"]);
    let width = size(&["hidden_size", "d_model", "dim"]);
    let inner = size(&["intermediate_size", "d_ff", "hidden_dim"]);
    let shape = |argument| -> (u128, u128) {
        match inputs.shape(argument) {
            Some([rows, tokens]) => (*rows as u128, *tokens as u128),
            _ => (0, 0),
        }
    };
    let (rows, tokens) = match inputs.shape("pixel_values") {
        Some([images, _, height, lines]) => {
            let patch = size(&["patch_size"]).max(1);
            let side = |pixels: usize| pixels as u128 / patch;
            (*images as u128, 1 + side(*height) * side(*lines))
        }
        _ => shape("input_ids"),
    };
    let (_, answer) = shape("decoder_input_ids");
    let seen = [(tokens, tokens), (answer, answer), (answer, tokens)];
    let scores: u128 = seen
        .iter()
        .map(|(a, b)| a.saturating_mul(*b))
        .fold(0, u128::saturating_add);
    let scores = scores.saturating_mul(rows).saturating_mul(heads);
    let positions = rows.saturating_mul(tokens.saturating_add(answer));
    let states = positions.saturating_mul(
        width
            .saturating_mul(8)
            .saturating_add(inner.saturating_mul(3)),
    );
    let logits = match config.get("model_type").and_then(Value::as_str) {
        Some("t5") => rows
            .saturating_mul(answer)
            .saturating_mul(size(&["vocab_size"])),
        Some(kind) if burn_hf_models::llama::is_family(kind) => rows
            .saturating_mul(tokens)
            .saturating_mul(size(&["vocab_size"])),
        _ => 0,
    };
    scores
        .saturating_mul(4)
        .saturating_add(states)
        .saturating_add(logits.saturating_mul(3))
        .saturating_mul(VALUE)
}

fn gib(bytes: f64) -> String {
    format!("{:.1} GiB", bytes / f64::from(1 << 30))
}
