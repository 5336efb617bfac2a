//! Weights that are dropped, drawn from a seed.

/// Dropout of attention weights.
///
/// A weight is dropped by a hash of the seed and its place (sample, head, query, key), so the
/// backward pass does not need to store what was dropped, and the same seed drops the same weights
/// on every device. Draw a new seed for each call in training, and leave dropout out otherwise.
///
/// ```
/// let dropout = burn_flex_fused::Dropout::new(0.1, 42);
/// assert_eq!((dropout.probability(), dropout.seed()), (0.1, 42));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    probability: f64,
    seed: u64,
    copies: usize,
}

impl Dropout {
    /// Drop each weight with this probability, and divide the others by `1 - probability`.
    ///
    /// # Panics
    ///
    /// Panics if the probability is not in 0 to 1.
    pub fn new(probability: f64, seed: u64) -> Self {
        assert!(
            (0.0..=1.0).contains(&probability),
            "Dropout::new: expected a probability from 0 to 1, found {probability}"
        );
        Self {
            probability,
            seed,
            copies: 1,
        }
    }

    /// Drop the same weights in all copies of a sample: the batch holds all samples `copies` times, one
    /// copy of all after the other.
    ///
    /// # Panics
    ///
    /// Panics without a copy; [`attention`](crate::attention()) panics if the number of copies does not
    /// divide the batch.
    ///
    /// ```
    /// let dropout = burn_flex_fused::Dropout::new(0.1, 42).with_copies(3);
    /// assert_eq!(dropout.copies(), 3);
    /// ```
    pub fn with_copies(self, copies: usize) -> Self {
        assert!(
            copies > 0,
            "Dropout::with_copies: expected a copy or more, found 0"
        );
        Self { copies, ..self }
    }

    /// The probability of each weight to be dropped.
    pub fn probability(self) -> f64 {
        self.probability
    }

    /// What the dropped weights are drawn from.
    pub fn seed(self) -> u64 {
        self.seed
    }

    /// Copies of each sample in a batch.
    pub fn copies(self) -> usize {
        self.copies
    }

    /// The number of a sample among those that drop different weights, in a batch of `samples`.
    #[inline(always)]
    pub(crate) fn sample(self, sample: usize, samples: usize) -> usize {
        sample % (samples / self.copies).max(1)
    }

    /// What multiplies weights that are kept.
    pub(crate) fn factor(self) -> f64 {
        1.0 / (1.0 - self.probability)
    }

    /// Whether the weights of one query are kept. `line` counts the queries of all heads and samples.
    #[inline(always)]
    pub(crate) fn line(self, line: usize) -> Line {
        // Comparisons of 24 bits: a probability of one drops all.
        Line {
            start: mix64(self.seed ^ mix64(line as u64)) as u32,
            least: (self.probability * f64::from(1u32 << 24)) as u32,
        }
    }
}

/// The weights of one query.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    start: u32,
    least: u32,
}

impl Line {
    #[inline(always)]
    pub(crate) fn keeps(self, key: usize) -> bool {
        let place = (key as u32).wrapping_mul(0x9e37_79b9);
        mix32(self.start.wrapping_add(place)) >> 8 >= self.least
    }
}

/// The finaliser of SplitMix64 (Steele et al. 2014).
#[inline(always)]
fn mix64(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A mixing function on 32 bits (Wellons, "hash-prospector", 2018).
#[inline(always)]
fn mix32(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(probability: f64, seed: u64) -> Vec<Vec<bool>> {
        let dropout = Dropout::new(probability, seed);
        let line = |line| {
            (0..64)
                .map(move |key| dropout.line(line).keeps(key))
                .collect()
        };
        (0..400).map(line).collect()
    }

    fn agreement<'a>(pairs: impl Iterator<Item = (&'a Vec<bool>, &'a Vec<bool>)>) -> f64 {
        let (mut same, mut all) = (0, 0);
        for (a, b) in pairs {
            same += a.iter().zip(b).filter(|(a, b)| a == b).count();
            all += a.len();
        }
        same as f64 / all as f64
    }

    #[test]
    fn the_share_that_is_dropped_is_the_probability() {
        for probability in [0.0, 0.1, 0.5, 1.0] {
            let all = lines(probability, 3).concat();
            let dropped = all.iter().filter(|kept| !**kept).count() as f64 / all.len() as f64;
            assert!((dropped - probability).abs() < 0.01, "{dropped}");
        }
    }

    #[test]
    fn neighbouring_queries_and_seeds_have_nothing_in_common() {
        let (one, two) = (lines(0.5, 3), lines(0.5, 4));
        let queries = agreement(one.iter().zip(&one[1..]));
        let seeds = agreement(one.iter().zip(&two));
        assert!((queries - 0.5).abs() < 0.02, "{queries}");
        assert!((seeds - 0.5).abs() < 0.02, "{seeds}");
    }

    #[test]
    #[should_panic(expected = "expected a probability from 0 to 1, found 1.5")]
    fn other_probabilities_are_refused() {
        let _ = Dropout::new(1.5, 0);
    }
}
