//! Adapters for [Burn](https://burn.dev) models, recorded per sample for `burn-ief`.
//!
//! This crate brings LoRA (with rsLoRA and DoRA), VeRA, LoHa, LoKr, IA³, prompt tuning and P-tuning to any Burn module, with
//! the rules, names and files of Hugging Face PEFT. Adapters are attached to the weights of a model
//! through Burn's reparameterization hook: structs, configs and records stay as they are. You only
//! change the calls in the model's `forward` to `forward_adapted`. It computes along the activations
//! (no dense weight is composed) and records itself inside a [`burn_ief::Tape`], so that the same
//! model trains with Burn's own optimizers and with the natural-gradient methods.
//!
//! ```
//! use burn::module::Module;
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::activation::gelu;
//! use burn::tensor::{Device, Tensor};
//! use burn_peft::prelude::*;
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
//! let config = LoraConfig::new().with_r(4).with_target_modules(["up"]);
//! let model = base.clone().adapt("default", &config, &[])?;
//! assert_eq!(
//!     model.trainable().to_string(),
//!     "trainable params: 320 || all params: 2,448 || trainable%: 13.0719"
//! );
//! assert_eq!(model.forward(Tensor::ones([2, 16], &device)).dims(), [2, 16]);
//!
//! // Train it, and write it for Python.
//! # let parent = tempfile::tempdir().unwrap();
//! # let path = parent.path().join("adapter");
//! model.save_adapter("default", &config, &[])?.write(&path)?;
//! let folder = AdapterFolder::read(&path)?;
//! let model = base.load_adapter("default", &folder, &[])?;
//! let plain = model.merge_and_unload()?;
//! assert!(plain.adapter_names().is_empty());
//! # Ok::<(), burn_peft::Error>(())
//! ```
//!
//! # Methods
//!
//! | method | configuration | adapts | merging |
//! | --- | --- | --- | --- |
//! | LoRA, rsLoRA, DoRA | [`LoraConfig`] | linear, embedding, convolution | into the weight |
//! | VeRA | [`VeraConfig`] | linear | into the weight |
//! | LoHa | [`LohaConfig`] | linear | into the weight |
//! | LoKr | [`LokrConfig`] | linear | into the weight |
//! | IA³ | [`Ia3Config`] | linear, convolution | into the weight and the bias |
//! | prompt tuning | [`PromptConfig`] | the input of the model | – |
//! | P-tuning | [`PTuningConfig`] | the input of the model | – |
//! | prefix tuning | [`PrefixConfig`] | keys and values of every layer | – |
//!
//! # Where to look
//!
//! | you want to | see |
//! | --- | --- |
//! | adapt, load, save, switch or merge a model | [`Peft`] |
//! | write the calls in a model's `forward` | [`ForwardAdapted`], [`unembed_adapted`]; with a large vocabulary [`vocabulary_head`], [`tied_vocabulary_head`] |
//! | read `adapter_config.json` | [`PeftConfig`] |
//! | know which layers are adapted | [`PeftConfig::targets`], [`targets`] |
//! | give the modules their names in files | [`NameMap`] |
//! | read or write the two files of a folder | [`AdapterFolder`] |
//! | use virtual tokens | [`SoftPrompt`] |
//! | adapt one layer without a model | [`LoraConfig::linear`], [`Adapters`], [`LoraLinear`] |
//!
//! Errors are values of [`Error`], and a model is never half loaded.
//!
//! # Features
//!
//! `flex` (default), `ndarray`, `wgpu`, `cuda`: Burn's devices.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod adapters;
mod error;
pub mod folder;
pub mod ia3;
pub mod loha;
pub mod lokr;
pub mod lora;
mod methods;
mod model;
mod name_map;
pub mod p_tuning;
pub mod prefix;
pub mod prelude;
pub mod prompt;
pub mod settings;
pub mod targets;
mod tuner;
pub mod vera;

pub use adapters::{AdapterPart, Adapters, DeltaDropout, ForwardAdapted, LayerAdapter};
pub use error::{Cause, Error};
pub use folder::AdapterFolder;
pub use ia3::{Ia3Adapters, Ia3Config, Ia3Vector};
pub use loha::{LohaAdapters, LohaConfig, LohaFactors};
pub use lokr::{InitLokrWeights, LokrAdapters, LokrConfig, LokrFactors};
pub use lora::{EvaConfig, InitLoraWeights, LoraAdapters, LoraConfig, LoraFactors, LoraLinear};
pub use methods::{PeftConfig, tied_vocabulary_head, unembed_adapted, vocabulary_head};
pub use model::{Peft, Trainable};
pub use name_map::NameMap;
pub use p_tuning::PTuningConfig;
pub use prefix::{KeyValuePrefix, PrefixConfig};
pub use prompt::{PromptConfig, SoftPrompt};
pub use targets::{ModuleKind, Target};
pub use vera::{VeraAdapters, VeraConfig, VeraScales};

/// Compiles and runs the code of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
