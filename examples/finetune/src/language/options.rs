//! How tokens are chosen: by the model's own settings, and by those of a request over them.

use std::path::Path;

use burn_hf_models::generate::Sampling;
use burn_hf_models::gguf::GgufFile;
use programs::reading;
use serde::{Deserialize, Deserializer};

use crate::error::Error;

const FILE: &str = "generation_config.json";
/// Tokens of an answer at most, if nobody says how many.
const NEW_TOKENS: usize = 256;

/// Settings of an answer; what is not given is left to the model, or to the default.
///
/// ```
/// use finetune::language::GenerationOptions;
///
/// let of_model: GenerationOptions =
///     serde_json::from_str(r#"{"do_sample": true, "temperature": 0.6, "eos_token_id": [2, 5]}"#)?;
/// let mut wanted = GenerationOptions::default();
/// wanted.temperature = Some(0.0);
/// let sampling = wanted.over(&of_model).sampling(vec![2, 5], 100);
/// assert!(sampling.is_greedy());
/// assert_eq!(sampling.max_new_tokens, 100);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct GenerationOptions {
    /// Whether tokens are drawn; otherwise the most probable one is taken at every step [default: false].
    pub do_sample: Option<bool>,
    /// Tokens of an answer at most [default: 256].
    pub max_new_tokens: Option<usize>,
    /// Divisor of the logits [default: 1, if tokens are drawn].
    pub temperature: Option<f64>,
    /// Number of the most probable tokens to draw from; 0 and less are none.
    pub top_k: Option<i64>,
    /// Share of the probability to draw from.
    pub top_p: Option<f64>,
    /// See [`Sampling::repetition_penalty`].
    pub repetition_penalty: Option<f64>,
    /// See [`Sampling::presence_penalty`].
    pub presence_penalty: Option<f64>,
    /// See [`Sampling::frequency_penalty`].
    pub frequency_penalty: Option<f64>,
    /// Tokens that end an answer; they are added to those of `config.json` and of the tokenizer.
    #[serde(default, rename = "eos_token_id", deserialize_with = "ids")]
    pub eos: Vec<i64>,
}

/// One id, several, or none.
fn ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Ids {
        One(i64),
        Several(Vec<i64>),
    }
    Ok(match Option::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Ids::One(id)) => vec![id],
        Some(Ids::Several(ids)) => ids,
    })
}

impl GenerationOptions {
    /// The most probable tokens, whatever the model says, and at most so many.
    pub fn greedy(max_new_tokens: usize) -> Self {
        Self {
            do_sample: Some(false),
            max_new_tokens: Some(max_new_tokens),
            ..Self::default()
        }
    }

    /// Those of a model folder's `generation_config.json`; none without the file, and for a GGUF file.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] for a damaged file.
    pub fn of_model(base: &Path) -> Result<Self, Error> {
        let path = base.join(FILE);
        if GgufFile::is_named(base) || !path.is_file() {
            return Ok(Self::default());
        }
        let text = reading::text(&path).map_err(|error| Error::read(&path, error))?;
        serde_json::from_str(&text).map_err(|error| Error::read(&path, error))
    }

    /// These, and where they say nothing, `others`. A temperature, `top_k` or `top_p` that is given here means that
    /// tokens are drawn.
    pub fn over(&self, others: &Self) -> Self {
        let draws = self.temperature.is_some() || self.top_k.is_some() || self.top_p.is_some();
        Self {
            do_sample: self
                .do_sample
                .or(draws.then_some(true))
                .or(others.do_sample),
            max_new_tokens: self.max_new_tokens.or(others.max_new_tokens),
            temperature: self.temperature.or(others.temperature),
            top_k: self.top_k.or(others.top_k),
            top_p: self.top_p.or(others.top_p),
            repetition_penalty: self.repetition_penalty.or(others.repetition_penalty),
            presence_penalty: self.presence_penalty.or(others.presence_penalty),
            frequency_penalty: self.frequency_penalty.or(others.frequency_penalty),
            eos: [self.eos.as_slice(), &others.eos].concat(),
        }
    }

    /// Check those that are given here.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] naming the first that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        let alone = self.over(&Self::default());
        Ok(alone.sampling(Vec::new(), usize::MAX).validate()?)
    }

    /// What the model is asked for, with at most so many tokens.
    pub fn sampling(&self, ends: Vec<i64>, most: usize) -> Sampling {
        let draws = self.do_sample.unwrap_or(false);
        let new_tokens = self.max_new_tokens.unwrap_or(NEW_TOKENS).min(most);
        let top_k = self.top_k.filter(|&k| k > 0);
        Sampling::new(new_tokens)
            .with_eos(ends)
            .with_temperature(draws.then(|| self.temperature.unwrap_or(1.0)))
            .with_top_k(top_k.and_then(|k| usize::try_from(k).ok()))
            .with_top_p(self.top_p)
            .with_repetition_penalty(self.repetition_penalty)
            .with_presence_penalty(self.presence_penalty)
            .with_frequency_penalty(self.frequency_penalty)
    }
}

/// What the sampling says goes before the settings of the model: without a temperature the most probable token is taken.
impl From<&Sampling> for GenerationOptions {
    fn from(sampling: &Sampling) -> Self {
        Self {
            do_sample: Some(!sampling.is_greedy()),
            max_new_tokens: Some(sampling.max_new_tokens),
            temperature: sampling.temperature,
            top_k: sampling.top_k.and_then(|k| i64::try_from(k).ok()),
            top_p: sampling.top_p,
            repetition_penalty: sampling.repetition_penalty,
            presence_penalty: sampling.presence_penalty,
            frequency_penalty: sampling.frequency_penalty,
            eos: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> GenerationOptions {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn end_tokens_are_a_number_or_a_list() {
        assert_eq!(parsed(r#"{"eos_token_id": 7}"#).eos, [7]);
        assert_eq!(parsed(r#"{"eos_token_id": [7, 8]}"#).eos, [7, 8]);
        assert!(parsed(r#"{"eos_token_id": null}"#).eos.is_empty());
        assert!(parsed(r#"{"transformers_version": "5.0"}"#).eos.is_empty());
        for damaged in [r#"{"eos_token_id": "a"}"#, r#"{"temperature": "hot"}"#, "["] {
            assert!(serde_json::from_str::<GenerationOptions>(damaged).is_err());
        }
    }

    #[test]
    fn a_model_that_does_not_draw_takes_the_most_probable_token() {
        let sampling = |options: GenerationOptions| options.sampling(vec![], usize::MAX);
        assert!(sampling(parsed(r#"{"temperature": 0.7}"#)).is_greedy());
        assert!(sampling(parsed(r#"{"do_sample": false, "top_p": 0.9}"#)).is_greedy());
        let drawn = sampling(parsed(r#"{"do_sample": true, "top_k": 0}"#));
        assert_eq!((drawn.temperature, drawn.top_k), (Some(1.0), None));
        assert_eq!(drawn.max_new_tokens, NEW_TOKENS);
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        for (wrong, expected) in [
            (r#"{"temperature": -1}"#, "temperature"),
            (r#"{"top_p": 1.5}"#, "top_p"),
            (r#"{"max_new_tokens": 0}"#, "max_new_tokens"),
            (r#"{"repetition_penalty": 0}"#, "repetition_penalty"),
        ] {
            let error = parsed(wrong).validate().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(
            parsed(r#"{"temperature": 0, "top_k": -1}"#)
                .validate()
                .is_ok()
        );
    }

    #[test]
    fn a_request_goes_before_the_model() {
        let model =
            parsed(r#"{"temperature": 0.7, "top_p": 0.9, "max_new_tokens": 9, "eos_token_id": 3}"#);
        let wanted = parsed(r#"{"top_k": 5, "max_new_tokens": 4}"#);
        let both = wanted.over(&model);
        assert_eq!(both.do_sample, Some(true));
        assert_eq!(
            (both.temperature, both.top_k, both.top_p),
            (Some(0.7), Some(5), Some(0.9))
        );
        assert_eq!((both.max_new_tokens, both.eos), (Some(4), vec![3]));
        let none = GenerationOptions::default().over(&model);
        assert!(none.sampling(vec![], usize::MAX).is_greedy());
        let greedy = parsed(r#"{"temperature": 0}"#).over(&parsed(r#"{"do_sample": true}"#));
        assert!(greedy.sampling(vec![], usize::MAX).is_greedy());
    }
}
