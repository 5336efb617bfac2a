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

use super::share::{Share, TooFewItems, even};

/// Shuffled batches that are sorted by length together: more saves padding, fewer mix better.
const BATCHES_PER_BUCKET: usize = 32;

/// Batches in an order that is a function of the seed and the epoch.
///
/// Burn's own loader replays the first epoch's order after a restart, and a device's random state
/// (dropout) is not saved. This one shuffles by `(seed, epoch)` and reseeds the device at the start
/// of each epoch, so that a run resumed from an epoch checkpoint on one device continues as the
/// unbroken one would. Batches are made in the caller's thread. Texts are put together by length
/// with [`with_lengths`](Self::with_lengths); [`in_order`](Self::in_order) is for validation and test.
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
    /// Absent for a loader in a fixed order.
    seed: Option<u64>,
    /// Lengths of all items, if batches hold similar ones.
    lengths: Option<Arc<Vec<usize>>>,
    device: Device,
    /// The part of the data set that this loader covers.
    range: Range<usize>,
    /// Batches of a round and in all, if rounds are not epochs.
    rounds: Option<(usize, usize)>,
    /// The part of every batch that this loader gives, if slices share out batches.
    share: Option<Share>,
    /// The number of the next epoch, or round.
    epoch: AtomicU64,
}

impl<I: 'static, O: Send + 'static> EpochLoader<I, O> {
    /// Shuffled batches of `batch_size` items; one of an epoch may be smaller.
    ///
    /// # Panics
    ///
    /// Panics if `batch_size` is 0.
    pub fn new<B, D>(batcher: B, dataset: D, batch_size: usize, seed: u64) -> Self
    where
        B: Batcher<I, O> + 'static,
        D: Dataset<I> + 'static,
    {
        Self {
            seed: Some(seed),
            ..Self::in_order(batcher, dataset, batch_size)
        }
    }

    /// Batches in the order of the data set, the same in each epoch; the device is not reseeded.
    ///
    /// # Panics
    ///
    /// Panics if `batch_size` is 0.
    pub fn in_order<B, D>(batcher: B, dataset: D, batch_size: usize) -> Self
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
            seed: None,
            lengths: None,
            device: Device::default(),
            rounds: None,
            share: None,
            epoch: AtomicU64::new(0),
        }
    }

    /// Put items of similar length into a batch, so that little of it is padding. `lengths` has one
    /// for each item of the data set, a text's number of tokens say.
    ///
    /// Shuffled items are sorted within buckets of 32 batches, and the batches shuffled again; in
    /// order, they come from the shortest to the longest.
    ///
    /// # Panics
    ///
    /// Panics if there is not one length for each item.
    pub fn with_lengths(self, lengths: Vec<usize>) -> Self {
        assert_eq!(lengths.len(), self.dataset.len(), "a length for each item");
        Self {
            lengths: Some(Arc::new(lengths)),
            ..self
        }
    }

    /// Give `batches` batches at a time instead of epochs, `total` batches in all: the batches of epoch after epoch, as
    /// they would be without this. A learner then evaluates, and keeps a checkpoint, after every such round.
    ///
    /// ```
    /// # use burn::data::dataloader::DataLoader;
    /// # use burn::data::dataloader::batcher::Batcher;
    /// # use burn::data::dataset::InMemDataset;
    /// # use burn::tensor::Device;
    /// # use burn_ief::train::EpochLoader;
    /// # struct Numbers;
    /// # impl Batcher<u32, Vec<u32>> for Numbers {
    /// #     fn batch(&self, items: Vec<u32>, _device: &Device) -> Vec<u32> { items }
    /// # }
    /// let data = InMemDataset::new((0..10).collect());
    /// // Three batches an epoch, seven in all.
    /// let loader = EpochLoader::new(Numbers, data, 4, 42).in_rounds(2, 7);
    /// let batches = [0; 5].map(|_| loader.iter().count());
    /// assert_eq!(batches, [2, 2, 2, 1, 0]);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if `batches` is 0.
    pub fn in_rounds(self, batches: usize, total: usize) -> Self {
        assert!(batches > 0, "a round holds at least one batch");
        Self {
            rounds: Some((batches, total)),
            ..self
        }
    }

    /// Share out every batch where a learner splits the loader for several devices, instead of the data
    /// set: the batches, and so the training, do not depend on the number of devices. `batch_size` is that
    /// of all devices together.
    ///
    /// All batches of an epoch have the same size, or one item less, so that each device has a part of
    /// every batch. If a batch has no item for one of the devices, its loader gives an error.
    ///
    /// ```
    /// # use burn::data::dataloader::DataLoader;
    /// # use burn::data::dataloader::batcher::Batcher;
    /// # use burn::data::dataset::InMemDataset;
    /// # use burn::tensor::Device;
    /// # use burn_ief::train::EpochLoader;
    /// # struct Numbers;
    /// # impl Batcher<u32, Vec<u32>> for Numbers {
    /// #     fn batch(&self, items: Vec<u32>, _device: &Device) -> Vec<u32> { items }
    /// # }
    /// let data = InMemDataset::new((0..10).collect());
    /// let loader = EpochLoader::in_order(Numbers, data, 4).share_batches();
    /// // What `DataParallel` gives to two devices.
    /// let parts = [loader.slice(0, 5), loader.slice(5, 10)];
    /// let parts = parts.map(|part| part.iter().map(Result::unwrap).collect::<Vec<_>>());
    /// assert_eq!(parts[0], [vec![0, 1], vec![3, 4], vec![6, 7]]);
    /// assert_eq!(parts[1], [vec![2], vec![5], vec![8, 9]]);
    /// ```
    pub fn share_batches(self) -> Self {
        let of = self.range.len();
        Self {
            share: Some(Share {
                start: 0,
                end: of,
                of,
            }),
            ..self
        }
    }

    /// Continue after this many epochs (or rounds): the number given to
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
            lengths: self.lengths.clone(),
            device: device.clone(),
            range,
            rounds: self.rounds,
            share: self.share,
            epoch: AtomicU64::new(self.epoch.load(Ordering::Relaxed)),
        }
    }

    /// The batches of the next epoch or round, as indices.
    fn batches(&self) -> Vec<Vec<usize>> {
        let number = self.epoch.fetch_add(1, Ordering::Relaxed);
        let Some((batches, total)) = self.rounds else {
            let (batches, generator) = self.epoch(number);
            self.reseed(generator);
            return batches;
        };
        let of_epoch = self.range.len().div_ceil(self.batch_size) as u64;
        let start = number.saturating_mul(batches as u64).min(total as u64);
        let end = start.saturating_add(batches as u64).min(total as u64);
        let mut round = Vec::new();
        let mut at = start;
        while at < end && of_epoch > 0 {
            let (epoch, first) = (at / of_epoch, (at % of_epoch) as usize);
            let (batches, _) = self.epoch(epoch);
            let count = (end - at).min(of_epoch - first as u64);
            round.extend(batches.into_iter().skip(first).take(count as usize));
            at += count;
        }
        let generator = self.seed.map(|seed| {
            let mut generator = ChaCha8Rng::seed_from_u64(seed);
            // Epochs are counted from below.
            generator.set_stream(u64::MAX - number);
            generator
        });
        self.reseed(generator);
        round
    }

    fn reseed(&self, generator: Option<ChaCha8Rng>) {
        if let Some(mut generator) = generator {
            // Devices that share a batch, or the data set, draw different masks.
            let first = self.share.map_or(self.range.start, |share| share.start);
            self.device
                .seed(generator.next_u64().wrapping_add(first as u64));
        }
    }

    /// The batches of an epoch, and the generator behind its shuffles.
    fn epoch(&self, epoch: u64) -> (Vec<Vec<usize>>, Option<ChaCha8Rng>) {
        let mut generator = self.seed.map(|seed| {
            let mut generator = ChaCha8Rng::seed_from_u64(seed);
            generator.set_stream(epoch);
            generator
        });
        let mut order: Vec<usize> = self.range.clone().collect();
        if let Some(generator) = &mut generator {
            order.shuffle(generator);
        }
        if let Some(lengths) = &self.lengths {
            let bucket = match generator {
                Some(_) => self.batch_size.saturating_mul(BATCHES_PER_BUCKET),
                None => usize::MAX,
            };
            for bucket in order.chunks_mut(bucket) {
                bucket.sort_by_key(|&index| lengths[index]);
            }
        }
        let mut batches = if self.share.is_some() {
            even(&order, self.batch_size)
        } else {
            order.chunks(self.batch_size).map(<[_]>::to_vec).collect()
        };
        if let Some(generator) = &mut generator
            && self.lengths.is_some()
        {
            batches.shuffle(generator);
        }
        (batches, generator)
    }
}

impl<I: 'static, O: Send + 'static> DataLoader<O> for EpochLoader<I, O> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<O> + 'a> {
        let mut batches = self.batches();
        if let Some(share) = self.share {
            for batch in &mut batches {
                *batch = share.of_batch(batch).to_vec();
            }
        }
        Box::new(EpochIterator {
            loader: self,
            items: batches.iter().map(Vec::len).sum(),
            batches: batches.into_iter(),
            done: 0,
        })
    }

    fn num_items(&self) -> usize {
        match self.share {
            Some(share) => share.end - share.start,
            None => self.range.len(),
        }
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<O>> {
        Arc::new(self.part(self.range.clone(), device))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<O>> {
        if let Some(share) = self.share {
            let end = (share.start + end).min(share.end);
            let start = (share.start + start).min(end);
            let mut part = self.part(self.range.clone(), &self.device);
            part.share = Some(Share {
                start,
                end,
                ..share
            });
            return Arc::new(part);
        }
        let end = (self.range.start + end).min(self.range.end);
        let start = (self.range.start + start).min(end);
        Arc::new(self.part(start..end, &self.device))
    }
}

struct EpochIterator<'a, I, O> {
    loader: &'a EpochLoader<I, O>,
    batches: std::vec::IntoIter<Vec<usize>>,
    /// Items of all its batches.
    items: usize,
    done: usize,
}

impl<I, O> Iterator for EpochIterator<'_, I, O> {
    type Item = Result<O, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?;
        if batch.is_empty() {
            return Some(Err(DatasetError::new(TooFewItems)));
        }
        self.done += batch.len();
        let items = self.loader.dataset.get_many(batch);
        Some(items.map(|items| self.loader.batcher.batch(items, &self.loader.device)))
    }
}

impl<I, O> DataLoaderIterator<O> for EpochIterator<'_, I, O> {
    fn progress(&self) -> Progress {
        let unit = Some("items".to_string());
        Progress::new(self.done, self.items, unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::data::dataset::InMemDataset;

    struct Same;

    impl Batcher<usize, Vec<usize>> for Same {
        fn batch(&self, items: Vec<usize>, _device: &Device) -> Vec<usize> {
            items
        }
    }

    type Loader = EpochLoader<usize, Vec<usize>>;

    fn length(item: &usize) -> usize {
        item * 37 % 23
    }

    fn items(count: usize) -> InMemDataset<usize> {
        InMemDataset::new((0..count).collect())
    }

    fn with_lengths(loader: Loader) -> Loader {
        let lengths = (0..loader.num_items()).map(|item| length(&item)).collect();
        loader.with_lengths(lengths)
    }

    /// Shuffled, without lengths and with them.
    fn shuffled(count: usize, batch: usize, seed: u64) -> [Loader; 2] {
        let loader = || EpochLoader::new(Same, items(count), batch, seed).on_device(Device::flex());
        [loader(), with_lengths(loader())]
    }

    fn epoch(loader: &dyn DataLoader<Vec<usize>>) -> Vec<Vec<usize>> {
        loader.iter().map(Result::unwrap).collect()
    }

    fn sorted(batches: &[Vec<usize>]) -> Vec<usize> {
        let mut items = batches.concat();
        items.sort();
        items
    }

    #[test]
    fn each_epoch_has_each_item_once_in_an_order_of_its_own() {
        for loader in shuffled(103, 4, 7) {
            let (first, second) = (epoch(&loader), epoch(&loader));
            for batches in [&first, &second] {
                assert_eq!(sorted(batches), (0..103).collect::<Vec<_>>());
                assert_eq!(batches.len(), 26);
                assert_eq!(batches.iter().filter(|batch| batch.len() < 4).count(), 1);
            }
            assert_ne!(first, second);
        }
    }

    #[test]
    fn a_resumed_loader_continues_and_another_seed_does_not() {
        let others = shuffled(50, 8, 2);
        let moved = shuffled(50, 8, 1).map(|loader| {
            // What the learner does with a loader that was resumed.
            loader.resume_after(1).to_device(&Device::flex())
        });
        let resumed = shuffled(50, 8, 1).map(|loader| loader.resume_after(2));
        let unbroken = shuffled(50, 8, 1);
        for (at, unbroken) in unbroken.iter().enumerate() {
            let epochs: Vec<_> = (0..3).map(|_| epoch(unbroken)).collect();
            assert_eq!(epoch(&resumed[at]), epochs[2]);
            assert_eq!(epoch(moved[at].as_ref()), epochs[1]);
            assert_ne!(epoch(&others[at]), epochs[0]);
        }
    }

    #[test]
    fn batches_hold_similar_lengths_but_come_in_no_order_of_length() {
        let [_, loader] = shuffled(16 * 64, 16, 3);
        let batches = epoch(&loader);
        let spread = |batch: &Vec<usize>| {
            let lengths = batch.iter().map(length);
            lengths.clone().max().unwrap() - lengths.min().unwrap()
        };
        // Lengths 0 to 22 in buckets of 32 batches: a batch spans a 32nd of them, give or take one.
        assert!(batches.iter().map(spread).max().unwrap() <= 2);
        let starts: Vec<_> = batches.iter().map(|batch| length(&batch[0])).collect();
        assert!(!starts.is_sorted());
    }

    #[test]
    fn a_fixed_order_repeats_and_parts_cover_all() {
        let plain = EpochLoader::in_order(Same, items(20), 6).on_device(Device::flex());
        assert_eq!(epoch(&plain).concat(), (0..20).collect::<Vec<_>>());
        let loader = with_lengths(plain);
        let first = epoch(&loader);
        assert_eq!(first, epoch(&loader));
        assert!(first.concat().iter().map(length).is_sorted());
        let parts = [loader.slice(0, 9), loader.slice(9, 99)];
        assert_eq!(parts.each_ref().map(|part| part.num_items()), [9, 11]);
        let batches: Vec<_> = parts.iter().flat_map(|part| epoch(part.as_ref())).collect();
        assert_eq!(sorted(&batches), (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn rounds_hold_the_batches_of_epochs() {
        for (whole, rounds) in shuffled(50, 8, 2).into_iter().zip(shuffled(50, 8, 2)) {
            let epochs: Vec<_> = (0..3).flat_map(|_| epoch(&whole)).collect();
            let rounds = rounds.in_rounds(5, 19);
            let all: Vec<_> = (0..4).map(|_| epoch(&rounds)).collect();
            assert_eq!(all.concat(), epochs[..19]);
            assert_eq!(all[3].len(), 4);
            let resumed = shuffled(50, 8, 2).map(|loader| {
                let loader = loader.in_rounds(5, 19).resume_after(2);
                epoch(loader.to_device(&Device::flex()).as_ref())
            });
            assert!(resumed.contains(&all[2]));
        }
    }

    #[test]
    fn progress_counts_items() {
        for loader in shuffled(10, 4, 0) {
            let mut iterator = loader.iter();
            while iterator.next().is_some() {}
            assert_eq!(iterator.progress().items_processed, 10);
            assert!(iterator.progress().is_completed());
        }
    }

    #[test]
    fn shared_batches_are_cut_into_parts_that_make_them_whole() {
        // Nine items make batches of four and five: one item for each of four devices.
        for (items, size, parts) in [(37, 8, 3), (10, 4, 2), (64, 16, 5), (3, 8, 3), (9, 8, 4)] {
            let loader = || {
                EpochLoader::new(Same, InMemDataset::new((0..items).collect()), size, 7)
                    .share_batches()
            };
            let whole = epoch(&loader());
            let sizes: Vec<usize> = whole.iter().map(Vec::len).collect();
            assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
            assert!(sizes.iter().all(|&found| found <= size));
            let loader = loader();
            let each = items / parts;
            let shares = (0..parts).map(|part| {
                let end = if part + 1 == parts {
                    items
                } else {
                    (part + 1) * each
                };
                epoch(loader.slice(part * each, end).as_ref())
            });
            let shares: Vec<_> = shares.collect();
            for (number, batch) in whole.iter().enumerate() {
                let joined: Vec<usize> = shares
                    .iter()
                    .flat_map(|share| share[number].clone())
                    .collect();
                assert_eq!(&joined, batch);
            }
        }
    }

    #[test]
    fn a_batch_that_is_too_small_to_share_is_an_error() {
        let loader = EpochLoader::in_order(Same, InMemDataset::new(vec![1, 2]), 2).share_batches();
        let part = loader.slice(0, 0);
        let error = part.iter().next().unwrap().unwrap_err().to_string();
        assert!(error.contains("no item for one of the devices"), "{error}");
    }

    #[test]
    #[should_panic(expected = "a length for each item")]
    fn lengths_belong_to_the_items() {
        let _ = EpochLoader::new(Same, items(3), 2, 1).with_lengths(vec![1, 2]);
    }
}
