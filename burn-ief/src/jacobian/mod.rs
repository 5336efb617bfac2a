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
mod recorded_batch;
mod scaling;
mod validate;
mod vectors;

use std::time::Duration;

use burn::tensor::{DType, Device, Tensor};

use crate::error::Error;
use crate::host::{ReadOf, Reads, Values, on_device, supports_f64};
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

    /// Jv for a flattened direction, `[M]`.
    pub(crate) fn image(&self, v: &Direction) -> Result<Vec<f64>, Error> {
        let mut reads = Reads::with_deadline(self.deadline);
        let image = PendingImage::new(self, v, &mut reads)?;
        Ok(image.finish(&reads.execute()?))
    }

    /// Jᵀc as a flattened direction. Frees the rows of each parameter as soon as they are used.
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
        let mut reads = Reads::with_deadline(self.deadline);
        let gram = PendingGram::new(self, &mut reads)?;
        gram.finish(&reads.execute()?)
    }

    /// K of these rows, and the image of a direction under others, from one read.
    ///
    /// # Errors
    ///
    /// As [`gram`](Self::gram).
    pub(crate) fn gram_and_image_of(
        &self,
        others: &Self,
        v: &Direction,
    ) -> Result<(Symmetric, Vec<f64>), Error> {
        let mut reads = Reads::with_deadline(self.deadline);
        let gram = PendingGram::new(self, &mut reads)?;
        let image = PendingImage::new(others, v, &mut reads)?;
        let values = reads.execute()?;
        Ok((gram.finish(&values)?, image.finish(&values)))
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

/// A block of a matrix of products, from one pair of recordings.
struct Tile {
    /// Its first row and column.
    start: [usize; 2],
    size: [usize; 2],
    scale: f64,
    /// `None` if it is zero.
    values: Option<ReadOf>,
}

impl Tile {
    fn new(
        start: [usize; 2],
        size: [usize; 2],
        scale: f64,
        product: Option<Tensor<2>>,
        reads: &mut Reads,
    ) -> Self {
        Self {
            start,
            size,
            scale,
            values: product.map(|product| reads.float(product)),
        }
    }

    fn each(&self, values: &Values, mut put: impl FnMut(usize, usize, f64)) {
        let Some(place) = self.values else { return };
        let [row, column] = self.start;
        let values = values.scaled(place, self.scale);
        for (i, line) in values.chunks(self.size[1].max(1)).enumerate() {
            for (j, value) in line.iter().enumerate() {
                put(row + i, column + j, *value);
            }
        }
    }
}

/// K, being read.
struct PendingGram {
    size: usize,
    tiles: Vec<Tile>,
}

impl PendingGram {
    fn new(jacobian: &Jacobian, reads: &mut Reads) -> Result<Self, Error> {
        let size = jacobian.samples();
        let precision = jacobian.precision;
        let mut tiles = Vec::new();
        for (i, part) in jacobian.parts.iter().enumerate() {
            // Parts on different devices have rows for different parameters.
            let before = jacobian.parts[..i].iter();
            for other in before.filter(|other| other.device == part.device) {
                let product = on_device(&part.device, || part.cross(other, precision, size))?;
                let shape = [part.samples, other.samples];
                let scale = part.scale * other.scale;
                let start = [part.start, other.start];
                tiles.push(Tile::new(start, shape, scale, product, reads));
            }
            let own = on_device(&part.device, || part.gram(precision, size))?;
            let scale = part.scale * part.scale;
            let start = [part.start; 2];
            tiles.push(Tile::new(start, [part.samples; 2], scale, own, reads));
        }
        Ok(Self { size, tiles })
    }

    fn finish(self, values: &Values) -> Result<Symmetric, Error> {
        let size = self.size;
        let lower = match self.tiles.as_slice() {
            [
                Tile {
                    scale,
                    values: Some(place),
                    ..
                },
            ] => values.scaled(*place, *scale),
            tiles => {
                let mut lower = vec![0.0; size * size];
                for tile in tiles {
                    tile.each(values, |row, column, value| {
                        lower[row * size + column] += value;
                    });
                }
                lower
            }
        };
        let gram = Symmetric::new(size, lower);
        let bad: Vec<usize> = (0..size).filter(|&n| !gram.get(n, n).is_finite()).collect();
        if bad.is_empty() {
            Ok(gram)
        } else {
            Err(Error::NonFinite {
                what: "per-sample gradients",
                samples: bad,
            })
        }
    }
}

/// Jv, being read.
struct PendingImage {
    size: usize,
    parts: Vec<PartImage>,
}

struct PartImage {
    start: usize,
    scale: f64,
    values: ReadOf,
}

impl PendingImage {
    fn new(jacobian: &Jacobian, v: &Direction, reads: &mut Reads) -> Result<Self, Error> {
        let mut parts = Vec::new();
        // Several parts on a device share the entries that are sent to it.
        let mut sent: Vec<(Device, Direction)> = Vec::new();
        for part in &jacobian.parts {
            let known = sent.iter().position(|(device, _)| *device == part.device);
            let place = known.unwrap_or_else(|| {
                sent.push((part.device.clone(), Direction::default()));
                sent.len() - 1
            });
            let (_, there) = &mut sent[place];
            let image = on_device(&part.device, || {
                part.send(v, there);
                part.matvec(there)
            })?;
            parts.extend(image.map(|image| PartImage {
                start: part.start,
                scale: part.scale,
                values: reads.float(image),
            }));
        }
        Ok(Self {
            size: jacobian.samples(),
            parts,
        })
    }

    fn finish(self, values: &Values) -> Vec<f64> {
        let mut image = vec![0.0; self.size];
        for part in self.parts {
            let own = values.scaled(part.values, part.scale);
            let rows = image[part.start..].iter_mut();
            rows.zip(own).for_each(|(sum, own)| *sum += own);
        }
        image
    }
}
