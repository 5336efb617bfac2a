//! Which pairs of query and key are left out.

use burn::tensor::{Bool, Device, Int, Tensor};

/// True where a query must not see a key, `[M or 1, 1, T, U]`; `None` if every query sees all keys.
///
/// The queries are the last T of the U positions. `padding` `[M, U]` is true for keys to leave out.
pub(super) fn causal(
    [queries, keys]: [usize; 2],
    padding: Option<Tensor<2, Bool>>,
    device: &Device,
) -> Option<Tensor<4, Bool>> {
    let later = (queries > 1).then(|| {
        let earlier = (keys - queries) as i64;
        Tensor::<2, Bool>::tril_mask([queries, keys], earlier, device)
            .reshape([1, 1, queries, keys])
    });
    let padding = padding.map(|padding| {
        let [batch, _] = padding.dims();
        padding.reshape([batch, 1, 1, keys])
    });
    match (later, padding) {
        (Some(later), Some(padding)) => {
            let [batch, ..] = padding.dims();
            let shape = [batch, 1, queries, keys];
            Some(later.expand(shape).bool_or(padding.expand(shape)))
        }
        (later, padding) => later.or(padding),
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(mask: Tensor<4, Bool>) -> Vec<bool> {
        mask.into_data().iter::<bool>().collect()
    }

    #[test]
    fn queries_see_what_is_not_later() {
        let device = Device::flex();
        let mask = causal([2, 3], None, &device).unwrap();
        assert_eq!(mask.dims(), [1, 1, 2, 3]);
        assert_eq!(rows(mask), [false, false, true, false, false, false]);
        assert!(causal([1, 3], None, &device).is_none());
    }

    #[test]
    fn padding_is_left_out_behind_virtual_tokens() {
        let device = Device::flex();
        let mask = Tensor::<2, Int>::from_data([[0, 1], [1, 0]], &device);
        let padding = padding(mask, 1);
        let last = causal([1, 3], Some(padding.clone()), &device).unwrap();
        assert_eq!(rows(last), [false, true, false, false, false, true]);
        let all = causal([3, 3], Some(padding), &device).unwrap();
        let (t, f) = (true, false);
        let first = [f, t, t, f, t, t, f, t, f];
        let second = [f, t, t, f, f, t, f, f, t];
        assert_eq!(rows(all), [first, second].concat());
    }
}
