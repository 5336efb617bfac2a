//! How good an update is: the quality γ of any direction, on any model.
//!
//! The exact natural gradient is the direction that lowers the loss most for a given change of the
//! model's predictions. For a direction Δ and the gradient g of the summed loss,
//!
//! `γ(Δ) = √(ΔᵀFΔ) / |Δᵀg|`
//!
//! does not depend on the length of Δ and is smallest for the natural gradient F⁻¹g (section 6 of
//! Wu, Yu, Zhang and Woodland, [arXiv 2406.06420](https://arxiv.org/abs/2406.06420)). In the
//! quadratic model of the loss with curvature F, the best step along Δ lowers the loss by
//! `1/(2γ²)`. F is the exact Fisher matrix of the batch, in sum form, and enters through
//! `u = J_z Δ`, how fast the outputs move along Δ: for softmax outputs `ΔᵀFΔ` is the sum over
//! samples of the variance of u under the predicted probabilities. F is never formed.
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn::nn::loss::CrossEntropyLossConfig;
//! use burn::tensor::{Device, Distribution, Int, Tensor};
//! use burn_ief::eval::{Fisher, Loss, gradient};
//! use burn_ief::nn::ForwardRecorded;
//! use burn_ief::{LossScale, NgdConfig, mark_output};
//!
//! let device = Device::flex().autodiff();
//! device.seed(1);
//! let model = LinearConfig::new(4, 3).init(&device);
//! // Features of very different scales, which SGD suffers from.
//! let scales = Tensor::<2>::from_floats([[10.0, 1.0, 1.0, 0.1]], &device);
//! let x = Tensor::<2>::random([8, 4], Distribution::Normal(0.0, 1.0), &device) * scales;
//! let y = Tensor::<1, Int>::from_data([0, 1, 2, 0, 1, 2, 0, 1], &device);
//! let cross_entropy = CrossEntropyLossConfig::new().init(&device);
//! let mean_loss = |z| cross_entropy.forward(z, y.clone());
//!
//! // Two directions of the same batch: SGD's is the gradient itself.
//! let sgd = mean_loss(model.forward(x.clone())).backward();
//! let sgd = gradient(sgd, &model, LossScale::Mean.factor(8));
//! let method = NgdConfig::new(3).build(); // or EF, iEF, SF, or any optimizer's step
//! let tape = method.start();
//! let loss = mean_loss(mark_output(model.forward_recorded(x.clone())));
//! let grads = burn_ief::mark_loss(loss).backward();
//! let natural = method.gradients(tape, grads, &model)?;
//!
//! let at = Fisher::new(Loss::CrossEntropy).at(&model, |m| m.forward_recorded(x.clone()))?;
//! let baseline = at.quality(&sgd, &sgd)?;
//! let quality = at.quality(&natural, &sgd)?;
//! assert!(quality.ratio(&baseline) < 1.0);
//! assert!(quality.best_reduction() > baseline.best_reduction());
//! # Ok::<(), burn_ief::Error>(())
//! ```
//!
//! # Three ways to u
//!
//! | [`Method`] | passes for T positions and C classes | what it needs | error |
//! | --- | --- | --- | --- |
//! | [`Exact`](Method::Exact) | T·C forward and backward, once per batch | recorded calls | rounding |
//! | [`Differences`](Method::Differences) | 3 forward (4 if the first step was far off) | nothing | estimated |
//! | [`MonteCarlo`](Method::MonteCarlo) | one forward and backward per draw, once per batch | recorded calls | standard error |
//!
//! [`Auto`](Method::Auto), the default, takes the first where there are few outputs and the second
//! where there are many. A forward pass is about a third of a forward and backward one: beside the
//! gradient, γ by differences costs one for the outputs and three or four, less than three training
//! passes.
//!
//! # Other things to judge
//!
//! - the step of any optimizer, AdamW's say: [`displacement`];
//! - EF, iEF and SF over many dampings, from one recording: [`Sweep`];
//! - all of these over batches and checkpoints, with means and standard errors: [`Survey`];
//! - how unequal the samples' gradients are: [`imbalance`].
//!
//! # What to know
//!
//! The model is evaluated with dropout off and BatchNorm on its running statistics. The batch is
//! axis 0 of the outputs, and its samples must be independent. F is the Fisher matrix of the
//! *summed* loss and so is g: a direction may have any scale, the gradient may not.

mod differences;
mod direction;
mod displacement;
mod exact;
mod fisher;
mod loss;
mod monte_carlo;
mod quality;
mod statistics;
mod survey;
mod sweep;

pub use direction::gradient;
pub use displacement::displacement;
pub use fisher::{Fisher, FisherAt, Method};
pub use loss::Loss;
pub use quality::{Cost, Curvature, Quality};
pub use statistics::{Statistics, imbalance};
pub use survey::{Survey, SurveyRow};
pub use sweep::{Sweep, SweepPoint, SweepRule};
