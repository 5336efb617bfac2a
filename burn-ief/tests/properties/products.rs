use proptest::prelude::*;

use super::net::{Reduction, cases};
use super::oracle::{by_sample, combine, distance, dot, flat, gram, output_norms, record};
use super::{ROWS, config};

proptest! {
    #![proptest_config(config(48))]

    /// Rows, K, Jv, Jᵀc, norms and s under every reduction, in sum form.
    #[test]
    fn products_are_those_of_sample_by_sample_rows(
        case in cases(),
        weighted in any::<bool>(),
        c in proptest::collection::vec(-1.0..1.0f64, 7),
    ) {
        let (net, batch) = (case.net(), case.batch(weighted));
        let oracle = by_sample(&net, &batch);
        let rows = oracle.to_dense();
        let c = &c[..case.samples];
        // The row of a well-fitted sample is small because 1 − p is: its rounding is that of 1.
        let size = |row: &[f64]| dot(row, row).sqrt();
        let floor = 1e-3 * rows.iter().map(|row| size(row)).fold(0.0, f64::max);
        for reduction in [Reduction::Sum, Reduction::Mean, Reduction::Burn] {
            let recorded = record(&net, &batch, reduction);
            let jacobian = recorded.jacobian();
            for (row, expected) in jacobian.to_dense().iter().zip(&rows) {
                let difference: Vec<f64> = row.iter().zip(expected).map(|(a, b)| a - b).collect();
                let distance = size(&difference) / size(expected).max(floor);
                prop_assert!(distance < ROWS, "{distance:e}");
            }
            let k = jacobian.gram().unwrap();
            prop_assert!(distance(k.values(), gram(&rows).values()) < ROWS);
            let norms: Vec<f64> = (0..rows.len()).map(|n| gram(&rows).get(n, n).sqrt()).collect();
            prop_assert!(distance(&jacobian.row_norms(), &norms) < ROWS);

            let v = jacobian.t_matvec(c).unwrap();
            prop_assert!(distance(&flat(&jacobian, &v), &combine(&rows, c)) < ROWS);
            let image = gram(&rows).mul(c);
            prop_assert!(distance(&jacobian.matvec(&v).unwrap(), &image) < ROWS);
            let s = recorded.output_norms().unwrap();
            prop_assert!(distance(&s, &output_norms(&net, &batch)) < ROWS);
        }
    }
}
