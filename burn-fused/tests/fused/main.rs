//! Fused operations against Burn's own in f64: values and gradients, over random shapes.

mod activations;
mod attention;
mod attention_masks;
mod descent;
mod fallback;
mod harness;
mod linear;
mod norms;
mod rotary;
mod softmax;
