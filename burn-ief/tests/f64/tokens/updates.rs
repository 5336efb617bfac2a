//! Steps of every method.

use burn_ief::Error;
use burn_ief::methods::AnyConfig;
use burn_ief::prelude::*;
use burn_ief::solve::Damping;
use proptest::prelude::*;

use super::exact::exact;
use super::model::{Case, Kind, cases, entries};
use super::{close, config, double};

fn configs(case: &Case) -> Vec<(AnyConfig, f64)> {
    let damping = Damping::absolute(0.3);
    vec![
        (exact(EfConfig::new(), damping, 0.0), 1e-12),
        (exact(IefConfig::new(), damping, 0.0), 1e-12),
        (
            exact(
                SfConfig::new().with_seed(case.seed).with_draws(2),
                damping,
                0.0,
            ),
            1e-11,
        ),
    ]
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn steps_are_those_of_all_logits(case in cases()) {
        let device = double::device();
        let model = case.model(&device);
        for (config, tolerance) in configs(&case) {
            let step = |sliced: bool| {
                let mut optim = config.init(&model);
                let stepped = optim.step_closure(1.0, model.clone(), |model| {
                    if sliced {
                        case.sliced(model, &device).token_mean()
                    } else {
                        let losses = case.whole(model, &device, 0, case.samples);
                        let tokens = case.answers().concat().len().max(1) as f64;
                        declare_loss_scale(LossScale::Factor(1.0 / tokens));
                        mark_loss(losses.sum() * (1.0 / tokens))
                    }
                });
                entries(&stepped.unwrap())
            };
            close(&step(true), &step(false), tolerance);
        }
    }

    #[test]
    fn samples_one_by_one_make_the_recorded_step(case in cases()) {
        let device = double::device();
        let model = case.model(&device);
        for (config, tolerance) in configs(&case) {
            let mut single = config.init(&model);
            let found = single.step_by_sample(1.0, model.clone(), case.samples, |model, n| {
                let positions = case.positions;
                let one = Case {
                    samples: 1,
                    labels: case.labels[n * positions..(n + 1) * positions].to_vec(),
                    ..case.clone()
                };
                let hidden = case.hidden(model, case.ids(&device).narrow(0, n, 1));
                let labels = one.labels(&device);
                token_cross_entropy(hidden, labels, &case.head(model)).unwrap().sum()
            });
            let mut recorded = config.init(&model);
            let expected = recorded.step_closure(1.0, model.clone(), |model| {
                case.sliced(model, &device).mean()
            });
            close(&entries(&found.unwrap()), &entries(&expected.unwrap()), tolerance);
        }
    }

    #[test]
    fn shards_make_the_joint_step(case in cases()) {
        prop_assume!(case.samples > 1);
        let device = double::device();
        let model = case.model(&device);
        let half = case.samples / 2;
        for (config, tolerance) in configs(&case) {
            let mut joint = config.init(&model);
            let expected = joint.step_closure(1.0, model.clone(), |model| {
                case.sliced(model, &device).sum()
            });
            let mut optim = config.init(&model);
            for (from, count) in [(0, half), (half, case.samples - half)] {
                let tape = optim.start();
                let hidden = case.hidden(&model, case.ids(&device).narrow(0, from, count));
                let labels = case.labels(&device).narrow(0, from, count);
                let losses = token_cross_entropy(hidden, labels, &case.head(&model)).unwrap();
                // Each shard has a mean of its own.
                let loss = losses.token_mean();
                optim.accumulate(tape, loss.backward(), &model).unwrap();
            }
            let found = optim.step_accumulated(1.0, model.clone());
            close(&entries(&found.unwrap()), &entries(&expected.unwrap()), tolerance);
        }
    }
}

#[test]
fn the_kronecker_family_takes_the_head_as_a_layer() {
    let device = double::device();
    let labels = [
        Some(1),
        Some(2),
        None,
        Some(0),
        Some(3),
        Some(4),
        Some(1),
        Some(0),
    ];
    for kind in [Kind::Frozen, Kind::Trained, Kind::Biased, Kind::LowRank] {
        let case = Case {
            kind,
            samples: 2,
            positions: 4,
            vocabulary: 5,
            features: 3,
            slice: 2,
            cap: None,
            seed: 5,
            labels: labels.to_vec(),
        };
        let model = case.model(&device);
        for name in ["ekfac", "iekfac", "kfac"] {
            let config: AnyConfig = name.parse().unwrap();
            let step = |sliced: bool| {
                let mut optim = config.init(&model);
                let stepped = optim.step_closure(1.0, model.clone(), |model| {
                    if sliced {
                        case.sliced(model, &device).mean()
                    } else {
                        mark_mean_loss(case.whole(model, &device, 0, 2))
                    }
                });
                entries(&stepped.unwrap())
            };
            close(&step(true), &step(false), 1e-10);
        }
    }
}

#[test]
fn the_exact_natural_gradient_is_refused() {
    let device = double::device();
    let case = Case {
        kind: Kind::Trained,
        samples: 1,
        positions: 2,
        vocabulary: 3,
        features: 2,
        slice: 1,
        cap: None,
        seed: 1,
        labels: vec![None, Some(2)],
    };
    let model = case.model(&device);
    let optim = NgdConfig::new().with_classes(3).init(&model);
    let _tape = optim.start();
    let hidden = case.hidden(&model, case.ids(&device));
    let found = token_cross_entropy(hidden, case.labels(&device), &case.head(&model));
    assert_eq!(found.err(), Some(Error::EnumeratedTokens));
}
