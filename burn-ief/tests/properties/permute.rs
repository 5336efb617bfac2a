use burn_ief::prelude::*;
use proptest::prelude::*;

use super::net::{Reduction, cases};
use super::oracle::{distance, flat, record};
use super::{ROWS, UPDATES, config};

proptest! {
    #![proptest_config(config(24))]

    /// Another order of the batch is another order of the rows, and the same update.
    #[test]
    fn permuting_the_batch_permutes_rows_and_nothing_else(
        case in cases(),
        order in Just((0..7usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let (net, batch) = (case.net(), case.batch(true));
        let order: Vec<usize> = order.into_iter().filter(|&n| n < case.samples).collect();
        let permuted = batch.permute(&order);
        let (a, b) = (
            record(&net, &batch, Reduction::Burn),
            record(&net, &permuted, Reduction::Burn),
        );
        let (rows, moved) = (a.jacobian().to_dense(), b.jacobian().to_dense());
        let (s, moved_s) = (a.output_norms().unwrap(), b.output_norms().unwrap());
        let (k, moved_k) = (a.jacobian().gram().unwrap(), b.jacobian().gram().unwrap());
        let size = k.values().iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        for (i, &n) in order.iter().enumerate() {
            prop_assert!(distance(&moved[i], &rows[n]) < ROWS);
            prop_assert!((moved_s[i] - s[n]).abs() <= ROWS * s[n]);
            for (j, &m) in order.iter().enumerate() {
                prop_assert!((moved_k.get(i, j) - k.get(n, m)).abs() < ROWS * size);
            }
        }
        let update = |batch: &super::net::Batch| {
            let mut ief = IefConfig::new().init(&net);
            let tape = ief.start().with_loss_scale(batch.scale(Reduction::Burn));
            let loss = batch.loss(mark_output(net.forward(batch)), Reduction::Burn);
            flat(&a.jacobian(), &ief.gradients(tape, loss.backward(), &net).unwrap())
        };
        prop_assert!(distance(&update(&permuted), &update(&batch)) < UPDATES);
    }
}
