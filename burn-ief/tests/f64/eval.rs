//! γ and F in f64: every method against dense matrices from one backward pass per output.
//!
//! A device takes its precision once per process, so this is a test binary of its own.

use crate::double;
use crate::properties::net;
use crate::properties::oracle;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams, SgdConfig};
use burn::tensor::{Bool, Tensor, TensorData};
use burn_ief::eval::{
    Fisher, GammaMethod, LossKind, Sweep, SweepRule, displacement, summed_gradient,
};
use burn_ief::jacobian::{Jacobian, RecordedBatch};
use burn_ief::nn::ForwardRecorded;
use burn_ief::solve::{DampedMatrix, DampingAmount};
use burn_ief::{LabelDraw, LossScale, Tape, mark_output};
use double::device;
use net::{Batch, Case, Net, cases};
use oracle::{by_sample, distance, dot, flat, values};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

const LOSSES: [LossKind; 3] = [
    LossKind::CrossEntropy,
    LossKind::BinaryCrossEntropy,
    LossKind::LeastSquares,
];

/// A fixed seed: a run does not depend on luck.
fn config(cases: u32) -> Config {
    Config {
        cases,
        rng_seed: RngSeed::Fixed(20_240_611),
        failure_persistence: None,
        ..Config::default()
    }
}

/// A random entry for every trainable parameter.
fn direction(net: &Net, seed: u64) -> GradientsParams {
    struct Draw {
        generator: ChaCha8Rng,
        drawn: GradientsParams,
    }
    impl ModuleVisitor for Draw {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val().inner();
            let dims = value.dims();
            let entries: Vec<f64> = (0..dims.iter().product())
                .map(|_| StandardNormal.sample(&mut self.generator))
                .collect();
            let data = TensorData::new(entries, dims);
            let entry = Tensor::<D>::from_data(data, (&value.device(), value.dtype()));
            self.drawn.register(param.id, entry);
        }
    }
    let mut draw = Draw {
        generator: ChaCha8Rng::seed_from_u64(seed),
        drawn: GradientsParams::new(),
    };
    net.visit(&mut draw);
    draw.drawn
}

/// `[M * T]`: whether a position is padding.
fn padding(case: &Case) -> Vec<bool> {
    let mut generator = ChaCha8Rng::seed_from_u64(case.seed ^ 2);
    let count = case.samples * case.positions;
    let mut padding: Vec<bool> = (0..count).map(|_| generator.random_bool(0.3)).collect();
    padding[0] = false;
    padding
}

fn padding_tensor(case: &Case, padding: &[bool]) -> Tensor<2, Bool> {
    let data = TensorData::new(padding.to_vec(), [case.samples, case.positions]);
    Tensor::from_data(data, &case.device())
}

/// J_z, one row for each entry of the outputs, and the outputs.
fn output_jacobian(net: &Net, batch: &Batch, params: &Jacobian) -> (Vec<Vec<f64>>, Vec<f64>) {
    let z = net.forward(batch);
    let outputs = z.dims().iter().product::<usize>();
    let rows = (0..outputs).map(|k| {
        let one = net.forward(batch).reshape([outputs]).narrow(0, k, 1);
        let grads = GradientsParams::from_grads(one.backward(), net);
        flat(params, &grads)
    });
    (rows.collect(), values(z.inner()))
}

/// H u by the textbook: diag(p) − ppᵀ, p(1 − p), the identity.
fn curved(loss: LossKind, z: &[f64], u: &[f64], padding: &[bool]) -> Vec<f64> {
    let classes = z.len() / padding.len();
    let positions = z.chunks(classes).zip(u.chunks(classes)).zip(padding);
    let curved = positions.flat_map(|((z, u), padding)| match (padding, loss) {
        (true, _) => vec![0.0; classes],
        (_, LossKind::CrossEntropy) => {
            let total: f64 = z.iter().map(|z| z.exp()).sum();
            let p: Vec<f64> = z.iter().map(|z| z.exp() / total).collect();
            let mean = dot(&p, u);
            p.iter().zip(u).map(|(p, u)| p * (u - mean)).collect()
        }
        (_, LossKind::BinaryCrossEntropy) => {
            let p = z.iter().map(|z| 1.0 / (1.0 + (-z).exp()));
            p.zip(u).map(|(p, u)| p * (1.0 - p) * u).collect()
        }
        (_, LossKind::LeastSquares) => u.to_vec(),
        (_, other) => panic!("no formula for {other:?}"),
    });
    curved.collect()
}

proptest! {
    #![proptest_config(config(24))]

    /// Exact passes and differences against the dense Fisher matrix: value, samples' shares, Fv.
    #[test]
    fn methods_agree_with_the_dense_fisher(case in cases(), pad in any::<bool>()) {
        let (net, batch) = (case.net(), case.batch(false));
        let params = by_sample(&net, &batch);
        let (rows, z) = output_jacobian(&net, &batch, &params);
        let delta = direction(&net, case.seed);
        let v = flat(&params, &delta);
        let u: Vec<f64> = rows.iter().map(|row| dot(row, &v)).collect();
        let padding = if pad {
            padding(&case)
        } else {
            vec![false; case.samples * case.positions]
        };
        for loss in LOSSES {
            let fisher = if pad {
                Fisher::new(loss).with_padding(padding_tensor(&case, &padding))
            } else {
                Fisher::new(loss)
            };
            let w = curved(loss, &z, &u, &padding);
            let expected = dot(&u, &w);
            let each = w.len() / case.samples;
            let shares: Vec<f64> = u.chunks(each).zip(w.chunks(each)).map(|(u, w)| dot(u, w)).collect();
            let product = oracle::combine(&rows, &w);

            let exact = fisher.clone().with_method(GammaMethod::Exact);
            let at = exact.at(&net, |net| net.forward(&batch)).unwrap();
            let found = at.curvature(&delta).unwrap();
            prop_assert!(distance(&found.per_sample, &shares) < 1e-10, "{:?}", loss);
            prop_assert!((found.value / expected - 1.0).abs() < 1e-10, "{:?}", loss);
            prop_assert_eq!(found.passes.backward, case.positions * case.classes);
            // Kept for the next direction.
            prop_assert_eq!(at.curvature(&delta).unwrap().passes.backward, 0);
            let found = flat(&params, &at.product(&delta).unwrap());
            prop_assert!(distance(&found, &product) < 1e-10, "{:?}", loss);

            let differences = fisher.with_method(GammaMethod::Differences);
            let at = differences.at(&net, |net| net.forward(&batch)).unwrap();
            let found = at.curvature(&delta).unwrap();
            let off = (found.value - expected).abs();
            prop_assert!(off <= found.error + 1e-12 * expected, "{:?}: {} of {} off, said {}", loss, off, expected, found.error);
            prop_assert!(found.error < 1e-5 * expected, "{:?}: {} of {}", loss, found.error, expected);
            prop_assert!(off < 1e-7 * expected, "{:?}: {} of {}", loss, off, expected);
            prop_assert!(found.passes.forward <= 4);
            let found = flat(&params, &at.product(&delta).unwrap());
            prop_assert!(distance(&found, &product) < 1e-6, "{:?}", loss);
        }
    }

    /// γ does not depend on the length or sign of Δ, over thirty orders of magnitude.
    #[test]
    fn gamma_does_not_depend_on_length(case in cases(), exponent in -15..15i32) {
        let (net, batch) = (case.net(), case.batch(false));
        let g = summed_gradient(batch.losses(net.forward(&batch)).sum().backward(), &net, 1.0);
        let delta = direction(&net, case.seed);
        let longer = scaled(&net, &delta, -10f64.powi(exponent));
        for method in [GammaMethod::Exact, GammaMethod::Differences] {
            let at = Fisher::new(LossKind::CrossEntropy).with_method(method);
            let at = at.at(&net, |net| net.forward(&batch)).unwrap();
            let (a, b) = (at.quality(&delta, &g).unwrap(), at.quality(&longer, &g).unwrap());
            prop_assert!((b.ratio(&a) - 1.0).abs() < 1e-7, "{:?}: {} {}", method, a.gamma(), b.gamma());
            prop_assert!((b.best_reduction() / a.best_reduction() - 1.0).abs() < 1e-6);
        }
    }

    /// The exact natural gradient has the smallest γ, and γ² of it is 1 / gᵀF⁻¹g.
    #[test]
    fn the_natural_gradient_is_best(case in cases()) {
        let (net, batch) = (case.net(), case.batch(false));
        let draw = LabelDraw::Enumerate { classes: case.classes };
        let tape = Tape::with_drawn_labels(draw).with_loss_scale(LossScale::Sum);
        let z = mark_output(net.forward_pooled(&batch));
        let losses = batch.losses(z.unsqueeze_dim::<3>(1).repeat_dim(1, case.positions));
        let grads = burn_ief::mark_loss(losses.sum()).backward();
        let recorded = RecordedBatch::collect(tape, grads, &net, None).unwrap();
        let sweep = Sweep::new(&recorded).unwrap();
        let at = Fisher::new(LossKind::CrossEntropy)
            .with_method(GammaMethod::Exact)
            .at(&net, |net| net.forward_pooled(&batch))
            .unwrap();
        let amounts = [DampingAmount::Relative(1e-9), DampingAmount::Relative(1e-2)];
        let points = sweep.qualities(&at, &SweepRule::all(), &amounts).unwrap();
        let natural = points
            .iter()
            .find(|point| point.rule == "sf")
            .unwrap();
        let sgd = at.quality(sweep.gradient(), sweep.gradient()).unwrap();
        for other in points.iter().map(|point| &point.quality).chain([&sgd]) {
            prop_assert!(natural.quality.ratio(other) < 1.0 + 1e-6);
        }
        // (F + λI)Δ = g: at small λ, ΔᵀFΔ = Δᵀg.
        prop_assert!((natural.quality.best_step() - 1.0).abs() < 1e-4);
    }
}

/// Least squares: iEF is the natural gradient.
#[test]
fn ief_is_the_natural_gradient_of_least_squares() {
    let case = some_case(|case| case.samples == 4 && case.classes == 3);
    let (net, batch) = (case.net(), case.batch(false));
    let forward = |net: &Net| net.forward_pooled(&batch).narrow(1, 0, 1);
    let tape = Tape::with_drawn_labels(LabelDraw::Enumerate { classes: 1 });
    let z = burn_ief::mark_output_as(forward(&net), burn_ief::Likelihood::Gaussian);
    let losses = (z - 0.3).square() * 0.5;
    let grads = burn_ief::mark_mean_loss(losses.squeeze_dim(1)).backward();
    let recorded = RecordedBatch::collect(tape, grads, &net, None).unwrap();
    let sweep = Sweep::new(&recorded).unwrap();
    let at = Fisher::new(LossKind::LeastSquares)
        .at(&net, forward)
        .unwrap();
    let rules = [SweepRule::ief(DampedMatrix::Fisher), SweepRule::sf()];
    let points = sweep
        .qualities(&at, &rules, &[DampingAmount::Relative(1e-3)])
        .unwrap();
    let ratio = points[0].quality.ratio(&points[1].quality);
    assert!((ratio - 1.0).abs() < 1e-9, "{ratio}");
}

/// Half a squared error of a linear model is its own quadratic model: the best step lowers it by
/// exactly 1 / (2 γ²), whatever the direction.
#[test]
fn the_best_step_of_a_quadratic_loss_lowers_it_as_predicted() {
    let device = device();
    let model = LinearConfig::new(3, 2).init(&device);
    let draw = |dims: [usize; 2], seed| {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let entries = (0..dims[0] * dims[1]).map(|_| StandardNormal.sample(&mut generator));
        let data = TensorData::new(entries.collect::<Vec<f64>>(), dims);
        Tensor::<2>::from_data(data, &device)
    };
    let (x, y) = (draw([7, 3], 1), draw([7, 2], 2));
    let loss = |model: &Linear| (model.forward(x.clone()) - y.clone()).square().sum() * 0.5;
    let g = summed_gradient(loss(&model).backward(), &model, 1.0);
    let at = Fisher::new(LossKind::LeastSquares)
        .at(&model, |model| model.forward_recorded(x.clone()))
        .unwrap();
    let before = loss(&model).into_scalar::<f64>();
    // AdamW's first step and the gradient.
    let grads = GradientsParams::from_grads(loss(&model).backward(), &model);
    let after = AdamWConfig::new().init().step(0.1, model.clone(), grads);
    let adamw = displacement(&model, &after).unwrap();
    for direction in [&adamw, &g] {
        let quality = at.quality(direction, &g).unwrap();
        let mut step = GradientsParams::new();
        let weight = direction.get::<2>(model.weight.id).unwrap();
        step.register(model.weight.id, weight);
        let bias = model.bias.as_ref().unwrap().id;
        step.register(bias, direction.get::<1>(bias).unwrap());
        let moved = SgdConfig::new()
            .init()
            .step(quality.best_step(), model.clone(), step);
        let fall = before - loss(&moved).into_scalar::<f64>();
        let predicted = quality.best_reduction();
        assert!((fall / predicted - 1.0).abs() < 1e-9, "{fall} {predicted}");
        let gamma = quality.gamma();
        assert!((0.5 / (gamma * gamma) / predicted - 1.0).abs() < 1e-12);
    }
}

/// AdamW's third step against the dense Fisher matrix.
#[test]
fn the_steps_of_other_optimizers_can_be_judged() {
    let case = some_case(|case| case.samples == 4 && case.classes == 3);
    let batch = case.batch(false);
    let (mut before, mut after) = (case.net(), case.net());
    let mut optim = AdamWConfig::new().init();
    for _ in 0..3 {
        before = after.clone();
        let loss = batch.losses(before.forward(&batch)).sum();
        let grads = GradientsParams::from_grads(loss.backward(), &before);
        after = optim.step(0.01, before.clone(), grads);
    }
    let delta = displacement(&before, &after).unwrap();
    let params = by_sample(&before, &batch);
    let (rows, z) = output_jacobian(&before, &batch, &params);
    let v = flat(&params, &delta);
    let u: Vec<f64> = rows.iter().map(|row| dot(row, &v)).collect();
    let w = curved(
        LossKind::CrossEntropy,
        &z,
        &u,
        &vec![false; case.samples * case.positions],
    );
    let at = Fisher::new(LossKind::CrossEntropy)
        .with_method(GammaMethod::Exact)
        .at(&before, |net| net.forward(&batch))
        .unwrap();
    let found = at.curvature(&delta).unwrap().value;
    assert!((found / dot(&u, &w) - 1.0).abs() < 1e-10);
}

/// Draws are unbiased, for values and products, and know their standard error.
#[test]
fn monte_carlo_agrees_within_its_standard_error() {
    let case = some_case(|case| case.samples == 4 && case.positions == 3 && case.classes == 4);
    let (net, batch) = (case.net(), case.batch(false));
    let params = by_sample(&net, &batch);
    let delta = direction(&net, 5);
    let padding = padding(&case);
    for loss in LOSSES {
        let fisher = Fisher::new(loss).with_padding(padding_tensor(&case, &padding));
        let at = |method| {
            let fisher = fisher.clone().with_method(method);
            let at = fisher.at(&net, |net| net.forward(&batch)).unwrap();
            let product = flat(&params, &at.product(&delta).unwrap());
            (at.curvature(&delta).unwrap(), product)
        };
        let (exact, product) = at(GammaMethod::Exact);
        let (found, estimate) = at(GammaMethod::MonteCarlo {
            draws: 800,
            seed: 1,
        });
        let off = (found.value - exact.value).abs();
        assert!(off < 4.0 * found.error, "{loss:?}: {off}, {}", found.error);
        assert!(found.error < 0.2 * exact.value, "{loss:?}: {found:?}");
        let off = distance(&estimate, &product);
        assert!(off < 0.25, "{loss:?}: {off}");
        // The quadratic form of the estimated matrix is the estimate.
        let form = dot(&flat(&params, &delta), &estimate);
        assert!((form / found.value - 1.0).abs() < 1e-10, "{loss:?}");
        // A single draw is unbiased too: the mean over seeds, against their own spread.
        let singles = (0..200).map(|seed| {
            let method = GammaMethod::MonteCarlo { draws: 1, seed };
            let fisher = fisher.clone().with_method(method);
            let at = fisher.at(&net, |net| net.forward(&batch)).unwrap();
            at.curvature(&delta).unwrap().value
        });
        let singles: burn_ief::eval::Statistics = singles.collect();
        let off = (singles.mean() - exact.value).abs();
        assert!(off < 4.0 * singles.standard_error(), "{loss:?}: {off}");
    }
}

/// Only the group's entries count, in every method.
#[test]
fn a_group_leaves_out_other_parameters() {
    let case = some_case(|case| case.classes == 4 && case.positions == 2);
    let (net, batch) = (case.net(), case.batch(false));
    let group = ParamGroup::from_predicate("hidden");
    let delta = direction(&net, 7);
    let inside = only(&net, &delta, "hidden");
    for method in [
        GammaMethod::Exact,
        GammaMethod::Differences,
        GammaMethod::MonteCarlo { draws: 3, seed: 0 },
    ] {
        let fisher = Fisher::new(LossKind::CrossEntropy).with_method(method);
        let whole = fisher.at(&net, |net| net.forward(&batch)).unwrap();
        let fisher = fisher.clone().with_group(group.clone());
        let grouped = fisher.at(&net, |net| net.forward(&batch)).unwrap();
        let expected = whole.curvature(&inside).unwrap().value;
        let found = grouped.curvature(&delta).unwrap().value;
        assert!((found / expected - 1.0).abs() < 1e-9, "{method:?}");
        assert_eq!(grouped.product(&delta).unwrap().len(), inside.len());
        let g = direction(&net, 8);
        let expected = whole.slope(&inside, &g).unwrap();
        let found = grouped.slope(&delta, &g).unwrap();
        assert!((found / expected - 1.0).abs() < 1e-12, "{method:?}");
    }
}

/// The first case of the strategy that fits.
fn some_case(fits: impl Fn(&Case) -> bool) -> Case {
    let mut runner = TestRunner::new(config(1));
    let mut all = std::iter::repeat_with(|| cases().new_tree(&mut runner).unwrap().current());
    all.find(fits).unwrap()
}

fn entries(
    net: &Net,
    delta: &GradientsParams,
    f: impl FnMut(&str, ParamId) -> Option<f64>,
) -> GradientsParams {
    struct Copy<'a, F> {
        path: Vec<String>,
        from: &'a GradientsParams,
        to: GradientsParams,
        f: F,
    }
    impl<F: FnMut(&str, ParamId) -> Option<f64>> ModuleVisitor for Copy<'_, F> {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let factor = (self.f)(&self.path.join("."), param.id);
            if let (Some(entry), Some(factor)) = (self.from.get::<D>(param.id), factor) {
                self.to.register(param.id, entry * factor);
            }
        }
    }
    let mut copy = Copy {
        path: Vec::new(),
        from: delta,
        to: GradientsParams::new(),
        f,
    };
    net.visit(&mut copy);
    copy.to
}

fn scaled(net: &Net, delta: &GradientsParams, factor: f64) -> GradientsParams {
    entries(net, delta, |_, _| Some(factor))
}

fn only(net: &Net, delta: &GradientsParams, part: &str) -> GradientsParams {
    entries(net, delta, |path, _| path.contains(part).then_some(1.0))
}
