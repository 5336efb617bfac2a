//! Kernels for Flex tensors, whose memory is the host's.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod descent;
pub(crate) mod extension;
pub(crate) mod linear;
mod memory;
pub(crate) mod norm;
mod real;
mod reduce;
pub(crate) mod rotary;
pub(crate) mod softmax;
