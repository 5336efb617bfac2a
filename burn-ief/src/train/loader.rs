//! A data loader whose order depends on the epoch alone.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::{Dataset, DatasetError};
use burn::tensor::Device;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Batches in an order that is a function of the seed and the epoch.
///
/// Burn's own loader replays the first epoch's order after a restart, and a device's random state
/// (dropout) is not saved. This one shuffles by `(seed, epoch)` and reseeds the device at the start
/// of each epoch, so that a run resumed from an epoch checkpoint on one device continues as the
/// unbroken one would. Batches are made in the caller's thread.
///
/// ```
/// use burn::data::dataloader::DataLoader;
/// use burn::data::dataloader::batcher::Batcher;
/// use burn::data::dataset::InMemDataset;
/// use burn::tensor::Device;
/// use burn_ief::train::EpochLoader;
///
/// struct Numbers;
/// impl Batcher<u32, Vec<u32>> for Numbers {
///     fn batch(&self, items: Vec<u32>, _device: &Device) -> Vec<u32> {
///         items
///     }
/// }
///
/// let data = || InMemDataset::new((0..10).collect());
/// let loader = EpochLoader::new(Numbers, data(), 4, 42);
/// let first: Vec<_> = loader.iter().map(Result::unwrap).collect();
/// let second: Vec<_> = loader.iter().map(Result::unwrap).collect();
/// assert_ne!(first, second);
///
/// // Resumed after one epoch: the order of the second.
/// let resumed = EpochLoader::new(Numbers, data(), 4, 42).resume_after(1);
/// assert_eq!(resumed.iter().map(Result::unwrap).collect::<Vec<_>>(), second);
/// ```
pub struct EpochLoader<I, O> {
    dataset: Arc<dyn Dataset<I>>,
    batcher: Arc<dyn Batcher<I, O>>,
    batch_size: usize,
    seed: u64,
    device: Device,
    /// The part of the data set that this loader covers.
    range: Range<usize>,
    epoch: AtomicU64,
}

impl<I: 'static, O: Send + 'static> EpochLoader<I, O> {
    /// Shuffled batches of `batch_size` items; the last one of an epoch may be smaller.
    ///
    /// # Panics
    ///
    /// Panics if `batch_size` is 0.
    pub fn new<B, D>(batcher: B, dataset: D, batch_size: usize, seed: u64) -> Self
    where
        B: Batcher<I, O> + 'static,
        D: Dataset<I> + 'static,
    {
        assert!(batch_size > 0, "a batch holds at least one item");
        Self {
            range: 0..dataset.len(),
            dataset: Arc::new(dataset),
            batcher: Arc::new(batcher),
            batch_size,
            seed,
            device: Device::default(),
            epoch: AtomicU64::new(0),
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
            dataset: self.dataset.clone(),
            batcher: self.batcher.clone(),
            batch_size: self.batch_size,
            seed: self.seed,
            device: device.clone(),
            range,
            epoch: AtomicU64::new(self.epoch.load(Ordering::Relaxed)),
        }
    }
}

impl<I: 'static, O: Send + 'static> DataLoader<O> for EpochLoader<I, O> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<O> + 'a> {
        let epoch = self.epoch.fetch_add(1, Ordering::Relaxed);
        let mut generator = ChaCha8Rng::seed_from_u64(self.seed);
        generator.set_stream(epoch);
        let mut order: Vec<usize> = self.range.clone().collect();
        order.shuffle(&mut generator);
        self.device.seed(generator.next_u64());
        Box::new(EpochIterator {
            loader: self,
            order,
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

struct EpochIterator<'a, I, O> {
    loader: &'a EpochLoader<I, O>,
    order: Vec<usize>,
    done: usize,
}

impl<I, O> Iterator for EpochIterator<'_, I, O> {
    type Item = Result<O, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = (self.done + self.loader.batch_size).min(self.order.len());
        let indices = self.order[self.done..end].to_vec();
        if indices.is_empty() {
            return None;
        }
        self.done = end;
        let items = self.loader.dataset.get_many(indices);
        Some(items.map(|items| self.loader.batcher.batch(items, &self.loader.device)))
    }
}

impl<I, O> DataLoaderIterator<O> for EpochIterator<'_, I, O> {
    fn progress(&self) -> Progress {
        Progress::new(self.done, self.order.len(), Some("items".to_string()))
    }
}
