//! WoodFisher in f64: recorded rows and Woodbury's identity against dense inverses of matrices from
//! one backward pass per sample, and closed forms.
//!
//! A device takes its precision once per process, so this is a test binary of its own.

use crate::double;
use crate::host;
use crate::properties::net;
use crate::properties::oracle;

use burn::module::{Module, Param, ParamGroup};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Shape, Tensor, TensorData};
use burn_ief::jacobian::Jacobian;
use burn_ief::nn::ForwardRecorded;
use burn_ief::prune::{
    BlockOrder, Compensation, PruneCurvature, PruneScope, SparsityMask, WoodFisher,
    WoodFisherConfig, prune_by_magnitude,
};
use burn_ief::solve::{DampingAmount, Symmetric};
use burn_ief::{Likelihood, Tape, mark_mean_loss, mark_output_as};
use double::device;
use net::{Reduction, cases};
use oracle::{by_sample, distance, dot, output_norms, record, values};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A fixed seed: a run does not depend on luck.
fn config(cases: u32) -> Config {
    Config {
        cases,
        rng_seed: RngSeed::Fixed(20_201_206),
        failure_persistence: None,
        ..Config::default()
    }
}

/// The columns of one parameter in a dense Jacobian, and the order of its weights in blocks.
struct Columns {
    start: usize,
    /// `order[k]` is the row-major index of the k-th weight.
    order: Vec<usize>,
}

fn columns(jacobian: &Jacobian, order: BlockOrder) -> Vec<Columns> {
    let mut start = 0;
    let columns = jacobian.params().iter().map(|param| {
        let width = param.shape.num_elements();
        let order = match (order, param.shape.as_slice()) {
            (BlockOrder::ColumnMajor, &[a, b]) => {
                (0..width).map(|k| (k % a) * b + k / a).collect::<Vec<_>>()
            }
            _ => (0..width).collect(),
        };
        start += width;
        Columns {
            start: start - width,
            order,
        }
    });
    columns.collect()
}

/// The diagonal of the inverse, block by block, of λI + (1/N) Σ r rᵀ / s.
fn dense_diagonal(
    rows: &[Vec<f64>],
    s: &[f64],
    columns: &Columns,
    size: usize,
    lambda: f64,
) -> Vec<f64> {
    let mut diagonal = vec![0.0; columns.order.len()];
    for block in columns.order.chunks(size) {
        let entry = |i: usize, j: usize| {
            let pairs = rows.iter().zip(s).filter(|(_, s)| **s > 0.0);
            let [p, q] = [block[i], block[j]].map(|at| columns.start + at);
            pairs.map(|(row, s)| row[p] * row[q] / s).sum::<f64>() / rows.len() as f64
        };
        let fisher = Symmetric::from_fn(block.len(), entry).shifted(lambda);
        let inverse = fisher.inverse().unwrap();
        for (i, &at) in block.iter().enumerate() {
            diagonal[at] = inverse.get(i, i);
        }
    }
    diagonal
}

proptest! {
    #![proptest_config(config(24))]

    /// Sizes above a parameter's are one block: the whole of WoodFisher for that parameter.
    #[test]
    fn inverses_are_dense_inverses(
        case in cases(),
        size in prop_oneof![1usize..9, Just(usize::MAX)],
        improved: bool,
        by_rows: bool,
        lambda in 1e-4..1.0f64,
    ) {
        let (net, batch) = (case.net(), case.batch(false));
        let order = if by_rows { BlockOrder::RowMajor } else { BlockOrder::ColumnMajor };
        let curvature = if improved { PruneCurvature::Improved } else { PruneCurvature::Empirical };
        let settings = WoodFisherConfig::new(case.samples)
            .with_curvature(curvature)
            .with_block_size(size)
            .with_order(order)
            .with_damping(DampingAmount::Absolute(lambda));
        let mask = SparsityMask::group(&net, &ParamGroup::all()).unwrap();
        let mut fisher = settings.init(&net, &mask);
        fisher.add(&record(&net, &batch, Reduction::Sum)).unwrap();

        let jacobian = by_sample(&net, &batch);
        let rows = jacobian.to_dense();
        let s = if improved { output_norms(&net, &batch) } else { vec![1.0; case.samples] };
        let found = fisher.inverse_diagonal().unwrap();
        for (columns, found) in columns(&jacobian, order).iter().zip(&found) {
            let size = size.min(columns.order.len());
            let expected = dense_diagonal(&rows, &s, columns, size, lambda);
            let error = distance(found, &expected);
            prop_assert!(error < 1e-9, "{}", error);
        }
    }
}

/// `[M, features]` inputs and `[M, outputs]` targets.
fn data(seed: u64, samples: usize, features: usize, outputs: usize) -> [Tensor<2>; 2] {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    [features, outputs].map(|width| {
        let entries: Vec<f64> = (0..samples * width)
            .map(|_| generator.random_range(-1.0..1.0))
            .collect();
        Tensor::from_data(TensorData::new(entries, [samples, width]), &device())
    })
}

fn linear(weights: Vec<f64>, features: usize, outputs: usize) -> Linear {
    let mut layer = LinearConfig::new(features, outputs)
        .with_bias(false)
        .init(&device());
    let weights = TensorData::new(weights, [features, outputs]);
    layer.weight = Param::from_tensor(Tensor::from_data(weights, &device()).require_grad());
    layer
}

/// ½ ‖xW − y‖² of each sample.
fn squares(layer: &Linear, [x, y]: &[Tensor<2>; 2]) -> Tensor<1> {
    let z = mark_output_as(layer.forward_recorded(x.clone()), Likelihood::Gaussian);
    (z - y.clone()).square().sum_dim(1).squeeze_dim(1) * 0.5
}

fn least_squares_fisher(layer: &Linear, data: &[Tensor<2>; 2], damping: f64) -> WoodFisher {
    let settings = WoodFisherConfig::new(data[0].dims()[0])
        .with_block_size(usize::MAX)
        .with_damping(DampingAmount::Absolute(damping));
    let mask = SparsityMask::weights(layer).unwrap();
    let mut fisher = settings.init(layer, &mask);
    let tape = Tape::start();
    let grads = mark_mean_loss(squares(layer, data)).backward();
    fisher.record(tape, grads, layer).unwrap();
    fisher
}

/// The weights of the given features that fit best, zero for the others.
fn fitted(x: &[f64], y: &[f64], features: usize, used: &[usize]) -> Vec<f64> {
    let rows: Vec<&[f64]> = x.chunks(features).collect();
    let normal = Symmetric::from_fn(used.len(), |i, j| {
        rows.iter().map(|row| row[used[i]] * row[used[j]]).sum()
    });
    let right = used.iter().map(|&p| {
        let pairs = rows.iter().zip(y);
        pairs.map(|(row, y)| row[p] * y).sum::<f64>()
    });
    let right: Vec<f64> = right.collect();
    let solution = host::solve(&normal, &right);
    let mut weights = vec![0.0; features];
    for (&p, w) in used.iter().zip(solution) {
        weights[p] = w;
    }
    weights
}

/// For least squares the iEF matrix is the Hessian: the quadratic model is the loss itself.
#[test]
fn pruning_an_optimal_regression_refits_it() {
    const FEATURES: usize = 6;
    for seed in 0..5 {
        let data = data(seed, 40, FEATURES, 1);
        let [x, y] = data.each_ref().map(|x| values(x.clone()));
        let weights = fitted(&x, &y, FEATURES, &(0..FEATURES).collect::<Vec<_>>());
        let layer = linear(weights, FEATURES, 1);
        let fisher = least_squares_fisher(&layer, &data, 1e-9);
        let loss = |layer: &Linear| values(squares(layer, &data).mean())[0];

        // One weight: the loss rises by its saliency.
        let one = fisher.prune(layer.clone(), 1.0 / FEATURES as f64).unwrap();
        let rise = loss(&one.model) - loss(&layer);
        assert!((rise / one.cost - 1.0).abs() < 1e-6, "{rise} {}", one.cost);
        let saliencies = &fisher.saliencies(&layer).unwrap()[0];
        assert!(saliencies.iter().all(|&s| s >= one.cost * (1.0 - 1e-12)));

        // Half of them together: the best fit of what is left.
        let half = fisher.prune(layer, 0.5).unwrap();
        let pruned = half.mask.at("weight").unwrap();
        let used: Vec<usize> = (0..FEATURES).filter(|&p| !pruned[p]).collect();
        assert_eq!(used.len(), 3);
        let expected = fitted(&x, &y, FEATURES, &used);
        let found = values(half.model.weight.val().inner());
        let error = distance(&found, &expected);
        assert!(error < 1e-6, "{error}");
        assert!(
            pruned
                .iter()
                .zip(&found)
                .all(|(&gone, &w)| !gone || w == 0.0)
        );
    }
}

#[test]
fn with_unit_output_gradients_both_curvatures_agree() {
    let data = data(3, 12, 5, 4);
    let layer = linear(values(data[0].clone())[..20].to_vec(), 5, 4);
    // l_n = c_nᵀ z_n with ‖c_n‖ = 1.
    let [x, c] = data;
    let lengths = c.clone().square().sum_dim(1).sqrt();
    let c = c / lengths;
    let diagonals = [PruneCurvature::Empirical, PruneCurvature::Improved].map(|curvature| {
        let settings = WoodFisherConfig::new(12)
            .with_curvature(curvature)
            .with_damping(DampingAmount::Absolute(1e-3))
            .with_block_size(7);
        let mask = SparsityMask::weights(&layer).unwrap();
        let mut fisher = settings.init(&layer, &mask);
        let tape = Tape::start();
        let z = mark_output_as(layer.forward_recorded(x.clone()), Likelihood::Gaussian);
        let grads = mark_mean_loss((z * c.clone()).sum_dim(1).squeeze_dim(1)).backward();
        fisher.record(tape, grads, &layer).unwrap();
        fisher.inverse_diagonal().unwrap().concat()
    });
    assert!(distance(&diagonals[0], &diagonals[1]) < 1e-11);
}

#[test]
fn the_improved_matrix_does_not_see_the_scale_of_the_loss() {
    let data = data(4, 12, 5, 4);
    let layer = linear(values(data[0].clone())[..20].to_vec(), 5, 4);
    let diagonal = |curvature, scale: f64| {
        let settings = WoodFisherConfig::new(12)
            .with_curvature(curvature)
            .with_damping(DampingAmount::Absolute(1e-2));
        let mask = SparsityMask::weights(&layer).unwrap();
        let mut fisher = settings.init(&layer, &mask);
        let tape = Tape::start();
        let grads = mark_mean_loss(squares(&layer, &data) * scale).backward();
        fisher.record(tape, grads, &layer).unwrap();
        fisher.inverse_diagonal().unwrap().concat()
    };
    let change = |curvature| distance(&diagonal(curvature, 30.0), &diagonal(curvature, 1.0));
    assert!(change(PruneCurvature::Improved) < 1e-11);
    assert!(change(PruneCurvature::Empirical) > 0.1);
}

#[test]
fn heavy_damping_prunes_by_magnitude() {
    let data = data(5, 20, 6, 5);
    let layer = linear(values(data[0].clone())[..30].to_vec(), 6, 5);
    let fisher = least_squares_fisher(&layer, &data, 1e12);
    for sparsity in [0.1, 0.5, 0.9] {
        let found = fisher.prune(layer.clone(), sparsity).unwrap();
        let dense = SparsityMask::weights(&layer).unwrap();
        let expected =
            prune_by_magnitude(layer.clone(), &dense, sparsity, PruneScope::Global).unwrap();
        assert_eq!(found.mask.at("weight"), expected.mask.at("weight"));
        let [found, expected] = [found, expected].map(|p| values(p.model.weight.val().inner()));
        assert!(distance(&found, &expected) < 1e-9);
    }
}

#[test]
fn batches_of_any_size_give_one_matrix_and_rows_beyond_n_are_left() {
    let data = data(6, 30, 5, 2);
    let layer = linear(values(data[0].clone())[..10].to_vec(), 5, 2);
    let rows = Jacobian::by_sample(&layer, 30, |layer, n| {
        let sample = data.each_ref().map(|x| x.clone().narrow(0, n, 1));
        squares(layer, &sample).sum()
    });
    let rows = rows.unwrap();
    let s: Vec<f64> = (0..30).map(|n| 0.1 * f64::from(n)).collect();
    let settings = WoodFisherConfig::new(25)
        .with_block_size(4)
        .with_damping(DampingAmount::Absolute(1e-3));
    let mask = SparsityMask::weights(&layer).unwrap();
    let built = |batch: usize| {
        let mut fisher = settings.init(&layer, &mask);
        let mut taken = 0;
        for start in (0..30).step_by(batch) {
            let count = batch.min(30 - start);
            let rows = rows.narrow(start, count).unwrap();
            taken += fisher.add_rows(&rows, &s[start..start + count]).unwrap();
        }
        assert_eq!((taken, fisher.seen(), fisher.missing()), (25, 25, 0));
        fisher.inverse_diagonal().unwrap().concat()
    };
    // The first sample has s = 0 and is left out, but is one of N.
    let columns = &columns(&rows, BlockOrder::ColumnMajor)[0];
    let dense = dense_diagonal(&rows.to_dense()[..25], &s[..25], columns, 4, 1e-3);
    for batch in [1, 4, 7, 30] {
        assert!(distance(&built(batch), &dense) < 1e-10);
    }
}

#[test]
fn pruned_weights_are_as_if_they_were_not_there() {
    let data = data(7, 30, 6, 2);
    let layer = linear(values(data[0].clone())[..12].to_vec(), 6, 2);
    let dense = SparsityMask::weights(&layer).unwrap();
    let first = prune_by_magnitude(layer, &dense, 0.5, PruneScope::Global).unwrap();
    let settings = WoodFisherConfig::new(30)
        .with_block_size(usize::MAX)
        .with_damping(DampingAmount::Absolute(1e-3))
        .with_order(BlockOrder::RowMajor);
    let mut fisher = settings.init(&first.model, &first.mask);
    let tape = Tape::start();
    let loss = mark_mean_loss(squares(&first.model, &data));
    fisher.record(tape, loss.backward(), &first.model).unwrap();

    let rows = Jacobian::by_sample(&first.model, 30, |layer, n| {
        let sample = data.each_ref().map(|x| x.clone().narrow(0, n, 1));
        squares(layer, &sample).sum()
    });
    let rows = rows.unwrap().to_dense();
    let s = values(squares(&first.model, &data) * 2.0);
    let gone = first.mask.at("weight").unwrap();
    let kept: Vec<usize> = (0..12).filter(|&q| !gone[q]).collect();
    let entry = |i: usize, j: usize| {
        let pairs = rows.iter().zip(&s);
        let sum: f64 = pairs.map(|(r, s)| r[kept[i]] * r[kept[j]] / s).sum();
        sum / 30.0
    };
    let part = Symmetric::from_fn(kept.len(), entry).shifted(1e-3);
    let expected = part.inverse().unwrap().diagonal();
    let found = &fisher.inverse_diagonal().unwrap()[0];
    let found: Vec<f64> = kept.iter().map(|&q| found[q]).collect();
    assert!(distance(&found, &expected) < 1e-10);

    // Pruning goes on from there, and the quadratic model is stationary in what is left.
    let second = fisher.prune(first.model.clone(), 0.75).unwrap();
    let now = second.mask.at("weight").unwrap();
    assert_eq!(now.iter().filter(|&&gone| gone).count(), 9);
    assert!(gone.iter().zip(&now).all(|(before, now)| *now || !before));
    let [before, after] = [&first.model, &second.model].map(|m| values(m.weight.val().inner()));
    let delta: Vec<f64> = kept.iter().map(|&q| after[q] - before[q]).collect();
    let slope = part.mul(&delta);
    for (i, &q) in kept.iter().enumerate() {
        assert!(now[q] || slope[i].abs() < 1e-10);
        assert!(!now[q] || after[q] == 0.0);
    }
}

#[test]
fn compensations_cost_in_the_order_of_what_they_know() {
    // One output: the block is the whole matrix.
    let data = data(8, 60, 10, 1);
    let [x, y] = data.each_ref().map(|x| values(x.clone()));
    let layer = linear(fitted(&x, &y, 10, &(0..10).collect::<Vec<_>>()), 10, 1);
    let base = least_squares_fisher(&layer, &data, 1e-9);
    let jacobian = Jacobian::by_sample(&layer, 60, |layer, n| {
        let sample = data.each_ref().map(|x| x.clone().narrow(0, n, 1));
        squares(layer, &sample).sum()
    });
    let jacobian = jacobian.unwrap();
    let s = values(squares(&layer, &data) * 2.0);
    let loss = |how| {
        let settings = WoodFisherConfig::new(60)
            .with_compensation(how)
            .with_damping(DampingAmount::Absolute(1e-9));
        let mask = SparsityMask::weights(&layer).unwrap();
        let mut fisher = settings.init(&layer, &mask);
        fisher.add_rows(&jacobian, &s).unwrap();
        // Rows from one backward pass per sample are those of the recording.
        let [a, b] = [&fisher, &base].map(|f| f.inverse_diagonal().unwrap().concat());
        assert!(distance(&a, &b) < 1e-6);
        let pruned = fisher.prune(layer.clone(), 0.4).unwrap();
        values(squares(&pruned.model, &data).mean())[0]
    };
    let [none, summed, joint] = [
        Compensation::None,
        Compensation::Summed,
        Compensation::Joint,
    ]
    .map(loss);
    assert!(joint < summed && joint < none, "{joint} {summed} {none}");
}

#[test]
fn a_relative_damping_is_a_fraction_of_the_mean_diagonal() {
    let data = data(9, 20, 4, 3);
    let layer = linear(values(data[0].clone())[..12].to_vec(), 4, 3);
    let settings = WoodFisherConfig::new(20).with_damping(DampingAmount::Relative(0.1));
    let mask = SparsityMask::weights(&layer).unwrap();
    let mut fisher = settings.init(&layer, &mask);
    assert_eq!(fisher.damping_used(), None);
    let tape = Tape::start();
    let grads = mark_mean_loss(squares(&layer, &data)).backward();
    fisher.record(tape, grads, &layer).unwrap();
    // The rows are xᵀe/‖e‖, of squared norm ‖x‖².
    let x = values(data[0].clone());
    let expected = 0.1 * dot(&x, &x) / (20.0 * 12.0);
    let found = fisher.damping_used().unwrap();
    assert!((found / expected - 1.0).abs() < 1e-10, "{found} {expected}");
    assert_eq!(layer.weight.shape(), Shape::from([4, 3]));
    assert_eq!(layer.num_params(), 12);
}
