//! Flags that say how the tokens of an answer are chosen.

use clap::Args;

use crate::language::GenerationOptions;

/// How tokens are chosen; what is not given is as `generation_config.json` of the model says.
#[derive(Debug, Default, Args)]
pub struct SamplingFlags {
    /// Tokens of an answer at most [default: those of the model, or 256].
    #[arg(long, value_name = "N", help_heading = "Sampling")]
    max_new_tokens: Option<usize>,
    /// Draw tokens; lower numbers make the most probable ones more so, 0 takes the most probable one.
    #[arg(long, value_name = "T", help_heading = "Sampling")]
    temperature: Option<f64>,
    /// Draw from so many of the most probable tokens; 0 for all.
    #[arg(long, value_name = "K", help_heading = "Sampling")]
    top_k: Option<i64>,
    /// Draw from the most probable tokens with this share of the probability.
    #[arg(long, value_name = "P", help_heading = "Sampling")]
    top_p: Option<f64>,
    /// Divide the logits of tokens that were there before; 1 for no penalty.
    #[arg(long, value_name = "F", help_heading = "Sampling")]
    repetition_penalty: Option<f64>,
    /// A text that ends an answer and is not part of it; may be given several times.
    #[arg(long, value_name = "TEXT", help_heading = "Sampling")]
    pub stop: Vec<String>,
    /// Seed of what is drawn.
    #[arg(long, default_value_t = 1, help_heading = "Sampling")]
    pub seed: u64,
}

impl SamplingFlags {
    /// The settings that were given.
    pub fn options(&self) -> GenerationOptions {
        GenerationOptions {
            max_new_tokens: self.max_new_tokens,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            repetition_penalty: self.repetition_penalty,
            ..GenerationOptions::default()
        }
    }
}
