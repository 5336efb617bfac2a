//! Tensors that are read together.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData, Transaction};

use super::failures::{device_name, is_remote, lost, on_device};
use super::{HostRead, WATCHES, supports_f64};
use crate::error::Error;

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
            let all = read(Transaction::default().register(packed(tensors)))?;
            Ok(unpacked(&all, &lengths))
        })?
    }
}

/// All tensors as one, in f64: that holds all numbers of f32, and integers up to 2^53.
fn packed(tensors: Vec<Registered>) -> Tensor<1> {
    let wide = tensors.into_iter().map(|x| match x {
        Registered::Float(x) => x.cast(FloatDType::F64),
        Registered::Int(x) => x.cast(FloatDType::F64),
    });
    Tensor::cat(wide.collect(), 0)
}

/// The tensors of these lengths that were [`packed`].
fn unpacked(all: &[TensorData], lengths: &[usize]) -> Vec<TensorData> {
    let all: Vec<f64> = all.iter().flat_map(|data| data.iter::<f64>()).collect();
    let mut start = 0;
    let pieces = lengths.iter().map(|&length| {
        let piece = all[start..start + length].to_vec();
        start += length;
        TensorData::new(piece, [length])
    });
    pieces.collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_tensors_keep_all_their_digits() {
        let device = Device::default();
        // Not numbers of f32.
        let ids = [(1i64 << 24) + 1, -100, i64::from(i32::MAX)];
        let tensors = vec![
            Registered::Float(Tensor::from_floats([0.1f32, -2.5], &device)),
            Registered::Int(Tensor::from_data(ids, &device)),
            Registered::Float(Tensor::from_floats([7.0f32], &device)),
        ];
        let lengths: Vec<usize> = tensors.iter().map(Registered::entries).collect();
        let pieces = unpacked(&[packed(tensors).into_data()], &lengths);
        let floats: Vec<f64> = pieces[0].iter::<f64>().collect();
        assert_eq!(floats, [f64::from(0.1f32), -2.5]);
        assert_eq!(pieces[1].iter::<i64>().collect::<Vec<_>>(), ids);
        assert_eq!(pieces[2].iter::<f64>().collect::<Vec<_>>(), [7.0]);
    }
}
