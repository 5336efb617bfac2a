//! T5: an encoder and a decoder with relative positions, v1.0 (ReLU, head tied to the embedding)
//! and v1.1 (gated GELU, head of its own).

mod attention;
mod bias;
mod config;
mod feed_forward;
mod file;
mod generate;
mod init;
mod input;
mod norm;
mod stack;
mod validate;

use std::path::Path;

use burn::module::Module;
use burn::nn::{Embedding, Linear};
use burn::tensor::kind::Basic;
use burn::tensor::{Device, Int, Tensor};
use burn_ief::recorder;
use burn_peft::{ForwardAdapted, NameMap, unembed_adapted};

pub use config::{FeedForwardProjection, T5Config};
pub use input::{T5Input, T5Output, T5Source};

use crate::error::Error;
use crate::names::renamed;
use crate::weights::{LoadOptions, load};
use input::{fits, not_empty};
use stack::{Decoder, Encoder};

/// What to do about a head in the file that is not the embedding table.
const DIFFERENT_HEAD: &str = "config.json ties the head to the embeddings. Add `\"scale_decoder_outputs\": true` to it \
                              to use the head of the file, as transformers 5 does; or remove `lm_head.weight` from the \
                              file to use the embeddings, as transformers 4 does";

/// Names of the embedding table in files.
const TABLES: [&str; 3] = [
    "shared.weight",
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
];

/// T5 with a language-model head.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_hf_models::t5::{T5Config, T5Input};
///
/// let json = r#"{"model_type": "t5", "vocab_size": 20, "d_model": 8, "d_kv": 4, "d_ff": 16,
///     "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0}"#;
/// let device = Device::flex();
/// let t5 = T5Config::from_json(json)?.init(&device)?;
/// let labels = Tensor::<2, Int>::from_data([[3, 1], [1, -100]], &device);
/// let output = t5.forward(T5Input {
///     input_ids: Tensor::from_data([[5, 6, 1], [7, 1, 0]], &device),
///     attention_mask: Some(Tensor::from_data([[1, 1, 1], [1, 1, 0]], &device)),
///     decoder_input_ids: t5.config().shift_right(labels),
///     prompt: None,
/// })?;
/// assert_eq!(output.logits.dims(), [2, 2, 20]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct T5ForConditionalGeneration {
    shared: Embedding,
    encoder: Encoder,
    decoder: Decoder,
    lm_head: Option<Linear>,
    #[module(skip)]
    config: T5Config,
}

/// The encoder's output, at the batch of a recording.
#[derive(Debug, Clone)]
struct Encoded {
    hidden: Tensor<3>,
    attention_mask: Option<Tensor<2, Int>>,
}

impl T5ForConditionalGeneration {
    /// The model of a Hugging Face folder, with the dropout of its configuration.
    ///
    /// # Errors
    ///
    /// Those of [`T5Config::from_folder`] and [`load`].
    pub fn load(folder: &Path, device: &Device) -> Result<Self, Error> {
        let model = T5Config::from_folder(folder)?.init(device)?;
        let options = model.load_options();
        let names = Self::names().into_iter().next().unwrap_or_default();
        load(model, &names, folder, &options)
    }

    /// Its configuration.
    pub fn config(&self) -> &T5Config {
        &self.config
    }

    /// The names of its modules in `transformers`.
    pub fn names() -> Vec<NameMap> {
        let names = renamed(&[
            (r"\.self_attention\.attention\b", ".layer.0.SelfAttention"),
            (
                r"\.cross_attention\.attention\b",
                ".layer.1.EncDecAttention",
            ),
            // A path may hold the variant of the enum.
            (
                r"\.feed_forward\.dense(\.(Plain|Gated))?\b",
                ".feed_forward.DenseReluDense",
            ),
            (r"\.self_attention\b", ".layer.0"),
            (r"\.cross_attention\b", ".layer.1"),
            (r"^encoder\b(.*)\.feed_forward\b", "encoder${1}.layer.1"),
            (r"^decoder\b(.*)\.feed_forward\b", "decoder${1}.layer.2"),
        ]);
        // `transformers` calls the table by the names of its look-ups.
        let names = names
            .with_tied_head("lm_head", "shared")
            .with_shared_table("shared", ["encoder.embed_tokens", "decoder.embed_tokens"]);
        vec![names]
    }

    /// What [`load`] needs to know about the files: the embedding table has several names, and old
    /// files hold a table that is never used.
    pub fn load_options(&self) -> LoadOptions {
        let [table, encoder, decoder] = TABLES;
        let options = LoadOptions::default()
            .tied(table, encoder)
            .tied(table, decoder)
            .skip("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias");
        match self.lm_head {
            Some(_) => options,
            None => options.tied_or(table, "lm_head.weight", DIFFERENT_HEAD),
        }
    }

    /// Logits and last hidden states.
    ///
    /// In a recording with drawn labels axis 0 of the output also holds the copies of each sample.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] for ids of which there are none, and for a mask, prompt or decoder input
    /// that does not fit the input ids.
    ///
    /// # Panics
    ///
    /// Panics if an id is not in the vocabulary, as a look-up in Burn does; see [`validate`](Self::validate).
    pub fn forward(&self, input: T5Input) -> Result<T5Output, Error> {
        let encoded = self.encode(T5Source {
            input_ids: input.input_ids,
            attention_mask: input.attention_mask,
            prompt: input.prompt,
        })?;
        not_empty("decoder_input_ids", &input.decoder_input_ids)?;
        let hidden = self.shared.forward_adapted(input.decoder_input_ids);
        let ([rows, _, _], [expected, _, _]) = (hidden.dims(), encoded.hidden.dims());
        fits("decoder_input_ids", "rows", rows, expected)?;
        let (state, mask) = (encoded.hidden.clone(), encoded.attention_mask);
        let mut cache = self.decoder.start(state, mask);
        let hidden = self.decoder.advance(hidden, &mut cache);
        Ok(T5Output {
            logits: self.head(hidden.clone()),
            decoder_last_hidden_state: hidden,
            encoder_last_hidden_state: encoded.hidden,
        })
    }

    fn encode(&self, source: T5Source) -> Result<Encoded, Error> {
        not_empty("input_ids", &source.input_ids)?;
        let hidden = self.shared.forward_adapted(source.input_ids);
        // With drawn labels the batch holds each sample several times from here on.
        let [rows, tokens, width] = hidden.dims();
        let mask = source.attention_mask.map(at_batch);
        if let Some([mask_rows, mask_tokens]) = mask.as_ref().map(Tensor::dims) {
            fits("attention_mask", "rows", mask_rows, rows)?;
            fits("attention_mask", "tokens", mask_tokens, tokens)?;
        }
        let (hidden, attention_mask) = match source.prompt.map(at_batch) {
            None => (hidden, mask),
            Some(prompt) => {
                let [prompt_rows, virtual_tokens, prompt_width] = prompt.dims();
                fits("prompt", "rows", prompt_rows, rows)?;
                fits("prompt", "entries per token", prompt_width, width)?;
                let mask = mask.map(|mask| {
                    let ones = Tensor::ones([rows, virtual_tokens], (&mask.device(), mask.dtype()));
                    Tensor::cat(vec![ones, mask], 1)
                });
                // A prompt may be wider than a model of half precision.
                let prompt = prompt.cast(hidden.dtype());
                (Tensor::cat(vec![prompt, hidden], 1), mask)
            }
        };
        Ok(Encoded {
            hidden: self.encoder.forward(hidden, attention_mask.clone()),
            attention_mask,
        })
    }

    /// Logits of the decoder's hidden states `[M, U, d_model]`.
    fn head(&self, hidden: Tensor<3>) -> Tensor<3> {
        let hidden = if self.config.scale_decoder_outputs {
            hidden * (self.config.d_model as f64).powf(-0.5)
        } else {
            hidden
        };
        match &self.lm_head {
            Some(head) => head.forward_adapted(hidden),
            None => unembed_adapted(&self.shared, hidden),
        }
    }
}

/// Repeated for the copies of a recording with drawn labels.
fn at_batch<const D: usize, K: Basic>(x: Tensor<D, K>) -> Tensor<D, K> {
    match recorder() {
        Some(recorder) => recorder.batch(x),
        None => x,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Param;
    use burn::tensor::Distribution;
    use burn_peft::{LoraAdapters, LoraConfig};

    #[test]
    fn adapters_of_the_table_stay_out_of_the_tied_head() {
        let device = Device::flex().autodiff();
        device.seed(2);
        let json = r#"{"vocab_size": 20, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1,
            "num_heads": 2, "dropout_rate": 0.0}"#;
        let mut t5 = T5Config::from_json(json).unwrap().init(&device).unwrap();
        let hidden = Tensor::random([2, 3, 8], Distribution::Normal(0.0, 1.0), &device);
        let plain = t5.head(hidden.clone());

        let lora = LoraConfig::new().with_r(2);
        let mut adapter = lora.embedding_adapter(&t5.shared.weight).unwrap();
        adapter.a = Param::from_tensor(Tensor::ones([20, 2], &device));
        adapter.b = Param::from_tensor(Tensor::ones([2, 8], &device));
        let ids = Tensor::<2, Int>::from_data([[4, 5]], &device);
        let looked_up = t5.shared.forward_adapted(ids.clone());
        t5.shared.weight = LoraAdapters::new("default", adapter).attach(t5.shared.weight);

        let largest = |x: Tensor<3>| x.abs().max().into_scalar::<f32>();
        assert!(largest(t5.shared.forward_adapted(ids) - looked_up) > 1.0);
        assert_eq!(largest(t5.head(hidden.clone()) - plain.clone()), 0.0);
        let tape = burn_ief::Tape::start();
        let recorded = t5.head(hidden);
        drop(tape);
        assert!(largest(recorded - plain) < 1e-5);
    }
}
