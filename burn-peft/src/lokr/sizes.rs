//! The sizes of the factors of one weight.

use super::config::LokrConfig;
use crate::adapters::AdapterPart;

/// The parts of a factor in PEFT's layout, with the names of the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FactorSizes {
    /// One matrix `[rows, columns]`.
    Whole([usize; 2]),
    /// The product of `[rows, r]` and `[r, columns]`.
    Product([usize; 2], [usize; 2]),
}

/// The sizes of both factors of a weight `[d_out, d_in]`, as PEFT has it: the first is `[out_1, in_1]`, the
/// second `[out_2, in_2]`, with `out_1 out_2 = d_out` and `in_1 in_2 = d_in`.
pub(super) fn of_linear(
    config: &LokrConfig,
    rank: usize,
    [d_in, d_out]: [usize; 2],
) -> [FactorSizes; 2] {
    let (in_1, in_2) = split(d_in, config.decompose_factor);
    let (out_1, out_2) = split(d_out, config.decompose_factor);
    let sizes = |rows: usize, columns: usize, decompose: bool| {
        // r < max / 2
        if decompose && 2 * rank < rows.max(columns) {
            FactorSizes::Product([rows, rank], [rank, columns])
        } else {
            FactorSizes::Whole([rows, columns])
        }
    };
    [
        sizes(out_1, in_1, config.decompose_both),
        sizes(out_2, in_2, true),
    ]
}

/// PEFT's factorization of a dimension: by the factor if it divides it, or else into the two closest
/// numbers of which the smaller one is at most the factor; -1 is no limit.
pub(super) fn split(dimension: usize, factor: i64) -> (usize, usize) {
    let limit = usize::try_from(factor).unwrap_or(dimension);
    if factor > 0 && dimension.is_multiple_of(limit) {
        return (limit, dimension / limit);
    }
    // The search ends at divisors that are further apart than the last ones: the smaller one grows as
    // long as it is the smaller one.
    let divisors = (1..=limit.min(dimension)).take_while(|small| small * small <= dimension);
    let small = divisors.filter(|small| dimension.is_multiple_of(*small));
    let small = small.last().unwrap_or(1);
    (small, dimension / small)
}

/// The names of the parameters and parts of both factors: whole, and the two of a product.
pub(super) const NAMES: [[(AdapterPart, &str); 3]; 2] = [
    [
        (AdapterPart::LOKR_W1, "w1"),
        (AdapterPart::LOKR_W1_A, "w1_a"),
        (AdapterPart::LOKR_W1_B, "w1_b"),
    ],
    [
        (AdapterPart::LOKR_W2, "w2"),
        (AdapterPart::LOKR_W2_A, "w2_a"),
        (AdapterPart::LOKR_W2_B, "w2_b"),
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    /// `peft.tuners.lokr.layer.factorization` of PEFT 0.21.2.
    #[test]
    fn dimensions_are_split_as_in_peft() {
        for (dimension, factor, expected) in [
            (256, -1, (16, 16)),
            (128, -1, (8, 16)),
            (127, -1, (1, 127)),
            (128, 4, (4, 32)),
            (768, -1, (24, 32)),
            (768, 5, (4, 192)),
            (768, 7, (6, 128)),
            (36, -1, (6, 6)),
            (36, 4, (4, 9)),
            (36, 5, (4, 9)),
            (36, 10, (6, 6)),
            (1, -1, (1, 1)),
            (2, -1, (1, 2)),
            (3072, -1, (48, 64)),
            (3072, 16, (16, 192)),
            (24, -1, (4, 6)),
            (24, 50, (4, 6)),
            (12, 12, (12, 1)),
            (30, 20, (5, 6)),
            (576, -1, (24, 24)),
        ] {
            assert_eq!(split(dimension, factor), expected, "{dimension}, {factor}");
        }
    }
}
