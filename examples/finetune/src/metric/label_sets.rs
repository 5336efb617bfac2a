//! Metrics of sets of labels.

use super::f1;

/// Whether each label is predicted, and whether it is true, of one row.
type Row = (Vec<bool>, Vec<bool>);

/// Hits and misses (false positives and negatives) of one label.
fn counts(rows: &[Row], label: usize) -> (usize, usize) {
    let count = |of: fn(bool, bool) -> bool| {
        let cells = rows.iter().filter(|(p, t)| of(p[label], t[label]));
        cells.count()
    };
    (count(|p, t| p && t), count(|p, t| p != t))
}

fn by_label(rows: &[Row]) -> impl Iterator<Item = (usize, usize)> {
    let labels = rows.first().map_or(0, |(_, truth)| truth.len());
    (0..labels).map(|label| counts(rows, label))
}

pub(super) fn micro_f1(rows: &[Row]) -> f64 {
    let sum = by_label(rows).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    f1(sum.0, sum.1)
}

pub(super) fn macro_f1(rows: &[Row]) -> f64 {
    let all: Vec<f64> = by_label(rows)
        .map(|(hits, misses)| f1(hits, misses))
        .collect();
    all.iter().sum::<f64>() / all.len().max(1) as f64
}

pub(super) fn subset_accuracy(rows: &[Row]) -> f64 {
    let right = rows.iter().filter(|(predicted, truth)| predicted == truth);
    right.count() as f64 / rows.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_rows_by_hand() {
        let row = |p: [u8; 3], t: [u8; 3]| (p.map(|x| x == 1).to_vec(), t.map(|x| x == 1).to_vec());
        // Label 0: 1 hit, 1 miss; label 1: 1 hit, no miss; label 2: no hit, 1 miss.
        let rows = [
            row([1, 0, 0], [1, 0, 0]),
            row([0, 1, 0], [1, 1, 0]),
            row([0, 0, 1], [0, 0, 0]),
        ];
        assert_eq!(micro_f1(&rows), 4.0 / 6.0);
        assert!((macro_f1(&rows) - (2.0 / 3.0 + 1.0 + 0.0) / 3.0).abs() < 1e-15);
        assert_eq!(subset_accuracy(&rows), 1.0 / 3.0);
        // Nothing predicted and nothing true is 0, as with scikit-learn's `zero_division=0`.
        assert_eq!(micro_f1(&[row([0; 3], [0; 3])]), 0.0);
    }
}
