//! The K-FAC family: K-FAC, eKFAC and ieKFAC.
//!
//! For a layer `y = aW` with inputs a and output errors `e = ∂l/∂y` the block of a curvature
//! matrix is approximated by `A ⊗ B` with `A = E[aᵀa]` and `B = E[eᵀe]`, means over the batch. A bias
//! is one more input that is constantly 1. The update is `Δ = (A + d_A I)⁻¹ G (B + d_B I)⁻¹` with G
//! the mean gradient. The members differ in the errors behind B:
//!
//! | method | labels | estimate of |
//! | --- | --- | --- |
//! | K-FAC ([`KfacConfig`]) | drawn from the model | the Fisher matrix |
//! | eKFAC ([`EkfacConfig`]) | true | the empirical Fisher matrix |
//! | ieKFAC ([`IekfacConfig`]) | true, errors times `s_n^{-1/2}` | the improved empirical Fisher matrix (eq. 43) |
//!
//! Factors are averaged over steps, measured and inverted at intervals. Without averaging they
//! come straight from a recorded batch: [`layer_factors`].
//!
//! # Which parameters
//!
//! Weights of `Linear` and of convolutions without groups (kernels as patches of the input) with their
//! biases, kernels of transposed convolutions without groups (as patches of the output, without their biases),
//! and the factors of LoRA adapters. Everything else (norms, embeddings, parameters
//! broadcast over the batch, matrices of other layers, layers wider than `max_dimension`) takes
//! the diagonal of the same matrix, or its plain mean gradient, see [`FallbackCurvature`]. If a
//! recording shows another form than the type of the layer suggests (convolutions with groups, weights
//! tied to a look-up, biases that several layers share), the parameter takes the plain mean gradient,
//! and the report names it.
//!
//! # Cost and memory
//!
//! For a layer with i inputs (bias counted) and o outputs, at T positions of M samples:
//!
//! - a measurement, M·T·(i² + o²) (and for K-FAC a forward and backward pass of `draws` more
//!   batches), against M·T·i·o for the gradient itself;
//! - an inversion, about i³ + o³ on the host in f64 (in f32 for large factors in f32, with a check),
//!   one matrix to a thread (each of which needs room for a few copies of its matrix), and
//!   2 (i² + o²) numbers to and from the device;
//! - every step, i·o·(i + o) to apply the inverses, or, where M·T is small compared with i and o, only
//!   M·T·(i² + o² + i·o), to the rows of the gradient;
//! - kept between steps, 2 (i² + o²) numbers: the factors and their inverses, which a checkpoint
//!   holds too. Parameters without factors keep as many numbers as they have entries.
//!
//! A layer of 3072 x 2048 keeps 27 million numbers for 6 million weights: `factor_interval` and
//! `inverse_interval` set how often the two large products are paid for.

mod damping;
mod ekfac;
mod factor_options;
mod factors;
mod gradient_rows;
mod iekfac;
mod inverse;
mod kronecker;
mod layout;
mod options;
mod rule;
mod sampled_kfac;
mod state;

pub use damping::{DampingSplit, FactorDamping};
pub use ekfac::{Ekfac, EkfacConfig};
pub use factor_options::FactorOptions;
pub use factors::{LayerFactors, layer_factors};
pub use iekfac::{Iekfac, IekfacConfig};
pub use inverse::LayerInverses;
pub use kronecker::{FactorShard, Kronecker};
pub use options::{FactorLabels, FallbackCurvature, WeightSharing};
pub use rule::FactorRule;
pub use sampled_kfac::{Kfac, KfacConfig};
pub use state::KroneckerState;
