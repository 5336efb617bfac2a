//! The Jacobian from one backward pass per sample. It is exact for any module and serves as the
//! reference for everything that is recorded.

use std::collections::HashMap;

use burn::module::{Flag, Module, Param, ParamGroup, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor};

use super::outputs::{Outputs, read_facts};
use super::part::assemble;
use super::recorded_batch::Rest;
use super::{Block, GramPrecision, Jacobian, Part, RecordedBatch};
use crate::error::Error;
use crate::params::{self, Direction, ParamInfo, ParamVisitor, Place};
use crate::record::{LabelDraw, LossScale, Tape};
use crate::rows::Rows;

/// Refuse a BatchNorm in training mode: in the pass of one sample, it would normalise by the statistics of
/// that sample, and average them into its stored ones.
fn refuse_batch_norm<M: Module>(module: &M) -> Result<(), Error> {
    struct Search(Option<String>);
    impl ParamVisitor for Search {
        fn float<const D: usize>(&mut self, _place: &Place<'_>, _param: &Param<Tensor<D>>) {}

        fn flag(&mut self, place: &Place<'_>, flag: &Param<Flag>) {
            if place.is_training_batch_norm(flag) {
                self.0.get_or_insert(place.parent());
            }
        }
    }
    let mut search = Search(None);
    params::visit(module, &mut search);
    match search.0 {
        Some(module) => Err(Error::BatchNorm { module }),
        None => Ok(()),
    }
}

impl Jacobian {
    /// J from one forward and backward pass per sample.
    ///
    /// It works for any module, recorded or not, and takes M forward and backward passes and memory
    /// for M·P numbers. `loss` returns the loss of one sample, as a scalar on the autodiff graph.
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::tensor::{Device, Tensor};
    /// use burn_ief::jacobian::Jacobian;
    ///
    /// let device = Device::flex().autodiff();
    /// let layer = LinearConfig::new(3, 1).init(&device);
    /// let x = Tensor::<2>::ones([4, 3], &device);
    /// let jacobian = Jacobian::by_sample(&layer, 4, |layer, n| {
    ///     layer.forward(x.clone().narrow(0, n, 1)).sum()
    /// })?;
    /// assert!((jacobian.gram()?.get(0, 3) - 4.0).abs() < 1e-6);
    /// # Ok::<(), burn_ief::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Size`] without samples; [`Error::NothingTrainable`] if no parameter of the module requires a gradient;
    /// [`Error::BatchNorm`] if the module has a BatchNorm in training mode, which would take the statistics of
    /// one sample.
    pub fn by_sample<M: Module>(
        module: &M,
        samples: usize,
        loss: impl Fn(&M, usize) -> Tensor<1>,
    ) -> Result<Self, Error> {
        let params = params::trainable(module);
        refuse_batch_norm(module)?;
        let mut rows = RowsBySample::new(&params, samples)?;
        for n in 0..samples {
            let grads = GradientsParams::from_grads(loss(module, n).backward(), module);
            rows.push(&Direction::from_gradients(&params, &grads)?);
        }
        Ok(rows.finish(params.clone(), samples))
    }
}

impl RecordedBatch {
    /// A batch from one forward and backward pass per sample (and per copy with drawn labels), inside a
    /// recording of that sample.
    ///
    /// Unlike [`collect`](Self::collect), it takes plain gradients as rows, so the calls of the
    /// module need not be recorded. `loss` returns the loss of sample n alone. Parameters outside the
    /// group get the mean of their gradients.
    pub(crate) fn by_sample<M: Module>(
        module: &M,
        group: Option<&ParamGroup>,
        labels: Option<LabelDraw>,
        samples: usize,
        loss: impl Fn(&M, usize) -> Tensor<1>,
    ) -> Result<Self, Error> {
        let all = params::trainable(module);
        let params = params::matching(module, group);
        refuse_batch_norm(module)?;
        let shared = held_twice(module);
        let others: Vec<_> = all
            .iter()
            .filter(|param| params.iter().all(|inside| inside.id != param.id))
            .cloned()
            .collect();
        let copies = labels.as_ref().map_or(0, LabelDraw::copies);
        let mut rows = RowsBySample::new(&params, samples)?;
        let mut rest = Direction::default();
        let mut norms = Vec::with_capacity(samples);
        let mut matches = vec![false; copies * samples];
        let mut fitted = Vec::with_capacity(samples);
        for copy in 0..=copies {
            for n in 0..samples {
                let tape = Tape::of_sample(labels.as_ref(), n, copy);
                let grads = loss(module, n).backward();
                let recording = tape.finish_sample(&grads)?;
                let grads = GradientsParams::from_grads(grads, module);
                let mut direction = Direction::from_gradients(&all, &grads)?.widened();
                // Calls that are recorded all the same keep their gradients in the recording.
                let recorded = rows.part(1, assemble(recording.uses));
                recorded.add_t_matvec(&[1.0], &mut direction);
                rows.push(&direction);
                if copy > 0 {
                    continue;
                }
                for param in &others {
                    if let Some(share) = direction.remove(param.id) {
                        rest.add(param.id, share / samples as f64);
                    }
                }
                let outputs = read_facts(
                    recording.index_checks,
                    recording.outputs,
                    1,
                    labels.as_ref(),
                    None,
                )?;
                match outputs.norms() {
                    Ok(norm) => norms.extend(norm),
                    Err(Error::NoOutput) => {}
                    Err(Error::NonFinite { what, .. }) => {
                        return Err(Error::NonFinite {
                            what,
                            samples: vec![n],
                        });
                    }
                    Err(error) => return Err(error),
                }
                fitted.extend(outputs.fitted.unwrap_or_default());
                if let Some(LabelDraw::Sample { .. }) = &labels {
                    let own = outputs.matches.ok_or(Error::NoSampledLabels)?;
                    for (k, same) in own.into_iter().enumerate() {
                        matches[k * samples + n] = same;
                    }
                }
            }
        }
        if norms.len() != samples && labels.is_some() {
            return Err(Error::NoOutput);
        }
        let outputs = Outputs {
            norms: (norms.len() == samples).then_some(norms),
            matches: labels.is_some().then_some(matches),
            fitted: (fitted.len() == samples).then_some(fitted),
            curvature: None,
        };
        Ok(Self {
            jacobian: rows.finish(params.clone(), samples * (1 + copies)),
            samples,
            labels,
            outputs,
            rest: Rest {
                params: others,
                gradients: rest,
                scale: LossScale::Mean,
                samples,
            },
            shared,
        })
    }
}

/// Dense rows, collected sample by sample.
struct RowsBySample<'a> {
    params: &'a [ParamInfo],
    rows: Vec<Vec<Tensor<2>>>,
    device: Device,
    dtype: DType,
}

impl<'a> RowsBySample<'a> {
    fn new(params: &'a [ParamInfo], samples: usize) -> Result<Self, Error> {
        if samples == 0 {
            return Err(Error::Size {
                what: "samples",
                expected: 1,
                found: 0,
            });
        }
        let first = params.first().ok_or(Error::NothingTrainable)?;
        Ok(Self {
            params,
            rows: vec![Vec::new(); params.len()],
            device: first.device.clone(),
            dtype: first.update_dtype(),
        })
    }

    fn push(&mut self, row: &Direction) {
        for (param, rows) in self.params.iter().zip(&mut self.rows) {
            let size = [1, param.len()];
            rows.push(match row.get(param.id) {
                Some(row) => {
                    let row = row.to_device(&self.device).cast(self.dtype);
                    row.reshape(size)
                }
                None => Tensor::zeros(size, (&self.device, self.dtype)),
            });
        }
    }

    fn part(&self, samples: usize, blocks: Vec<Block>) -> Part {
        Part {
            start: 0,
            samples,
            scale: 1.0,
            blocks,
            device: self.device.clone(),
            dtype: self.dtype,
        }
    }

    fn finish(mut self, params: Vec<ParamInfo>, samples: usize) -> Jacobian {
        let rows = std::mem::take(&mut self.rows);
        let blocks = params.iter().zip(rows).map(|(param, rows)| Block {
            parameter: param.id,
            bias: None,
            uses: vec![Rows::Dense(Tensor::cat(rows, 0))],
        });
        Jacobian {
            parts: vec![self.part(samples, blocks.collect())],
            params,
            precision: GramPrecision::default(),
            deadline: None,
        }
    }
}

/// The first two paths of a trainable parameter that two modules hold.
fn held_twice<M: Module>(module: &M) -> Option<(String, String)> {
    #[derive(Default)]
    struct Twice {
        known: HashMap<ParamId, String>,
        found: Option<(String, String)>,
    }
    impl ParamVisitor for Twice {
        fn float<const D: usize>(&mut self, place: &Place<'_>, param: &Param<Tensor<D>>) {
            if !param.is_require_grad() {
                return;
            }
            let path = place.path();
            if let Some(first) = self.known.get(&param.id) {
                self.found.get_or_insert((first.clone(), path));
            } else {
                self.known.insert(param.id, path);
            }
        }
    }
    let mut twice = Twice::default();
    params::visit(module, &mut twice);
    twice.found
}
