//! The values of a layer before and after merging.

use burn::tensor::{DType, Device, Tensor};

use super::parameter::at;

/// What is needed to take merged adapters out again. A difference would lose the weight where
/// DoRA's ratios or the entries of IA³'s vectors are small.
#[derive(Debug, Clone)]
pub(super) struct Merged<const D: usize> {
    pub weight: Change<D>,
    pub bias: Option<Change<1>>,
}

/// A parameter's value before and after merging.
#[derive(Debug, Clone)]
pub(super) struct Change<const D: usize> {
    pub base: Tensor<D>,
    /// The same memory as the parameter's value, unless that has changed.
    pub merged: Tensor<D>,
}

/// Why adapters cannot be merged into a parameter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NotFinite {
    /// The base value is not finite.
    Base,
    /// The adapters make something of the value that is not finite.
    Adapters,
    /// The sum is beyond the range of the parameter's type.
    Range(DType),
}

impl<const D: usize> Change<D> {
    /// From `base` to `merged`, in the type of the base if that is a float.
    pub fn new(base: Tensor<D>, merged: Tensor<D>) -> Result<Self, NotFinite> {
        let own = match base.dtype() {
            own if own.is_float() => own,
            _ => merged.dtype(),
        };
        let exact = merged.clone();
        let change = Self {
            base: at(base, own),
            merged: at(merged, own),
        };
        if is_finite(&change.merged) {
            return Ok(change);
        }
        Err(if !is_finite(&change.base) {
            NotFinite::Base
        } else if !is_finite(&exact) {
            NotFinite::Adapters
        } else {
            NotFinite::Range(own)
        })
    }

    /// The value before merging, with what has been added to the parameter since.
    pub fn undo(self, value: Tensor<D>) -> Tensor<D> {
        // Where the merged value was too large for its type, it minus itself is not zero.
        let same = value.clone().equal(self.merged.clone());
        self.base + (value - self.merged).mask_fill(same, 0.0)
    }

    /// On another device.
    pub fn moved(&self, device: &Device) -> Self {
        // Plain tensors stay plain, whatever the device's autodiff.
        let device = device.clone().inner();
        let moved = |tensor: &Tensor<D>| tensor.clone().to_device(&device);
        Self {
            base: moved(&self.base),
            merged: moved(&self.merged),
        }
    }
}

fn is_finite<const D: usize>(x: &Tensor<D>) -> bool {
    x.clone().is_finite().all().into_scalar()
}

impl<const D: usize> Merged<D> {
    pub fn moved(&self, device: &Device) -> Self {
        Self {
            weight: self.weight.moved(device),
            bias: self.bias.as_ref().map(|bias| bias.moved(device)),
        }
    }
}
