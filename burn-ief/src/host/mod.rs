//! Reads from the device to the host.
//!
//! A read waits until the device has finished all its work, so a step makes as few of them as it can:
//! what is needed at one time is read together.

mod failures;
mod reads;

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{DType, Device};

pub(crate) use failures::{device_failed, device_name, is_remote, on_device};
pub(crate) use reads::{ReadOf, Reads, Values, to_host, to_host_f32, to_host_scaled};

thread_local! {
    /// The watches that count what this thread reads.
    static WATCHES: RefCell<Watches> = const { RefCell::new(Watches(Vec::new())) };
}

/// Devices that were asked whether they support f64.
static F64: Mutex<Vec<(Device, bool)>> = Mutex::new(Vec::new());

/// What one watch has counted.
type Counted = Arc<Mutex<Vec<HostRead>>>;

/// Watches of a thread, to take along to the threads that work for it.
#[derive(Clone, Default)]
pub(crate) struct Watches(Vec<Counted>);

impl Watches {
    /// Those of this thread.
    pub fn of_this_thread() -> Self {
        WATCHES.with_borrow(Clone::clone)
    }

    /// Count what `work` reads on this thread, for the thread that the watches come from.
    pub fn count<T>(&self, work: impl FnOnce() -> T) -> T {
        let own = WATCHES.replace(self.clone());
        let result = work();
        WATCHES.set(own);
        result
    }

    fn add(&self, read: &HostRead) {
        for counted in &self.0 {
            entries(counted).push(read.clone());
        }
    }
}

fn entries(counted: &Counted) -> std::sync::MutexGuard<'_, Vec<HostRead>> {
    counted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts the reads from a device to the host that this crate makes on this thread, and on the threads
/// that it starts for the work of this one.
///
/// A read waits until the device has finished all its work, and on a GPU the next kernels start only
/// after it. So a step should make few of them, of small tensors:
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::nn::loss::CrossEntropyLossConfig;
/// use burn::tensor::{Device, Distribution, Int, Tensor};
/// use burn_ief::HostReads;
/// use burn_ief::prelude::*;
///
/// let device = Device::flex().autodiff();
/// let model = LinearConfig::new(50, 3).init(&device);
/// let x = Tensor::<2>::random([4, 50], Distribution::Default, &device);
/// let y = Tensor::<1, Int>::from_data([0, 1, 2, 0], &device);
/// let cross_entropy = CrossEntropyLossConfig::new().init(&device);
/// let mut optim = IefConfig::new().init(&model);
///
/// let reads = HostReads::watch();
/// optim.step_closure(0.5, model, |model| {
///     cross_entropy.forward(mark_output(model.forward_recorded(x)), y)
/// })?;
/// let reads = reads.finish();
/// // What the outputs show; then K `[4, 4]` and the image of the previous update `[4]`.
/// assert_eq!(reads.len(), 2);
/// assert_eq!(reads[1].entries, [16, 4]);
/// # Ok::<(), burn_ief::Error>(())
/// ```
///
/// Reads by Burn itself or by your own code are not counted. In a learner with several devices, every
/// device has a thread of its own.
#[derive(Debug)]
#[must_use = "the reads are counted until `finish`"]
pub struct HostReads {
    counted: Counted,
    /// It belongs to its thread.
    _thread: PhantomData<Rc<()>>,
}

/// One read from a device to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostRead {
    /// The number of entries of each tensor that was read.
    pub entries: Vec<usize>,
}

impl HostReads {
    /// Count from now on.
    pub fn watch() -> Self {
        let counted = Counted::default();
        WATCHES.with_borrow_mut(|watches| watches.0.push(counted.clone()));
        Self {
            counted,
            _thread: PhantomData,
        }
    }

    /// The reads since [`watch`](Self::watch), in their order.
    pub fn finish(self) -> Vec<HostRead> {
        std::mem::take(&mut entries(&self.counted))
    }
}

impl Drop for HostReads {
    fn drop(&mut self) {
        WATCHES.with_borrow_mut(|watches| {
            watches
                .0
                .retain(|counted| !Arc::ptr_eq(counted, &self.counted));
        });
    }
}

/// Whether a device computes in f64. Every device is asked once.
pub(crate) fn supports_f64(device: &Device) -> bool {
    #[cfg(test)]
    if WITHOUT_F64.get() {
        return false;
    }
    let known = || F64.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, supports)) = known().iter().find(|(known, _)| known == device) {
        return *supports;
    }
    // A remote device is asked without the lock.
    let supports = device.supports_dtype(DType::F64);
    known().push((device.clone(), supports));
    supports
}

#[cfg(test)]
thread_local! {
    static WITHOUT_F64: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Work as on a device that does not compute in f64.
#[cfg(test)]
pub(crate) fn without_f64<T>(work: impl FnOnce() -> T) -> T {
    WITHOUT_F64.set(true);
    let result = work();
    WITHOUT_F64.set(false);
    result
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Int, Tensor};

    use super::*;

    #[test]
    fn tensors_of_different_kinds_are_read_together() {
        let device = Device::flex();
        let mut reads = Reads::default();
        let a = reads.float(Tensor::<2>::from_data([[0.5, -2.0]], &device));
        let b = reads.int(Tensor::<1, Int>::from_data([7, -3], &device));
        let c = reads.float(Tensor::<1>::from_data([4.0], (&device, DType::F64)));
        let watch = HostReads::watch();
        let values = reads.execute().unwrap();
        let [read] = &watch.finish()[..] else {
            panic!("one read")
        };
        assert_eq!(read.entries, [2, 2, 1]);
        assert_eq!(values.scaled(a, 2.0), [1.0, -4.0]);
        assert_eq!(values.int(b), [7, -3]);
        assert_eq!(values.float(c), [4.0]);
    }

    #[test]
    fn nothing_to_read_does_not_wait() {
        let watch = HostReads::watch();
        Reads::default().execute().unwrap();
        assert_eq!(watch.finish(), []);
    }

    #[test]
    fn watches_may_overlap() {
        let read = || to_host(Tensor::<1>::from_floats([1.0, 2.0], &Device::flex()));
        read();
        let outer = HostReads::watch();
        read();
        let inner = HostReads::watch();
        read();
        drop(HostReads::watch());
        assert_eq!(inner.finish().len(), 1);
        read();
        assert_eq!(outer.finish().len(), 3);
        assert_eq!(HostReads::watch().finish(), []);
    }

    #[test]
    fn threads_count_for_the_one_that_they_work_for() {
        let read = || to_host(Tensor::<1>::from_floats([1.0, 2.0], &Device::flex()));
        let watch = HostReads::watch();
        let watches = Watches::of_this_thread();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                read(); // for itself
                watches.count(read);
                read();
            });
        });
        read();
        assert_eq!(watch.finish().len(), 2);
    }
}
