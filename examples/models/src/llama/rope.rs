//! Rotary positions (Su et al. 2021, arXiv 2104.09864).

use std::f64::consts::TAU;

use burn::config::Config;
use burn::tensor::{Tensor, TensorData};
use burn_flex_fused::{RotaryPairs, rotary};

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
}

impl RopeScaling {
    /// Check every number.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
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
                check_positive(
                    "rope_scaling.original_max_position_embeddings",
                    original_max_position_embeddings,
                )?;
                require(
                    high_freq_factor > low_freq_factor,
                    "rope_scaling.high_freq_factor",
                    high_freq_factor,
                    format!("more than low_freq_factor = {low_freq_factor}"),
                )
            }
        }
    }

    /// Angle per position of each pair of a head's entries, `width / 2` numbers.
    pub fn frequencies(&self, theta: f64, width: usize) -> Vec<f64> {
        let plain = |pair: usize| theta.powf(-((2 * pair) as f64) / width as f64);
        (0..width / 2)
            .map(|pair| self.stretched(plain(pair)))
            .collect()
    }

    fn stretched(&self, frequency: f64) -> f64 {
        match *self {
            Self::None => frequency,
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
        }
    }
}

/// Rotations of the positions of one forward pass.
///
/// Angles are taken on the host in f64: at long positions an f32 angle has lost its fraction.
pub(super) struct Rotary {
    /// `[M, T, width / 2]`, or `[1, T, width / 2]` for all samples.
    cos: Tensor<3>,
    sin: Tensor<3>,
}

impl Rotary {
    /// For `positions` (a row for each sample, or one for all), for tensors like `like`.
    pub fn new<const D: usize>(
        frequencies: &[f64],
        positions: &[Vec<i64>],
        like: &Tensor<D>,
    ) -> Self {
        let length = positions.first().map_or(0, Vec::len);
        let shape = [positions.len(), length, frequencies.len()];
        let options = (&like.device().inner(), like.dtype());
        let tensor = |f: fn(f64) -> f64| -> Tensor<3> {
            let all = positions.iter().flatten().flat_map(|&position| {
                let angles = frequencies.iter();
                angles.map(move |frequency| f(position as f64 * frequency))
            });
            let values: Vec<f64> = all.collect();
            let tensor = Tensor::from_data(TensorData::new(values, shape), options);
            match positions.len() {
                1 => tensor,
                _ => burn_ief::expand_input(tensor),
            }
        };
        Self {
            cos: tensor(f64::cos),
            sin: tensor(f64::sin),
        }
    }

    /// Rotate `[M, T, heads * width]`; the pair of an entry is half the width away.
    pub fn apply(&self, x: Tensor<3>, heads: usize) -> Tensor<3> {
        let (cos, sin) = (self.cos.clone(), self.sin.clone());
        rotary(x, cos, sin, heads, RotaryPairs::Halves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

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

    #[test]
    fn products_depend_on_the_distance_alone() {
        let device = Device::flex();
        let x = Tensor::<3>::from_data([[[0.3, -1.0, 0.7, 0.2]]], &device);
        let y = Tensor::<3>::from_data([[[1.1, 0.4, -0.6, 0.9]]], &device);
        let frequencies = RopeScaling::None.frequencies(100.0, 4);
        let at = |position: i64, x: &Tensor<3>| {
            Rotary::new(&frequencies, &[vec![position]], x).apply(x.clone(), 1)
        };
        let product = |a, b| (at(a, &x) * at(b, &y)).sum().into_scalar::<f32>();
        assert!((product(7, 3) - product(14, 10)).abs() < 1e-5);
        assert!((product(7, 3) - product(7, 4)).abs() > 1e-3);
        let unmoved = (at(0, &x) - x.clone()).abs().max().into_scalar::<f32>();
        assert_eq!(unmoved, 0.0);
    }
}
