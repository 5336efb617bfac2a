//! One token from the logits of one row.

use std::cmp::Ordering;

use rand::{Rng, RngExt};

use super::sampling::Sampling;

/// The id of the next token, or what is wrong with the logits.
pub(super) fn next(
    logits: &[f64],
    sampling: &Sampling,
    rng: &mut impl Rng,
) -> Result<usize, &'static str> {
    let largest = check(logits)?;
    if sampling.is_greedy() {
        let best = logits.iter().position(|&logit| logit == largest);
        return best.ok_or("is empty");
    }
    let temperature = sampling.temperature.unwrap_or(1.0);
    // The difference to the largest logit is divided: the smallest temperatures cannot overflow.
    let weight = |id: usize| ((logits[id] - largest) / temperature).exp();
    let ids = candidates(logits, sampling);
    let mut weights: Vec<f64> = ids.iter().map(|&id| weight(id)).collect();
    if let Some(share) = sampling.top_p {
        weights.truncate(nucleus(&weights, share));
    }
    Ok(ids[draw(&weights, rng.random())])
}

/// The largest logit.
fn check(logits: &[f64]) -> Result<f64, &'static str> {
    if logits.iter().any(|logit| logit.is_nan()) {
        return Err("holds NaN");
    }
    match logits.iter().copied().fold(f64::NEG_INFINITY, f64::max) {
        f64::INFINITY => Err("holds an infinite logit"),
        f64::NEG_INFINITY => Err("has no logit above -inf"),
        largest => Ok(largest),
    }
}

/// Ids to draw from; the most probable first where a cut needs the order.
fn candidates(logits: &[f64], sampling: &Sampling) -> Vec<usize> {
    let mut ids: Vec<usize> = (0..logits.len()).collect();
    let descending =
        |a: &usize, b: &usize| -> Ordering { logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)) };
    if let Some(k) = sampling.top_k.filter(|&k| k < ids.len()) {
        ids.select_nth_unstable_by(k, descending);
        ids.truncate(k);
    }
    if sampling.top_k.is_some() || sampling.top_p.is_some() {
        ids.sort_unstable_by(descending);
    }
    ids
}

/// Length of the shortest prefix of descending `weights` that holds a `share` of their sum.
fn nucleus(weights: &[f64], share: f64) -> usize {
    if share >= 1.0 {
        return weights.len();
    }
    let enough = share * weights.iter().sum::<f64>();
    let mut held = 0.0;
    let reached = weights.iter().position(|weight| {
        held += weight;
        held >= enough
    });
    reached.map_or(weights.len(), |last| last + 1)
}

/// Index at which the running sum of `weights` passes the share `u` in `[0, 1)` of the whole.
fn draw(weights: &[f64], u: f64) -> usize {
    let mut left = u * weights.iter().sum::<f64>();
    let passed = weights.iter().position(|weight| {
        left -= weight;
        left < 0.0
    });
    // Rounding may leave a rest behind the last weight.
    let last = weights.iter().rposition(|&weight| weight > 0.0);
    passed.or(last).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::{Config, RngSeed};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// A fixed seed: a run does not depend on luck.
    fn config() -> Config {
        Config {
            cases: 256,
            rng_seed: RngSeed::Fixed(20_240_611),
            failure_persistence: None,
            ..Config::default()
        }
    }

    fn sampling(temperature: f64) -> Sampling {
        Sampling::new(1).with_temperature(Some(temperature))
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn the_nucleus_is_the_smallest_prefix_that_holds_the_share(
            mut weights in prop::collection::vec(0.0f64..1.0, 1..40),
            share in 0.001f64..1.0,
        ) {
            weights.sort_by(|a, b| b.total_cmp(a));
            let kept = nucleus(&weights, share);
            let enough = share * weights.iter().sum::<f64>();
            prop_assert!(kept >= 1);
            let held = |n: usize| weights[..n].iter().sum::<f64>();
            prop_assert!(held(kept) >= enough);
            prop_assert!(kept == 1 || held(kept - 1) < enough);
        }

        #[test]
        fn a_vanishing_temperature_is_greedy(
            logits in prop::collection::vec(-50.0f64..50.0, 1..40),
            seed in any::<u64>(),
        ) {
            // Equal maxima share the probability at any temperature.
            let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assume!(logits.iter().filter(|&&logit| logit == largest).count() == 1);
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let greedy = next(&logits, &Sampling::new(1), &mut rng);
            for temperature in [0.0, 1e-300, 1e-17] {
                prop_assert_eq!(next(&logits, &sampling(temperature), &mut rng), greedy);
            }
        }

        #[test]
        fn draws_stay_within_both_cuts(
            logits in prop::collection::vec(-5.0f64..5.0, 1..40),
            k in 1usize..50,
            share in 0.01f64..=1.0,
            seed in any::<u64>(),
        ) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let sampling = sampling(0.8).with_top_k(Some(k)).with_top_p(Some(share));
            let id = next(&logits, &sampling, &mut rng).unwrap();
            let above = logits.iter().filter(|&&logit| logit > logits[id]).count();
            prop_assert!(above < k);
            // What is more probable than a kept token holds less than the share.
            let mut sorted = logits.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let mass = |logits: &[f64]| logits.iter().map(|l| (l / 0.8).exp()).sum::<f64>();
            let all = mass(&sorted[..k.min(sorted.len())]);
            prop_assert!(mass(&sorted[..above]) <= share * all * (1.0 + 1e-12));
        }
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        // Probabilities 1/2, 1/4, 0, 1/4 at temperature 2.
        let logits = [
            4f64.ln() * 2.0,
            2f64.ln() * 2.0,
            f64::NEG_INFINITY,
            2f64.ln() * 2.0,
        ];
        const DRAWS: usize = 20_000;
        let mut counts = [0usize; 4];
        for _ in 0..DRAWS {
            counts[next(&logits, &sampling(2.0), &mut rng).unwrap()] += 1;
        }
        assert_eq!(counts[2], 0);
        for (count, expected) in counts.iter().zip([0.5, 0.25, 0.0, 0.25]) {
            // Five standard deviations of a binomial share.
            let tolerance = 5.0 * (0.25 / DRAWS as f64).sqrt();
            assert!((*count as f64 / DRAWS as f64 - expected).abs() < tolerance);
        }
    }

    #[test]
    fn a_draw_never_takes_a_token_without_weight() {
        assert_eq!(draw(&[1.0, 2.0, 1.0], 0.0), 0);
        assert_eq!(draw(&[1.0, 2.0, 1.0], 0.25), 1);
        assert_eq!(draw(&[1.0, 2.0, 1.0], 0.999), 2);
        assert_eq!(draw(&[0.0, 1.0, 0.0], 1.0), 1);
    }

    #[test]
    fn of_equal_logits_the_smaller_id_comes_first() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        assert_eq!(next(&[1.0, 2.0, 2.0], &Sampling::new(1), &mut rng), Ok(1));
        let one = sampling(1.0).with_top_k(Some(1));
        assert_eq!(next(&[1.0, 2.0, 2.0], &one, &mut rng), Ok(1));
    }
}
