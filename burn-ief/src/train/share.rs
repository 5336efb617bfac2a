//! How several devices share out every batch of a loader.

/// The items `start..end` of every `of`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub start: usize,
    pub end: usize,
    pub of: usize,
}

impl Share {
    /// Its part of a batch.
    pub fn of_batch(self, batch: &[usize]) -> &[usize] {
        // To the nearest item, so that each of a few devices has one even in the smallest batch.
        let at = |place: usize| {
            let of = self.of.max(1) as u128;
            let place = (2 * batch.len() as u128 * place as u128 + of) / (2 * of);
            place as usize
        };
        &batch[at(self.start)..at(self.end)]
    }
}

/// A batch that cannot be shared out.
#[derive(Debug, thiserror::Error)]
#[error(
    "a batch has no item for one of the devices that share it: use larger batches or fewer devices"
)]
pub(super) struct TooFewItems;

/// Batches of at most this size, whose sizes differ by one at most.
pub(super) fn even(order: &[usize], size: usize) -> Vec<Vec<usize>> {
    let count = order.len().div_ceil(size);
    let at = |batch: usize| order.len() * batch / count.max(1);
    let batches = (0..count).map(|batch| order[at(batch)..at(batch + 1)].to_vec());
    batches.collect()
}
