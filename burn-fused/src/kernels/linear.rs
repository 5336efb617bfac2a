//! Linear layers: a product, a bias and a residual in one output.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::Shape;
use rayon::prelude::*;

use super::extension::{Keeps, Kernel, Operation};
use super::memory::{dense, entries, shape, tensor, wide, width};
use super::real::Real;
use crate::product::{Terms, is_shallow, is_wide, sum_of_products_and};

/// Rows whose errors are summed together: the result does not depend on the number of threads.
const ROWS: usize = 64;

/// `x W + b + r` for x `[…, i]` and W `[i, o]`. The inputs are x, W, and what there is of b `[o]` and
/// r `[…, o]`.
#[derive(Debug)]
pub(crate) struct Linear {
    pub bias: bool,
    pub residual: bool,
}

impl Linear {
    pub fn kernel(self) -> Kernel {
        Kernel::new(self)
    }
}

impl Operation for Linear {
    /// x for the gradient of W, and W for that of x.
    fn keeps(&self, needed: &[bool]) -> Keeps {
        let of = |needed: bool, at| needed.then_some(at);
        let kept = [of(needed[1], 0), of(needed[0], 1)];
        Keeps::Some(kept.into_iter().flatten().collect())
    }

    fn forward<E: Real>(&self, inputs: &[FlexTensor]) -> FlexTensor {
        let [x, weight] = [&inputs[0], &inputs[1]];
        let mut others = inputs[2..].iter().cloned();
        let mut next = |exists: bool| exists.then(|| others.next()).flatten();
        let mut terms = Terms {
            row: next(self.bias),
            all: next(self.residual),
        };
        if terms.row.is_none() {
            terms.row = terms.all.as_ref().and_then(repeated_row);
            terms.all = terms.all.filter(|_| terms.row.is_none());
        }
        let mut sizes = shape(x);
        if let Some(last) = sizes.last_mut() {
            *last = width(weight);
        }
        product(folded(x), weight.clone(), terms).reshape(Shape::from(sizes))
    }

    fn backward<E: Real>(
        &self,
        kept: &[FlexTensor],
        error: FlexTensor,
        needed: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        let mut kept = kept.iter().cloned();
        let mut next = |exists: bool| exists.then(|| kept.next()).flatten();
        let (x, weight) = (next(needed[1]), next(needed[0]));
        let errors = folded(&error);
        let of_weight = x.map(|x| gradient_of_weight(&folded(&x), &errors));
        let mut others = needed[2..].iter();
        let mut is_needed = |exists: bool| exists && others.next().copied().unwrap_or(false);
        let of_bias = is_needed(self.bias).then(|| sum_of_rows::<E>(&errors));
        let of_residual = is_needed(self.residual).then(|| error.clone());
        let of_x = weight.map(|weight| {
            let mut sizes = shape(&error);
            if let Some(last) = sizes.last_mut() {
                *last = shape(&weight)[0];
            }
            // Without another owner, the gradient may take the memory of the errors.
            drop(error);
            let of_x = product(errors, weight.transpose(0, 1), Terms::default());
            of_x.reshape(Shape::from(sizes))
        });
        let mut gradients = vec![of_x, of_weight];
        gradients.extend(self.bias.then_some(of_bias));
        gradients.extend(self.residual.then_some(of_residual));
        gradients
    }
}

/// The row of a tensor whose rows are all one row in memory, such as an expanded bias.
fn repeated_row(x: &FlexTensor) -> Option<FlexTensor> {
    let strides = x.layout().strides();
    let (_, leading) = strides.split_last()?;
    if leading.iter().any(|stride| *stride != 0) {
        return None;
    }
    let axes = 0..leading.len();
    let row = axes.fold(x.clone(), |row, axis| row.narrow(axis, 0, 1));
    Some(dense(&row).reshape(Shape::from([width(x)])))
}

/// `[…, i]` to `[N, i]`.
fn folded(x: &FlexTensor) -> FlexTensor {
    let (width, entries) = (width(x), x.layout().num_elements());
    let sizes = [entries / width.max(1), width];
    dense(x).reshape(Shape::from(sizes))
}

/// `a b` and the terms.
fn product(a: FlexTensor, b: FlexTensor, terms: Terms) -> FlexTensor {
    if is_wide(shape(&a)[0], width(&b)) {
        return sum_of_products_and(vec![[a, b]], terms);
    }
    let sizes = Shape::from([shape(&a)[0], width(&b)]);
    let mut sum = Flex::float_matmul(a, b);
    let row = terms.row.map(|row| {
        let columns = width(&row);
        row.reshape(Shape::from([1, columns]))
    });
    let all = terms.all.map(|all| dense(&all).reshape(sizes));
    for term in row.into_iter().chain(all) {
        sum = Flex::float_add(sum, term);
    }
    sum
}

/// `xᵀ e`.
fn gradient_of_weight(x: &FlexTensor, errors: &FlexTensor) -> FlexTensor {
    let turned = x.transpose(0, 1);
    if is_wide(width(x), width(errors)) && is_shallow(shape(x)[0]) {
        return sum_of_products_and(vec![[turned, errors.clone()]], Terms::default());
    }
    Flex::float_matmul(turned, errors.clone())
}

fn sum_of_rows<E: Real>(errors: &FlexTensor) -> FlexTensor {
    let columns = width(errors);
    let parts = entries::<E>(errors).par_chunks(ROWS * columns).map(|rows| {
        let mut sums = vec![E::ZERO; columns];
        wide(
            #[inline(always)]
            || add_rows(&mut sums, rows),
        );
        sums
    });
    let parts: Vec<Vec<E>> = parts.collect();
    let mut sums = vec![E::ZERO; columns];
    for part in &parts {
        add_rows(&mut sums, part);
    }
    tensor(sums, vec![columns])
}

#[inline(always)]
fn add_rows<E: Real>(sums: &mut [E], rows: &[E]) {
    for row in rows.chunks_exact(sums.len()) {
        for (sum, entry) in sums.iter_mut().zip(row) {
            *sum += *entry;
        }
    }
}
