//! A data loader that puts texts of similar length together.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::Device;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Batches that are sorted by length together: larger saves padding, smaller mixes better.
const BATCHES_PER_BUCKET: usize = 32;

/// An item whose cost grows with a length, such as a text's number of tokens.
///
/// ```
/// use finetune::data::Length;
///
/// struct Word(&'static str);
/// impl Length for Word {
///     fn length(&self) -> usize {
///         self.0.len()
///     }
/// }
/// assert_eq!(Word("four").length(), 4);
/// ```
pub trait Length {
    /// How long it is.
    fn length(&self) -> usize;
}

/// Batches of items of similar length, in an order that is a function of the seed and the epoch.
///
/// Items are shuffled, sorted by length within buckets of 32 batches, and the batches shuffled
/// again. As with `burn_ief::train::EpochLoader`, the device is reseeded at the start of each
/// epoch, so that a run resumed after an epoch continues as the unbroken one would.
///
/// ```
/// use burn::data::dataloader::DataLoader;
/// use burn::data::dataloader::batcher::Batcher;
/// use burn::tensor::Device;
/// use finetune::data::{BucketLoader, Length};
///
/// #[derive(Clone)]
/// struct Word(&'static str);
/// impl Length for Word {
///     fn length(&self) -> usize {
///         self.0.len()
///     }
/// }
/// struct Lengths;
/// impl Batcher<Word, Vec<usize>> for Lengths {
///     fn batch(&self, items: Vec<Word>, _device: &Device) -> Vec<usize> {
///         items.iter().map(Length::length).collect()
///     }
/// }
///
/// let words = ["a", "four", "b", "five"].map(Word).to_vec();
/// let loader = BucketLoader::new(Lengths, words, 2, 42);
/// let batches: Vec<_> = loader.iter().map(Result::unwrap).collect();
/// assert!(batches.contains(&vec![1, 1]) && batches.contains(&vec![4, 4]));
/// ```
pub struct BucketLoader<I, O> {
    items: Arc<Vec<I>>,
    batcher: Arc<dyn Batcher<I, O>>,
    batch_size: usize,
    device: Device,
    /// The part of the items that this loader covers.
    range: Range<usize>,
    /// Absent for a loader in a fixed order.
    seed: Option<u64>,
    epoch: AtomicU64,
}

impl<I, O> BucketLoader<I, O>
where
    I: Length + Clone + Send + Sync + 'static,
    O: Send + 'static,
{
    /// Shuffled batches of `batch_size` items, for training; one batch of an epoch may be smaller.
    ///
    /// # Panics
    ///
    /// Panics if `batch_size` is 0.
    pub fn new<B>(batcher: B, items: Vec<I>, batch_size: usize, seed: u64) -> Self
    where
        B: Batcher<I, O> + 'static,
    {
        assert!(batch_size > 0, "a batch holds at least one item");
        Self {
            range: 0..items.len(),
            items: Arc::new(items),
            batcher: Arc::new(batcher),
            batch_size,
            device: Device::default(),
            seed: Some(seed),
            epoch: AtomicU64::new(0),
        }
    }

    /// Batches from the shortest items to the longest, the same in each epoch, for validation and
    /// test; the device is not reseeded.
    ///
    /// # Panics
    ///
    /// Panics if `batch_size` is 0.
    pub fn by_length<B>(batcher: B, items: Vec<I>, batch_size: usize) -> Self
    where
        B: Batcher<I, O> + 'static,
    {
        Self {
            seed: None,
            ..Self::new(batcher, items, batch_size, 0)
        }
    }

    /// Continue after this many epochs: the number given to
    /// `SupervisedTraining::checkpoint`.
    pub fn resume_after(self, epochs: u64) -> Self {
        self.epoch.store(epochs, Ordering::Relaxed);
        self
    }

    /// Make batches on this device.
    pub fn on_device(self, device: Device) -> Self {
        Self { device, ..self }
    }

    /// As the shared loader that `SupervisedTraining` takes.
    pub fn build(self) -> Arc<dyn DataLoader<O>> {
        Arc::new(self)
    }

    fn part(&self, range: Range<usize>, device: &Device) -> Self {
        Self {
            items: self.items.clone(),
            batcher: self.batcher.clone(),
            batch_size: self.batch_size,
            device: device.clone(),
            range,
            seed: self.seed,
            epoch: AtomicU64::new(self.epoch.load(Ordering::Relaxed)),
        }
    }

    /// The batches of the next epoch, as indices.
    fn batches(&self) -> Vec<Vec<usize>> {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed);
        let length = |index: &usize| self.items[*index].length();
        let mut order: Vec<usize> = self.range.clone().collect();
        let Some(seed) = self.seed else {
            order.sort_by_key(length);
            return order.chunks(self.batch_size).map(<[_]>::to_vec).collect();
        };
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(epoch);
        order.shuffle(&mut generator);
        for bucket in order.chunks_mut(self.batch_size.saturating_mul(BATCHES_PER_BUCKET)) {
            bucket.sort_by_key(length);
        }
        let mut batches: Vec<_> = order.chunks(self.batch_size).map(<[_]>::to_vec).collect();
        batches.shuffle(&mut generator);
        self.device.seed(generator.next_u64());
        batches
    }
}

impl<I, O> DataLoader<O> for BucketLoader<I, O>
where
    I: Length + Clone + Send + Sync + 'static,
    O: Send + 'static,
{
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<O> + 'a> {
        Box::new(BucketIterator {
            loader: self,
            batches: self.batches().into_iter(),
            done: 0,
        })
    }

    fn num_items(&self) -> usize {
        self.range.len()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<O>> {
        Arc::new(self.part(self.range.clone(), device))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<O>> {
        let end = (self.range.start + end).min(self.range.end);
        let start = (self.range.start + start).min(end);
        Arc::new(self.part(start..end, &self.device))
    }
}

struct BucketIterator<'a, I, O> {
    loader: &'a BucketLoader<I, O>,
    batches: std::vec::IntoIter<Vec<usize>>,
    done: usize,
}

impl<I: Clone, O> Iterator for BucketIterator<'_, I, O> {
    type Item = Result<O, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?;
        self.done += batch.len();
        let items = batch.iter().map(|&index| self.loader.items[index].clone());
        let items = items.collect();
        Some(Ok(self.loader.batcher.batch(items, &self.loader.device)))
    }
}

impl<I: Clone, O> DataLoaderIterator<O> for BucketIterator<'_, I, O> {
    fn progress(&self) -> Progress {
        let unit = Some("items".to_string());
        Progress::new(self.done, self.loader.range.len(), unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    struct Item(usize);

    impl Length for Item {
        fn length(&self) -> usize {
            self.0 * 37 % 23
        }
    }

    struct Same;

    impl Batcher<Item, Vec<Item>> for Same {
        fn batch(&self, items: Vec<Item>, _device: &Device) -> Vec<Item> {
            items
        }
    }

    fn loader(count: usize, batch: usize, seed: u64) -> BucketLoader<Item, Vec<Item>> {
        let items = (0..count).map(Item).collect();
        BucketLoader::new(Same, items, batch, seed).on_device(Device::flex())
    }

    fn epoch(loader: &dyn DataLoader<Vec<Item>>) -> Vec<Vec<Item>> {
        loader.iter().map(Result::unwrap).collect()
    }

    fn sorted(batches: &[Vec<Item>]) -> Vec<Item> {
        let mut items = batches.concat();
        items.sort();
        items
    }

    #[test]
    fn each_epoch_has_each_item_once_in_an_order_of_its_own() {
        let loader = loader(103, 4, 7);
        let (first, second) = (epoch(&loader), epoch(&loader));
        for batches in [&first, &second] {
            assert_eq!(sorted(batches), (0..103).map(Item).collect::<Vec<_>>());
            assert_eq!(batches.len(), 26);
            assert_eq!(batches.iter().filter(|batch| batch.len() < 4).count(), 1);
        }
        assert_ne!(first, second);
    }

    #[test]
    fn a_resumed_loader_continues_and_another_seed_does_not() {
        let unbroken = loader(50, 8, 1);
        let epochs: Vec<_> = (0..3).map(|_| epoch(&unbroken)).collect();
        let resumed = loader(50, 8, 1).resume_after(2).build();
        assert_eq!(epoch(resumed.as_ref()), epochs[2]);
        assert_ne!(epoch(&loader(50, 8, 2)), epochs[0]);
        // What the learner does with a loader that was resumed.
        let moved = loader(50, 8, 1).resume_after(1).to_device(&Device::flex());
        assert_eq!(epoch(moved.as_ref()), epochs[1]);
    }

    #[test]
    fn batches_hold_similar_lengths_but_come_in_no_order_of_length() {
        let batches = epoch(&loader(16 * 64, 16, 3));
        let spread = |batch: &Vec<Item>| {
            let lengths = batch.iter().map(Length::length);
            lengths.clone().max().unwrap() - lengths.min().unwrap()
        };
        // Lengths 0 to 22 in buckets of 32 batches: a batch spans a 32nd of them, give or take one.
        assert!(batches.iter().map(spread).max().unwrap() <= 2);
        let starts: Vec<_> = batches.iter().map(|batch| batch[0].length()).collect();
        assert!(!starts.is_sorted());
    }

    #[test]
    fn a_fixed_order_repeats_and_parts_cover_all() {
        let items: Vec<_> = (0..20).map(Item).collect();
        let loader = BucketLoader::by_length(Same, items, 6).on_device(Device::flex());
        let first = epoch(&loader);
        assert_eq!(first, epoch(&loader));
        assert!(first.concat().iter().map(Length::length).is_sorted());
        let parts = [loader.slice(0, 9), loader.slice(9, 99)];
        assert_eq!(parts.each_ref().map(|part| part.num_items()), [9, 11]);
        let batches: Vec<_> = parts.iter().flat_map(|part| epoch(part.as_ref())).collect();
        assert_eq!(sorted(&batches), (0..20).map(Item).collect::<Vec<_>>());
    }

    #[test]
    fn progress_counts_items() {
        let loader = loader(10, 4, 0);
        let mut iterator = loader.iter();
        while iterator.next().is_some() {}
        assert_eq!(iterator.progress().items_processed, 10);
        assert!(iterator.progress().is_completed());
    }
}
