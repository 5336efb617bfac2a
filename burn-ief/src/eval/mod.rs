//! Measure how good an update direction is, whichever optimizer produced it: the quality γ.
//!
//! The exact natural gradient is the direction that lowers the loss most for a given change of the
//! model's predictions. For a direction Δ and the gradient g of the summed loss,
//!
//! `γ(Δ) = √(ΔᵀFΔ) / |Δᵀg|`
//!
//! does not depend on the length of Δ and is smallest for the natural gradient F⁻¹g (section 6 of
//! Wu, Yu, Zhang and Woodland, [arXiv 2406.06420](https://arxiv.org/abs/2406.06420)). In the
//! quadratic model of the loss with curvature F, the best step along Δ lowers the loss by
//! `1/(2γ²)`. F is the exact Fisher matrix of the batch, in sum form: the Fisher matrices of the
//! samples, added up. It is never formed. It enters through `u = J_z Δ`, the rates at which the
//! outputs z change along Δ: `ΔᵀFΔ = uᵀHu`, where H is the Fisher matrix at the outputs. For softmax
//! outputs this is the sum over samples of the variance of u under the predicted probabilities.
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn::nn::loss::CrossEntropyLossConfig;
//! use burn::tensor::{Device, Distribution, Int, Tensor};
//! use burn_ief::eval::{Fisher, LossKind, summed_gradient};
//! use burn_ief::prelude::*;
//!
//! let device = Device::flex().autodiff();
//! device.seed(1);
//! let model = LinearConfig::new(4, 3).init(&device);
//! // Features of very different scales, which slow down SGD.
//! let scales = Tensor::<2>::from_floats([[10.0, 1.0, 1.0, 0.1]], &device);
//! let x = Tensor::<2>::random([8, 4], Distribution::Normal(0.0, 1.0), &device) * scales;
//! let y = Tensor::<1, Int>::from_data([0, 1, 2, 0, 1, 2, 0, 1], &device);
//! let cross_entropy = CrossEntropyLossConfig::new().init(&device);
//! let mean_loss = |z| cross_entropy.forward(z, y.clone());
//!
//! // Two directions for the same batch. SGD's direction is the gradient itself.
//! let sgd = mean_loss(model.forward(x.clone())).backward();
//! let sgd = summed_gradient(sgd, &model, LossScale::Mean.factor(8));
//! // The exact natural gradient; it could be any method's update, or any optimizer's step.
//! let mut optim = NgdConfig::new().with_classes(3).init(&model);
//! let tape = optim.start();
//! let loss = mean_loss(mark_output(model.forward_recorded(x.clone())));
//! let grads = mark_loss(loss).backward();
//! let natural = optim.gradients(tape, grads, &model)?;
//!
//! let at = Fisher::new(LossKind::CrossEntropy).at(&model, |m| m.forward_recorded(x.clone()))?;
//! let baseline = at.quality(&sgd, &sgd)?;
//! let quality = at.quality(&natural, &sgd)?;
//! assert!(quality.ratio(&baseline) < 1.0);
//! assert!(quality.best_reduction() > baseline.best_reduction());
//! # Ok::<(), burn_ief::Error>(())
//! ```
//!
//! # How γ is computed
//!
//! | [`GammaMethod`] | passes for T positions and C classes | what it needs | error |
//! | --- | --- | --- | --- |
//! | [`Exact`](GammaMethod::Exact) | T·C forward and backward, once per batch | recorded calls | rounding |
//! | [`Differences`](GammaMethod::Differences) | 3 forward (4 if the first step was far off) | nothing | estimated |
//! | [`MonteCarlo`](GammaMethod::MonteCarlo) | one forward and backward per draw, once per batch | recorded calls | standard error |
//!
//! [`Auto`](GammaMethod::Auto), the default, is exact for few outputs and uses differences for many.
//! One more forward pass per batch computes the outputs. `cargo run --release -p benches --bin gamma`
//! measures the time of each method in training passes.
//!
//! # What else to measure
//!
//! - The step of any optimizer, for example AdamW's: [`displacement`].
//! - EF, iEF and SF over many dampings, from one recording: [`Sweep`].
//! - All of these over batches and checkpoints, with means and standard errors: [`Survey`].
//! - How unequal the gradients of the samples are: [`imbalance`].
//!
//! # What to know
//!
//! The model is evaluated with dropout off and BatchNorm on its running statistics. The batch is
//! axis 0 of the outputs, and its samples must be independent. F is the Fisher matrix of the
//! *summed* loss, and g must be the gradient of the summed loss too. The direction may have any
//! scale.

mod copies;
mod differences;
mod displacement;
mod exact;
mod fisher;
mod fisher_at;
mod gamma_method;
mod imbalance;
mod inner_product;
mod loss_kind;
mod monte_carlo;
mod outputs;
mod quality;
mod recorded_pass;
mod statistics;
mod summed_gradient;
mod survey;
mod sweep;
mod trainable;

pub use displacement::displacement;
pub use fisher::Fisher;
pub use fisher_at::FisherAt;
pub use gamma_method::GammaMethod;
pub use imbalance::imbalance;
pub use loss_kind::LossKind;
pub use quality::{FisherCurvature, PassCount, Quality};
pub use statistics::Statistics;
pub use summed_gradient::summed_gradient;
pub use survey::{Survey, SurveyRow};
pub use sweep::{Sweep, SweepPoint, SweepRule};
