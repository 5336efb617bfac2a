//! Every form of rows, and every way to compute with it, against dense rows.

use burn::tensor::{DType, Device, Distribution, Int, Tensor};
use proptest::prelude::*;

use super::*;

/// Entries of one sign and of about size 1. The terms of a product of two rows do not cancel, so its
/// rounding error in f32 is small compared with its value.
fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(0.5, 1.5), &Device::flex())
}

fn normal(len: usize) -> Tensor<1> {
    Tensor::random([len], Distribution::Normal(0.0, 1.0), &Device::flex())
}

fn indices(m: usize, t: usize, entries: usize) -> Tensor<2, Int> {
    let uniform = Distribution::Uniform(0.0, entries as f64);
    Tensor::<2>::random([m, t], uniform, &Device::flex()).int()
}

/// Largest difference relative to the largest entry.
fn error<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    let size: f32 = b.clone().abs().max().into_scalar();
    let difference: f32 = (a - b).abs().max().into_scalar();
    difference / size.max(1e-6)
}

/// Largest difference of a product `a` from `factor x vector`, relative to the lengths of the
/// vector and the longest row of the factor: the sums may cancel.
fn product_error(a: Tensor<1>, factor: Tensor<2>, vector: Tensor<1>) -> f32 {
    let lengths = factor.clone().square().sum_dim(1).max().sqrt();
    let length = vector.clone().square().sum().sqrt();
    let size: f32 = (lengths * length).into_scalar();
    let expected = factor.matmul(vector.unsqueeze_dim(1)).squeeze_dim(1);
    let difference: f32 = (a - expected).abs().max().into_scalar();
    difference / size.max(1e-6)
}

/// Dense rows, with the columns of the bias at the end if there is one.
fn materialised(rows: &Rows) -> Tensor<2> {
    match rows {
        Rows::Outer(outer) if outer.bias => {
            let (weight, bias) = outer.clone().split();
            Tensor::cat(vec![weight.to_dense(), bias], 1)
        }
        other => other.to_dense(),
    }
}

fn lower(x: Tensor<2>) -> Tensor<2> {
    x.tril(0)
}

fn check(rows: &Rows) -> Result<(), TestCaseError> {
    let dense = materialised(rows);
    let expected = dense.clone().matmul(dense.clone().transpose());
    for dtype in [DType::F32, DType::F64] {
        let gram = rows.gram(dtype).cast(DType::F32);
        prop_assert!(error(lower(gram), lower(expected.clone())) < 1e-5);
        let norms = rows.squared_norms(dtype).cast(DType::F32);
        let squares = dense.clone().square().sum_dim(1).squeeze_dim::<1>(1);
        prop_assert!(error(norms, squares) < 1e-5);
    }
    let (m, p) = (rows.samples(), rows.len());
    let weight = rows.to_dense();
    let (v, c) = (normal(p), normal(m));
    prop_assert!(product_error(rows.matvec(v.clone()), weight.clone(), v) < 1e-5);
    prop_assert!(product_error(rows.t_matvec(c.clone()), weight.transpose(), c) < 1e-5);
    Ok(())
}

fn check_cross(a: &Rows, b: &Rows) -> Result<(), TestCaseError> {
    let expected = materialised(a).matmul(materialised(b).transpose());
    for dtype in [DType::F32, DType::F64] {
        let cross = a.cross(b, dtype).cast(DType::F32);
        prop_assert!(error(cross, expected.clone()) < 1e-5);
    }
    Ok(())
}

/// A weight's rows are negative, a bias's positive.
fn outer(m: usize, t: usize, i: usize, o: usize, bias: bool) -> Rows {
    let rows = Outer::new(-random([m, t, i]), random([m, t, o]));
    Rows::Outer(if bias { rows.with_bias() } else { rows })
}

proptest! {
    // Small and large sides make both the factored and the materialised route the cheaper one.
    #[test]
    fn outer_products(
        m in 1..6usize, t in 1..6usize, i in 1..20usize, o in 1..20usize, bias in any::<bool>(),
    ) {
        check(&outer(m, t, i, o, bias))?;
    }

    #[test]
    fn look_ups(m in 1..6usize, t in 1..6usize, entries in 1..30usize, o in 1..6usize) {
        check(&Rows::Lookup(Lookup::new(indices(m, t, entries), random([m, t, o]), entries)))?;
    }

    #[test]
    fn pairs_of_forms(
        m in 1..5usize, n in 1..5usize, t in 1..5usize, u in 1..5usize,
        i in 1..12usize, o in 1..6usize, bias in any::<bool>(),
    ) {
        check_cross(&outer(m, t, i, o, bias), &outer(n, u, i, o, bias))?;
        let look_up = |m, t| Rows::Lookup(Lookup::new(indices(m, t, i), random([m, t, o]), i));
        check_cross(&look_up(m, t), &look_up(n, u))?;
        check_cross(&look_up(m, t), &outer(n, u, i, o, false))?;
        check_cross(&outer(m, t, i, o, false), &look_up(n, u))?;
        check_cross(&Rows::dense(random([m, i * o])), &look_up(n, u))?;
    }
}

#[test]
fn large_batches_fill_the_lower_triangle() {
    for rows in [
        outer(300, 1, 5, 4, true),
        outer(300, 3, 5, 4, true),
        Rows::dense(random([300, 7])),
    ] {
        check(&rows).unwrap();
    }
}

#[test]
fn a_few_uses_are_one_with_all_their_positions() {
    for (t, u, bias) in [(1, 1, true), (3, 2, false), (2, 1, true)] {
        let [Rows::Outer(a), Rows::Outer(b)] = [t, u].map(|t| outer(7, t, 40, 30, bias)) else {
            unreachable!("made as outer products")
        };
        let dense = [&a, &b].map(|rows| materialised(&Rows::Outer(rows.clone())));
        let [dense, other] = dense;
        let expected = dense + other;
        let expected = expected.clone().matmul(expected.transpose());
        for dtype in [DType::F32, DType::F64] {
            let gram = Outer::gram_of_joined(&[&a, &b], dtype).expect("few positions on Flex");
            assert!(error(lower(gram.cast(DType::F32)), lower(expected.clone())) < 1e-5);
        }
        assert!(Outer::gram_of_joined(&[&a], DType::F32).is_none());
    }
}

#[test]
fn column_blocks_cover_the_columns() {
    let rows = Outer::new(random([2, 64, 5]), random([2, 64, 7]));
    assert!(!rows.factored_is_cheaper(&rows));
    assert_eq!(
        rows.column_blocks_of(3).collect::<Vec<_>>(),
        [0..3, 3..6, 6..7]
    );
    assert_eq!(rows.column_blocks_of(0).count(), 7);
    assert_eq!(rows.column_blocks_of(100).next(), Some(0..7));
    check(&Rows::Outer(rows)).unwrap();
}

fn sum(uses: &[Rows]) -> Tensor<2> {
    let dense = uses.iter().map(Rows::to_dense);
    dense.reduce(|a, b| a + b).unwrap()
}

fn use_of(positions: usize, transposed: bool) -> Rows {
    let (i, o) = (random([3, positions, 4]), random([3, positions, 5]));
    if transposed {
        Rows::outer_transposed(i, o)
    } else {
        Rows::outer(i, o)
    }
}

#[test]
fn many_uses_become_one() {
    let mut uses: Vec<_> = (1..=5).map(|positions| use_of(positions, false)).collect();
    uses.extend([(); 3].map(|()| Rows::dense(random([3, 20]))));
    let expected = sum(&uses);
    let joined = joined(uses);
    assert_eq!(joined.len(), 2);
    assert!(error(sum(&joined), expected) < 1e-5);
    let Rows::Outer(rows) = &joined[0] else {
        panic!("factored rows come first");
    };
    assert_eq!(rows.left().dims(), [3, 15, 4]);
}

#[test]
fn few_uses_and_different_sides_stay_apart() {
    let uses: Vec<_> = (0..3).map(|_| use_of(1, false)).collect();
    assert_eq!(joined(uses).len(), 3);
    let uses: Vec<_> = (0..4).map(|n| use_of(1, n == 2)).collect();
    let expected = sum(&uses);
    let joined = joined(uses);
    assert_eq!(joined.len(), 4);
    assert!(error(sum(&joined), expected) < 1e-5);
}
