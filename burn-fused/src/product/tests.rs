//! Products against Burn's own in f64.

use super::block::{NARROWEST, SHALLOW, TURNED, size};
use super::*;
use super::{HEIGHT, SHARE};
use burn::tensor::{Device, Distribution};
use proptest::prelude::*;

/// Entries of size 1, `[rows, columns]`, as a view of larger or smaller memory.
fn matrix([rows, columns]: [usize; 2], form: u8, dtype: DType) -> Tensor<2> {
    let random = |shape: [usize; 2]| {
        let normal = Distribution::Normal(0.0, 1.0);
        Tensor::<2>::random(shape, normal, (&Device::flex(), dtype))
    };
    match form {
        0 => random([rows, columns]),
        1 => random([columns, rows]).transpose(),
        2 => random([rows + 2, columns + 3]).slice([1..rows + 1, 2..columns + 2]),
        3 => random([columns + 2, rows + 3])
            .slice([1..columns + 1, 2..rows + 2])
            .transpose(),
        4 => random([1, columns]).expand([rows, columns]),
        5 => random([rows, 1]).expand([rows, columns]),
        _ => random([rows, columns]).flip([0, 1]),
    }
}

/// On a machine of one core there is one strip.
fn on_two_threads(test: impl FnOnce() + Send) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build();
    pool.expect("two threads").install(test);
}

/// Largest distance from Burn's products in f64, added up.
fn distance(products: &[[Tensor<2>; 2]]) -> f64 {
    let shared = |factor: &Tensor<2>| primitive(factor).expect("on Flex");
    let shared: Vec<_> = products
        .iter()
        .map(|pair| pair.each_ref().map(shared))
        .collect();
    apart(sum_of_products(shared), exact(products))
}

/// Burn's products in f64, added up.
fn exact(products: &[[Tensor<2>; 2]]) -> Tensor<2> {
    let wide = |factor: &Tensor<2>| factor.clone().cast(DType::F64);
    let products = products.iter().map(|[a, b]| wide(a).matmul(wide(b)));
    products.reduce(|a, b| a + b).expect("a product")
}

fn apart(found: FlexTensor, expected: Tensor<2>) -> f64 {
    let found = Tensor::<2>::from_primitive::<Flex>(found);
    assert_eq!(found.dims(), expected.dims());
    let distance = (found.cast(DType::F64) - expected).abs().max();
    distance.into_scalar::<f64>()
}

proptest! {
    #[test]
    fn products_of_all_layouts_agree(
        rows in 1usize..12,
        widths in [1usize..12, 1usize..12, 1usize..5],
        forms in [0u8..7, 0u8..7, 0u8..7, 0u8..7],
        wide: bool,
    ) {
        let [i, o, r] = widths;
        let shapes = [[rows, i], [i, o], [rows, r], [r, o]];
        let dtype = if wide { DType::F64 } else { DType::F32 };
        let [x, w, h, b] = [0, 1, 2, 3].map(|at| matrix(shapes[at], forms[at], dtype));
        // Sums of up to 16 products of normal numbers.
        let bound = if wide { 1e-12 } else { 1e-4 };
        prop_assert!(distance(&[[x, w], [h, b]]) < bound);
    }

    #[test]
    fn transposed_products_of_all_layouts_agree(
        terms in 1usize..12,
        widths in [1usize..12, 1usize..12],
        forms in [0u8..7, 0u8..7],
        wide: bool,
    ) {
        let dtype = if wide { DType::F64 } else { DType::F32 };
        let [a, b] = [0, 1].map(|at| matrix([terms, widths[at]], forms[at], dtype));
        let [left, right] = [&a, &b].map(|factor| primitive(factor).expect("on Flex"));
        let found = transposed_product(&left, &right);
        // Sums of up to 12 products of normal numbers.
        let bound = if wide { 1e-12 } else { 1e-4 };
        prop_assert!(found.is_contiguous());
        prop_assert!(apart(found, exact(&[[a.transpose(), b]])) < bound);
    }
}

#[test]
fn products_of_several_strips_agree() {
    on_two_threads(|| {
        // More work than one strip is made of, and rows that do not divide by the threads.
        const { assert!(1031 * 96 * 130 > 2 * SHARE) };
        let shapes = [[1031, 96], [96, 130], [1031, 4], [4, 130]];
        let [x, w, h, b] = [0, 1, 2, 3].map(|at| matrix(shapes[at], at as u8, DType::F64));
        assert!(distance(&[[x, w], [h, b]]) < 1e-11);
    });
}

#[test]
fn long_sums_in_low_strips_agree() {
    on_two_threads(|| {
        let depth = SHALLOW + 12;
        assert!(1031 * depth * 130 > 2 * SHARE && 1031 / HEIGHT > 2);
        let [x, w] = [[1031, depth], [depth, 130]].map(|shape| matrix(shape, 0, DType::F64));
        assert!(distance(&[[x, w]]) < 1e-11);
    });
}

#[test]
fn transposed_products_of_several_strips_agree() {
    on_two_threads(|| {
        let terms = 8200;
        assert!(terms * 8 * 130 > 2 * SHARE);
        for widths in [[8, 130], [130, 8]] {
            let [a, b] = widths.map(|width| matrix([terms, width], 0, DType::F64));
            let [left, right] = [&a, &b].map(|factor| primitive(factor).expect("on Flex"));
            let found = transposed_product(&left, &right);
            assert!(apart(found, exact(&[[a.transpose(), b]])) < 1e-10);
        }
    });
}

#[test]
fn empty_sums_are_zero() {
    let empty = |shape: [usize; 2]| owned(Tensor::<2>::zeros(shape, &Device::flex()));
    let found = sum_of_products(vec![[empty([0, 3]), empty([3, 4])]]);
    assert_eq!(size(&found), [0, 4]);
    let found = sum_of_products(vec![[empty([2, 0]), empty([0, 3])]]);
    assert_eq!(found.storage::<f32>(), [0.0; 6]);
    let found = transposed_product(&empty([0, 2]), &empty([0, 3]));
    assert_eq!(found.storage::<f32>(), [0.0; 6]);
}

/// Its own memory, if nothing else holds it.
fn owned(x: Tensor<2>) -> FlexTensor {
    x.try_into_primitive::<Flex>().expect("on Flex")
}

/// Where its entries lie.
fn place(x: &FlexTensor) -> *const f64 {
    x.storage::<f64>().as_ptr()
}

#[test]
fn memory_of_one_owner_is_used_again_and_shared_memory_is_left() {
    on_two_threads(|| {
        // In one strip, and in several that do not divide the rows.
        for (rows, width) in [(7, 3), (1031, 140)] {
            let shapes = [[rows, width], [width, width], [rows, 2], [2, width]];
            let [x, w, h, b] = shapes.map(|shape| matrix(shape, 0, DType::F64));
            let expected = exact(&[[x.clone(), w.clone()], [h.clone(), b.clone()]]);
            let before = x.to_data();
            let rest = || {
                let [w, h, b] = [&w, &h, &b].map(|factor| primitive(factor).expect("on Flex"));
                (w, [h, b])
            };
            let (factor, other) = rest();
            let shared = primitive(&x).expect("on Flex");
            let found = sum_of_products(vec![[shared, factor], other]);
            assert_ne!(place(&found), place(&primitive(&x).expect("on Flex")));
            assert!(apart(found, expected.clone()) < 1e-11);
            assert_eq!(x.to_data(), before);
            let (factor, other) = rest();
            let alone = owned(x);
            let memory = place(&alone);
            let found = sum_of_products(vec![[alone, factor], other]);
            assert_eq!(place(&found), memory);
            assert!(apart(found, expected) < 1e-11);
        }
    });
}

#[test]
fn views_and_other_widths_are_not_written_over() {
    let square = matrix([3, 3], 0, DType::F64);
    for (form, right) in [(1, 3), (2, 3), (4, 3), (0, 4)] {
        let x = matrix([5, 3], form, DType::F64);
        let copy = x.clone() * 1.0;
        let x = owned(x);
        let w = match right {
            3 => square.clone(),
            _ => matrix([3, right], 0, DType::F64),
        };
        let expected = exact(&[[copy, w.clone()]]);
        let found = sum_of_products(vec![[x, owned(w)]]);
        assert!(apart(found, expected) < 1e-12, "form {form}");
    }
}

#[test]
fn wide_outputs_in_several_pieces_agree() {
    let columns = 3 * NARROWEST + 5;
    let [a, b] = [[70, 9], [9, columns]].map(|shape| matrix(shape, 2, DType::F64));
    assert!(distance(&[[a.clone(), b.clone()], [a, b]]) < 1e-11);
}

#[test]
fn left_factors_that_are_turned_in_several_blocks_agree() {
    let [rows, depth] = [TURNED[0] + 9, TURNED[1] + 21];
    let x = || matrix([rows, depth], 3, DType::F64);
    let w = || matrix([depth, 3], 0, DType::F64);
    // In one strip, so that its rows are cut, and added to another product.
    assert!(rows * depth * 3 < SHARE);
    assert!(distance(&[[x(), w()], [x(), w()]]) < 1e-11);
}

#[test]
fn narrow_products_other_precisions_and_the_tape_are_left() {
    let a = matrix([NARROW, 5], 0, DType::F32);
    let b = matrix([5, NARROW], 0, DType::F32);
    assert!(product(&a, &b).is_some());
    assert!(product(&a, &b.clone().narrow(1, 1, NARROW - 1)).is_none());
    assert!(product(&a.clone().cast(DType::F16), &b.clone().cast(DType::F16)).is_none());
    assert!(product(&a, &b.clone().cast(DType::F64)).is_none());
    assert!(product(&a.autodiff(), &b).is_none());
}

#[test]
#[should_panic(expected = "terms of a product")]
fn terms_must_agree() {
    let [a, b] = [[2, 3], [4, 3]].map(|shape| owned(matrix(shape, 0, DType::F32)));
    transposed_product(&a, &b);
}

#[test]
#[should_panic(expected = "sizes of products")]
fn sizes_must_agree() {
    let [a, b] = [[2, 3], [4, 5]].map(|shape| {
        let matrix = matrix(shape, 0, DType::F32);
        primitive(&matrix).expect("on Flex")
    });
    sum_of_products(vec![[a, b]]);
}
