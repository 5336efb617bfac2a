//! Scaled dot-product attention over heads.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Tensor};
use burn_flex_fused::{AttentionOptions, LeftOut, attention, is_fused};
use burn_ief::nn::{ForwardRecorded, attention_dropout};
use burn_peft::ForwardAdapted;

use super::initial::initial_linear;

/// Sizes of [`SelfAttention`].
pub(crate) struct AttentionSizes {
    pub width: usize,
    pub heads: usize,
    pub bias: bool,
    pub dropout: f64,
    pub initializer_range: f64,
}

/// Queries, keys and values of all heads.
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// d → d.
    pub query: Linear,
    /// d → d.
    pub key: Linear,
    /// d → d.
    pub value: Linear,
    dropout: Dropout,
    heads: usize,
}

impl SelfAttention {
    pub(crate) fn new(sizes: &AttentionSizes, device: &Device) -> Self {
        let dims = [sizes.width; 2];
        let linear = || initial_linear(dims, sizes.bias, sizes.initializer_range, device);
        Self {
            query: linear(),
            key: linear(),
            value: linear(),
            dropout: DropoutConfig::new(sizes.dropout).init(),
            heads: sizes.heads,
        }
    }

    /// The heads' outputs next to each other, `[M, T, d]` to the same shape; `left_out`
    /// `[M, 1, 1, T]` is true for padding.
    pub(crate) fn forward(&self, x: Tensor<3>, left_out: Option<&Tensor<4, Bool>>) -> Tensor<3> {
        let parts = [&self.query, &self.key, &self.value];
        let parts = parts.map(|linear| linear.forward_adapted(x.clone()));
        attend(parts, self.heads, left_out, &self.dropout)
    }
}

/// Attention of every query over the keys that are not left out.
///
/// A query whose keys are all left out takes the mean of the values, as in `transformers`.
///
/// # Shapes
///
/// - query: `[M, T, d]`; key, value: `[M, U, d]`
/// - left_out: `[M, 1, 1, U]`
/// - output: `[M, T, d]`
fn attend(
    [query, key, value]: [Tensor<3>; 3],
    heads: usize,
    left_out: Option<&Tensor<4, Bool>>,
    dropout: &Dropout,
) -> Tensor<3> {
    let [batch, positions, width] = query.dims();
    let head_width = width / heads;
    if is_fused(&query) || !drops(dropout, &query) {
        let padding = left_out.map(|left_out| {
            let [batch, _, _, keys] = left_out.dims();
            left_out.clone().reshape([batch, keys])
        });
        let options = AttentionOptions::new(heads)
            .with_padding(padding)
            .with_dropout(attention_dropout(dropout, &query))
            .with_left_out(LeftOut::Lowest);
        return attention(query, key, value, &options);
    }
    let split = |x: Tensor<3>| {
        let [batch, positions, _] = x.dims();
        x.reshape([batch, positions, heads, head_width])
            .swap_dims(1, 2)
    };
    // Burn's gradient of a division by a number is f32, that of a product is not.
    let query = split(query) * (1.0 / (head_width as f64).sqrt());
    let mut scores: Tensor<4> = query.matmul(split(key).transpose());
    if let Some(left_out) = left_out {
        let lowest = scores
            .dtype()
            .finfo()
            .map_or(f64::from(f32::MIN), |float| float.min);
        scores = scores.mask_fill(left_out.clone(), lowest);
    }
    let weights = dropout.forward_recorded(softmax(scores, 3));
    weights
        .matmul(split(value))
        .swap_dims(1, 2)
        .reshape([batch, positions, width])
}

/// Whether a dropout drops anything of `x`.
pub(crate) fn drops<const D: usize>(dropout: &Dropout, x: &Tensor<D>) -> bool {
    dropout.training.is_enabled() && dropout.prob > 0.0 && x.device().is_autodiff()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Distribution, Int};

    fn random(shape: [usize; 3]) -> Tensor<3> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
    }

    fn values(x: Tensor<3>) -> Vec<f32> {
        x.into_data().try_to_vec::<f32>().unwrap()
    }

    fn left_out(mask: [[i32; 3]; 2]) -> Tensor<4, Bool> {
        let mask = Tensor::<2, Int>::from_data(mask, &Device::flex());
        mask.equal_elem(0).reshape([2, 1, 1, 3])
    }

    #[test]
    fn keys_that_are_left_out_do_not_matter() {
        let dropout = DropoutConfig::new(0.0).init();
        let [query, key, value] = [random([2, 4, 6]), random([2, 3, 6]), random([2, 3, 6])];
        let mask = left_out([[1, 1, 0], [1, 1, 0]]);
        let masked = attend(
            [query.clone(), key.clone(), value.clone()],
            2,
            Some(&mask),
            &dropout,
        );
        let short = attend(
            [query, key.narrow(1, 0, 2), value.narrow(1, 0, 2)],
            2,
            None,
            &dropout,
        );
        let differences = values(masked - short);
        assert!(differences.iter().all(|d| d.abs() < 1e-6));
    }

    #[test]
    fn a_row_without_keys_takes_the_mean() {
        let dropout = DropoutConfig::new(0.0).init();
        let [query, key, value] = [random([2, 4, 6]), random([2, 3, 6]), random([2, 3, 6])];
        let mask = left_out([[0, 0, 0], [1, 1, 1]]);
        let output = attend([query, key, value.clone()], 3, Some(&mask), &dropout);
        let mean = value.mean_dim(1).expand([2, 4, 6]);
        let differences = values((output - mean).narrow(0, 0, 1));
        assert!(differences.iter().all(|d| d.abs() < 1e-6));
    }
}
