//! What the family keeps from step to step: averaged factors and their inverses.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;

use super::damping::FactorDamping;
use super::factor_options::FactorOptions;
use super::gradient_rows::GradientRows;
use super::inverse::invert;
use super::layout::{Form, Layout, Slot};
use crate::error::Error;
use crate::host::{Reads, Watches};
use crate::methods::method::FactorReport;
use crate::moves::moved;
use crate::params::Direction;
use crate::solve::{DampingAmount, trust_region_factor};

/// Averaged factors, their inverses and counters, as a module of frozen parameters: Burn's records
/// save and load it.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_ief::prelude::*;
///
/// let model = LinearConfig::new(3, 2).init(&Device::flex().autodiff());
/// let optim = IekfacConfig::new().init(&model);
/// // Factors [4, 4] and [2, 2], their inverses, and a counter.
/// assert_eq!(optim.state().clone().into_record().len(), 5);
/// ```
#[derive(Module, Debug)]
pub struct KroneckerState {
    entries: Vec<Entry>,
    /// Updates of each entry's averages.
    counts: Param<Tensor<1, Int>>,
}

/// The state of one slot.
#[derive(Module, Debug)]
struct Entry {
    /// A and B, or the diagonal `[1, P]`, or nothing.
    curvature: Vec<Param<Tensor<2>>>,
    /// Inverses of the damped A and B.
    inverses: Vec<Param<Tensor<2>>>,
}

impl KroneckerState {
    pub(super) fn new(layout: &Layout) -> Self {
        let entries: Vec<Entry> = layout.slots.iter().map(Entry::new).collect();
        let device = layout.slots.first().map(|slot| slot.device.clone());
        let device = device.unwrap_or_else(|| Device::default().inner());
        let counts = Tensor::<1, Int>::zeros([entries.len().max(1)], &device);
        Self {
            counts: Param::initialized(ParamId::new(), counts),
            entries,
        }
    }

    /// Updates of each entry's averages.
    fn counts(&self) -> Result<Vec<i64>, Error> {
        let mut reads = Reads::default();
        let counts = reads.int(self.counts.val());
        Ok(reads.execute()?.int(counts))
    }

    /// Refuse a state that was made for other parameters or with other options.
    pub(super) fn check(&self, layout: &Layout) -> Result<(), Error> {
        let own = self.entries.iter().map(Entry::dims);
        let expected = layout.slots.iter().map(dims);
        if own.eq(expected) {
            return Ok(());
        }
        let describe = |dims: Option<Vec<[usize; 2]>>| match dims {
            Some(dims) => format!("factors {dims:?}"),
            None => "nothing more".into(),
        };
        let count = self.entries.len().max(layout.slots.len());
        let differs = (0..count).find(|&index| {
            self.entries.get(index).map(Entry::dims) != layout.slots.get(index).map(dims)
        });
        let index = differs.unwrap_or_default();
        let path = layout.slots.get(index).map(|slot| slot.weight.path.clone());
        let expected = describe(layout.slots.get(index).map(dims));
        Err(Error::ForeignState {
            state: "state of the K-FAC family",
            expected: format!("`{}` with {expected}", path.unwrap_or_default()),
            found: describe(self.entries.get(index).map(Entry::dims)),
        })
    }

    /// Average the curvature of a batch in, and invert where that is due.
    pub(super) fn advance(
        self,
        layout: &Layout,
        curvature: Vec<Option<Vec<Tensor<2>>>>,
        options: &FactorOptions,
        refresh: bool,
    ) -> Result<Self, Error> {
        let mut counts = self.counts()?;
        let mut averaged = Vec::with_capacity(self.entries.len());
        let slots = layout.slots.iter().zip(self.entries).zip(curvature);
        for (((slot, entry), measured), count) in slots.zip(&mut counts) {
            let first = *count == 0;
            let entry = match measured {
                Some(measured) => {
                    *count += 1;
                    entry.average(measured, newest_weight(options.decay, *count as f64))
                }
                None => entry,
            };
            // A layer that was used for the first time does not wait.
            let due = *count > 0 && (refresh || first);
            averaged.push((slot, entry, due));
        }
        // An inversion keeps one thread busy, and the layers do not wait for each other.
        let watches = Watches::of_this_thread();
        let entries = averaged.into_par_iter().map(|(slot, entry, due)| {
            if due {
                watches.count(|| entry.refresh(slot, &options.damping))
            } else {
                Ok(entry)
            }
        });
        Ok(Self {
            entries: entries.collect::<Result<_, Error>>()?,
            counts: self.counts.map(|old| {
                let data = TensorData::new(counts.clone(), [counts.len()]);
                Tensor::from_data(data, &old.device())
            }),
        })
    }

    /// The update of a mean gradient, part of which may be given as rows too.
    pub(super) fn precondition(
        &self,
        layout: &Layout,
        gradient: &Direction,
        rows: Vec<Option<GradientRows>>,
        options: &FactorOptions,
    ) -> Result<(Direction, FactorReport), Error> {
        let counts = self.counts()?;
        let mut plain = Vec::new();
        let mut update = Direction::default();
        let mut reads = Reads::default();
        let mut shares = Vec::new();
        let entries = layout.slots.iter().zip(&self.entries).zip(rows);
        for (((slot, entry), rows), count) in entries.zip(counts) {
            let Some(own) = slot.vector(gradient) else {
                continue;
            };
            let known = count > 0 && slot.form != Form::Plain;
            let matrix = match rows {
                _ if !known => None,
                Some(rows) => Some(rows.preconditioned(entry.inverses())),
                None => slot.matrix(gradient).map(|matrix| entry.apply(matrix)),
            };
            let parts = match matrix {
                Some(matrix) => slot.entries(matrix),
                None if known => slot.split(entry.divide(own.clone(), &options.damping)),
                None => {
                    plain.push(slot.weight.path.clone());
                    slot.split(own.clone())
                }
            };
            let flat = parts.iter().map(|(_, part)| part.clone()).collect();
            let share = (Tensor::cat(flat, 0) * own).sum();
            shares.push((reads.float(share), &slot.weight.path));
            for (id, part) in parts {
                update.add(id, part);
            }
        }
        let values = reads.execute()?;
        let mut decrease = 0.0;
        for (share, path) in shares {
            let share = values.float(share)[0];
            if !share.is_finite() {
                return Err(Error::Curvature {
                    what: "gradients or updates",
                    parameter: path.clone(),
                });
            }
            decrease += share;
        }
        let bound = options.bound();
        let scale = bound.map_or(1.0, |bound| trust_region_factor(decrease, bound));
        update.scale(scale);
        let report = FactorReport {
            refreshed: false,
            decrease: decrease * scale,
            scale,
            plain,
        };
        Ok((update, report))
    }
}

/// Weight of the newest of `count` values in their decaying average, which starts unbiased.
fn newest_weight(decay: f64, count: f64) -> f64 {
    (1.0 - decay) / (1.0 - decay.powf(count))
}

/// Shapes of the curvature that a slot keeps.
fn dims(slot: &Slot) -> Vec<[usize; 2]> {
    match slot.form {
        Form::Kronecker {
            inputs, outputs, ..
        } => vec![[inputs; 2], [outputs; 2]],
        Form::Diagonal => vec![[1, slot.columns()]],
        Form::Plain => Vec::new(),
    }
}

impl Entry {
    fn new(slot: &Slot) -> Self {
        let frozen = |dims: [usize; 2]| {
            let zeros = Tensor::<2>::zeros(dims, (&slot.device, slot.dtype));
            Param::initialized(ParamId::new(), zeros)
        };
        let dims = dims(slot);
        let inverses = match slot.form {
            Form::Kronecker { .. } => dims.as_slice(),
            _ => &[],
        };
        Self {
            inverses: inverses.iter().map(|dims| frozen(*dims)).collect(),
            curvature: dims.into_iter().map(frozen).collect(),
        }
    }

    fn dims(&self) -> Vec<[usize; 2]> {
        self.curvature.iter().map(|p| p.shape().dims()).collect()
    }

    fn average(self, measured: Vec<Tensor<2>>, weight: f64) -> Self {
        let pairs = self.curvature.into_iter().zip(measured);
        let curvature = pairs.map(|(param, new)| {
            param.map(|old| {
                let new = moved(new, &old.device()).cast(old.dtype());
                old.clone() + (new - old) * weight
            })
        });
        Self {
            curvature: curvature.collect(),
            ..self
        }
    }

    fn refresh(self, slot: &Slot, damping: &FactorDamping) -> Result<Self, Error> {
        let [a, b] = self.curvature.as_slice() else {
            return Ok(self);
        };
        let inverted = invert(&slot.weight.path, &a.val(), &b.val(), damping)?;
        let values = [inverted.input, inverted.error];
        let pairs = self.inverses.into_iter().zip(values);
        Ok(Self {
            inverses: pairs.map(|(old, new)| old.map(|_| new)).collect(),
            ..self
        })
    }

    /// Those of the damped A and B.
    fn inverses(&self) -> [Tensor<2>; 2] {
        [0, 1].map(|k| self.inverses[k].val())
    }

    /// `(A + …)⁻¹ G (B + …)⁻¹`.
    fn apply(&self, gradient: Tensor<2>) -> Tensor<2> {
        let placed = |inverse: Tensor<2>| moved(inverse, &gradient.device()).cast(gradient.dtype());
        let [input, error] = self.inverses().map(placed);
        super::LayerInverses { input, error }.apply(gradient)
    }

    /// `g / (d + λ)`; zero where both are.
    fn divide(&self, gradient: Tensor<1>, damping: &FactorDamping) -> Tensor<1> {
        let diagonal = self.curvature[0].val().squeeze_dim::<1>(0);
        let diagonal = moved(diagonal, &gradient.device()).cast(gradient.dtype());
        let damped = match damping.amount {
            DampingAmount::Absolute(lambda) => diagonal + lambda,
            DampingAmount::Relative(fraction) => {
                let mean = diagonal.clone().mean() * fraction;
                diagonal + mean
            }
        };
        gradient / damped.clamp_min(f32::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_unbiased_from_the_start() {
        let values = [3.0, 5.0, 1.0];
        let decay: f64 = 0.5;
        let (mut average, mut count) = (0.0, 0.0);
        for value in values {
            count += 1.0;
            average += (value - average) * newest_weight(decay, count);
        }
        // Weights 1/4, 1/2, 1 over their sum.
        assert!((average - (0.75 + 2.5 + 1.0) / 1.75f64).abs() < 1e-15);
        assert_eq!(newest_weight(0.0, 7.0), 1.0);
    }
}
