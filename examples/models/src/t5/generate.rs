//! Writing an answer token by token, with the keys and values of earlier tokens kept.

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use burn_ief::recorder;
use burn_peft::ForwardAdapted;
use rand::Rng;

use super::{T5ForConditionalGeneration, T5Source};
use crate::error::Error;
use crate::generate::{Decoding, Sampling};

impl T5ForConditionalGeneration {
    /// Answer each row of a batch, without dropout and without gradients.
    ///
    /// Rows have equal lengths: ended ones are filled up with the padding token. The start token
    /// is not part of them. [`T5Config::sampling`](super::T5Config::sampling) has the end and
    /// padding tokens of the model.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use burn_hf_models::t5::{T5Config, T5Source};
    /// use rand::SeedableRng;
    /// use rand_chacha::ChaCha8Rng;
    ///
    /// let json = r#"{"vocab_size": 20, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1,
    ///     "num_heads": 2}"#;
    /// let device = Device::flex();
    /// let t5 = T5Config::from_json(json)?.init(&device)?;
    /// let source = T5Source::new(Tensor::from_data([[5, 6, 1]], &device));
    /// let mut rng = ChaCha8Rng::seed_from_u64(1);
    ///
    /// let greedy = t5.config().sampling(4);
    /// let answer = t5.generate(source.clone(), &greedy, &mut rng)?;
    /// assert!(answer[0].len() <= 4);
    ///
    /// let drawn = greedy.with_temperature(Some(0.8)).with_top_k(Some(5));
    /// t5.generate(source, &drawn, &mut rng)?;
    /// # Ok::<(), burn_hf_models::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Input`] for a source without tokens, a mask or prompt that does not fit it, a field
    /// of `sampling` that is out of range, logits that are no numbers, or inside a recording, which
    /// would take the rows for samples.
    ///
    /// # Panics
    ///
    /// Panics if an id is not in the vocabulary, as a look-up in Burn does.
    pub fn generate(
        &self,
        source: T5Source,
        sampling: &Sampling,
        rng: &mut impl Rng,
    ) -> Result<Vec<Vec<i64>>, Error> {
        if recorder().is_some() {
            return Err(Error::Input {
                name: "source",
                reason: "cannot be answered inside a recording".into(),
            });
        }
        let model = self.valid();
        let source = T5Source {
            input_ids: source.input_ids.inner(),
            attention_mask: source.attention_mask.map(Tensor::inner),
            prompt: source.prompt.map(Tensor::inner),
        };
        let encoded = model.encode(source)?;
        let device = encoded.hidden.device();
        let [rows, _, _] = encoded.hidden.dims();
        let mut decoding = Decoding::start(sampling, rows)?;
        let mut cache = model.decoder.start(encoded.hidden, encoded.attention_mask);
        let mut last = vec![self.config.decoder_start_token_id; rows];
        while !decoding.is_done() {
            let ids = TensorData::new(last, [rows, 1]);
            let ids = Tensor::<2, Int>::from_data(ids, &device);
            let hidden = model.shared.forward_adapted(ids);
            let hidden = model.decoder.advance(hidden, &mut cache);
            let logits = model.head(hidden).squeeze_dim::<2>(1);
            last = decoding.next(logits, rng)?;
        }
        Ok(decoding.into_tokens())
    }
}
