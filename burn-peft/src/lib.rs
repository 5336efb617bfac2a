//! Adapters for [Burn](https://burn.dev) models, recorded per sample for `burn-ief`.
//!
//! An adapter is a Burn `Module` that wraps a frozen layer. It computes on the activation path (no
//! dense weight is composed) and records itself inside a [`burn_ief::Tape`], so the same model
//! trains with Burn's own optimizers and with the natural-gradient methods.
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn::tensor::{Device, Tensor};
//! use burn_peft::LoraConfig;
//!
//! let device = Device::flex().autodiff();
//! let query = LinearConfig::new(16, 16).init(&device);
//! let query = LoraConfig::new().with_rank(4).init(query);
//! let x = Tensor::<3>::ones([2, 5, 16], &device);
//! assert_eq!(query.forward(x).dims(), [2, 5, 16]);
//! ```

pub mod config;
pub mod error;
pub mod folder;
pub mod lora;
pub mod model;
pub mod names;
pub mod prompt;
pub mod target;

pub use config::{LoraSettings, PeftConfig, PromptSettings};
pub use error::Error;
pub use folder::AdapterFolder;
pub use lora::{
    Adapter, Adapters, Conv2dAdapted, EmbeddingAdapted, Initialization, LinearAdapted, LoraConfig,
    LoraLinear,
};
pub use model::{Peft, Trainable};
pub use names::NameMap;
pub use prompt::SoftPrompt;
pub use target::{ModuleKind, Target, Targets};
