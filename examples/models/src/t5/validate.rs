//! Checks of the values of an input.

use burn::tensor::Tensor;

use super::input::{fits, not_empty};
use super::{T5ForConditionalGeneration, T5Input};
use crate::error::Error;
use crate::ids::{check_ids, check_mask};

impl T5ForConditionalGeneration {
    /// Check an input, shapes and values; this reads ids and mask to the host.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] for ids of which there are none or that are outside the vocabulary, a mask that does not
    /// fit or holds something else than 0 and 1, and decoder ids of another number of rows.
    pub fn validate(&self, input: &T5Input) -> Result<(), Error> {
        let [vocabulary, _] = self.shared.weight.shape().dims();
        let [rows, tokens] = input.input_ids.dims();
        not_empty("input_ids", &input.input_ids)?;
        not_empty("decoder_input_ids", &input.decoder_input_ids)?;
        if let Some([mask_rows, mask_tokens]) = input.attention_mask.as_ref().map(Tensor::dims) {
            fits("attention_mask", "rows", mask_rows, rows)?;
            fits("attention_mask", "tokens", mask_tokens, tokens)?;
        }
        fits(
            "decoder_input_ids",
            "rows",
            input.decoder_input_ids.dims()[0],
            rows,
        )?;
        check_ids("input_ids", &input.input_ids, 0..vocabulary as i64)?;
        check_ids(
            "decoder_input_ids",
            &input.decoder_input_ids,
            0..vocabulary as i64,
        )?;
        check_mask("attention_mask", input.attention_mask.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::t5::{T5Config, T5Source};
    use burn::tensor::{Device, Int};

    #[test]
    fn inputs_outside_of_the_model_are_named() {
        let device = Device::flex();
        let json = r#"{"vocab_size": 20, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1,
            "num_heads": 2}"#;
        let t5 = T5Config::from_json(json).unwrap().init(&device).unwrap();
        let ids = |id: i64| Tensor::<2, Int>::from_data([[1, id]], &device);
        let input = |id, decoder| T5Input::new(T5Source::new(ids(id)), ids(decoder));
        assert!(t5.validate(&input(19, 19)).is_ok());
        let empty = |rows| Tensor::<2, Int>::zeros([rows, 0], &device);
        let masked = |mask| T5Input {
            attention_mask: Some(mask),
            ..input(1, 1)
        };
        for (input, expected) in [
            (input(20, 1), "input_ids"),
            (input(-1, 1), "input_ids"),
            (input(1, 20), "decoder_input_ids"),
            (T5Input::new(T5Source::new(empty(1)), ids(1)), "input_ids"),
            (
                T5Input::new(T5Source::new(ids(1)), empty(1)),
                "decoder_input_ids",
            ),
            (masked(ids(2)), "attention_mask"),
            (masked(Tensor::ones([1, 3], &device)), "attention_mask"),
        ] {
            match t5.validate(&input).unwrap_err() {
                Error::Input { name, .. } => assert_eq!(name, expected),
                other => panic!("{other}"),
            }
        }
    }
}
