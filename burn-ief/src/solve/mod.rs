//! Host mathematics of the updates: damping, damped systems, row selection, trust region, reports.
//!
//! Batches are small, so the M x M system of an update is read to the host and solved there in f64.
//! Nothing here knows about devices or modules. The update rules themselves are in
//! [`methods`](crate::methods).

mod coefficients;
mod damped;
mod damping;
mod range;
mod refine;
mod report;
mod selection;
mod trust_region;

pub use crate::linalg::{Eigen, Symmetric};
pub use coefficients::Coefficients;
pub use damped::solve_damped;
pub use damping::{DampedMatrix, Damping, DampingAmount};
pub(crate) use range::Range;
pub(crate) use refine::refine;
pub use report::{SolveReport, SolveRoute};
pub use selection::RowSelection;
pub(crate) use trust_region::trust_region_factor;
