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
        let at = |place: usize| {
            let place = batch.len() as u128 * place as u128 / self.of.max(1) as u128;
            place as usize
        };
        &batch[at(self.start)..at(self.end)]
    }
}

/// A batch that cannot be shared out.
#[derive(Debug, thiserror::Error)]
#[error(
    "a batch has fewer items than there are devices to share it: expected at least one item for each; \
     use larger batches or fewer devices"
)]
pub(super) struct TooFewItems;

/// Batches of at most this size, whose sizes differ by one at most.
pub(super) fn even(order: &[usize], size: usize) -> Vec<Vec<usize>> {
    let count = order.len().div_ceil(size);
    let at = |batch: usize| order.len() * batch / count.max(1);
    let batches = (0..count).map(|batch| order[at(batch)..at(batch + 1)].to_vec());
    batches.collect()
}
