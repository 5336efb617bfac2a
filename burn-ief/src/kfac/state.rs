//! What the family keeps from step to step: averaged factors and their inverses.

use burn::module::{Module, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

use super::factors::invert;
use super::layout::{Form, Layout, Slot, directions};
use super::method::{KroneckerReport, Settings};
use crate::error::Error;
use crate::jacobian::to_host;
use crate::params::{Direction, ParamInfo};
use crate::update::{Amount, clip_factor};

/// Averaged factors, their inverses and counters, as a module of frozen parameters: Burn's records
/// save and load it.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_ief::IekfacConfig;
///
/// let model = LinearConfig::new(3, 2).init(&Device::flex().autodiff());
/// let kfac = IekfacConfig::new().build();
/// let record = kfac.new_state(&model).into_record().into_bytes()?;
/// // Factors [4, 4] and [2, 2], their inverses, and two counters.
/// let record = burn::store::ModuleRecord::from_bytes(record)?;
/// assert_eq!(record.len(), 6);
/// let state = kfac.new_state(&model).load_record(record);
/// let kfac = kfac.with_state(state);
/// # let _ = kfac;
/// # Ok::<(), burn::store::RecordError>(())
/// ```
#[derive(Module, Debug)]
pub struct KroneckerState {
    entries: Vec<Entry>,
    /// Updates of each entry's averages.
    counts: Param<Tensor<1>>,
    /// Steps taken.
    steps: Param<Tensor<1>>,
}

/// The state of one slot.
#[derive(Module, Debug)]
struct Entry {
    /// A and B, or the diagonal `[1, P]`, or nothing.
    curvature: Vec<Param<Tensor<2>>>,
    /// Inverses of the damped A and B.
    inverses: Vec<Param<Tensor<2>>>,
}

/// What one batch says, one entry for each slot.
pub(crate) struct Statistics {
    /// Its curvature; `None` where the batch does not show it.
    pub curvature: Vec<Option<Vec<Tensor<2>>>>,
    /// Its mean gradient times the inverses that are kept in this step, where that was cheaper to
    /// find without forming the gradient first.
    pub updates: Vec<Option<Tensor<2>>>,
}

#[cfg(feature = "train")]
impl Statistics {
    /// Multiply the updates.
    pub fn scale_updates(&mut self, factor: f64) {
        let updates = std::mem::take(&mut self.updates).into_iter();
        let scaled = updates.map(|update| update.map(|update| update * factor));
        self.updates = scaled.collect();
    }
}

impl KroneckerState {
    pub(super) fn new(layout: &Layout) -> Self {
        let entries: Vec<Entry> = layout.slots.iter().map(Entry::new).collect();
        let device = layout.slots.first().map(|slot| slot.device.clone());
        let device = device.unwrap_or_else(|| Device::default().inner());
        let frozen = |size: usize| {
            Param::initialized(ParamId::new(), Tensor::<1>::zeros([size.max(1)], &device))
        };
        Self {
            counts: frozen(entries.len()),
            steps: frozen(1),
            entries,
        }
    }

    /// Steps taken, over resumed runs too.
    pub fn steps(&self) -> u64 {
        to_host(self.steps.val())[0] as u64
    }

    /// Refuse a state that was made for another module or configuration.
    pub(super) fn fits(&self, layout: &Layout) -> Result<(), Error> {
        let own = self.entries.iter().map(Entry::dims);
        let expected = layout.slots.iter().map(dims);
        match own.eq(expected) {
            true => Ok(()),
            false => Err(Error::Size {
                what: "entries of the K-FAC state (it belongs to another module or configuration)",
                expected: layout.slots.iter().map(|s| dims(s).len()).sum(),
                found: self.entries.iter().map(|e| e.curvature.len()).sum(),
            }),
        }
    }

    /// The inverses of each slot that stay as they are in this step.
    pub(super) fn kept(&self, settings: &Settings) -> Vec<Option<[Tensor<2>; 2]>> {
        let refresh = settings.inverts(self.steps());
        let counts = to_host(self.counts.val());
        let entries = self.entries.iter().zip(counts);
        let kept = entries.map(|(entry, count)| match entry.inverses.as_slice() {
            [input, error] if count > 0.0 && !refresh => Some([input.val(), error.val()]),
            _ => None,
        });
        kept.collect()
    }

    /// Put what a batch says beside its gradients, to be summed over shards with them. The second
    /// inverse's id carries the number of shards that formed their update.
    #[cfg(feature = "train")]
    pub(crate) fn send(&self, statistics: Statistics, grads: &mut GradientsParams) {
        for (entry, measured) in self.entries.iter().zip(statistics.curvature) {
            for (param, matrix) in entry.curvature.iter().zip(measured.into_iter().flatten()) {
                grads.register(param.id, matrix);
            }
        }
        for (entry, update) in self.entries.iter().zip(statistics.updates) {
            if let ([input, error], Some(update)) = (entry.inverses.as_slice(), update) {
                let one = Tensor::<2>::ones([1, 1], (&update.device(), update.dtype()));
                grads.register(error.id, one);
                grads.register(input.id, update);
            }
        }
    }

    /// Take it out again: means over the shards of the curvature, and of the updates where all of
    /// them formed theirs.
    #[cfg(feature = "train")]
    pub(crate) fn receive(&self, grads: &mut GradientsParams, shards: f64) -> Statistics {
        let here = |param: &Param<Tensor<2>>, sum: Tensor<2>| {
            sum.to_device(&param.lazy_device().inner()) / shards
        };
        let mut curvature = Vec::new();
        let mut updates = Vec::new();
        for entry in &self.entries {
            let matrices = entry.curvature.iter().map(|param| {
                let sum = grads.remove::<2>(param.id)?;
                Some(here(param, sum))
            });
            let matrices: Option<Vec<_>> = matrices.collect();
            curvature.push(matrices.filter(|matrices| !matrices.is_empty()));
            updates.push(match entry.inverses.as_slice() {
                [input, error] => {
                    let votes = grads.remove::<2>(error.id);
                    let votes = votes.map_or(0.0, |votes| to_host(votes)[0]);
                    let sum = grads.remove::<2>(input.id);
                    sum.filter(|_| votes == shards).map(|sum| here(input, sum))
                }
                _ => None,
            });
        }
        Statistics { curvature, updates }
    }

    /// Average the curvature of a batch in, invert where that is due, and count the step.
    pub(super) fn advance(
        self,
        layout: &Layout,
        curvature: Vec<Option<Vec<Tensor<2>>>>,
        settings: &Settings,
    ) -> Result<(Self, bool), Error> {
        let step = self.steps();
        let mut counts = to_host(self.counts.val());
        let refresh = settings.inverts(step);
        let slots = layout.slots.iter().zip(self.entries).zip(curvature);
        let slots = slots.zip(&mut counts);
        let averaged = slots.map(|(((slot, entry), measured), count)| {
            let first = *count == 0.0;
            let entry = match measured {
                Some(measured) => {
                    *count += 1.0;
                    entry.average(measured, newest_weight(settings.decay, *count))
                }
                None => entry,
            };
            // A layer that was used for the first time does not wait.
            (slot, entry, *count > 0.0 && (refresh || first))
        });
        let averaged: Vec<_> = averaged.collect();
        // An inversion keeps one thread busy, and the layers do not wait for each other.
        let averaged = averaged.into_par_iter();
        let entries = averaged.map(|(slot, entry, due)| match due {
            true => entry.refresh(slot, settings),
            false => Ok(entry),
        });
        let entries = entries.collect::<Result<_, Error>>()?;
        let state = Self {
            entries,
            counts: self.counts.map(|old| {
                let place = (old.device(), old.dtype());
                let size = counts.len();
                Tensor::from_data(TensorData::new(counts, [size]), (&place.0, place.1))
            }),
            steps: self.steps.map(|steps| steps + 1.0),
        };
        Ok((state, refresh))
    }

    /// Turn the mean gradients of the covered parameters into the update; `formed` holds the parts of
    /// it that are there already.
    pub(super) fn precondition(
        &self,
        layout: &Layout,
        formed: Vec<Option<Tensor<2>>>,
        grads: &mut GradientsParams,
        settings: &Settings,
    ) -> Result<KroneckerReport, Error> {
        let gradients = directions(layout, grads)?;
        let counts = to_host(self.counts.val());
        let mut report = KroneckerReport::default();
        let mut updates = Direction::default();
        let mut products: Vec<(&Slot, f64)> = Vec::new();
        let entries = layout.slots.iter().zip(&self.entries).zip(formed);
        for (((slot, entry), formed), count) in entries.zip(counts) {
            let Some(gradient) = slot.vector(&gradients) else {
                continue;
            };
            let known = count > 0.0 && slot.form != Form::Plain;
            let product = || Some(entry.apply(slot.matrix(&gradients)?));
            let update = match formed.or_else(product).filter(|_| known) {
                Some(update) => slot.entries(update),
                None if known => slot.split(entry.divide(gradient.clone(), settings)),
                None => {
                    report.plain.push(slot.weight.path.clone());
                    slot.split(gradient.clone())
                }
            };
            let parts = update.iter().map(|(_, entry)| entry.clone()).collect();
            let product = (Tensor::cat(parts, 0) * gradient).sum();
            products.push((slot, to_host(product)[0]));
            for (id, entry) in update {
                updates.add(id, entry);
            }
        }
        if let Some((slot, _)) = products.iter().find(|(_, p)| !p.is_finite()) {
            return Err(Error::Curvature {
                what: "gradients or updates",
                parameter: slot.weight.path.clone(),
            });
        }
        report.decrease = products.iter().map(|(_, product)| product).sum();
        report.scale = settings
            .kl_clip
            .map_or(1.0, |bound| clip_factor(report.decrease, bound));
        report.decrease *= report.scale;
        let params: Vec<ParamInfo> = layout
            .slots
            .iter()
            .flat_map(Slot::params)
            .cloned()
            .collect();
        updates.scale(report.scale);
        updates.register(&params, grads);
        Ok(report)
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
                let new = new.cast(old.dtype());
                old.clone() + (new - old) * weight
            })
        });
        Self {
            curvature: curvature.collect(),
            ..self
        }
    }

    fn refresh(self, slot: &Slot, settings: &Settings) -> Result<Self, Error> {
        let [a, b] = self.curvature.as_slice() else {
            return Ok(self);
        };
        let inverted = invert(&slot.weight.path, &a.val(), &b.val(), &settings.damping)?;
        let values = [inverted.input, inverted.error];
        let pairs = self.inverses.into_iter().zip(values);
        Ok(Self {
            inverses: pairs.map(|(old, new)| old.map(|_| new)).collect(),
            ..self
        })
    }

    /// `(A + …)⁻¹ G (B + …)⁻¹`.
    fn apply(&self, gradient: Tensor<2>) -> Tensor<2> {
        let [input, error] = [0, 1].map(|k| self.inverses[k].val());
        let dtype = gradient.dtype();
        super::LayerInverses {
            input: input.cast(dtype),
            error: error.cast(dtype),
        }
        .apply(gradient)
    }

    /// `g / (d + λ)`; zero where both are.
    fn divide(&self, gradient: Tensor<1>, settings: &Settings) -> Tensor<1> {
        let diagonal = self.curvature[0].val().squeeze_dim::<1>(0);
        let diagonal = diagonal.cast(gradient.dtype());
        let damped = match settings.damping.amount {
            Amount::Absolute(lambda) => diagonal + lambda,
            Amount::Relative(fraction) => {
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
