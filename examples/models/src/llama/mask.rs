//! Which keys are padding, and which are out of a window.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// The padding of `[M, V + T]` positions from an attention mask `[M, T]` (1 for tokens, 0 for
/// padding) behind V virtual tokens, brought to the recorded batch.
pub(super) fn padding(mask: Tensor<2, Int>, virtual_tokens: usize) -> Tensor<2, Bool> {
    let [batch, _] = mask.dims();
    let padding = mask.equal_elem(0);
    burn_ief::expand_input(match virtual_tokens {
        0 => padding,
        tokens => {
            let seen = Tensor::<2, Bool>::full([batch, tokens], false, &padding.device());
            Tensor::cat(vec![seen, padding], 1)
        }
    })
}

/// True where a key is `window` tokens or more before a query, `[M, T, U]`. `counts` holds the number
/// of tokens before each position of a row, padding not counted; the queries are those from `start`
/// on.
pub(super) fn out_of_window(
    counts: &[Vec<i64>],
    start: usize,
    window: usize,
    device: &Device,
) -> Tensor<3, Bool> {
    let keys = counts.first().map_or(0, Vec::len);
    let shape = [counts.len(), keys - start, keys];
    let window = i64::try_from(window).unwrap_or(i64::MAX);
    let rows = counts.iter().flat_map(|row| {
        let queries = row[start..].iter();
        queries.flat_map(move |query| row.iter().map(move |key| query - key >= window))
    });
    Tensor::from_data(TensorData::new(rows.collect::<Vec<bool>>(), shape), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows<const D: usize>(mask: Tensor<D, Bool>) -> Vec<bool> {
        mask.into_data().iter::<bool>().collect()
    }

    #[test]
    fn padding_is_left_out_behind_virtual_tokens() {
        let device = Device::flex();
        let mask = Tensor::<2, Int>::from_data([[0, 1], [1, 0]], &device);
        let (t, f) = (true, false);
        assert_eq!(rows(padding(mask, 1)), [f, t, f, f, f, t]);
    }

    #[test]
    fn windows_count_tokens() {
        // A token, padding, two tokens.
        let counts = [vec![0, 1, 1, 2]];
        let device = Device::flex();
        let mask = out_of_window(&counts, 2, 2, &device);
        assert_eq!(mask.dims(), [1, 2, 4]);
        let (t, f) = (true, false);
        assert_eq!(rows(mask), [f, f, f, f, t, f, f, f]);
    }
}
