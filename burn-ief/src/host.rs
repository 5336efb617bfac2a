//! Reads from the device to the host.
//!
//! A read waits until the device has finished all its work, so a step makes as few of them as it can:
//! what is needed at one time is read together.

use std::cell::{Cell, RefCell};

use burn::tensor::{DType, Device, Int, Tensor, TensorData, Transaction};

thread_local! {
    /// Reads of this thread that waited for a device.
    static WAITS: Cell<usize> = const { Cell::new(0) };
    /// Devices that were asked whether they support f64.
    static F64: RefCell<Vec<(Device, bool)>> = const { RefCell::new(Vec::new()) };
}

/// Tensors of one device that are read together.
#[derive(Default)]
pub(crate) struct Reads {
    transaction: Transaction,
    count: usize,
}

/// The place of a tensor among the [`Values`] of its read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadOf(usize);

impl Reads {
    /// Read a tensor too.
    pub fn float<const D: usize>(&mut self, x: Tensor<D>) -> ReadOf {
        self.transaction = std::mem::take(&mut self.transaction).register(x.inner());
        self.place()
    }

    /// Read integers too.
    pub fn int<const D: usize>(&mut self, x: Tensor<D, Int>) -> ReadOf {
        self.transaction = std::mem::take(&mut self.transaction).register(x.inner());
        self.place()
    }

    fn place(&mut self) -> ReadOf {
        self.count += 1;
        ReadOf(self.count - 1)
    }

    /// Wait for the device.
    pub fn execute(self) -> Values {
        if self.count == 0 {
            return Values(Vec::new());
        }
        WAITS.set(WAITS.get() + 1);
        Values(self.transaction.execute())
    }
}

/// What was read.
pub(crate) struct Values(Vec<TensorData>);

impl Values {
    /// The entries of a tensor, in f64.
    pub fn float(&self, place: ReadOf) -> Vec<f64> {
        self.scaled(place, 1.0)
    }

    /// The entries of a tensor in f64, times `scale`, in one pass: a Gram matrix of a large batch does
    /// not fit into the caches.
    pub fn scaled(&self, ReadOf(place): ReadOf, scale: f64) -> Vec<f64> {
        let data = &self.0[place];
        match data.as_slice::<f32>() {
            Ok(values) => values.iter().map(|&x| f64::from(x) * scale).collect(),
            Err(_) => data.iter::<f64>().map(|x| x * scale).collect(),
        }
    }

    /// The entries of a tensor of integers.
    pub fn int(&self, ReadOf(place): ReadOf) -> Vec<i64> {
        self.0[place].iter::<i64>().collect()
    }
}

/// Read one tensor as f64.
pub(crate) fn to_host<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    to_host_scaled(x, 1.0)
}

/// [`to_host`], times `scale`.
pub(crate) fn to_host_scaled<const D: usize>(x: Tensor<D>, scale: f64) -> Vec<f64> {
    let mut reads = Reads::default();
    let place = reads.float(x);
    reads.execute().scaled(place, scale)
}

/// Read one tensor in f32.
pub(crate) fn to_host_f32<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    let mut reads = Reads::default();
    let ReadOf(place) = reads.float(x);
    let data = reads.execute().0.swap_remove(place).convert::<f32>();
    data.try_into_vec().expect("converted to f32")
}

/// How often this thread has waited for a device.
#[cfg(test)]
pub(crate) fn waits() -> usize {
    WAITS.get()
}

/// Whether a device computes in f64. Every device is asked once.
pub(crate) fn supports_f64(device: &Device) -> bool {
    F64.with_borrow_mut(|known| {
        if let Some((_, supports)) = known.iter().find(|(known, _)| known == device) {
            return *supports;
        }
        let supports = device.supports_dtype(DType::F64);
        known.push((device.clone(), supports));
        supports
    })
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
        let before = waits();
        let values = reads.execute();
        assert_eq!(waits(), before + 1);
        assert_eq!(values.scaled(a, 2.0), [1.0, -4.0]);
        assert_eq!(values.int(b), [7, -3]);
        assert_eq!(values.float(c), [4.0]);
    }

    #[test]
    fn nothing_to_read_does_not_wait() {
        let before = waits();
        Reads::default().execute();
        assert_eq!(waits(), before);
    }
}
