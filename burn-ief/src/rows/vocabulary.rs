//! Rows of an output head over a large vocabulary, whose output errors are formed again where they
//! are needed.

use std::ops::Range;

use burn::tensor::{DType, Device, Int, Tensor};

use super::wide_logits::WideLogits;
use super::{Lookup, Outer, dense_cross, to_dtype};
use crate::moves::{moved, moved_integers};

/// Most entries of the output errors that are there at once (16 MiB in f32).
const BLOCK: usize = 1 << 22;

/// Row n is `Σ_u input[n, u]ᵀ error[n, u]` for a weight `[i, V]` of an output head (or its transpose for a
/// weight `[V, i]`), where the error of position u is that of a cross-entropy over V classes,
/// `weight (softmax(z) − onehot(y))`.
///
/// The errors `[M, U, V]` are not kept. What is kept is the input of the head and `log Σ exp z` of every
/// position; blocks of columns of the errors follow from these at the cost of one product with the head for
/// each use of the rows.
#[derive(Debug, Clone)]
pub struct VocabularyRows {
    logits: WideLogits,
    /// `log Σ exp z`, `[M * U]`.
    log_sums: Tensor<1>,
    /// The class of every position, `[M * U]`.
    targets: Tensor<1, Int>,
    /// What the error of every position is multiplied with, `[M * U]`; 0 for padding.
    weights: Tensor<1>,
    /// The term whose weight these are the rows of.
    own: usize,
    samples: usize,
}

impl VocabularyRows {
    /// The rows of the weight of the term `own`, for `samples` with the same number of positions each.
    pub(crate) fn new(
        logits: WideLogits,
        own: usize,
        samples: usize,
        log_sums: Tensor<1>,
        targets: Tensor<1, Int>,
        weights: Tensor<1>,
    ) -> Self {
        Self {
            logits,
            log_sums,
            targets,
            weights,
            own,
            samples,
        }
    }

    pub(super) fn samples(&self) -> usize {
        self.samples
    }

    pub(super) fn len(&self) -> usize {
        let [inputs, entries] = self.logits.terms[self.own].weight.dims();
        inputs * entries
    }

    pub(super) fn place(&self) -> (Device, DType) {
        (self.weights.device(), self.weights.dtype())
    }

    /// What it takes to send these rows, the weights of the head included.
    pub(super) fn bytes(&self) -> usize {
        let size = self.weights.dtype().size();
        let rows = self.weights.dims()[0];
        self.logits.bytes() + rows * (2 * size + self.targets.dtype().size())
    }

    pub(super) fn moved_to(self, device: &Device) -> Self {
        Self {
            logits: self.logits.moved_to(device),
            log_sums: moved(self.log_sums, device),
            targets: moved_integers(self.targets, device),
            weights: moved(self.weights, device),
            ..self
        }
    }

    pub(super) fn cast(self, dtype: DType) -> Self {
        Self {
            logits: self.logits.cast(dtype),
            log_sums: to_dtype(self.log_sums, dtype),
            weights: to_dtype(self.weights, dtype),
            ..self
        }
    }

    pub(super) fn narrow(&self, start: usize, count: usize) -> Self {
        let positions = self.positions();
        let (start, rows) = (start * positions, count * positions);
        Self {
            logits: self.logits.narrow(start, rows),
            log_sums: self.log_sums.clone().narrow(0, start, rows),
            targets: self.targets.clone().narrow(0, start, rows),
            weights: self.weights.clone().narrow(0, start, rows),
            own: self.own,
            samples: count,
        }
    }

    /// U.
    fn positions(&self) -> usize {
        self.weights.dims()[0] / self.samples.max(1)
    }

    /// The errors of all positions at some classes, `[M * U, n]`: `logits` are those of the classes,
    /// `classes` their numbers.
    fn errors(&self, logits: &WideLogits, classes: Tensor<1, Int>) -> Tensor<2> {
        let [rows] = self.weights.dims();
        let [count] = classes.dims();
        let dtype = self.weights.dtype();
        let z = to_dtype(logits.values(), dtype);
        let kept = logits.cap.map(|_| z.clone());
        let p = (z - self.log_sums.clone().unsqueeze_dim(1)).exp();
        let own = self.targets.clone().reshape([rows, 1]);
        let own = own
            .expand([rows, count])
            .equal(classes.reshape([1, count]).expand([rows, count]));
        let errors = p.clone().mask_where(own, p - 1.0);
        let errors = logits.uncapped(errors, || kept.expect("kept with a cap"));
        errors * self.weights.clone().unsqueeze_dim(1)
    }

    /// The rows of a range of classes, as if these were all.
    fn block(&self, columns: Range<usize>) -> Outer {
        let [m, u] = [self.samples, self.positions()];
        let first = columns.start as i64;
        let classes = Tensor::arange(first..columns.end as i64, &self.weights.device());
        let logits = self.logits.columns(columns.clone());
        let errors = self.errors(&logits, classes);
        let errors = errors.reshape([m, u, columns.len()]);
        let term = &self.logits.terms[self.own];
        let input = term.entering(m * u, &self.weights.clone().unsqueeze());
        let [_, i] = input.dims();
        let input = input.reshape([m, u, i]);
        if term.weight.is_by_entry() {
            Outer::transposed(errors, input)
        } else {
            Outer::new(input, errors)
        }
    }

    /// Ranges of classes whose errors, next to those of `others` positions, have a bounded size.
    fn ranges(&self, others: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let [rows] = self.weights.dims();
        let width = self.logits.width();
        let count = (BLOCK / rows.max(others).max(1)).clamp(1, width.max(1));
        (0..width)
            .step_by(count)
            .map(move |start| start..(start + count).min(width))
    }

    fn blocks(&self) -> impl Iterator<Item = Outer> + use<'_> {
        self.ranges(0).map(|columns| self.block(columns))
    }

    /// The same rows with all errors in memory.
    pub(crate) fn to_outer(&self) -> Outer {
        self.block(0..self.logits.width())
    }

    pub(super) fn gram(&self, dtype: DType) -> Tensor<2> {
        sum(self.blocks().map(|block| block.gram(dtype)))
    }

    pub(super) fn squared_norms(&self, dtype: DType) -> Tensor<1> {
        sum(self.blocks().map(|block| block.squared_norms(dtype)))
    }

    pub(super) fn cross(&self, other: &Self, dtype: DType) -> Tensor<2> {
        let [others] = other.weights.dims();
        let blocks = self.ranges(others).map(|columns| {
            let own = self.block(columns.clone());
            own.cross(&other.block(columns), dtype)
        });
        sum(blocks)
    }

    /// Inner products with the rows of the table that is also this head, `[M', M]`.
    pub(super) fn cross_lookup(&self, table: &Lookup, dtype: DType) -> Tensor<2> {
        let ([m, t, o], [n, u]) = (table.right.dims(), [self.samples, self.positions()]);
        let term = &self.logits.terms[self.own];
        if !term.weight.is_by_entry() {
            return dense_cross(table.to_dense(), self.to_outer().to_dense(), dtype);
        }
        let input = term.entering(n * u, &self.weights.clone().unsqueeze());
        let input = to_dtype(input, dtype);
        // A few samples of the table at a time.
        let count = (BLOCK / (n * u * t).max(1)).clamp(1, m);
        let parts = (0..m).step_by(count).map(|start| {
            let part = table.narrow(start, count.min(m - start));
            let samples = part.samples();
            let (entries, right) = part.flat();
            let errors = self.errors(&self.logits.columns_at(&entries), entries);
            let errors = to_dtype(errors, dtype).transpose();
            let right = to_dtype(right.reshape([samples * t, o]), dtype);
            let products = right.matmul(input.clone().transpose()) * errors;
            products
                .reshape([samples, t, n, u])
                .sum_dim(3)
                .sum_dim(1)
                .reshape([samples, n])
        });
        Tensor::cat(parts.collect(), 0)
    }

    pub(super) fn matvec(&self, v: Tensor<1>) -> Tensor<1> {
        let [i, width] = self.logits.terms[self.own].weight.dims();
        let by_entry = self.logits.terms[self.own].weight.is_by_entry();
        let v = if by_entry {
            v.reshape([width, i])
        } else {
            v.reshape([i, width])
        };
        let axis = usize::from(!by_entry);
        sum(self.ranges(0).map(|columns| {
            let (start, count) = (columns.start, columns.len());
            let own = v.clone().narrow(axis, start, count).reshape([i * count]);
            self.block(columns).matvec(own)
        }))
    }

    pub(super) fn t_matvec(&self, c: Tensor<1>) -> Tensor<1> {
        let [i, width] = self.logits.terms[self.own].weight.dims();
        let by_entry = self.logits.terms[self.own].weight.is_by_entry();
        let parts = self.ranges(0).map(|columns| {
            let count = columns.len();
            let shape = if by_entry { [count, i] } else { [i, count] };
            self.block(columns).t_matvec(c.clone()).reshape(shape)
        });
        let parts: Vec<Tensor<2>> = parts.collect();
        Tensor::cat(parts, usize::from(!by_entry)).reshape([i * width])
    }
}

fn sum<const D: usize>(shares: impl Iterator<Item = Tensor<D>>) -> Tensor<D> {
    let sum = shares.reduce(|a, b| a + b);
    sum.expect("a vocabulary has at least one entry")
}
