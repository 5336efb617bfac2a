//! J for users: from a tape, its products with gradients, dense rows, and directions from their entries.

use std::collections::HashMap;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Gradients, Tensor, TensorData};

use super::{Jacobian, RecordedBatch, Tile, check_size};
use crate::error::Error;
use crate::host::{Reads, on_device};
use crate::params::{Direction, ParamInfo};
use crate::record::Tape;

impl Jacobian {
    /// The Jacobian of a recorded batch, for all trainable parameters of `module`.
    ///
    /// See [`RecordedBatch::collect`] for output gradients, drawn labels and parameter groups.
    ///
    /// # Errors
    ///
    /// As [`RecordedBatch::collect`].
    pub fn from_tape<M: Module>(tape: Tape, grads: Gradients, module: &M) -> Result<Self, Error> {
        RecordedBatch::collect(tape, grads, module, None).map(|recorded| recorded.jacobian())
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

    /// Inner products with the rows of another Jacobian, J J'ᵀ `[M][M']`, on the host.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] if the two have columns for different parameters.
    pub fn cross_gram(&self, other: &Self) -> Result<Vec<Vec<f64>>, Error> {
        self.same_params(other)?;
        let rows = self.samples().max(other.samples());
        let mut reads = Reads::with_deadline(self.deadline);
        let mut tiles = Vec::new();
        for part in &self.parts {
            for own in &other.parts {
                let product = on_device(&part.device, || {
                    let own = own.shared_with(part).moved_to(&part.device);
                    part.cross(&own, self.precision, rows)
                })?;
                let size = [part.samples, own.samples];
                let scale = part.scale * own.scale;
                let start = [part.start, own.start];
                tiles.push(Tile::new(start, size, scale, product, &mut reads));
            }
        }
        let values = reads.execute()?;
        let mut all = vec![vec![0.0; other.samples()]; self.samples()];
        for tile in tiles {
            tile.each(&values, |row, column, value| all[row][column] += value);
        }
        Ok(all)
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
        let mut reads = Reads::with_deadline(self.deadline);
        let mut blocks = Vec::new();
        for part in &self.parts {
            let rows = on_device(&part.device, || part.to_dense(params))?;
            for (id, rows) in rows {
                blocks.push((part, id, reads.float(rows)));
            }
        }
        let values = reads.execute()?;
        let mut offsets = HashMap::new();
        let mut width = 0;
        for param in params {
            offsets.insert(param.id, (width, param.len()));
            width += param.len();
        }
        let mut lines = vec![vec![0.0; width]; self.samples()];
        for (part, id, place) in blocks {
            let (offset, width) = offsets[&id];
            let values = values.scaled(place, part.scale);
            for (line, row) in lines[part.rows()]
                .iter_mut()
                .zip(values.chunks(width.max(1)))
            {
                let entries = line[offset..offset + width].iter_mut();
                entries.zip(row).for_each(|(sum, value)| *sum += value);
            }
        }
        Ok(lines)
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
}
