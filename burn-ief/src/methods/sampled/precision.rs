//! λ of a system with drawn labels, and how precise its numbers are.

use crate::error::Error;
use crate::solve::{Damping, DampingAmount};

/// The damping that was asked for, and how precise the numbers are.
pub(super) struct Precision {
    pub damping: Damping,
    /// Machine epsilon of the Gram matrix.
    pub gram: f64,
    /// Machine epsilon of the rows.
    pub rows: f64,
}

/// λ of a system.
pub(super) struct Lambda {
    pub value: f64,
    pub floor: f64,
    pub no_curvature: bool,
}

impl Precision {
    /// λ for drawn rows and true rows with these mean squares.
    ///
    /// If the model is certain of all drawn labels, their rows vanish, and a share of their size says
    /// nothing. If a true label disagrees, its gradient would be divided by next to nothing. Then λ is
    /// the mean square of the true rows instead, which bounds the update by 1 over their length.
    pub fn lambda(&self, drawn: f64, truth: f64, count: usize) -> Lambda {
        let relative = matches!(self.damping.amount, DampingAmount::Relative(share) if share > 0.0);
        let no_curvature = relative && drawn <= self.rows * truth && truth > 0.0;
        let (value, floor) = self.damping.resolve(drawn, count, self.gram);
        Lambda {
            value: if no_curvature {
                value.max(truth)
            } else {
                value
            },
            floor,
            no_curvature,
        }
    }

    /// The error for a gradient that an undamped system cannot precondition.
    pub fn undamped() -> Error {
        Error::Config {
            field: "solve.damping",
            value: "0".into(),
            expected: "a positive damping: a part of the gradient has no curvature under the drawn \
                       labels, so the update without damping is infinite",
        }
    }
}

/// The mean of the squared lengths of the samples that contribute; 0 without any.
pub(super) fn mean_square(squares: impl Iterator<Item = f64>, contributes: &[bool]) -> f64 {
    let own = squares.zip(contributes).filter(|(_, counts)| **counts);
    let (sum, count) = own.fold((0.0, 0usize), |(sum, n), (square, _)| (sum + square, n + 1));
    sum / count.max(1) as f64
}
