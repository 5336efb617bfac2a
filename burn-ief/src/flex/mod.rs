//! Matrix products on Flex, whose memory is the host's.
//!
//! Burn's product clears its output and copies it before it writes it, and cannot add to what is
//! there. For a weight's gradient, which is as large as the weight and has few samples behind it,
//! that is most of the time. Here the output is written once, by [faer](https://docs.rs/faer),
//! which also takes the widest instructions that the processor has (Burn does so with its feature
//! `x86-v4`).

mod block;
mod factor;
mod long;
mod sum;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Tensor};

pub(crate) use block::multiply;
pub(crate) use factor::{straight, view};

/// Fewest rows and columns of an output that [`product`] takes.
const NARROW: usize = 32;
/// Largest inner size for which [`product`] pays: with AVX-512 in Burn's own products the deeper ones
/// are as fast, and need no second copy of the left factor.
const DEEPEST: Option<usize> = if cfg!(feature = "x86-v4") {
    Some(256)
} else {
    None
};

/// `Σ_k A_k B_k` for matrices `A_k [m, n_k]` and `B_k [n_k, o]`, all f32 or all f64, as `[m, o]`.
///
/// It may lie in the memory of `A_1`, if that is as large and the caller gives away its only owner.
///
/// ```
/// use burn::backend::Flex;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::flex::sum_of_products;
///
/// let device = Device::flex();
/// let ones = |shape: [usize; 2]| {
///     let ones = Tensor::<2>::ones(shape, &device);
///     ones.try_into_primitive::<Flex>().unwrap()
/// };
/// let sum = sum_of_products(vec![[ones([4, 3]), ones([3, 5])], [ones([4, 2]), ones([2, 5])]]);
/// let sum = Tensor::<2>::from_primitive::<Flex>(sum);
/// assert_eq!(sum.dims(), [4, 5]);
/// assert_eq!(sum.sum().into_scalar::<f32>(), 100.0);
/// ```
///
/// # Panics
///
/// Panics if there is no product, if sizes do not agree, and in other precisions.
pub fn sum_of_products(products: Vec<[FlexTensor; 2]>) -> FlexTensor {
    match products.first().map(|[left, _]| left.dtype()) {
        Some(DType::F32) => sum::of::<f32>(products),
        Some(DType::F64) => sum::of::<f64>(products),
        other => panic!("a sum of products in {other:?}"),
    }
}

/// `aᵀ b` for `a [n, p]` and `b [n, o]`, both f32 or f64, as `[p, o]`: the gradient of a narrow
/// factor, a long sum with a small result. The threads share the sum.
///
/// ```
/// use burn::backend::Flex;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::flex::transposed_product;
///
/// let device = Device::flex();
/// let ones = |shape: [usize; 2]| {
///     let ones = Tensor::<2>::ones(shape, &device);
///     ones.try_into_primitive::<Flex>().unwrap()
/// };
/// let product = transposed_product(&ones([5, 2]), &ones([5, 3]));
/// let product = Tensor::<2>::from_primitive::<Flex>(product);
/// assert_eq!(product.dims(), [2, 3]);
/// assert_eq!(product.sum().into_scalar::<f32>(), 30.0);
/// ```
///
/// # Panics
///
/// Panics if sizes do not agree, and in other precisions.
pub fn transposed_product(a: &FlexTensor, b: &FlexTensor) -> FlexTensor {
    match a.dtype() {
        DType::F32 => long::product::<f32>(a, b),
        DType::F64 => long::product::<f64>(a, b),
        other => panic!("a product in {other:?}"),
    }
}

/// `a b` off the tape; `None` on other devices, in other precisions, and where Burn's own product is
/// as good.
pub(crate) fn product(a: &Tensor<2>, b: &Tensor<2>) -> Option<Tensor<2>> {
    let wide = a.dims()[0].min(b.dims()[1]) >= NARROW;
    let shallow = DEEPEST.is_none_or(|deepest| a.dims()[1] <= deepest);
    let exact = matches!(a.dtype(), DType::F32 | DType::F64) && a.dtype() == b.dtype();
    if !wide || !shallow || !exact {
        return None;
    }
    let product = sum_of_products(vec![[primitive(a)?, primitive(b)?]]);
    Some(Tensor::from_primitive::<Flex>(product))
}

/// A tensor off the tape without a copy; `None` on other devices.
pub(crate) fn primitive<const D: usize>(x: &Tensor<D>) -> Option<FlexTensor> {
    x.clone().try_into_primitive::<Flex>().ok()
}

#[cfg(test)]
mod tests;
