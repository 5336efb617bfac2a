//! Two problems in two parameters on which every method can be seen: its field and its paths.

mod field;
mod picture;
mod problem;
mod rule;

pub use field::{Field, angle};
pub use picture::draw;
pub use problem::Problem;
pub use rule::{Rule, Toy};
