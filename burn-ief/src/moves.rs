//! Moves of tensors from device to device.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;

use burn::tensor::kind::Basic;
use burn::tensor::{Device, Int, Tensor};

/// Largest number of bytes that is sent at once: Burn's servers refuse messages above 1 GiB.
const MESSAGE: usize = 256 << 20;

thread_local! {
    /// What this thread moved, while something watches.
    static MOVED: RefCell<Option<Vec<DeviceMove>>> = const { RefCell::new(None) };
}

/// Counts what this crate moves from device to device on this thread: see [`Exchange`](crate::exchange::Exchange).
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::DeviceMoves;
/// use burn_ief::prelude::*;
///
/// let device = Device::flex().autodiff();
/// let model = LinearConfig::new(3, 1).init(&device);
/// let mut optim = IefConfig::new().init(&model);
/// let moves = DeviceMoves::watch();
/// optim.step_closure(0.5, model, |model| {
///     mark_output(model.forward_recorded(Tensor::<2>::ones([4, 3], &device))).square().mean()
/// })?;
/// assert!(moves.finish().is_empty()); // all on one device
/// # Ok::<(), burn_ief::Error>(())
/// ```
///
/// Moves by Burn itself or by your own code are not counted. A second watch on the same thread takes the
/// place of the first.
#[derive(Debug)]
#[must_use = "moves are counted until `finish`"]
pub struct DeviceMoves {
    /// It belongs to its thread.
    _thread: PhantomData<Rc<()>>,
}

/// One tensor that was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceMove {
    /// The device that it was on.
    pub from: Device,
    /// The device that it is on now.
    pub to: Device,
    /// Its size in bytes.
    pub bytes: usize,
}

impl DeviceMoves {
    /// Count from now on.
    pub fn watch() -> Self {
        MOVED.replace(Some(Vec::new()));
        Self {
            _thread: PhantomData,
        }
    }

    /// The moves since [`watch`](Self::watch), in their order.
    pub fn finish(self) -> Vec<DeviceMove> {
        MOVED.take().unwrap_or_default()
    }
}

impl Drop for DeviceMoves {
    fn drop(&mut self) {
        MOVED.take();
    }
}

/// A tensor on another device, sent in messages of bounded size; as it is if it is there already.
pub(crate) fn moved<const D: usize, K: Basic>(x: Tensor<D, K>, device: &Device) -> Tensor<D, K> {
    moved_in(x, device, MESSAGE)
}

/// [`moved`], in the type that the device has for integers: those of two devices may differ.
pub(crate) fn moved_integers<const D: usize>(x: Tensor<D, Int>, device: &Device) -> Tensor<D, Int> {
    if x.device() == *device {
        return x;
    }
    moved(x, device).cast(device.settings().int_dtype)
}

fn moved_in<const D: usize, K: Basic>(
    x: Tensor<D, K>,
    device: &Device,
    message: usize,
) -> Tensor<D, K> {
    let from = x.device();
    if from == *device {
        return x;
    }
    let shape = x.shape();
    let count = shape.num_elements();
    let bytes = count * x.dtype().size();
    MOVED.with_borrow_mut(|moved| {
        if let Some(moved) = moved {
            moved.push(DeviceMove {
                from,
                to: device.clone(),
                bytes,
            });
        }
    });
    if bytes <= message {
        return x.to_device(device);
    }
    let width = (message / x.dtype().size()).max(1);
    let flat = x.reshape([count]);
    let pieces = (0..count).step_by(width).map(|start| {
        let piece = flat.clone().narrow(0, start, width.min(count - start));
        piece.to_device(device)
    });
    Tensor::cat(pieces.collect(), 0).reshape(shape)
}

#[cfg(all(test, feature = "flex", feature = "ndarray"))]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    #[allow(deprecated)] // deprecated upstream, still supported here
    fn a_large_tensor_goes_in_pieces_and_is_counted_once() {
        let (from, to) = (Device::flex(), Device::ndarray());
        let x = Tensor::<2>::random([7, 5], Distribution::Default, &from);
        for message in [1, 16, 100, 140, 1 << 20] {
            let moves = DeviceMoves::watch();
            let moved = moved_in(x.clone(), &to, message);
            assert_eq!(moved.device(), to);
            assert_eq!(moved.into_data(), x.to_data());
            let [one] = &moves.finish()[..] else {
                panic!("one tensor")
            };
            assert_eq!((&one.from, &one.to, one.bytes), (&from, &to, 140));
        }
        let ids = Tensor::<1, Int>::from_data([3, 4], &from);
        // As indices that were made there.
        let there = moved_integers(ids.clone(), &to);
        let own = Tensor::<1, Int>::from_data([3, 4], &to);
        assert_eq!((there - own).abs().sum().into_scalar::<i64>(), 0);
        let moves = DeviceMoves::watch();
        assert_eq!(moved(ids.clone(), &from).into_data(), ids.into_data());
        assert!(moves.finish().is_empty());
    }
}
