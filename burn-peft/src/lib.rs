//! Adapters for [Burn](https://burn.dev) models, recorded per sample for `burn-ief`.
//!
//! LoRA (with rsLoRA and DoRA) and prompt tuning for any Burn module, under the rules, names and
//! files of Hugging Face PEFT. Adapters hang on the weights of a model through Burn's
//! reparameterization hook: structs, configs and records stay as they are. The model's calls become
//! `forward_adapted`, which computes along the activations (no dense weight is composed) and records
//! itself inside a [`burn_ief::Tape`], so that the same model trains with Burn's own optimizers and
//! with the natural-gradient methods.
//!
//! ```
//! use burn::module::Module;
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::activation::gelu;
//! use burn::tensor::{Device, Tensor};
//! use burn_peft::{AdapterFolder, LinearAdapted, LoraSettings, NameMap, Peft};
//!
//! #[derive(Module, Debug)]
//! struct Model {
//!     up: Linear,
//!     down: Linear,
//! }
//!
//! impl Model {
//!     fn forward(&self, x: Tensor<2>) -> Tensor<2> {
//!         let x = gelu(self.up.forward_adapted(x)); // instead of `forward`
//!         self.down.forward_adapted(x)
//!     }
//! }
//!
//! let device = Device::flex().autodiff();
//! let base = Model {
//!     up: LinearConfig::new(16, 64).init(&device),
//!     down: LinearConfig::new(64, 16).init(&device),
//! };
//! let settings = LoraSettings::new().with_r(4).with_target_modules(["up"]);
//! let names = NameMap::default();
//! let model = base.clone().adapt("default", &settings, &names)?;
//! assert_eq!(
//!     model.trainable().to_string(),
//!     "trainable params: 320 || all params: 2,448 || trainable%: 13.0719"
//! );
//! assert_eq!(model.forward(Tensor::ones([2, 16], &device)).dims(), [2, 16]);
//!
//! // Train it, and write it for Python.
//! # let parent = tempfile::tempdir().unwrap();
//! # let path = parent.path().join("adapter");
//! model.save_adapter("default", &settings, &names)?.write(&path)?;
//! let folder = AdapterFolder::read(&path)?;
//! let model = base.load_adapter("default", &folder, &[names])?;
//! let plain = model.merge_and_unload();
//! assert!(plain.adapter_names().is_empty());
//! # Ok::<(), burn_peft::Error>(())
//! ```
//!
//! # Where to look
//!
//! | for | see |
//! | --- | --- |
//! | adapting, loading, saving, switching, merging a model | [`Peft`] |
//! | the calls in a model's `forward` | [`LinearAdapted`], [`EmbeddingAdapted`], [`Conv2dAdapted`] |
//! | `adapter_config.json` | [`LoraSettings`], [`PromptSettings`] |
//! | which layers, and their names in files | [`Targets`], [`NameMap`] |
//! | the two files of a folder | [`AdapterFolder`] |
//! | virtual tokens | [`SoftPrompt`] |
//! | one layer by hand | [`LoraConfig`], [`Adapters`], [`LoraLinear`] |
//!
//! Errors are values of [`Error`], and a model is never half loaded.
//!
//! # Features
//!
//! `flex` (default), `ndarray`, `wgpu`, `cuda`: Burn's devices.

#![cfg_attr(docsrs, feature(doc_cfg))]

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

/// Compiles and runs the code of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
