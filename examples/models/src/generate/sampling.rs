//! How next tokens are chosen.

use burn::config::Config;

use crate::error::Error;

/// How next tokens are chosen.
///
/// The penalties come first (in [`Decoding`](super::Decoding), which knows the text). Then logits are divided by the
/// temperature, cut to the `top_k` most probable tokens, and of these to the smallest set that holds a share of
/// `top_p`, in this order (as `transformers` does). Of equal logits the token with the smaller id comes first.
///
/// ```
/// use burn_hf_models::generate::Sampling;
///
/// let greedy = Sampling::new(20).with_eos(vec![2]);
/// assert!(greedy.is_greedy());
/// let drawn = greedy.with_temperature(Some(0.7)).with_top_p(Some(0.9));
/// assert!(drawn.validate().is_ok());
/// assert!(drawn.with_top_p(Some(1.5)).validate().is_err());
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct Sampling {
    /// Tokens that a row gets at most.
    pub max_new_tokens: usize,
    /// Divisor of the logits; without it, and at 0, the most probable token is taken.
    pub temperature: Option<f64>,
    /// Number of the most probable tokens to draw from.
    pub top_k: Option<usize>,
    /// Share of the probability to draw from.
    pub top_p: Option<f64>,
    /// Logits of tokens that the row has already, in its prompt or newly, are divided by this where they are positive,
    /// and multiplied where they are negative.
    pub repetition_penalty: Option<f64>,
    /// Taken from the logits of tokens that were newly chosen before.
    pub presence_penalty: Option<f64>,
    /// Taken from the logits of tokens for each time that they were newly chosen before.
    pub frequency_penalty: Option<f64>,
    /// Tokens that end a row; the token itself is kept.
    #[config(default = "Vec::new()")]
    pub eos: Vec<i64>,
    /// What ended rows are filled up with; without it the first of `eos`.
    pub pad: Option<i64>,
}

impl Sampling {
    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] naming the first field that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |name, found: String, expected: &str| {
            Err(Error::Input {
                name,
                reason: format!("is {found}, expected {expected}"),
            })
        };
        if self.max_new_tokens == 0 {
            return refuse("max_new_tokens", "0".into(), "at least 1");
        }
        if let Some(t) = self.temperature
            && !(t.is_finite() && t >= 0.0)
        {
            return refuse("temperature", t.to_string(), "a finite number from 0");
        }
        if self.top_k == Some(0) {
            return refuse("top_k", "0".into(), "at least 1");
        }
        if let Some(p) = self.top_p
            && !(p > 0.0 && p <= 1.0)
        {
            return refuse("top_p", p.to_string(), "above 0 and at most 1");
        }
        if let Some(p) = self.repetition_penalty
            && !(p.is_finite() && p > 0.0)
        {
            return refuse("repetition_penalty", p.to_string(), "a number above 0");
        }
        for (name, penalty) in [
            ("presence_penalty", self.presence_penalty),
            ("frequency_penalty", self.frequency_penalty),
        ] {
            if let Some(p) = penalty.filter(|p| !p.is_finite()) {
                return refuse(name, p.to_string(), "a finite number");
            }
        }
        match self.pad {
            Some(pad) if pad < 0 => refuse("pad", pad.to_string(), "a token id from 0"),
            _ => Ok(()),
        }
    }

    /// Whether the most probable token is taken.
    pub fn is_greedy(&self) -> bool {
        self.temperature.is_none_or(|t| t == 0.0)
    }

    /// The id that fills up ended rows.
    pub(crate) fn filler(&self) -> i64 {
        self.pad.or(self.eos.first().copied()).unwrap_or(0)
    }
}
