//! Pruning by an inverse Fisher matrix, by magnitude, and the masks that keep weights pruned.
//!
//! WoodFisher (Singh and Alistarh, "WoodFisher: Efficient Second-Order Approximation for Neural
//! Network Compression", NeurIPS 2020, [arXiv 2004.14340](https://arxiv.org/abs/2004.14340))
//! removes the weights whose removal costs least in the quadratic model of the loss at an optimum:
//! with the Fisher matrix F for the curvature, removing weight q costs
//!
//! `ρ_q = w_q² / (2 [F⁻¹]_qq)`, and then `δw = −w_q F⁻¹e_q / [F⁻¹]_qq`
//!
//! is the best change of all other weights. F is the empirical Fisher matrix or the improved one
//! of Wu, Yu, Zhang and Woodland, [arXiv 2406.06420](https://arxiv.org/abs/2406.06420) (eq. 45),
//! from N per-sample gradients:
//!
//! `F = λI + (1/N) Σ_n ∇l_n ∇l_nᵀ` (EF), `F = λI + (1/N) Σ_n ∇l_n ∇l_nᵀ / s_n` (iEF).
//!
//! At an optimum most samples are fitted, their gradients are small, and a few others make up all
//! of EF. In iEF every sample counts.
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn::nn::loss::CrossEntropyLossConfig;
//! use burn::tensor::{Device, Distribution, Int, Tensor};
//! use burn_ief::nn::ForwardRecorded;
//! use burn_ief::woodfisher::{SparsityMask, WoodFisher, WoodFisherConfig};
//! use burn_ief::{Tape, mark_output};
//!
//! let device = Device::flex().autodiff();
//! let model = LinearConfig::new(6, 3).init(&device); // a trained model
//! let x = Tensor::<2>::random([32, 6], Distribution::Default, &device);
//! let y = Tensor::<1, Int>::arange(0..32, &device) % 3;
//!
//! let dense = SparsityMask::weights(&model)?; // nothing pruned yet; biases are left alone
//! let mut fisher = WoodFisher::new(&WoodFisherConfig::new(32), &model, &dense)?;
//! let tape = Tape::start();
//! let logits = mark_output(model.forward_recorded(x));
//! let loss = CrossEntropyLossConfig::new().init(&device).forward(logits, y);
//! fisher.record(tape, loss.backward(), &model)?; // for every batch, N samples in all
//!
//! let pruned = fisher.prune(model, 0.5)?;
//! assert_eq!((pruned.mask.pruned(), pruned.mask.total()), (9, 18));
//! // Go on training with `pruned.model`; after each optimizer step:
//! let model = pruned.mask.apply(pruned.model)?;
//! # let _ = model;
//! # Ok::<(), burn_ief::Error>(())
//! ```
//!
//! # Blocks
//!
//! F is kept and inverted in blocks of B weights that follow one another in a parameter, and taken
//! as zero elsewhere. The inverse of each block is built up directly, by Woodbury's identity for a
//! batch of rows R = `∇l_n/√s_n`: `F⁻¹ ← F⁻¹ − F⁻¹Rᵀ (N·I + R F⁻¹Rᵀ)⁻¹ R F⁻¹`, on the host in f64.
//!
//! Memory: 8·B bytes for each weight (512 at the default B = 64; a model of a million weights takes
//! 0.5 GB), and for a batch the dense rows of one parameter at a time, in pieces of at most 64 MiB.
//! Time: about 3·B multiplications for each weight and gradient, and B²/3 for each weight in
//! sequential selection.
//!
//! # Gradual pruning
//!
//! [`CubicSchedule`] says when to prune and how far; between prunings train on and
//! [`apply`](SparsityMask::apply) the mask after each step. Each time a new [`WoodFisher`] starts
//! from the mask so far. In a learner, `burn_ief::train::Sparse` applies the mask, and prunes by
//! magnitude if it is given a schedule.

mod blocks;
mod config;
mod magnitude;
mod mask;
mod method;
mod order;
mod parameters;
mod schedule;
mod select;

pub use config::{Compensation, Curvature, Selection, WoodFisherConfig};
pub use magnitude::magnitude;
pub use mask::{LayerSparsity, SparsityMask};
pub use method::{Pruned, WoodFisher};
pub use order::Order;
pub use schedule::CubicSchedule;
pub use select::Scope;
