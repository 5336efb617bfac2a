//! A parameter that is pruned, and its rows of the Jacobian.

use super::order::BlockOrder;
use crate::error::{Error, PruneError};
use crate::jacobian::Jacobian;
use crate::params::ParamInfo;

/// Most entries of the dense rows of a parameter that are in memory at once (64 MiB in f64).
const ENTRIES: usize = 1 << 23;

/// A parameter that is pruned.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub param: ParamInfo,
    pub order: BlockOrder,
    /// Weights that were pruned before, in the order of the blocks.
    pub pruned: Vec<bool>,
}

impl Target {
    /// Number of weights.
    pub fn width(&self) -> usize {
        self.pruned.len()
    }

    /// Bring row-major values of the parameter into the order of the blocks.
    pub fn arrange<T: Copy>(&self, values: Vec<T>) -> Vec<T> {
        self.order.arrange(values, &self.param.shape)
    }

    /// Bring values in the order of the blocks into row-major order.
    pub fn restore<T: Copy>(&self, values: Vec<T>) -> Vec<T> {
        self.order.restore(values, &self.param.shape)
    }

    /// Call `f` with the rows `scales[n] ∇l_n` in the order of the blocks, in pieces `[m, width]`
    /// of bounded size. Entries of weights that were pruned before are zero.
    ///
    /// # Errors
    ///
    /// The first error of `f`.
    pub fn for_pieces(
        &self,
        rows: &Jacobian,
        scales: &[f64],
        mut f: impl FnMut(&[f64]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let width = self.width();
        let step = (ENTRIES / width.max(1)).max(1);
        for start in (0..rows.samples()).step_by(step) {
            let count = step.min(rows.samples() - start);
            let dense = rows.narrow(start, count)?.rows_of(&self.param);
            let mut piece = Vec::with_capacity(count * width);
            for (row, scale) in dense.into_iter().zip(&scales[start..]) {
                for (x, &pruned) in self.arrange(row).iter().zip(&self.pruned) {
                    piece.push(if pruned { 0.0 } else { x * scale });
                }
            }
            f(&piece)?;
        }
        Ok(())
    }

    /// # Errors
    ///
    /// [`PruneError::NoRows`](crate::error::PruneError::NoRows) if the Jacobian has no columns for the parameter, [`Error::RowShape`] if
    /// they have another shape.
    pub fn check_columns(&self, rows: &Jacobian) -> Result<(), Error> {
        let param = &self.param;
        let columns = rows.params().iter().find(|columns| columns.id == param.id);
        let Some(columns) = columns else {
            return Err(Error::Prune(PruneError::NoRows {
                parameter: param.path.clone(),
            }));
        };
        if columns.shape != param.shape {
            return Err(Error::RowShape {
                parameter: param.path.clone(),
                expected: format!("{:?}", param.shape.as_slice()),
                found: format!("{:?}", columns.shape.as_slice()),
            });
        }
        Ok(())
    }
}
