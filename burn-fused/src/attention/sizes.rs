//! Sizes of an attention, checked.

use burn::tensor::Tensor;

use super::AttentionOptions;

/// Sizes of an attention whose arguments fit each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub samples: usize,
    pub queries: usize,
    pub keys: usize,
    /// Of a query's and a key's head.
    pub width: usize,
}

impl Sizes {
    /// Check all shapes.
    pub fn new(q: &Tensor<3>, k: &Tensor<3>, v: &Tensor<3>, options: &AttentionOptions) -> Self {
        let AttentionOptions {
            heads,
            key_value_heads: shared,
            ..
        } = *options;
        let divides = |part: usize, whole: usize| part > 0 && whole.is_multiple_of(part);
        assert!(
            divides(shared, heads),
            "attention: expected key_value_heads to divide heads = {heads}, found {shared}"
        );
        if let Some(cap) = options.soft_cap {
            assert!(
                cap > 0.0,
                "attention: expected a positive soft cap, found {cap}"
            );
        }
        let [samples, queries, columns] = q.dims();
        let [_, keys, value_columns] = v.dims();
        assert!(
            divides(heads, columns),
            "attention: expected a query [M, T, heads * width] with {heads} heads, found {:?}",
            q.dims()
        );
        let width = columns / heads;
        check("key", k.dims(), [samples, keys, shared * width]);
        assert!(
            v.dims()[0] == samples && divides(shared, value_columns),
            "attention: expected a value [{samples}, {keys}, heads * width] with {shared} heads, \
             found {:?}",
            v.dims()
        );
        if let Some(dropout) = options.dropout {
            assert!(
                divides(dropout.copies(), samples),
                "attention: expected the copies of dropout to divide M = {samples}, found {}",
                dropout.copies()
            );
        }
        if let Some(padding) = &options.padding {
            check_repeated("padding", padding.dims(), [samples, keys], 1);
        }
        if let Some(mask) = &options.mask {
            check_repeated("mask", mask.dims(), [samples, queries, keys], 2);
        }
        if let Some(bias) = &options.bias {
            check_repeated("bias", bias.dims(), [samples, heads, queries, keys], 4);
        }
        Self {
            samples,
            queries,
            keys,
            width,
        }
    }
}

fn check<const D: usize>(what: &str, found: [usize; D], expected: [usize; D]) {
    assert!(
        found == expected,
        "attention: expected a {what} {expected:?}, found {found:?}"
    );
}

/// The first `repeated` axes may have size 1.
fn check_repeated<const D: usize>(
    what: &str,
    found: [usize; D],
    expected: [usize; D],
    repeated: usize,
) {
    let fits = |axis: usize| found[axis] == expected[axis] || (axis < repeated && found[axis] == 1);
    assert!(
        (0..D).all(fits),
        "attention: expected a {what} {expected:?}, of which the first {repeated} sizes may be 1, \
         found {found:?}"
    );
}
