//! Pruning: set weights of a trained model to zero, and keep them at zero while training goes on.
//!
//! - [`prune_by_magnitude`] removes the smallest weights. It needs no data.
//! - [`WoodFisher`] removes the weights whose removal raises the loss least, by a Fisher matrix
//!   built from per-sample gradients, and adjusts the weights that stay.
//! - [`SparsityMask`] says which weights are pruned. Apply it after each optimizer step to keep them
//!   at zero.
//! - [`CubicScheduleConfig`] spreads the pruning over a training run.
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn::nn::loss::CrossEntropyLossConfig;
//! use burn::tensor::{Device, Distribution, Int, Tensor};
//! use burn_ief::nn::ForwardRecorded;
//! use burn_ief::prune::{SparsityMask, WoodFisherConfig};
//! use burn_ief::{Tape, mark_output};
//!
//! let device = Device::flex().autodiff();
//! let model = LinearConfig::new(6, 3).init(&device); // a trained model
//! let x = Tensor::<2>::random([32, 6], Distribution::Default, &device);
//! let y = Tensor::<1, Int>::arange(0..32, &device) % 3;
//!
//! let dense = SparsityMask::weights(&model)?; // nothing is pruned yet; biases are not covered
//! let mut fisher = WoodFisherConfig::new(32).init(&model, &dense);
//! // For every batch, until the matrix has its 32 per-sample gradients:
//! let tape = Tape::start();
//! let logits = mark_output(model.forward_recorded(x));
//! let cross_entropy = CrossEntropyLossConfig::new().init(&device).forward(logits, y);
//! fisher.record(tape, cross_entropy.backward(), &model)?;
//!
//! let pruned = fisher.prune(model, 0.5)?;
//! assert_eq!((pruned.mask.pruned(), pruned.mask.total()), (9, 18));
//! // Train `pruned.model` further. After each optimizer step:
//! let model = pruned.mask.apply(pruned.model)?;
//! let zeros = model.weight.val().equal_elem(0.0).int().sum();
//! assert_eq!(zeros.into_scalar::<i64>(), 9);
//! # Ok::<(), burn_ief::Error>(())
//! ```
//!
//! # Gradual pruning
//!
//! [`CubicSchedule::due`] says after which optimizer steps to prune, and how far. Between two
//! prunings, train and [`apply`](SparsityMask::apply) the mask after each step. For each pruning,
//! build a new [`WoodFisher`] from the mask so far. In a learner, `burn_ief::train::Sparse` applies
//! the mask; if you give it a schedule, it also prunes by magnitude.

mod magnitude;
mod mask;
mod parameters;
mod pruned;
mod schedule;
mod select;
mod woodfisher;

pub use magnitude::prune_by_magnitude;
pub use mask::{LayerSparsity, SparsityMask};
pub use pruned::Pruned;
pub use schedule::{CubicSchedule, CubicScheduleConfig};
pub use select::PruneScope;
pub use woodfisher::{
    BlockOrder, Compensation, PruneCurvature, Selection, WoodFisher, WoodFisherConfig,
};
