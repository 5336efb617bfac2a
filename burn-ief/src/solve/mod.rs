//! Host mathematics of the updates: damping, damped systems, row selection, trust region, reports.
//!
//! Batches are small, so the M x M system of an update is read to the host and solved there in f64.
//! Nothing here knows about devices or modules. The update rules themselves are in
//! [`methods`](crate::methods).

pub(crate) mod coefficients;
mod damped;
mod range;
mod refine;
mod trust_region;

pub use crate::linalg::{Eigen, Symmetric};
pub use coefficients::{Coefficients, RowSelection, SolveReport, SolveRoute};
pub(crate) use damped::{Cancellation, rounding_level, solve_resolved};
pub use damped::{DampedMatrix, Damping, DampingAmount, solve_damped};
pub(crate) use range::Range;
pub(crate) use refine::refine;
pub use trust_region::TrustRegion;
pub(crate) use trust_region::trust_region_factor;
