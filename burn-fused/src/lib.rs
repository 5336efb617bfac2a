//! Fused operations for training and inference with [Burn](https://burn.dev) on the CPU backend
//! Flex, forward and backward, in f32 and f64.
//!
//! Every function takes and returns plain tensors, tracked by autodiff or not. On Flex it runs one
//! kernel on all threads, with vectors of the width that the processor has, and its backward pass is
//! one kernel too. On every other device, in other dtypes, for empty tensors and for arguments that
//! no kernel takes, it runs Burn's own operations, with the same result to rounding.
//!
//! | function | what |
//! | --- | --- |
//! | [`linear`], [`linear_add`] | products with a bias, and added to another tensor |
//! | [`gelu`], [`gelu_approximate`], [`silu`], [`swiglu`] | activations |
//! | [`layer_norm`], [`rms_norm`] | norms, with trained or frozen parameters |
//! | [`attention`] | attention of `[M, T, heads * width]` with masks, bias, soft cap and dropout |
//! | [`softmax`], [`log_softmax`], [`cross_entropy`] | along the last axis |
//! | [`rotary`] | rotary positions |
//! | [`descend`] | a step of gradient descent, with weight decay |
//! | [`ForwardFused`] | `forward_fused` for Burn's own layers |
//! | [`is_fused`] | whether a tensor has kernels |
//! | `product` (feature `flex`) | matrix products that write their output once, and Gram matrices |
//!
//! ```
//! use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
//! use burn::tensor::{Device, Distribution, Tensor};
//! use burn_flex_fused::{AttentionOptions, ForwardFused, attention, gelu};
//!
//! struct Block {
//!     norm: LayerNorm,
//!     qkv: [Linear; 3],
//!     up: Linear,
//! }
//!
//! impl Block {
//!     fn forward(&self, x: Tensor<3>) -> Tensor<3> {
//!         let x = self.norm.forward_fused(x);
//!         let [q, k, v] = self.qkv.each_ref().map(|linear| linear.forward_fused(x.clone()));
//!         let x = attention(q, k, v, &AttentionOptions::new(4));
//!         gelu(self.up.forward_fused(x))
//!     }
//! }
//!
//! let device = Device::flex().autodiff();
//! let linear = |width| LinearConfig::new(16, width).init(&device);
//! let block = Block {
//!     norm: LayerNormConfig::new(16).init(&device),
//!     qkv: [linear(16), linear(16), linear(16)],
//!     up: linear(32),
//! };
//! let x = Tensor::random([2, 5, 16], Distribution::Default, &device);
//! let y = block.forward(x);
//! assert_eq!(y.dims(), [2, 5, 32]);
//! let grads = y.sum().backward();
//! assert!(block.norm.gamma.grad(&grads).is_some());
//! ```
//!
//! # What falls back
//!
//! - devices other than Flex, and this crate without its feature `flex`
//! - f16 and bf16, and tensors of different dtypes
//! - tensors without entries, and quantized weights
//! - in [`attention`] a bias, and in [`rotary`] angles, that autodiff tracks
//! - in [`swiglu`] operands of different shapes
//!
//! # Numbers
//!
//! In f32 the errors against f64 are about those of Burn's own operations in f32. NaN in an input
//! is NaN in the outputs that depend on it. Results do not depend on the number of threads.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod activation;
mod attention;
mod descent;
mod dropout;
#[cfg(feature = "flex")]
mod kernels;
mod layers;
mod linear;
mod norm;
#[cfg(feature = "flex")]
pub mod product;
mod rotary;
mod softmax;

pub use activation::{gelu, gelu_approximate, silu, swiglu};
pub use attention::{AttentionOptions, LeftOut, attention};
pub use descent::descend;
pub use dropout::Dropout;
pub use layers::{ForwardFused, is_fused};
pub use linear::{linear, linear_add};
pub use norm::{layer_norm, rms_norm};
pub use rotary::{RotaryPairs, rotary};
pub use softmax::{cross_entropy, log_softmax, softmax};

/// Compiles and runs the code of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
