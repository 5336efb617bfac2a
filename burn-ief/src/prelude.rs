//! What a training loop needs, in one import: `use burn_ief::prelude::*;`.
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn::tensor::{Device, Tensor};
//! use burn_ief::prelude::*;
//!
//! let device = Device::flex().autodiff();
//! let model = LinearConfig::new(3, 1).init(&device);
//! let mut optim = IefConfig::new().init(&model);
//! let x = Tensor::<2>::ones([4, 3], &device);
//! let model = optim.step_closure(0.5, model, |model| {
//!     mark_output(model.forward_recorded(x)).square().mean() * 0.5
//! })?;
//! # let _ = model;
//! # Ok::<(), burn_ief::Error>(())
//! ```

pub use burn::config::Config as _;

pub use crate::methods::kfac::{EkfacConfig, FactorOptions, IekfacConfig, KfacConfig};
pub use crate::methods::{
    EfConfig, GgtConfig, IefConfig, Method as _, MethodConfig, NgdConfig, SfConfig, SolveOptions,
    StepOptions, UpdateRule as _,
};
pub use crate::nn::{ForwardRecorded, expand_param};
pub use crate::optim::{InitOptimizer, MethodOptimizer, NaturalOptimizer};
pub use crate::record::{
    Likelihood, LossScale, Tape, declare_loss_scale, expand_input, mark_labels, mark_loss,
    mark_mean_loss, mark_output, mark_output_as,
};
pub use crate::solve::{DampedMatrix, Damping, TrustRegion};
pub use crate::tokens::{VocabularyHead, token_cross_entropy};
