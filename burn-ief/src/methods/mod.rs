//! The methods: EF, iEF, SF, the exact natural gradient, GGT, and the K-FAC family.
//!
//! | name | configuration | update | the model marks |
//! | --- | --- | --- | --- |
//! | `ief` | [`IefConfig`] | `Jᵀ (K + λ diag(s))⁻¹ s` | its output |
//! | `ef` | [`EfConfig`] | `Jᵀ (K + λI)⁻¹ 1` | nothing |
//! | `sf` | [`SfConfig`] | `(ĴᵀĴ + λI)⁻¹ g`, labels drawn from the model | its output and loss |
//! | `ngd` | [`NgdConfig`] | `(F + λI)⁻¹ g`, a copy of the batch for each class | its output and loss |
//! | `ggt` | [`GgtConfig`] | `Jᵀ (K^{1/2} + εI)⁻¹ 1` | nothing |
//! | `iekfac` | [`IekfacConfig`] | Kronecker factors of the iEF matrix | its output |
//! | `ekfac` | [`EkfacConfig`] | Kronecker factors of the EF matrix | nothing |
//! | `kfac` | [`KfacConfig`] | Kronecker factors, labels drawn from the model | its output and loss |
//!
//! J holds the gradient of each sample's loss, `K = J Jᵀ` their inner products, `g = Jᵀ1`, and
//! `s_n = ‖∂l_n/∂z_n‖²` at the model's output z. Everything is in sum form (not divided by the batch
//! size), and Δ is the *positive* preconditioned gradient: a step is `θ ← θ − η Δ`. Source: Wu, Yu,
//! Zhang, Woodland, "An Improved Empirical Fisher Approximation for Natural Gradient Descent",
//! NeurIPS 2024, arXiv 2406.06420.
//!
//! [`Method`] is what all of them implement, [`AnyMethod`] the one enum for programs that choose at
//! run time. [`Exact`] makes a method of an [`UpdateRule`].
//!
//! # Momentum in the solve
//!
//! Every update rule minimises a quadratic model of the loss over Δ, with a penalty that keeps Δ
//! short:
//!
//! | rule | minimises over Δ |
//! | --- | --- |
//! | EF | `‖JΔ − 1‖² + λ‖Δ‖²` |
//! | iEF, [`DampedMatrix::Fisher`](crate::solve::DampedMatrix::Fisher) | `Σ_n ((JΔ)_n − s_n)²/s_n + λ‖Δ‖²` |
//! | iEF, [`DampedMatrix::Gram`](crate::solve::DampedMatrix::Gram) | `‖JΔ − s‖² + λ‖Δ‖²` |
//! | SF, exact natural gradient | `‖ĴΔ‖² − 2gᵀΔ + λ‖Δ‖²` |
//!
//! A batch of M samples contains nothing about the directions outside the span of its M rows, and
//! there the penalty sets Δ to zero. SPRING (Goldshlager, Abrahamsen, Lin, "A Kaczmarz-inspired
//! approach to accelerate the optimization of neural network wavefunctions", 2024) measures the
//! penalty from the previous update instead: `λ‖Δ − μΔ_prev‖²` with 0 ≤ μ < 1. Write
//! `Δ = μΔ_prev + δ`. With D the diagonal of the weights (1, or 1/s_n), r the right-hand side (1 or
//! s) and `r' = r − μJΔ_prev`,
//!
//! `(JᵀDJ + λI) δ = JᵀD r'`, so `δ = Jᵀ (K + λD⁻¹)⁻¹ r'`
//!
//! because `JᵀD (JJᵀ + λD⁻¹) = (JᵀDJ + λI) Jᵀ`. It is the same M x M system with another right-hand
//! side. On the Fisher matrix D⁻¹ is diag(s), and the scaled system has the right-hand side
//! `√s_n − μ(JΔ_prev)_n/√s_n`, where `J_n/√s_n` stays bounded as a sample is fitted. For SF and the
//! exact natural gradient `δ = (ĴᵀĴ + λI)⁻¹ (g − μĴᵀĴΔ_prev)`. If every batch asks for the same
//! thing, Δ tends to the plain update with damping `(1 − μ)λ`; in directions that no later batch
//! constrains, the update decays by a factor μ per step.

mod any;
mod config;
mod ef;
mod exact;
mod fields;
#[cfg(test)]
mod fixture;
mod ggt;
mod ief;
pub mod kfac;
mod method;
pub mod metric;
mod ngd;
mod options;
mod ranges;
mod recommended;
mod rule;
mod sampled;
mod sf;
mod shard_rows;
mod solving;
mod state;

pub use config::MethodConfig;
pub use ef::{Ef, EfConfig};
pub use exact::{Exact, ExactShard, ExactSystems};
pub use ggt::{Ggt, GgtConfig};
pub use ief::{Ief, IefConfig};
pub use method::{FactorReport, Joining, Method, MethodUpdate, Reduction, StepReport};
pub use metric::{RunningSquares, UpdateMetric};
pub use ngd::{Ngd, NgdConfig};
pub use options::{SolveOptions, StepOptions};
pub use recommended::Recommended;
pub use rule::{Solution, System, UpdateRule};
pub use sf::{Sf, SfConfig};
pub use state::{ExactState, PreviousUpdate};

use kfac::{EkfacConfig, FactorOptions, IekfacConfig, KfacConfig};

// The registration of a method: its name, its title in tables, its configuration, and which of the
// shared options that has.
any::methods! {
    Ief("ief", "iEF", IefConfig, solve),
    Ef("ef", "EF", EfConfig, solve),
    Sf("sf", "SF", SfConfig, solve),
    Ngd("ngd", "NGD", NgdConfig, solve),
    Ggt("ggt", "GGT", GgtConfig, solve),
    Iekfac("iekfac", "ieKFAC", IekfacConfig, factors),
    Ekfac("ekfac", "eKFAC", EkfacConfig, factors),
    Kfac("kfac", "K-FAC", KfacConfig, factors),
}
