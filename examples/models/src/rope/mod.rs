//! Rotary positions (Su et al. 2021, arXiv 2104.09864).

mod fields;
mod scaling;

use burn::tensor::{Tensor, TensorData};
use burn_flex_fused::{RotaryPairs, rotary};

pub use scaling::RopeScaling;

pub(crate) use fields::{Lengths, RopeFields};

use crate::error::Error;

/// How the layers of one kind rotate queries and keys.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rope {
    /// Base of the wave lengths.
    pub theta: f64,
    /// Entries of a head that are rotated, the first ones.
    pub width: usize,
    pub scaling: RopeScaling,
}

impl Rope {
    /// Check the scaling.
    pub fn validate(&self) -> Result<(), Error> {
        self.scaling.validate()?;
        self.scaling.validate_width(self.width)
    }

    /// Angle per position of each pair, in a text whose largest position is `length - 1`.
    pub fn frequencies(&self, length: usize) -> Vec<f64> {
        self.scaling.frequencies_at(self.theta, self.width, length)
    }

    /// The rotations of `positions` (a row for each sample, or one for all), in texts whose largest
    /// position is `length - 1`, for tensors like `like`.
    pub fn at<const D: usize>(
        &self,
        positions: &[Vec<i64>],
        length: usize,
        like: &Tensor<D>,
    ) -> Rotary {
        let frequencies = self.frequencies(length);
        let factor = self.scaling.attention_factor();
        Rotary::new(&frequencies, factor, positions, like)
    }
}

/// One more than the largest position.
pub(crate) fn length(positions: &[Vec<i64>]) -> usize {
    let largest = positions.iter().flatten().max();
    largest.map_or(0, |&largest| (largest + 1).max(0) as usize)
}

/// Rotations of the positions of one forward pass.
///
/// Angles are taken on the host in f64: at long positions an f32 angle has lost its fraction.
pub(crate) struct Rotary {
    /// `[M, T, pairs]`, or `[1, T, pairs]` for all samples.
    cos: Tensor<3>,
    sin: Tensor<3>,
}

impl Rotary {
    fn new<const D: usize>(
        frequencies: &[f64],
        factor: f64,
        positions: &[Vec<i64>],
        like: &Tensor<D>,
    ) -> Self {
        let length = positions.first().map_or(0, Vec::len);
        let shape = [positions.len(), length, frequencies.len()];
        let options = (&like.device().inner(), like.dtype());
        let tensor = |f: fn(f64) -> f64| -> Tensor<3> {
            let all = positions.iter().flatten().flat_map(|&position| {
                let angles = frequencies.iter();
                angles.map(move |frequency| factor * f(position as f64 * frequency))
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

    /// Rotate `[M, T, heads * width]`; the pair of an entry is half the rotated width away.
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
    fn products_depend_on_the_distance_alone() {
        let device = Device::flex();
        let x = Tensor::<3>::from_data([[[0.3, -1.0, 0.7, 0.2]]], &device);
        let y = Tensor::<3>::from_data([[[1.1, 0.4, -0.6, 0.9]]], &device);
        let rope = Rope {
            theta: 100.0,
            width: 4,
            scaling: RopeScaling::None,
        };
        let at = |position: i64, x: &Tensor<3>| {
            let rotary = rope.at(&[vec![position]], 20, x);
            rotary.apply(x.clone(), 1)
        };
        let product = |a, b| (at(a, &x) * at(b, &y)).sum().into_scalar::<f32>();
        assert!((product(7, 3) - product(14, 10)).abs() < 1e-5);
        assert!((product(7, 3) - product(7, 4)).abs() > 1e-3);
        let unmoved = (at(0, &x) - x.clone()).abs().max().into_scalar::<f32>();
        assert_eq!(unmoved, 0.0);
    }

    #[test]
    fn entries_beyond_the_rotated_ones_stay() {
        let device = Device::flex();
        let x = Tensor::<3>::from_data([[[0.3, -1.0, 0.7, 0.2, 0.5, 0.6]]], &device);
        let rope = Rope {
            theta: 100.0,
            width: 3,
            scaling: RopeScaling::None,
        };
        // An odd width is rounded up: two pairs.
        let moved = rope.at(&[vec![5]], 6, &x).apply(x.clone(), 1) - x;
        let moved = moved.into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(moved[4..], [0.0, 0.0]);
        assert!(moved[..4].iter().all(|d| d.abs() > 1e-3), "{moved:?}");
    }

    #[test]
    fn the_largest_position_gives_the_length() {
        assert_eq!(length(&[vec![0, 4], vec![7, 1]]), 8);
        assert_eq!(length(&[]), 0);
    }
}
