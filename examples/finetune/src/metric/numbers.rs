//! Metrics of numbers.

/// The mean of the squared differences.
pub(super) fn mean_squared_error(pairs: &[(f64, f64)]) -> f64 {
    let squares = pairs
        .iter()
        .map(|(predicted, truth)| (predicted - truth).powi(2));
    squares.sum::<f64>() / pairs.len() as f64
}

/// Pearson's correlation; 0 where one side is constant.
pub(super) fn pearson(pairs: &[(f64, f64)]) -> f64 {
    let n = pairs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / n;
    let (a, b) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let mut products = [0.0; 3];
    for (x, y) in pairs {
        let (x, y) = (x - a, y - b);
        for (sum, product) in products.iter_mut().zip([x * y, x * x, y * y]) {
            *sum += product;
        }
    }
    let [both, first, second] = products;
    if first == 0.0 || second == 0.0 {
        return 0.0;
    }
    // Rounding can leave the range.
    (both / (first.sqrt() * second.sqrt())).clamp(-1.0, 1.0)
}

/// Spearman's correlation.
pub(super) fn spearman(pairs: &[(f64, f64)]) -> f64 {
    let ranks = |of: fn(&(f64, f64)) -> f64| ranks(pairs.iter().map(of).collect());
    let (a, b) = (ranks(|pair| pair.0), ranks(|pair| pair.1));
    pearson(&a.into_iter().zip(b).collect::<Vec<_>>())
}

/// The rank of each value; equal ones share the mean of their ranks.
fn ranks(values: Vec<f64>) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for same in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let mean = first as f64 + (same.len() - 1) as f64 / 2.0;
        for &place in same {
            ranks[place] = mean;
        }
        first += same.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn correlations_by_hand() {
        // Deviations (−1, 0, 1) and (−2, 1, 1): 3 / √(2 · 6).
        let pairs = [(1.0, 1.0), (2.0, 4.0), (3.0, 4.0)];
        assert!((pearson(&pairs) - 3.0 / 12f64.sqrt()).abs() < 1e-15);
        // Ranks (0, 1, 2) and (0, 1.5, 1.5): 1.5 / √(2 · 1.5).
        assert!((spearman(&pairs) - 1.5 / 3f64.sqrt()).abs() < 1e-15);
        assert!((mean_squared_error(&pairs) - 5.0 / 3.0).abs() < 1e-15);
        assert_eq!(pearson(&[(1.0, 2.0), (1.0, 3.0)]), 0.0);
        assert_eq!(spearman(&[(2.0, 2.0)]), 0.0);
    }

    proptest! {
        #[test]
        fn scale_and_offset_do_not_matter_and_ranks_ignore_bends(
            pairs in prop::collection::vec((-50i32..50, -50i32..50), 2..40),
            scale in 1i32..9,
            offset in -20i32..20,
        ) {
            let plain: Vec<(f64, f64)> =
                pairs.iter().map(|&(x, y)| (f64::from(x), f64::from(y))).collect();
            let moved: Vec<_> =
                plain.iter().map(|(x, y)| (f64::from(scale) * x + f64::from(offset), *y)).collect();
            prop_assert!((pearson(&plain) - pearson(&moved)).abs() < 1e-9);
            let bent: Vec<_> = plain.iter().map(|(x, y)| (x.powi(3), y.exp())).collect();
            prop_assert!((spearman(&plain) - spearman(&bent)).abs() < 1e-9);
            prop_assert!((-1.0..=1.0).contains(&pearson(&plain)));
        }
    }
}
