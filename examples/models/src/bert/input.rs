//! Input of BERT, checked against the model.

use burn::tensor::{Int, Tensor};
use burn_ief::recorder;

use crate::error::Error;
use crate::ids::{check_ids, check_mask};

/// A batch of M sequences of T tokens, behind V virtual ones where there is a prompt.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_hf_models::bert::BertInput;
///
/// let device = Device::flex();
/// let ids = Tensor::<2, Int>::from_data([[101, 7, 102], [101, 102, 0]], &device);
/// let mask = Tensor::<2, Int>::from_data([[1, 1, 1], [1, 1, 0]], &device);
/// let input = BertInput::new(ids).with_attention_mask(mask);
/// assert!(input.token_type_ids.is_none());
/// ```
#[derive(Debug, Clone)]
pub struct BertInput {
    /// `[M, T]`, each below the size of the vocabulary.
    pub input_ids: Tensor<2, Int>,
    /// 1 for tokens, 0 for padding, `[M, T]`; all tokens where absent.
    pub attention_mask: Option<Tensor<2, Int>>,
    /// Segment of each token, `[M, T]`; all 0 where absent.
    pub token_type_ids: Option<Tensor<2, Int>>,
    /// Virtual tokens, `[M, V, d]`: they come first, take the positions from 0 and the segment 0,
    /// and the first of them is the one that is pooled.
    pub prompt: Option<Tensor<3>>,
}

impl BertInput {
    /// Sequences without padding, all of segment 0.
    pub fn new(input_ids: Tensor<2, Int>) -> Self {
        Self {
            input_ids,
            attention_mask: None,
            token_type_ids: None,
            prompt: None,
        }
    }

    /// Set the mask, `[M, T]`.
    pub fn with_attention_mask(mut self, mask: Tensor<2, Int>) -> Self {
        self.attention_mask = Some(mask);
        self
    }

    /// Set the segments, `[M, T]`.
    pub fn with_token_type_ids(mut self, ids: Tensor<2, Int>) -> Self {
        self.token_type_ids = Some(ids);
        self
    }

    /// Set the virtual tokens, `[M, V, d]`.
    pub fn with_prompt(mut self, prompt: Tensor<3>) -> Self {
        self.prompt = Some(prompt);
        self
    }

    /// Tokens of a sequence, virtual ones included.
    pub(crate) fn length(&self) -> usize {
        let [_, length] = self.input_ids.dims();
        length + self.virtual_tokens()
    }

    fn virtual_tokens(&self) -> usize {
        self.prompt.as_ref().map_or(0, |prompt| prompt.dims()[1])
    }

    /// `[M, T]` with `value` for each virtual token in front.
    pub(crate) fn behind_prompt(&self, x: Tensor<2, Int>, value: i64) -> Tensor<2, Int> {
        let [batch, _] = x.dims();
        match self.virtual_tokens() {
            0 => x,
            count => {
                let front = Tensor::full([batch, count], value, (&x.device(), x.dtype()));
                Tensor::cat(vec![front, x], 1)
            }
        }
    }

    /// Check all shapes for a model of `width` with a table of `positions`.
    pub(crate) fn check(&self, width: usize, positions: usize) -> Result<(), Error> {
        let shape = self.input_ids.dims();
        if shape[0] == 0 {
            return refuse(
                "input_ids",
                format!("expected at least one sequence, found the shape {shape:?}"),
            );
        }
        let same = |name, ids: &Option<Tensor<2, Int>>| match ids.as_ref().map(Tensor::dims) {
            Some(found) if found != shape => refuse(
                name,
                format!("expected {shape:?} as `input_ids`, found {found:?}"),
            ),
            _ => Ok(()),
        };
        same("attention_mask", &self.attention_mask)?;
        same("token_type_ids", &self.token_type_ids)?;
        if let Some(prompt) = &self.prompt {
            let [batch, virtual_tokens, found] = prompt.dims();
            // With drawn labels the prompt may be expanded to the copies already.
            let copied = recorder().map_or(shape[0], |recorder| recorder.batch_size(shape[0]));
            if (batch != shape[0] && batch != copied) || found != width {
                let expected = [shape[0], virtual_tokens, width];
                let found = prompt.dims();
                return refuse("prompt", format!("expected {expected:?}, found {found:?}"));
            }
        }
        match self.length() {
            length if (1..=positions).contains(&length) => Ok(()),
            length => refuse(
                "input_ids",
                format!("{length} tokens with the prompt, expected 1 to {positions}"),
            ),
        }
    }

    /// Check all values against the sizes of the vocabulary and of the table of segments, 0 without one.
    pub(crate) fn check_values(&self, vocabulary: usize, segments: usize) -> Result<(), Error> {
        check_ids("input_ids", &self.input_ids, 0..vocabulary as i64)?;
        check_mask("attention_mask", self.attention_mask.as_ref())?;
        match &self.token_type_ids {
            Some(_) if segments == 0 => refuse(
                "token_type_ids",
                "expected none, the model has no segments".into(),
            ),
            Some(ids) => check_ids("token_type_ids", ids, 0..segments as i64),
            None => Ok(()),
        }
    }
}

fn refuse(name: &'static str, reason: String) -> Result<(), Error> {
    Err(Error::Input { name, reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn ids(shape: [usize; 2]) -> Tensor<2, Int> {
        Tensor::zeros(shape, &Device::flex())
    }

    fn refused(input: BertInput) -> &'static str {
        match input.check(8, 10).unwrap_err() {
            Error::Input { name, .. } => name,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_named() {
        let input = || BertInput::new(ids([2, 6]));
        let prompt = |shape: [usize; 3]| Tensor::zeros(shape, &Device::flex());
        assert!(input().with_prompt(prompt([2, 4, 8])).check(8, 10).is_ok());
        assert_eq!(
            refused(input().with_attention_mask(ids([2, 5]))),
            "attention_mask"
        );
        assert_eq!(
            refused(input().with_token_type_ids(ids([1, 6]))),
            "token_type_ids"
        );
        assert_eq!(refused(input().with_prompt(prompt([2, 4, 7]))), "prompt");
        assert_eq!(refused(input().with_prompt(prompt([1, 4, 8]))), "prompt");
        assert_eq!(refused(input().with_prompt(prompt([2, 5, 8]))), "input_ids");
        assert_eq!(refused(BertInput::new(ids([2, 0]))), "input_ids");
        assert_eq!(refused(BertInput::new(ids([0, 6]))), "input_ids");
    }

    #[test]
    fn values_outside_of_their_tables_are_named() {
        let input = |id: i64| {
            let ids = Tensor::from_data([[0, id]], &Device::flex());
            BertInput::new(ids)
        };
        assert!(input(9).check_values(10, 2).is_ok());
        let error = input(10).check_values(10, 2).unwrap_err();
        assert_eq!(
            error.to_string(),
            "input `input_ids`: expected 0 to 9, found 10 at [0, 1]"
        );
        assert!(input(-1).check_values(10, 2).is_err());
        let types = Tensor::from_data([[0, 2]], &Device::flex());
        let input = input(1).with_token_type_ids(types);
        assert!(input.check_values(10, 2).is_err());
    }

    #[test]
    fn virtual_tokens_come_first() {
        let prompt = Tensor::zeros([2, 2, 8], &Device::flex());
        let input = BertInput::new(ids([2, 1])).with_prompt(prompt);
        let mask = input.behind_prompt(ids([2, 1]), 1);
        let mask = mask.into_data().try_into_vec_as::<i64>().unwrap();
        assert_eq!(mask, [1, 1, 0, 1, 1, 0]);
    }
}
