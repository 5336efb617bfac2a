//! How the wave lengths of rotary positions are stretched.

use std::f64::consts::{PI, TAU};

use burn::config::Config;

use crate::error::Error;
use crate::fields::{check_positive, require};

/// How the wave lengths of rotary positions are stretched for texts longer than those of the
/// first training.
///
/// ```
/// use burn_hf_models::llama::RopeScaling;
///
/// let plain = RopeScaling::None.frequencies(10_000.0, 4);
/// assert_eq!(plain, [1.0, 0.01]);
/// let stretched = RopeScaling::Linear { factor: 2.0 }.frequencies(10_000.0, 4);
/// assert_eq!(stretched, [0.5, 0.005]);
/// ```
#[derive(Config, Debug, PartialEq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// As they are (`default`).
    None,
    /// All alike.
    Linear {
        /// Longer by this factor.
        factor: f64,
    },
    /// As in Llama 3.1: the long ones alone, with a ramp between long and short.
    Llama3 {
        /// Long wave lengths are longer by this factor.
        factor: f64,
        /// Those above `original_max_position_embeddings / low_freq_factor` are long.
        low_freq_factor: f64,
        /// Those below `original_max_position_embeddings / high_freq_factor` are short.
        high_freq_factor: f64,
        /// Tokens of a text in the first training.
        original_max_position_embeddings: f64,
    },
    /// By a larger base, as far as the text at hand is longer than those of the first training.
    ///
    /// The base depends on the largest position of a batch. `transformers` keeps the base of the
    /// longest text so far for shorter ones; here every batch has its own.
    Dynamic {
        /// How fast the base grows with the text.
        factor: f64,
        /// Longest text for which the base stays as it is.
        max_position_embeddings: f64,
    },
    /// YaRN (Peng et al. 2023, arXiv 2309.00071): long ones by the factor, short ones not, with a
    /// ramp between them, and queries and keys scaled.
    Yarn {
        /// Long wave lengths are longer by this factor.
        factor: f64,
        /// Queries and keys are multiplied by this.
        attention_factor: f64,
        /// A wave that turns this often in a text of the first training is short.
        beta_fast: f64,
        /// A wave that turns this often in a text of the first training is long.
        beta_slow: f64,
        /// Tokens of a text in the first training.
        original_max_position_embeddings: f64,
        /// Whether the ends of the ramp are at whole pairs.
        truncate: bool,
    },
    /// LongRoPE (Ding et al. 2024, arXiv 2402.13753), as in Phi-3: each by a factor from one of two
    /// lists, which the largest position of a batch chooses.
    LongRope {
        /// For texts that are not longer than those of the first training.
        short_factor: Vec<f64>,
        /// For longer ones.
        long_factor: Vec<f64>,
        /// Queries and keys are multiplied by this.
        attention_factor: f64,
        /// Tokens of a text in the first training.
        original_max_position_embeddings: f64,
    },
}

impl RopeScaling {
    /// Check every number.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        const LENGTH: &str = "rope_scaling.original_max_position_embeddings";
        match *self {
            Self::None => Ok(()),
            Self::Linear { factor } => check_positive("rope_scaling.factor", factor),
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                check_positive("rope_scaling.factor", factor)?;
                check_positive("rope_scaling.low_freq_factor", low_freq_factor)?;
                check_positive("rope_scaling.high_freq_factor", high_freq_factor)?;
                check_positive(LENGTH, original_max_position_embeddings)?;
                require(
                    high_freq_factor > low_freq_factor,
                    "rope_scaling.high_freq_factor",
                    high_freq_factor,
                    format!("more than low_freq_factor = {low_freq_factor}"),
                )
            }
            Self::Dynamic {
                factor,
                max_position_embeddings,
            } => {
                // A smaller factor would make the base of a long text zero or negative.
                let fits = factor.is_finite() && factor >= 1.0;
                require(
                    fits,
                    "rope_scaling.factor",
                    factor,
                    "a finite number from 1",
                )?;
                check_positive("max_position_embeddings", max_position_embeddings)
            }
            Self::Yarn {
                factor,
                attention_factor,
                beta_fast,
                beta_slow,
                original_max_position_embeddings,
                truncate: _,
            } => {
                check_positive("rope_scaling.factor", factor)?;
                check_positive("rope_scaling.attention_factor", attention_factor)?;
                check_positive("rope_scaling.beta_fast", beta_fast)?;
                check_positive("rope_scaling.beta_slow", beta_slow)?;
                check_positive(LENGTH, original_max_position_embeddings)
            }
            Self::LongRope {
                ref short_factor,
                ref long_factor,
                attention_factor,
                original_max_position_embeddings,
            } => {
                for (field, factors) in [
                    ("rope_scaling.short_factor", short_factor),
                    ("rope_scaling.long_factor", long_factor),
                ] {
                    factors.iter().try_for_each(|&f| check_positive(field, f))?;
                }
                check_positive("rope_scaling.attention_factor", attention_factor)?;
                check_positive(LENGTH, original_max_position_embeddings)
            }
        }
    }

    /// Check what depends on the entries of a head that are rotated: lists have a number for each
    /// pair, and a dynamic base needs two pairs.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming what does not fit.
    pub fn validate_width(&self, width: usize) -> Result<(), Error> {
        match self {
            Self::Dynamic { .. } => {
                let expected = "at least 3 rotated entries with a dynamic base";
                require(width > 2, "head_dim", width, expected)
            }
            Self::LongRope {
                short_factor,
                long_factor,
                ..
            } => {
                let pairs = width.div_ceil(2);
                for (field, factors) in [
                    ("rope_scaling.short_factor", short_factor),
                    ("rope_scaling.long_factor", long_factor),
                ] {
                    let found = format!("{} numbers", factors.len());
                    let expected = format!("{pairs}, one for each pair of entries of a head");
                    require(factors.len() == pairs, field, found, expected)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Angle per position of each pair of a head's first `width` entries, in a text that is not
    /// longer than those of the first training.
    ///
    /// An odd width is rounded up to whole pairs.
    ///
    /// # Panics
    ///
    /// Panics if [`validate_width`](Self::validate_width) refuses the width.
    pub fn frequencies(&self, theta: f64, width: usize) -> Vec<f64> {
        self.frequencies_at(theta, width, 0)
    }

    /// The same for a text whose largest position is `length - 1`.
    ///
    /// # Panics
    ///
    /// Panics if [`validate_width`](Self::validate_width) refuses the width.
    ///
    /// ```
    /// use burn_hf_models::llama::RopeScaling;
    ///
    /// let dynamic = RopeScaling::Dynamic { factor: 2.0, max_position_embeddings: 64.0 };
    /// let plain = RopeScaling::None.frequencies(10_000.0, 8);
    /// assert_eq!(dynamic.frequencies_at(10_000.0, 8, 64), plain);
    /// let longer = dynamic.frequencies_at(10_000.0, 8, 96);
    /// assert_eq!(longer[0], 1.0);
    /// assert!(longer[3] < plain[3]);
    /// ```
    pub fn frequencies_at(&self, theta: f64, width: usize, length: usize) -> Vec<f64> {
        let theta = match *self {
            Self::Dynamic {
                factor,
                max_position_embeddings: longest,
            } => {
                let growth = factor * (length as f64).max(longest) / longest - (factor - 1.0);
                theta * growth.powf(width as f64 / (width as f64 - 2.0))
            }
            _ => theta,
        };
        let ramp = self.ramp(theta, width);
        let plain = |pair: usize| theta.powf(-((2 * pair) as f64) / width as f64);
        (0..width.div_ceil(2))
            .map(|pair| match self {
                Self::Yarn { factor, .. } => {
                    let long = ((pair as f64 - ramp[0]) / (ramp[1] - ramp[0])).clamp(0.0, 1.0);
                    let frequency = plain(pair);
                    frequency / factor * long + frequency * (1.0 - long)
                }
                Self::LongRope {
                    short_factor,
                    long_factor,
                    original_max_position_embeddings: first,
                    ..
                } => {
                    let is_long = length as f64 > *first;
                    let factors = if is_long { long_factor } else { short_factor };
                    plain(pair) / factors[pair]
                }
                _ => self.stretched(plain(pair)),
            })
            .collect()
    }

    /// What queries and keys are multiplied by.
    pub fn attention_factor(&self) -> f64 {
        match *self {
            Self::Yarn {
                attention_factor, ..
            }
            | Self::LongRope {
                attention_factor, ..
            } => attention_factor,
            _ => 1.0,
        }
    }

    fn stretched(&self, frequency: f64) -> f64 {
        match *self {
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings: length,
            } => {
                let waves = length * frequency / TAU;
                let short = ((waves - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - short) * frequency / factor + short * frequency
            }
            _ => frequency,
        }
    }

    /// The pairs between which YaRN goes over from short to long waves.
    fn ramp(&self, theta: f64, width: usize) -> [f64; 2] {
        let Self::Yarn {
            beta_fast,
            beta_slow,
            original_max_position_embeddings: length,
            truncate,
            ..
        } = *self
        else {
            return [0.0, 1.0];
        };
        let width = width as f64;
        let pair = |turns: f64| width * (length / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln());
        let (mut low, mut high) = (pair(beta_fast), pair(beta_slow));
        if truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(width - 1.0));
        if low == high {
            high += 0.001;
        }
        [low, high]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_keeps_short_waves_and_stretches_long_ones() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192.0,
        };
        let theta = 500_000.0;
        let plain = RopeScaling::None.frequencies(theta, 128);
        let scaled = scaling.frequencies(theta, 128);
        let mut kinds = [0; 3];
        for (plain, scaled) in plain.iter().zip(&scaled) {
            // Wave lengths as in `transformers`' `_compute_llama3_parameters`.
            let length = TAU / plain;
            let (kind, expected) = if length < 8192.0 / 4.0 {
                (0, *plain)
            } else if length > 8192.0 {
                (1, plain / 8.0)
            } else {
                let smooth = (8192.0 / length - 1.0) / 3.0;
                (2, (1.0 - smooth) * plain / 8.0 + smooth * plain)
            };
            kinds[kind] += 1;
            assert!((scaled / expected - 1.0).abs() < 1e-14);
        }
        assert_eq!(kinds.iter().sum::<usize>(), 64);
        assert!(kinds.iter().all(|&count| count > 0), "{kinds:?}");
    }

    #[test]
    fn wrong_numbers_are_named() {
        let scaling = |factor, low, high, length| RopeScaling::Llama3 {
            factor,
            low_freq_factor: low,
            high_freq_factor: high,
            original_max_position_embeddings: length,
        };
        assert!(scaling(8.0, 1.0, 4.0, 64.0).validate().is_ok());
        for (scaling, expected) in [
            (RopeScaling::Linear { factor: f64::NAN }, "factor"),
            (scaling(-1.0, 1.0, 4.0, 64.0), "factor"),
            (scaling(8.0, 0.0, 4.0, 64.0), "low_freq_factor"),
            (scaling(8.0, 1.0, 0.0, 64.0), "high_freq_factor"),
            (scaling(8.0, 4.0, 4.0, 64.0), "high_freq_factor"),
            (
                scaling(8.0, 1.0, 4.0, 0.0),
                "original_max_position_embeddings",
            ),
        ] {
            let Err(Error::Config { field, .. }) = scaling.validate() else {
                panic!("{scaling} was accepted");
            };
            assert_eq!(field, format!("rope_scaling.{expected}"));
        }
    }
}
