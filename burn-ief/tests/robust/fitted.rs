//! Batches that are fitted, or nearly: updates stay finite, and go to zero.

use burn::module::{Module, Param};

use super::*;

/// Three classes, one input each: the logits of class n are `margin` for input n.
fn certain(margin: f32, device: &Device) -> Linear {
    let mut model = LinearConfig::new(3, 3).with_bias(false).init(device);
    model.weight = Param::from_tensor(Tensor::eye(3, device) * margin);
    model
}

fn inputs(device: &Device) -> Tensor<2> {
    let rows = [0usize, 1, 2, 0, 1];
    let values: Vec<f32> = rows
        .iter()
        .flat_map(|&row| (0..3).map(move |column| f32::from(u8::from(row == column))))
        .collect();
    Tensor::from_data(TensorData::new(values, [5, 3]), device)
}

fn unbounded(mut config: AnyConfig) -> AnyConfig {
    config.step_mut().normalize = Some(0.0);
    config
}

#[test]
fn updates_are_finite_at_every_margin() {
    let device = device();
    let y = labels(&[0, 1, 2, 0, 1], &device);
    for config in methods()
        .into_iter()
        .flat_map(|c| [c.clone(), unbounded(c)])
    {
        for margin in 0..30 {
            let margin = 5.0 * margin as f32;
            let model = certain(margin, &device);
            let mut optim = config.init(&model);
            for marked in [true, false] {
                let tape = optim.start();
                let logits = model.forward_recorded(inputs(&device));
                let needs_mark = !matches!(config.to_string().as_str(), "ef" | "ggt" | "ekfac");
                let logits = if marked || needs_mark {
                    mark_output(logits)
                } else {
                    logits
                };
                let grads = mark_loss(cross_entropy(logits, y.clone())).backward();
                let step = optim.step_with_report(0.1, model.clone(), tape, grads);
                let (after, report) = step.unwrap_or_else(|error| {
                    panic!("{config} at margin {margin}, marked {marked}: {error}")
                });
                let moved = read(Some(after.weight.val() - model.weight.val()));
                assert!(
                    moved.iter().all(|x| x.is_finite()),
                    "{config} at margin {margin}: {report}"
                );
                // From margin 20 on the loss is 0 in f32.
                if marked && margin >= 20.0 && report.factors.is_none() {
                    assert!(
                        norm(&moved) < 1e-3,
                        "{config} at margin {margin}: {}",
                        norm(&moved)
                    );
                    let fitted = report.solve().unwrap();
                    let iterates = config.to_string() == "ief";
                    assert!(
                        iterates || fitted.is_fitted(),
                        "{config} at {margin}: {report}"
                    );
                }
            }
        }
    }
}

#[test]
fn one_true_label_that_disagrees_gives_a_bounded_update() {
    let device = device();
    let y = labels(&[0, 1, 2, 0, 2], &device);
    for config in methods().into_iter().map(unbounded) {
        for margin in [20.0, 40.0, 60.0, 90.0] {
            let model = certain(margin, &device);
            let mut optim = config.init(&model);
            let tape = optim.start();
            let logits = mark_output(model.forward_recorded(inputs(&device)));
            let grads = mark_loss(cross_entropy(logits, y.clone())).backward();
            let step = optim.step_with_report(1.0, model.clone(), tape, grads);
            let (after, report) =
                step.unwrap_or_else(|error| panic!("{config} at margin {margin}: {error}"));
            let moved = norm(&read(Some(after.weight.val() - model.weight.val())));
            // The gradient of the last sample has length √2.
            assert!(
                moved > 0.0 && moved < 10.0,
                "{config} at {margin}: {moved}, {report}"
            );
            if config.to_string() == "sf" {
                assert!(report.solve().unwrap().no_curvature, "{report}");
                assert!(report.to_string().contains("no curvature"), "{report}");
            }
        }
    }
}

#[test]
fn trainings_go_on_far_beyond_convergence() {
    let device = device();
    device.seed(5);
    let x = normal(24, 6, &device);
    let y = labels(&(0..24).map(|n| n % 3).collect::<Vec<_>>(), &device);
    for config in methods()
        .into_iter()
        .flat_map(|c| [c.clone(), unbounded(c)])
    {
        let mut model = layer(6, 3, &device);
        let mut optim = config.init(&model);
        for step in 0..300 {
            let result = optim.step_closure(0.3, model, |model| {
                let logits = mark_output(model.forward_recorded(x.clone() * 3.0));
                mark_loss(cross_entropy(logits, y.clone()))
            });
            model = result.unwrap_or_else(|error| panic!("{config}, step {step}: {error}"));
        }
        let weights = read(Some(model.weight.val()));
        assert!(weights.iter().all(|x| x.is_finite()), "{config}");
        assert_eq!(model.num_params(), 21);
    }
}

#[test]
fn norms_outside_the_range_of_squares_are_normalised() {
    // Gradients of size 1e-25 and 1e25: their squares leave the range of f32.
    let device = device();
    for size in [1e-25, 1e25] {
        let model = layer(4, 1, &device);
        let step = StepOptions::new().with_normalize(Some(2.0));
        let config = IefConfig::new()
            .with_solve(SolveOptions::plain(Damping::default()))
            .with_step(step);
        let gradients = |config: &IefConfig| {
            let mut optim = config.init(&model);
            let x = Tensor::<2>::ones([3, 4], &device) / size;
            let tape = optim.start();
            let z = mark_output_as(model.forward_recorded(x), Likelihood::Gaussian);
            optim.gradients(tape, z.sum_dim(1).mean().backward(), &model)
        };
        let length = norm(&entries(&model, &gradients(&config).unwrap()));
        assert!((length - 2.0).abs() < 1e-4, "{size}: {length}");
        // A metric keeps squares, which are too large or as good as zero here: an error or a whole update.
        match gradients(&config.with_solve(SolveOptions::new())) {
            Ok(update) => assert!(
                (norm(&entries(&model, &update)) - 2.0).abs() < 1e-4,
                "{size}"
            ),
            Err(error) => assert!(
                matches!(error, burn_ief::Error::NonFinite { .. }),
                "{error}"
            ),
        }
    }
}
