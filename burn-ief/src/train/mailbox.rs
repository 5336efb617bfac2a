//! How the shards of a step reach the update: through a mailbox that the clones of a wrapper share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use crate::error::Error;
use crate::methods::AnyShard;

/// The shards of the next step, shared by the clones (and forks) of a wrapper.
#[derive(Debug, Clone, Default)]
pub(super) struct Mailbox(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    shards: Vec<Posted>,
    /// The step that is in progress, and its shards that have begun.
    begun: (u64, u64),
    /// Whether a shard of the next step failed.
    failed: bool,
    /// The thread and the number of the step that was taken last.
    taken: Option<(ThreadId, u64)>,
}

#[derive(Debug)]
struct Posted {
    step: u64,
    /// Its place among the shards of the step.
    order: Order,
    samples: u64,
    shard: AnyShard,
}

/// The order of shards, which does not depend on timing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// By the row of the first sample.
    FirstRow(u64),
    /// By the device, where rows are not known.
    Device(String),
}

/// What belongs to a shard that a wrapper puts in.
pub(super) struct Origin {
    pub step: u64,
    pub order: Order,
    /// Samples, without copies.
    pub samples: usize,
}

impl Mailbox {
    /// The row of the first sample of a shard that begins, in the whole batch of the step.
    ///
    /// Accumulated batches run one after another, so the samples before it are known. Where several
    /// devices run at the same time they are not; then each shard takes rows far apart.
    pub fn begin(&self, step: u64) -> u64 {
        const FAR: u64 = 1 << 24;
        let mut content = self.content();
        if content.begun.0 != step {
            content.begun = (step, 0);
        }
        let number = content.begun.1;
        content.begun.1 += 1;
        let own = content.shards.iter().filter(|posted| posted.step == step);
        if own.clone().count() as u64 == number {
            own.map(|posted| posted.samples).sum()
        } else {
            number * FAR
        }
    }

    /// Put a shard of a step in.
    pub fn post(&self, origin: Origin, shard: AnyShard) {
        self.content().shards.push(Posted {
            step: origin.step,
            order: origin.order,
            samples: origin.samples as u64,
            shard,
        });
    }

    /// Drop all shards: the step failed.
    pub fn fail(&self) {
        let mut content = self.content();
        content.shards.clear();
        content.failed = true;
    }

    /// Take the shards of a step out, in their order; `None` if one of them failed.
    ///
    /// Shards of other steps are dropped: their training was stopped before the update.
    ///
    /// # Errors
    ///
    /// [`Error::SeparateReplicas`] if another thread has taken this step or a later one.
    pub fn take(&self, step: u64) -> Result<Option<Vec<AnyShard>>, Error> {
        let mut content = self.content();
        let thread = thread::current().id();
        if content
            .taken
            .is_some_and(|(other, last)| other != thread && last >= step)
        {
            return Err(Error::SeparateReplicas);
        }
        content.taken = Some((thread, step));
        content.begun = (step + 1, 0);
        // Shards that came after a failed one go with it.
        let mut shards = std::mem::take(&mut content.shards);
        if std::mem::take(&mut content.failed) {
            return Ok(None);
        }
        shards.retain(|posted| posted.step == step);
        shards.sort_by(|a, b| a.order.cmp(&b.order));
        Ok(Some(
            shards.into_iter().map(|posted| posted.shard).collect(),
        ))
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // Nothing that could panic runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_lags_behind_is_refused() {
        let mailbox = Mailbox::default();
        for step in 0..2 {
            assert!(matches!(mailbox.take(step), Ok(Some(shards)) if shards.is_empty()));
        }
        let replica = mailbox.clone();
        let late = thread::spawn(move || replica.take(0).map(|_| ()));
        assert_eq!(late.join().unwrap(), Err(Error::SeparateReplicas));
        assert!(mailbox.take(2).is_ok());
    }

    #[test]
    fn shards_that_run_at_the_same_time_take_different_rows_in_each_step() {
        let mailbox = Mailbox::default();
        let first = mailbox.begin(0);
        assert_eq!(first, 0);
        assert_ne!(mailbox.begin(0), first);
        mailbox.take(0).unwrap();
        assert_eq!(mailbox.begin(1), 0);
    }
}
