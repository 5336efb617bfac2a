//! Reads from the device to the host.
//!
//! A read waits until the device has finished all its work, so a step makes as few of them as it can:
//! what is needed at one time is read together.

use std::any::Any;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::{DType, Device, Int, Tensor, TensorData, Transaction};

use crate::error::Error;

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

/// Tensors that are read together: those of each device in one read, the devices at the same time.
#[derive(Default)]
pub(crate) struct Reads {
    of_devices: Vec<DeviceReads>,
    deadline: Option<Duration>,
}

/// The tensors of one device.
struct DeviceReads {
    device: Device,
    tensors: Vec<Registered>,
}

/// A tensor that is read, flattened.
enum Registered {
    Float(Tensor<1>),
    Int(Tensor<1, Int>),
}

impl Registered {
    fn entries(&self) -> usize {
        match self {
            Self::Float(x) => x.dims()[0],
            Self::Int(x) => x.dims()[0],
        }
    }
}

/// The place of a tensor among the [`Values`] of its read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadOf {
    device: usize,
    index: usize,
}

impl Reads {
    /// Wait at most this long for each device.
    pub fn with_deadline(deadline: Option<Duration>) -> Self {
        Self {
            deadline,
            ..Self::default()
        }
    }

    /// Read a tensor too.
    pub fn float<const D: usize>(&mut self, x: Tensor<D>) -> ReadOf {
        let x = x.inner();
        let (device, count) = (x.device(), x.shape().num_elements());
        self.register(&device, Registered::Float(x.reshape([count])))
    }

    /// Read integers too.
    pub fn int<const D: usize>(&mut self, x: Tensor<D, Int>) -> ReadOf {
        let x = x.inner();
        let (device, count) = (x.device(), x.shape().num_elements());
        self.register(&device, Registered::Int(x.reshape([count])))
    }

    fn register(&mut self, device: &Device, tensor: Registered) -> ReadOf {
        let known = self.of_devices.iter();
        let known = known.enumerate().find(|(_, reads)| reads.device == *device);
        let place = match known {
            Some((place, _)) => place,
            None => {
                self.of_devices.push(DeviceReads {
                    device: device.clone(),
                    tensors: Vec::new(),
                });
                self.of_devices.len() - 1
            }
        };
        let tensors = &mut self.of_devices[place].tensors;
        tensors.push(tensor);
        ReadOf {
            device: place,
            index: tensors.len() - 1,
        }
    }

    /// Wait for the devices.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] for a device that is lost; [`Error::Deadline`] for one that does not answer in
    /// time. A thread is left behind that waits for it.
    pub fn execute(self) -> Result<Values, Error> {
        for reads in &self.of_devices {
            let entries = reads.tensors.iter().map(Registered::entries).collect();
            WATCHES.with_borrow(|watches| watches.add(&HostRead { entries }));
        }
        if self.deadline.is_none() && self.of_devices.len() < 2 {
            let reads = self.of_devices.into_iter();
            let values = reads.map(DeviceReads::execute);
            return Ok(Values(values.collect::<Result<_, _>>()?));
        }
        let pending = self.of_devices.into_iter().map(|reads| {
            let device = reads.device.clone();
            let (sender, receiver) = mpsc::channel();
            // Not a scoped thread: it is left behind if the device does not answer.
            thread::spawn(move || sender.send(reads.execute()));
            (device, receiver)
        });
        // All reads are on their way before the first is waited for.
        let pending: Vec<_> = pending.collect();
        let start = Instant::now();
        let values = pending.into_iter().map(|(device, receiver)| {
            let Some(deadline) = self.deadline else {
                return receiver.recv().unwrap_or_else(|_| Err(lost(&device, "")));
            };
            match receiver.recv_timeout(deadline.saturating_sub(start.elapsed())) {
                Ok(values) => values,
                Err(RecvTimeoutError::Timeout) => Err(Error::Deadline {
                    device: device_name(&device),
                    seconds: deadline.as_secs_f64(),
                }),
                Err(RecvTimeoutError::Disconnected) => Err(lost(&device, "")),
            }
        });
        Ok(Values(values.collect::<Result<_, _>>()?))
    }
}

impl DeviceReads {
    fn execute(self) -> Result<Vec<TensorData>, Error> {
        let Self { device, tensors } = self;
        let read = |transaction: Transaction| {
            transaction
                .try_execute()
                .map_err(|error| lost(&device, &error.to_string()))
        };
        // A transaction of a remote device takes a round trip for every tensor.
        let apart = tensors.len() < 2 || !is_remote(&device) || !supports_f64(&device);
        on_device(&device, || {
            if apart {
                let transaction = Transaction::default();
                return read(tensors.into_iter().fold(transaction, |all, x| match x {
                    Registered::Float(x) => all.register(x),
                    Registered::Int(x) => all.register(x),
                }));
            }
            let lengths: Vec<usize> = tensors.iter().map(Registered::entries).collect();
            // f64 holds all numbers of f32, and integers up to 2^53.
            let wide = tensors.into_iter().map(|x| match x {
                Registered::Float(x) => x.cast(DType::F64),
                Registered::Int(x) => x.float().cast(DType::F64),
            });
            let all = read(Transaction::default().register(Tensor::cat(wide.collect(), 0)))?;
            let all: Vec<f64> = all.iter().flat_map(|data| data.iter::<f64>()).collect();
            let mut start = 0;
            let pieces = lengths.into_iter().map(|length| {
                let piece = all[start..start + length].to_vec();
                start += length;
                TensorData::new(piece, [length])
            });
            Ok(pieces.collect())
        })?
    }
}

fn is_remote(device: &Device) -> bool {
    format!("{device:?}").contains("Remote(")
}

/// Run work that Burn answers with a panic if the device is lost.
pub(crate) fn on_device<T>(device: &Device, work: impl FnOnce() -> T) -> Result<T, Error> {
    // Nothing that the work borrows is used after a panic.
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    result.map_err(|cause| device_failed(device, &*cause))
}

/// The error of a device, from the cause of a panic.
pub(crate) fn device_failed(device: &Device, cause: &(dyn Any + Send)) -> Error {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    let text = text.or(cause.downcast_ref::<&str>().copied());
    lost(device, text.unwrap_or_default())
}

fn lost(device: &Device, reason: &str) -> Error {
    let reason = if reason.is_empty() {
        "it did not say why"
    } else {
        reason
    };
    // Burn's reasons have several lines.
    let words: Vec<&str> = reason.split_whitespace().collect();
    Error::Device {
        device: device_name(device),
        reason: words.join(" "),
    }
}

/// A device in messages: the address of a remote one, Burn's name of all others.
pub(crate) fn device_name(device: &Device) -> String {
    let debug = format!("{:?}", device.clone().inner());
    // Burn shows the address in the debug form alone.
    let between = |start: &str, end: char| {
        let rest = &debug[debug.find(start)? + start.len()..];
        rest.find(end).map(|end| &rest[..end])
    };
    if debug.contains("Remote(")
        && let (Some(host), Some(port)) = (between("host: \"", '"'), between("port: Some(", ')'))
    {
        return format!("ws://{host}:{port}");
    }
    let inner = debug.strip_prefix("Device<");
    let inner = inner.and_then(|inner| inner.strip_suffix('>'));
    inner.unwrap_or(&debug).into()
}

/// What was read.
pub(crate) struct Values(Vec<Vec<TensorData>>);

impl Values {
    /// The entries of a tensor, in f64.
    pub fn float(&self, place: ReadOf) -> Vec<f64> {
        self.scaled(place, 1.0)
    }

    /// The entries of a tensor in f64, times `scale`, in one pass: a Gram matrix of a large batch does
    /// not fit into the caches.
    pub fn scaled(&self, place: ReadOf, scale: f64) -> Vec<f64> {
        let data = self.data(place);
        match data.as_slice::<f32>() {
            Ok(values) => values.iter().map(|&x| f64::from(x) * scale).collect(),
            Err(_) => data.iter::<f64>().map(|x| x * scale).collect(),
        }
    }

    /// The entries of a tensor of integers.
    pub fn int(&self, place: ReadOf) -> Vec<i64> {
        self.data(place).iter::<i64>().collect()
    }

    fn data(&self, place: ReadOf) -> &TensorData {
        &self.0[place.device][place.index]
    }
}

/// Read one tensor as f64.
///
/// # Panics
///
/// Panics if its device is lost. What a training step reads goes through [`Reads`] instead.
pub(crate) fn to_host<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    to_host_scaled(x, 1.0)
}

/// [`to_host`], times `scale`.
pub(crate) fn to_host_scaled<const D: usize>(x: Tensor<D>, scale: f64) -> Vec<f64> {
    let mut reads = Reads::default();
    let place = reads.float(x);
    let values = reads.execute();
    values
        .unwrap_or_else(|error| panic!("{error}"))
        .scaled(place, scale)
}

/// Read one tensor in f32.
pub(crate) fn to_host_f32<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    let mut reads = Reads::default();
    let place = reads.float(x);
    let values = reads.execute().unwrap_or_else(|error| panic!("{error}"));
    let data = values.data(place).clone().convert::<f32>();
    data.try_into_vec().expect("converted to f32")
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
