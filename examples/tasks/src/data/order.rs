//! The order of the rows.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Places of batches without end: every epoch has each row at most once, in an order that depends on the seed
/// and the epoch alone. What does not fill a batch at the end of an epoch is left out, so that all batches
/// have one size.
///
/// ```
/// use tasks::data::Batches;
///
/// let mut batches = Batches::new(10, 4, 1);
/// let first: Vec<usize> = batches.next().into_iter().flatten().collect();
/// assert_eq!(first.len(), 4);
/// ```
#[derive(Debug, Clone)]
pub struct Batches {
    rows: usize,
    size: usize,
    seed: u64,
    epoch: u64,
    order: Vec<usize>,
}

impl Batches {
    /// Batches of `size` of `rows` rows.
    ///
    /// # Panics
    ///
    /// Panics if there are fewer rows than a batch has, or a batch has none.
    pub fn new(rows: usize, size: usize, seed: u64) -> Self {
        assert!(
            size > 0 && rows >= size,
            "expected at least {size} rows for a batch, found {rows}"
        );
        Self {
            rows,
            size,
            seed,
            epoch: 0,
            order: Vec::new(),
        }
    }
}

impl Iterator for Batches {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        if self.order.len() < self.size {
            let mut generator = ChaCha8Rng::seed_from_u64(self.seed);
            generator.set_stream(self.epoch);
            self.order = (0..self.rows).collect();
            self.order.shuffle(&mut generator);
            self.epoch += 1;
        }
        Some(self.order.split_off(self.order.len() - self.size))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_epoch_repeats_no_row(rows in 1usize..60, part in 1usize..60, seed in any::<u64>()) {
            let size = part.min(rows);
            let mut batches = Batches::new(rows, size, seed);
            for _ in 0..3 {
                let epoch: Vec<usize> = batches.by_ref().take(rows / size).flatten().collect();
                prop_assert_eq!(epoch.len(), rows / size * size);
                let different: BTreeSet<_> = epoch.iter().copied().collect();
                prop_assert_eq!(different.len(), epoch.len());
                prop_assert!(epoch.iter().all(|&place| place < rows));
            }
        }
    }

    #[test]
    fn seeds_and_epochs_have_orders_of_their_own() {
        let take = |seed, skip| Batches::new(64, 64, seed).nth(skip).unwrap();
        assert_eq!(take(1, 0), take(1, 0));
        assert_ne!(take(1, 0), take(2, 0));
        assert_ne!(take(1, 0), take(1, 1));
    }
}
