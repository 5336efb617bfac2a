//! Choosing tokens one after the other: greedy, or drawn from the model's probabilities.
//!
//! [`Sampling`] says how, [`pick`] chooses the next token of each row from its logits, and
//! [`Decoding`] keeps the rows of a batch until each has ended. Logits are read to the host and
//! worked on in f64, so that a choice depends on the generator alone and not on the device.

mod choose;
mod penalty;
mod sampling;

use burn::tensor::Tensor;
use rand::Rng;

pub use sampling::Sampling;

use crate::error::Error;
use penalty::Seen;

/// Choose the next token of each row.
///
/// A row that is `finished` gets the padding token, its logits are not looked at. Every other row
/// takes one number from `rng`, or none if the choice is greedy. There are no penalties here: they
/// need the tokens before, which [`Decoding`] has.
///
/// # Shapes
///
/// - logits: `[M, V]`
/// - finished: M
/// - output: M
///
/// # Errors
///
/// [`Error::Input`] if a field of `sampling` is out of range, `finished` is not as long as the
/// batch, or the logits of a row hold NaN, +∞, or nothing above −∞.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_hf_models::generate::{Sampling, pick};
/// use rand::SeedableRng;
/// use rand_chacha::ChaCha8Rng;
///
/// let logits = Tensor::<2>::from_data([[0.0, 3.0, 1.0], [5.0, 4.0, 0.0]], &Device::flex());
/// let sampling = Sampling::new(1).with_pad(Some(9));
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// assert_eq!(pick(logits, &[false, true], &sampling, &mut rng)?, [1, 9]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
pub fn pick(
    logits: Tensor<2>,
    finished: &[bool],
    sampling: &Sampling,
    rng: &mut impl Rng,
) -> Result<Vec<i64>, Error> {
    sampling.validate()?;
    choose_each(logits, finished, sampling, rng, |_, _| ())
}

/// Choose the next token of each row from logits that `change` may change.
fn choose_each(
    logits: Tensor<2>,
    finished: &[bool],
    sampling: &Sampling,
    rng: &mut impl Rng,
    change: impl Fn(usize, &mut [f64]),
) -> Result<Vec<i64>, Error> {
    let [rows, entries] = logits.dims();
    if finished.len() != rows {
        return Err(Error::Input {
            name: "finished",
            reason: format!("has {} entries for {rows} rows of logits", finished.len()),
        });
    }
    if rows == 0 {
        return Ok(Vec::new());
    }
    let unusable = |reason: String| Error::Input {
        name: "logits",
        reason,
    };
    if entries == 0 {
        return Err(unusable("of an empty vocabulary".into()));
    }
    let values = logits.try_to_vec_as::<f64>();
    let mut values = values.map_err(|error| unusable(error.to_string()))?;
    let rows = values.chunks_exact_mut(entries).zip(finished).enumerate();
    rows.map(|(row, (logits, finished))| {
        if *finished {
            Ok(sampling.filler())
        } else {
            change(row, logits);
            choose::next(logits, sampling, rng)
                .map(|id| id as i64)
                .map_err(|reason| unusable(format!("row {row} {reason}")))
        }
    })
    .collect()
}

/// The rows of a batch while they grow.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_hf_models::generate::{Decoding, Sampling};
/// use rand::SeedableRng;
/// use rand_chacha::ChaCha8Rng;
///
/// let sampling = Sampling::new(3).with_eos(vec![0]);
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let mut decoding = Decoding::start(&sampling, 1)?;
/// let logits = |eos: f32| Tensor::<2>::from_data([[eos, 0.0, 1.0]], &Device::flex());
/// assert_eq!(decoding.next(logits(0.5), &mut rng)?, [2]);
/// assert_eq!(decoding.next(logits(1.5), &mut rng)?, [0]);
/// assert!(decoding.is_done());
/// assert_eq!(decoding.into_tokens(), [[2, 0]]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Decoding {
    sampling: Sampling,
    finished: Vec<bool>,
    tokens: Vec<Vec<i64>>,
    seen: Vec<Seen>,
    steps: usize,
}

impl Decoding {
    /// Begin with `rows` empty rows.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] if a field of `sampling` is out of range.
    pub fn start(sampling: &Sampling, rows: usize) -> Result<Self, Error> {
        sampling.validate()?;
        Ok(Self {
            sampling: sampling.clone(),
            finished: vec![false; rows],
            tokens: vec![Vec::new(); rows],
            seen: vec![Seen::default(); rows],
            steps: 0,
        })
    }

    /// With the tokens that each row begins with, for the repetition penalty.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] if there are not as many as rows.
    pub fn with_prompts(mut self, prompts: &[Vec<i64>]) -> Result<Self, Error> {
        if prompts.len() != self.seen.len() {
            return Err(Error::Input {
                name: "prompts",
                reason: format!("has {} rows, expected {}", prompts.len(), self.seen.len()),
            });
        }
        for (seen, prompt) in self.seen.iter_mut().zip(prompts) {
            seen.read(prompt);
        }
        Ok(self)
    }

    /// Choose and keep the next token of each row, from logits `[M, V]`: the penalties, then as
    /// [`pick`].
    ///
    /// # Errors
    ///
    /// Those of [`pick`]; the rows are then as before.
    pub fn next(&mut self, logits: Tensor<2>, rng: &mut impl Rng) -> Result<Vec<i64>, Error> {
        let (seen, sampling) = (&self.seen, &self.sampling);
        let tokens = choose_each(logits, &self.finished, sampling, rng, |row, logits| {
            seen[row].penalize(logits, sampling);
        })?;
        for (row, &token) in tokens.iter().enumerate() {
            self.tokens[row].push(token);
            self.seen[row].add(token);
            self.finished[row] |= self.sampling.eos.contains(&token);
        }
        self.steps += 1;
        Ok(tokens)
    }

    /// Whether every row has ended or is as long as it may be.
    pub fn is_done(&self) -> bool {
        self.steps >= self.sampling.max_new_tokens || self.finished.iter().all(|&done| done)
    }

    /// The rows, of equal lengths, filled up with the padding token.
    pub fn into_tokens(self) -> Vec<Vec<i64>> {
        self.tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn logits<const M: usize, const V: usize>(rows: [[f32; V]; M]) -> Tensor<2> {
        Tensor::from_data(rows, &Device::flex())
    }

    fn rng() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(7)
    }

    #[test]
    fn each_field_is_checked_by_name() {
        let sampling = || Sampling::new(4);
        assert!(sampling().validate().is_ok());
        for (sampling, expected) in [
            (Sampling::new(0), "max_new_tokens"),
            (sampling().with_temperature(Some(-0.1)), "temperature"),
            (sampling().with_temperature(Some(f64::NAN)), "temperature"),
            (
                sampling().with_temperature(Some(f64::INFINITY)),
                "temperature",
            ),
            (sampling().with_top_k(Some(0)), "top_k"),
            (sampling().with_top_p(Some(0.0)), "top_p"),
            (sampling().with_top_p(Some(1.1)), "top_p"),
            (sampling().with_top_p(Some(f64::NAN)), "top_p"),
            (sampling().with_pad(Some(-1)), "pad"),
            (
                sampling().with_repetition_penalty(Some(0.0)),
                "repetition_penalty",
            ),
            (
                sampling().with_presence_penalty(Some(f64::NAN)),
                "presence_penalty",
            ),
            (
                sampling().with_frequency_penalty(Some(f64::INFINITY)),
                "frequency_penalty",
            ),
        ] {
            let Err(Error::Input { name, .. }) = sampling.validate() else {
                panic!("{sampling} was accepted");
            };
            assert_eq!(name, expected);
            assert!(Decoding::start(&sampling, 1).is_err());
        }
    }

    #[test]
    fn logits_that_are_no_numbers_are_errors_that_name_the_row() {
        let drawn = Sampling::new(1).with_temperature(Some(1.0));
        for bad in [f32::NAN, f32::INFINITY] {
            for sampling in [Sampling::new(1), drawn.clone()] {
                let rows = logits([[0.0, 1.0], [0.0, bad]]);
                let error = pick(rows.clone(), &[false; 2], &sampling, &mut rng()).unwrap_err();
                assert!(error.to_string().contains("row 1"), "{error}");
                // An ended row is not looked at.
                assert!(pick(rows, &[false, true], &sampling, &mut rng()).is_ok());
            }
        }
        let nothing = logits([[f32::NEG_INFINITY; 3]]);
        assert!(pick(nothing, &[false], &drawn, &mut rng()).is_err());
        assert!(pick(logits([[1.0]]), &[], &drawn, &mut rng()).is_err());
    }

    #[test]
    fn penalties_count_what_each_row_has_seen() {
        let sampling = Sampling::new(3).with_repetition_penalty(Some(2.0));
        let decoding = Decoding::start(&sampling, 2).unwrap();
        let mut decoding = decoding.with_prompts(&[vec![0], vec![]]).unwrap();
        let rows = || logits([[3.0, 2.0, 1.4], [3.0, 2.0, 1.4]]);
        // 3 / 2 is less than 2, then 2 / 2 less than 3 / 2; the other row begins with its best token.
        assert_eq!(decoding.next(rows(), &mut rng()).unwrap(), [1, 0]);
        assert_eq!(decoding.next(rows(), &mut rng()).unwrap(), [0, 1]);
        let decoding = Decoding::start(&sampling, 2).unwrap();
        assert!(decoding.with_prompts(&[vec![0]]).is_err());
    }

    #[test]
    fn ended_rows_are_filled_with_the_padding_token() {
        let sampling = Sampling::new(3).with_eos(vec![1, 2]).with_pad(Some(5));
        let mut decoding = Decoding::start(&sampling, 2).unwrap();
        let first = logits([[0.0, 0.0, 9.0], [9.0, 0.0, 0.0]]);
        assert_eq!(decoding.next(first, &mut rng()).unwrap(), [2, 0]);
        assert!(!decoding.is_done());
        let second = logits([[9.0, 0.0, 0.0], [9.0, 0.0, 0.0]]);
        assert_eq!(decoding.next(second.clone(), &mut rng()).unwrap(), [5, 0]);
        assert!(!decoding.is_done());
        decoding.next(second, &mut rng()).unwrap();
        assert!(decoding.is_done(), "three tokens are the most");
        assert_eq!(decoding.into_tokens(), [[2, 5, 5], [0, 0, 0]]);
    }

    #[test]
    fn the_first_end_token_stands_in_for_padding() {
        let sampling = Sampling::new(2).with_eos(vec![3, 1]);
        let rows = logits([[0.0, 1.0]]);
        assert_eq!(pick(rows, &[true], &sampling, &mut rng()).unwrap(), [3]);
    }
}
