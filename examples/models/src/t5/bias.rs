//! What is added to attention scores: relative positions, and masks.

use burn::nn::Embedding;
use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};
use burn_ief::nn::embed_shared;
use burn_peft::{ForwardAdapted, LoraAdapters};

/// How the distance between two positions becomes a row of the table of biases: half of the rows
/// for single small distances, half for ranges that grow with the distance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buckets {
    pub count: usize,
    pub max_distance: usize,
    /// Whether later positions have buckets of their own (encoder), or are never looked at
    /// (decoder).
    pub bidirectional: bool,
}

impl Buckets {
    /// The bucket of a key seen from a query.
    fn bucket(&self, query: usize, key: usize) -> usize {
        let (count, first, distance) = if self.bidirectional {
            let count = self.count / 2;
            let first = if key > query { count } else { 0 };
            (count, first, query.abs_diff(key))
        } else {
            (self.count, 0, query.saturating_sub(key))
        };
        let exact = count / 2;
        if distance < exact {
            return first + distance;
        }
        // In f32 as in `transformers`, so that distances at the edge of a bucket fall alike.
        let range = (self.max_distance as f64 / exact as f64).ln() as f32;
        let share = (distance as f32 / exact as f32).ln() / range;
        let above = (share * (count - exact) as f32) as usize;
        first + (exact + above).min(count - 1)
    }

    /// Biases of `queries` positions that come after `past` others, for all keys up to the last
    /// query.
    ///
    /// # Shapes
    ///
    /// - table: `[buckets, heads]`
    /// - output: `[batch, heads, queries, past + queries]`
    pub fn biases(
        &self,
        table: &Embedding,
        past: usize,
        queries: usize,
        batch: usize,
        device: &Device,
    ) -> Tensor<4> {
        let keys = past + queries;
        let ids: Vec<i64> = (past..keys)
            .flat_map(|query| (0..keys).map(move |key| self.bucket(query, key) as i64))
            .collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, queries * keys]), device);
        // One copy per sample: the table has no batch axis, its gradient rows do.
        let biases = match LoraAdapters::of(&table.weight) {
            Some(_) => table.forward_adapted(ids.expand([batch, queries * keys])),
            None => embed_shared(table, ids, batch),
        };
        let [batch, _, heads] = biases.dims();
        biases
            .reshape([batch, queries, keys, heads])
            .permute([0, 3, 1, 2])
    }
}

/// A score that no key survives: it vanishes in the softmax, and where every key has it the
/// weights are equal instead of NaN.
fn masked_score(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => -3e4,
        _ => -1e30,
    }
}

/// Keys that are padding, `[M, U]` with 0 there, as a mask of scores `[M, 1, 1, U]`.
fn padding(attention_mask: Tensor<2, Int>) -> Tensor<4, Bool> {
    let [batch, keys] = attention_mask.dims();
    attention_mask.equal_elem(0).reshape([batch, 1, 1, keys])
}

/// `biases` `[M, heads, T, U]` without the keys that are padding (`attention_mask [M, U]` is 0).
pub(super) fn without_padding(biases: Tensor<4>, attention_mask: Tensor<2, Int>) -> Tensor<4> {
    let value = masked_score(biases.dtype());
    biases.mask_fill(padding(attention_mask), value)
}

/// `biases` `[M, heads, T, past + T]` without the keys after each query.
pub(super) fn without_later(biases: Tensor<4>) -> Tensor<4> {
    let [_, _, queries, keys] = biases.dims();
    if queries == 1 {
        return biases;
    }
    let past = keys - queries;
    let later: Vec<bool> = (past..keys)
        .flat_map(|query| (0..keys).map(move |key| key > query))
        .collect();
    let later = TensorData::new(later, [1, 1, queries, keys]);
    let later = Tensor::<4, Bool>::from_data(later, &biases.device());
    let value = masked_score(biases.dtype());
    biases.mask_fill(later, value)
}

/// Scores of the keys of cross attention, `[M, 1, 1, U]`: zero, or masked for padding.
pub(super) fn cross_mask(attention_mask: Tensor<2, Int>, like: &Tensor<3>) -> Tensor<4> {
    let [batch, keys] = attention_mask.dims();
    let zeros = Tensor::zeros([batch, 1, 1, keys], (&like.device(), like.dtype()));
    without_padding(zeros, attention_mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(bidirectional: bool) -> Buckets {
        Buckets {
            count: 32,
            max_distance: 128,
            bidirectional,
        }
    }

    #[test]
    fn near_positions_have_buckets_of_their_own() {
        let encoder = buckets(true);
        let before: Vec<usize> = (0..8).map(|d| encoder.bucket(10, 10 - d)).collect();
        assert_eq!(before, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(encoder.bucket(10, 11), 17);
        let decoder = buckets(false);
        assert_eq!(decoder.bucket(20, 5), 15);
        assert_eq!(decoder.bucket(5, 20), 0, "later positions are masked");
    }

    /// Where a bucket of `transformers`' `_relative_position_bucket` begins.
    #[test]
    fn far_positions_share_buckets() {
        let edges = |bidirectional: bool, exact: usize| -> Vec<usize> {
            let bucket = |distance| buckets(bidirectional).bucket(distance, 0);
            let edge = |distance: &usize| bucket(*distance) != bucket(distance - 1);
            (exact..1000).filter(edge).collect()
        };
        assert_eq!(edges(true, 8), [8, 12, 16, 23, 32, 46, 64, 91]);
        let decoder = [
            16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113,
        ];
        assert_eq!(edges(false, 16), decoder);
        assert_eq!(buckets(true).bucket(0, 500), 31);
    }
}
