//! A direction in parameter space: flattened, one entry per parameter.

use std::collections::HashMap;

use burn::module::ParamId;
use burn::optim::GradientsParams;
use burn::tensor::{DType, Shape, Tensor};

use super::{ParamInfo, widen};
use crate::error::Error;

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
                Some(known) => share.to_device(&known.device()),
                None => share.to_device(&param.device),
            };
            self.add(param.id, share);
        }
    }

    /// Euclidean norm over all entries, in f32 (f64 if they are).
    pub fn norm(&self, params: &[ParamInfo]) -> f64 {
        let mut squares: Option<Tensor<1>> = None;
        for entry in params.iter().filter_map(|param| self.get(param.id)) {
            let own = widen(entry).square().sum();
            squares = Some(match squares {
                Some(sum) => {
                    let own = own.to_device(&sum.device()).cast(sum.dtype());
                    sum + own
                }
                None => own,
            });
        }
        squares.map_or(0.0, |squares| squares.sqrt().into_scalar::<f64>())
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

    /// Register the entries of `params`.
    pub fn register(mut self, params: &[ParamInfo], grads: &mut GradientsParams) {
        for param in params {
            if let Some(entry) = self.entries.remove(&param.id) {
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
