//! What Burn users hold: configurations, the method built from them, and its optimizer.

mod config;
mod descent;
mod method;
mod previous;
mod solve;

pub use config::{EfConfig, IefConfig, NgdConfig, SfConfig};
pub use descent::NaturalDescent;
pub use method::{NaturalGradient, NaturalStep};
pub use previous::PreviousUpdate;
