//! The per-sample Jacobian J as a linear operator.
//!
//! J has one row per sample: the gradient of the loss of that sample (in sum form, that is, not
//! divided by the batch size) with respect to the P entries of all trainable parameters. J is never
//! formed. Every product is computed from the form in which the layers recorded their rows.

mod by_sample;
mod layers;
mod loss_scale;
mod outputs;
mod part;
mod products;
mod recorded_batch;
mod scaling;
mod validate;

use std::time::Duration;

use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor, TensorData};

use crate::error::Error;
use crate::host::supports_f64;
use crate::linalg::Symmetric;
use crate::params::{Direction, ParamInfo};

pub(crate) use layers::LayerRows;
pub use part::GramPrecision;
pub(crate) use part::{Block, Part};
pub use recorded_batch::RecordedBatch;
pub(crate) use recorded_batch::Rest;
pub(crate) use scaling::Scaling;
pub use validate::{ValidatedParameter, ValidationReport, validate};

/// The per-sample Jacobian J `[M, P]` of a recorded batch, in sum form.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::Tape;
/// use burn_ief::jacobian::Jacobian;
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let layer = LinearConfig::new(3, 2).init(&device);
/// let x = Tensor::<2>::ones([4, 3], &device);
///
/// let tape = Tape::start();
/// // The loss is a mean over the batch, like most losses. J does not contain the factor 1/M.
/// let grads = layer.forward_recorded(x).sum_dim(1).mean().backward();
/// let jacobian = Jacobian::from_tape(tape, grads, &layer)?;
/// assert_eq!((jacobian.samples(), jacobian.columns()), (4, 8));
///
/// // Jᵀ1 is the gradient of the summed loss.
/// let summed = jacobian.t_matvec(&[1.0; 4])?;
/// let weight = summed.get::<2>(layer.weight.id).unwrap();
/// assert!((weight.max().into_scalar::<f32>() - 4.0).abs() < 1e-6);
/// // J times that gradient is, for each sample, 4 for each of the 6 weights and 2 biases.
/// assert!((jacobian.matvec(&summed)?[0] - 32.0).abs() < 1e-4);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Jacobian {
    params: Vec<ParamInfo>,
    /// The rows of recordings, or of some parameters of them where several devices share them out.
    pub(crate) parts: Vec<Part>,
    precision: GramPrecision,
    /// How long a read waits for a device.
    deadline: Option<Duration>,
}

/// If the largest coefficient is outside of this range, all are scaled before they are cast to f32,
/// whose numbers are between 1.2e-38 and 3.4e38.
const F32_COEFFICIENTS: std::ops::RangeInclusive<f64> = 1e-25..=1e30;

impl Jacobian {
    /// Number of rows.
    pub fn samples(&self) -> usize {
        self.parts.iter().map(Part::end).max().unwrap_or(0)
    }

    /// Number of columns P.
    pub fn columns(&self) -> usize {
        self.params.iter().map(|p| p.shape.num_elements()).sum()
    }

    /// The parameters that J has columns for, in the module's order.
    pub fn params(&self) -> &[ParamInfo] {
        &self.params
    }

    /// Paths of parameters that no recorded call used. Their columns are zero.
    pub fn unused(&self) -> Vec<String> {
        let used = |id| {
            let mut blocks = self.parts.iter().flat_map(|part| &part.blocks);
            blocks.any(|block| block.covers(id))
        };
        let unused = self.params.iter().filter(|param| !used(param.id));
        unused.map(|param| param.path.clone()).collect()
    }

    /// Choose the precision of [`gram`](Self::gram).
    pub fn with_precision(mut self, precision: GramPrecision) -> Self {
        self.precision = precision;
        self
    }

    /// Stack the rows of several recordings: an exact large batch from micro-batches.
    ///
    /// The rows move to the device of the first.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] if there are none, or if they have columns for different parameters.
    pub fn stack(jacobians: impl IntoIterator<Item = Self>) -> Result<Self, Error> {
        let mut stacked = Self::side_by_side(jacobians)?;
        if let Some(device) = stacked.parts.first().map(|part| part.device.clone()) {
            let parts = std::mem::take(&mut stacked.parts).into_iter();
            stacked.parts = parts.map(|part| part.moved_to(&device)).collect();
        }
        Ok(stacked)
    }

    /// The rows of several recordings, each on its own device: without inner products between them.
    pub(crate) fn side_by_side(jacobians: impl IntoIterator<Item = Self>) -> Result<Self, Error> {
        let mut jacobians = jacobians.into_iter();
        let mut first = jacobians.next().ok_or(Error::Size {
            what: "Jacobians to stack",
            expected: 1,
            found: 0,
        })?;
        let mut rows = first.samples();
        for next in jacobians {
            first.same_params(&next)?;
            let samples = next.samples();
            let parts = next.parts.into_iter().map(|part| Part {
                start: rows + part.start,
                ..part
            });
            first.parts.extend(parts);
            rows += samples;
        }
        Ok(first)
    }

    /// Wait at most this long for a device that is read.
    pub(crate) fn with_deadline(mut self, deadline: Option<Duration>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Only the rows `start..start + count`.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] if there are not that many rows.
    pub fn narrow(&self, start: usize, count: usize) -> Result<Self, Error> {
        check_size(
            "rows of the Jacobian",
            start + count,
            self.samples(),
            usize::le,
        )?;
        if count == self.samples() {
            return Ok(self.clone());
        }
        let parts = self.parts.iter().filter_map(|part| {
            let from = start.max(part.start);
            let to = (start + count).min(part.end());
            (from < to).then(|| Part {
                start: from - start,
                ..part.narrow(from - part.start, to - from)
            })
        });
        Ok(Self {
            parts: parts.collect(),
            ..self.clone()
        })
    }

    /// Jv for a direction v with an entry for each parameter, `[M]`.
    ///
    /// Parameters that are missing in `v` count as zero.
    ///
    /// # Errors
    ///
    /// [`Error::RowShape`] if an entry has another shape than its parameter.
    pub fn matvec(&self, v: &GradientsParams) -> Result<Vec<f64>, Error> {
        self.image(&Direction::from_gradients(&self.params, v)?)
    }

    /// [`matvec`](Self::matvec) for a flattened direction.
    pub(crate) fn image(&self, v: &Direction) -> Result<Vec<f64>, Error> {
        products::image(self, v)
    }

    /// Jᵀc = Σ_n c_n ∇l_n, as gradients for an optimizer.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] if `c` does not have one entry per row.
    pub fn t_matvec(&self, c: &[f64]) -> Result<GradientsParams, Error> {
        check_size("coefficients", self.samples(), c.len(), usize::eq)?;
        let mut direction = Direction::default();
        for part in &self.parts {
            part.add_t_matvec(&c[part.rows()], &mut direction);
        }
        Ok(direction.into_gradients(&self.params))
    }

    /// Like [`t_matvec`](Self::t_matvec), but frees the rows of each parameter as soon as they are used.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] if `c` does not have one entry per row.
    pub fn into_t_matvec(self, c: &[f64]) -> Result<GradientsParams, Error> {
        let params = self.params.clone();
        Ok(self.into_combination(c)?.into_gradients(&params))
    }

    /// [`into_t_matvec`](Self::into_t_matvec) as a flattened direction.
    pub(crate) fn into_combination(self, c: &[f64]) -> Result<Direction, Error> {
        check_size("coefficients", self.samples(), c.len(), usize::eq)?;
        // Coefficients of very short or very long rows leave the range of f32, though their products
        // with the rows do not.
        let largest = c.iter().fold(0.0f64, |largest, c| largest.max(c.abs()));
        let in_f32 = self.row_epsilon() > f64::EPSILON;
        let usual = largest == 0.0 || !largest.is_finite() || F32_COEFFICIENTS.contains(&largest);
        let scale = if in_f32 && !usual {
            largest.clamp(*F32_COEFFICIENTS.start(), *F32_COEFFICIENTS.end()) / largest
        } else {
            1.0
        };
        let scaled: Vec<f64> = c.iter().map(|c| c * scale).collect();
        let mut direction = Direction::default();
        for mut part in self.parts {
            let c = part.coefficients(&scaled[part.rows()]);
            for block in std::mem::take(&mut part.blocks) {
                block.add_t_matvec(c.clone(), &mut direction);
            }
        }
        direction.scale(1.0 / scale);
        Ok(direction)
    }

    /// [`into_combination`](Self::into_combination) for coefficients whose terms cancel: formed in f64
    /// where the device supports it, so that the sum keeps the digits of the rows.
    pub(crate) fn into_wide_combination(self, c: &[f64]) -> Result<Direction, Error> {
        let params = self.params.clone();
        let parts = self.parts.into_iter().map(Part::widened).collect();
        let mut direction = Self { parts, ..self }.into_combination(c)?;
        for param in &params {
            direction.cast(param.id, param.update_dtype());
        }
        Ok(direction)
    }

    /// ‖∇l_n‖ of every sample.
    pub fn row_norms(&self) -> Vec<f64> {
        let mut squares = vec![0.0; self.samples()];
        for part in &self.parts {
            let own = part.squared_norms(self.precision);
            let sums = squares[part.rows()].iter_mut();
            sums.zip(own).for_each(|(sum, own)| *sum += own);
        }
        squares.into_iter().map(|n| n.max(0.0).sqrt()).collect()
    }

    /// J as dense rows `[M][P]` on the host, with columns in the order of [`params`](Self::params).
    ///
    /// It has M·P numbers, so use it for small models.
    ///
    /// # Panics
    ///
    /// Panics if a device of the rows is lost.
    pub fn to_dense(&self) -> Vec<Vec<f64>> {
        let rows = self.dense(&self.params);
        rows.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Dense rows `[M][p]` of one parameter, on the host.
    pub(crate) fn rows_of(&self, param: &ParamInfo) -> Vec<Vec<f64>> {
        let rows = self.dense(std::slice::from_ref(param));
        rows.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Dense rows of some parameters, on the host.
    pub(crate) fn dense(&self, params: &[ParamInfo]) -> Result<Vec<Vec<f64>>, Error> {
        products::dense(self, params)
    }

    /// A direction from its P entries, in the order of [`params`](Self::params).
    ///
    /// # Errors
    ///
    /// [`Error::Size`] if `v` does not have [`columns`](Self::columns) entries.
    pub fn unflatten(&self, v: &[f64]) -> Result<GradientsParams, Error> {
        Ok(self.direction(v)?.into_gradients(&self.params))
    }

    /// [`unflatten`](Self::unflatten) as a flattened direction.
    pub(crate) fn direction(&self, v: &[f64]) -> Result<Direction, Error> {
        check_size("entries of a direction", self.columns(), v.len(), usize::eq)?;
        let place = self
            .parts
            .first()
            .map(|part| (part.device.clone(), part.dtype));
        let (device, dtype) = place.ok_or(Error::NothingRecorded)?;
        let mut direction = Direction::default();
        let mut offset = 0;
        for param in &self.params {
            let width = param.shape.num_elements();
            let data = TensorData::new(v[offset..offset + width].to_vec(), [width]);
            direction.add(param.id, Tensor::from_data(data, (&device, dtype)));
            offset += width;
        }
        Ok(direction)
    }

    pub(crate) fn same_params(&self, other: &Self) -> Result<(), Error> {
        let same = self.params.len() == other.params.len()
            && self
                .params
                .iter()
                .zip(&other.params)
                .all(|(a, b)| a.id == b.id);
        if same {
            Ok(())
        } else {
            Err(Error::Size {
                what: "parameters shared by two Jacobians",
                expected: self.params.len(),
                found: other
                    .params
                    .iter()
                    .filter(|p| self.params.iter().any(|q| q.id == p.id))
                    .count(),
            })
        }
    }
}

impl Jacobian {
    /// Inner products of the samples' gradients, K = J Jᵀ `[M, M]`, read to the host.
    ///
    /// # Errors
    ///
    /// [`Error::NonFinite`] naming the samples whose gradients are NaN or infinite.
    pub fn gram(&self) -> Result<Symmetric, Error> {
        products::gram(self)
    }

    /// Inner products with the rows of another Jacobian, J J'ᵀ `[M][M']`, on the host.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] if the two have columns for different parameters.
    pub fn cross_gram(&self, other: &Self) -> Result<Vec<Vec<f64>>, Error> {
        self.same_params(other)?;
        products::cross(self, other)
    }

    /// Machine epsilon of the precision in which [`gram`](Self::gram) is accumulated.
    pub fn gram_epsilon(&self) -> f64 {
        let rows = self.samples();
        let wide = |part: &Part| self.precision.dtype(part, rows) == DType::F64;
        if self.parts.iter().all(wide) {
            f64::EPSILON
        } else {
            f64::from(f32::EPSILON)
        }
    }
}

impl Jacobian {
    /// Whether [`GramPrecision::Auto`] chose f32 for the Gram matrix on devices that support f64.
    pub(crate) fn can_accumulate_in_f64(&self) -> bool {
        let f64_works = |part: &Part| supports_f64(&part.device);
        self.precision == GramPrecision::Auto
            && self.gram_epsilon() > f64::EPSILON
            && self.parts.iter().all(f64_works)
    }

    /// Machine epsilon of the rows: that of f32, or of f64 if the model is in f64.
    pub fn row_epsilon(&self) -> f64 {
        if self.parts.iter().all(|part| part.dtype == DType::F64) {
            f64::EPSILON
        } else {
            f64::from(f32::EPSILON)
        }
    }

    /// The largest entry that an update may have, with some room below the largest number of the
    /// rows' type.
    pub(crate) fn largest_update(&self) -> f64 {
        if self.row_epsilon() > f64::EPSILON {
            f64::from(f32::MAX) / 16.0
        } else {
            f64::MAX / 16.0
        }
    }
}

fn check_size(
    what: &'static str,
    expected: usize,
    found: usize,
    holds: impl Fn(&usize, &usize) -> bool,
) -> Result<(), Error> {
    if holds(&expected, &found) {
        Ok(())
    } else {
        Err(Error::Size {
            what,
            expected,
            found,
        })
    }
}
