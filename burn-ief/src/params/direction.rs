//! Vectors over parameters.

use std::collections::HashMap;

use burn::module::ParamId;
use burn::optim::GradientsParams;
use burn::tensor::{DType, Shape, Tensor};

use super::{ParamInfo, widen};
use crate::error::Error;
use crate::host::Reads;
use crate::moves::moved;

/// Flattened tensors by parameter; what is missing is zero.
#[derive(Debug, Clone, Default)]
pub(crate) struct Direction {
    entries: HashMap<ParamId, Tensor<1>>,
}

/// Call `$body` with the constant `$rank` bound to a run-time rank.
macro_rules! with_rank {
    ($value:expr, $rank:ident => $body:expr) => {
        match $value {
            0 | 1 => {
                const $rank: usize = 1;
                $body
            }
            2 => {
                const $rank: usize = 2;
                $body
            }
            3 => {
                const $rank: usize = 3;
                $body
            }
            4 => {
                const $rank: usize = 4;
                $body
            }
            5 => {
                const $rank: usize = 5;
                $body
            }
            6 => {
                const $rank: usize = 6;
                $body
            }
            rank => panic!("parameters of rank {rank} are not supported"),
        }
    };
}

impl Direction {
    pub fn get(&self, id: ParamId) -> Option<Tensor<1>> {
        self.entries.get(&id).cloned()
    }

    pub fn remove(&mut self, id: ParamId) -> Option<Tensor<1>> {
        self.entries.remove(&id)
    }

    pub fn add(&mut self, id: ParamId, share: Tensor<1>) {
        let sum = match self.entries.remove(&id) {
            Some(sum) => sum + share,
            None => share,
        };
        self.entries.insert(id, sum);
    }

    /// Cast one entry.
    pub fn cast(&mut self, id: ParamId, dtype: DType) {
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.dtype() != dtype
        {
            *entry = entry.clone().cast(dtype);
        }
    }

    /// In f32 at least.
    pub fn widened(&self) -> Self {
        let entries = self.entries.iter().map(|(&id, entry)| {
            let entry = match entry.dtype() {
                DType::F64 => entry.clone(),
                _ => entry.clone().cast(DType::F32),
            };
            (id, entry)
        });
        Self {
            entries: entries.collect(),
        }
    }

    /// Add another direction, on the devices of this one.
    pub fn add_all(&mut self, params: &[ParamInfo], mut other: Self) {
        for param in params {
            let Some(share) = other.remove(param.id) else {
                continue;
            };
            let share = match self.entries.get(&param.id) {
                Some(known) => moved(share, &known.device()),
                None => moved(share, &param.device),
            };
            self.add(param.id, share);
        }
    }

    /// Euclidean norm over all entries, in f32 (f64 if they are).
    ///
    /// # Errors
    ///
    /// [`Error::Device`] if the device of an entry is lost.
    pub fn norm(&self, params: &[ParamInfo]) -> Result<f64, Error> {
        // Outside these bounds the squares may leave the range of f32.
        const SAFE: std::ops::Range<f64> = 1e-15..1e18;
        let squares = self.fold(params, |entry| entry.square().sum(), |a, b| a + b)?;
        let plain = squares.sqrt();
        if SAFE.contains(&plain) {
            return Ok(plain);
        }
        let largest = self.fold(params, |entry| entry.abs().max(), Tensor::max_pair)?;
        if largest == 0.0 || !largest.is_finite() {
            return Ok(largest);
        }
        let scaled = |entry: Tensor<1>| (entry / largest).square().sum();
        Ok(largest * self.fold(params, scaled, |a, b| a + b)?.sqrt())
    }

    /// One number from all entries, in f32 (f64 if they are); 0 without entries.
    fn fold(
        &self,
        params: &[ParamInfo],
        own: impl Fn(Tensor<1>) -> Tensor<1>,
        join: impl Fn(Tensor<1>, Tensor<1>) -> Tensor<1>,
    ) -> Result<f64, Error> {
        let entries = params.iter().filter_map(|param| self.get(param.id));
        let total = entries.map(|entry| own(widen(entry))).reduce(|sum, own| {
            let own = own.to_device(&sum.device()).cast(sum.dtype());
            join(sum, own)
        });
        let Some(total) = total else { return Ok(0.0) };
        let mut reads = Reads::default();
        let place = reads.float(total);
        Ok(reads.execute()?.float(place)[0])
    }

    /// Multiply every entry.
    pub fn scale(&mut self, factor: f64) {
        if factor != 1.0 {
            let entries = self.entries.values_mut();
            entries.for_each(|entry| *entry = entry.clone() * factor);
        }
    }

    pub fn from_gradients(params: &[ParamInfo], v: &GradientsParams) -> Result<Self, Error> {
        let mut direction = Self::default();
        for param in params {
            if let Some(entry) = read(v, param)? {
                direction.add(param.id, entry);
            }
        }
        Ok(direction)
    }

    pub fn into_gradients(self, params: &[ParamInfo]) -> GradientsParams {
        let mut grads = GradientsParams::new();
        self.register(params, &mut grads);
        grads
    }

    /// Register the entries of `params`, on their devices.
    pub fn register(mut self, params: &[ParamInfo], grads: &mut GradientsParams) {
        for param in params {
            if let Some(entry) = self.entries.remove(&param.id) {
                let entry = moved(entry, &param.device);
                register(grads, param.id, &param.shape, entry);
            }
        }
    }
}

/// Register a flattened tensor under the shape of its parameter.
fn register(grads: &mut GradientsParams, id: ParamId, shape: &Shape, entry: Tensor<1>) {
    with_rank!(shape.num_dims(), D => grads.register(id, entry.reshape::<D, _>(shape.clone())));
}

/// Read a parameter's entry, flattened.
fn read(v: &GradientsParams, param: &ParamInfo) -> Result<Option<Tensor<1>>, Error> {
    with_rank!(param.shape.num_dims(), D => flatten(v.get::<D>(param.id), param))
}

fn flatten<const D: usize>(
    entry: Option<Tensor<D>>,
    param: &ParamInfo,
) -> Result<Option<Tensor<1>>, Error> {
    let Some(entry) = entry else {
        return Ok(None);
    };
    if entry.shape() != param.shape {
        return Err(Error::RowShape {
            parameter: param.path.clone(),
            expected: format!("{:?}", param.shape),
            found: format!("{:?}", entry.shape()),
        });
    }
    let entry = entry.inner();
    Ok(Some(entry.reshape([param.shape.num_elements()])))
}
