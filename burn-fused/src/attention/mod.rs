//! Attention of `[M, T, heads * width]`.

mod composed;
mod options;
mod sizes;

use burn::tensor::Tensor;

pub use options::{AttentionOptions, LeftOut};

use composed::composed;
use sizes::Sizes;

/// `softmax(scale · q kᵀ) v` in each head, with masks, bias, soft cap and dropout as `options` say.
///
/// Heads are read and written where they are, next to each other in the last axis. On Flex no
/// `[M, heads, T, U]` tensor is formed, and the backward pass forms the weights again, block by
/// block. A bias that is tracked by autodiff takes Burn's own operations.
///
/// # Shapes
///
/// - query: `[M, T, heads * width]`
/// - key: `[M, U, key_value_heads * width]`
/// - value: `[M, U, key_value_heads * value_width]`
/// - output: `[M, T, heads * value_width]`
///
/// # Panics
///
/// Panics if the shapes do not fit each other and the options, or if the soft cap is not positive.
///
/// ```
/// use burn::tensor::{Device, Distribution, Tensor};
/// use burn_flex_fused::{AttentionOptions, attention};
///
/// let device = Device::flex().autodiff();
/// let x = Tensor::<3>::random([2, 5, 12], Distribution::Default, &device).require_grad();
/// let options = AttentionOptions::new(3).with_causal(true);
/// let y = attention(x.clone(), x.clone(), x.clone(), &options);
/// assert_eq!(y.dims(), [2, 5, 12]);
/// // The first query sees only the first key.
/// let first = (y.clone() - x.clone()).narrow(1, 0, 1).abs().max();
/// assert!(first.into_scalar::<f32>() < 1e-6);
/// let grads = y.sum().backward();
/// assert_eq!(x.grad(&grads).unwrap().dims(), [2, 5, 12]);
/// ```
pub fn attention(
    query: Tensor<3>,
    key: Tensor<3>,
    value: Tensor<3>,
    options: &AttentionOptions,
) -> Tensor<3> {
    let sizes = Sizes::new(&query, &key, &value, options);
    #[cfg(feature = "flex")]
    if fused::takes(&query, &key, &value, options) {
        return fused::apply([query, key, value], options, sizes);
    }
    composed(query, key, value, options, sizes)
}

#[cfg(feature = "flex")]
mod fused {
    use burn::tensor::{Bool, BoolStore, DType, Device, Tensor};

    use super::AttentionOptions;
    use super::sizes::Sizes;
    use crate::kernels::attention::{Attention, Plan};
    use crate::kernels::extension;

    pub(super) fn takes(
        query: &Tensor<3>,
        key: &Tensor<3>,
        value: &Tensor<3>,
        options: &AttentionOptions,
    ) -> bool {
        let mut facts = vec![query, key, value]
            .into_iter()
            .map(extension::facts)
            .collect::<Vec<_>>();
        if let Some(bias) = &options.bias {
            if bias.is_tracked() {
                return false;
            }
            facts.push(extension::facts(bias));
        }
        let padding = options.padding.as_ref().is_none_or(takes_mask);
        let mask = options.mask.as_ref().is_none_or(takes_mask);
        padding && mask && extension::takes(&facts)
    }

    /// On Flex, a byte for each entry.
    fn takes_mask<const D: usize>(mask: &Tensor<D, Bool>) -> bool {
        matches!(mask.dtype(), DType::Bool(BoolStore::Native | BoolStore::U8))
            && mask.device().inner() == Device::flex()
    }

    pub(super) fn apply(
        tensors: [Tensor<3>; 3],
        options: &AttentionOptions,
        sizes: Sizes,
    ) -> Tensor<3> {
        let padding = options.padding.clone().map(|padding| {
            let [samples, keys] = padding.dims();
            padding.reshape([samples, 1, keys])
        });
        let masks = padding.into_iter().chain(options.mask.clone());
        let plan = Plan {
            heads: options.heads,
            key_value_heads: options.key_value_heads,
            scale: options.scale.unwrap_or((sizes.width as f64).powf(-0.5)),
            soft_cap: options.soft_cap,
            bias: options.bias.clone().map(extension::constant),
            causal: options.causal,
            window: options.window,
            masks: masks.map(extension::constant_mask).collect(),
            left_out: options.left_out.score(tensors[0].dtype()),
            dropout: options.dropout,
        };
        let inputs = tensors.map(Tensor::into_dispatch);
        extension::apply(Attention(plan).kernel(), inputs.into())
    }
}
