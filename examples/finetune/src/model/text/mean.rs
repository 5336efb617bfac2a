//! The mean over the tokens of a text.

use burn::tensor::{Int, Tensor};

/// The mean over the last `length` tokens that `mask` `[M, length]` does not leave out.
pub(crate) fn mean(tokens: Tensor<3>, mask: Tensor<2, Int>, length: usize) -> Tensor<2> {
    let [rows, all, width] = tokens.dims();
    let own = tokens.narrow(1, all - length, length);
    let mask = burn_ief::expand_input(mask).float().cast(own.dtype());
    let counts = mask.clone().sum_dim(1);
    let sum: Tensor<2> = (own * mask.unsqueeze_dim(2))
        .sum_dim(1)
        .reshape([rows, width]);
    sum / counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn the_mean_leaves_padding_and_virtual_tokens_out() {
        let device = Device::flex();
        let tokens = Tensor::<3>::from_data(
            [[[9.0], [1.0], [3.0], [9.0]], [[9.0], [2.0], [4.0], [6.0]]],
            &device,
        );
        let mask = Tensor::<2, Int>::from_data([[1, 1, 0], [1, 1, 1]], &device);
        let mean = mean(tokens, mask, 3)
            .into_data()
            .try_to_vec::<f32>()
            .unwrap();
        assert_eq!(mean, [2.0, 4.0]);
    }
}
