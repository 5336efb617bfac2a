//! Per-sample gradient rows of one use of a parameter, stored in the form that the layer produced.
//!
//! A layer gives its rows in the cheapest form that it has. Every product with them (their share of
//! the Gram matrix, of `Jv` and of `Jᵀc`) is computed from that form. A Gram share can be computed
//! in two ways; [`Outer`] takes the cheaper one.

mod by_entry;
mod condensed;
mod lookup;
mod outer;
mod scaled;
mod sent;
mod squares;
#[cfg(test)]
mod tests;
mod triangular;
mod vocabulary;
mod wide_logits;

use burn::tensor::{DType, Device, Tensor};

pub(crate) use condensed::condensed;
pub use lookup::Lookup;
pub use outer::Outer;
pub(crate) use outer::Side;
pub(crate) use scaled::EntryScale;
pub(crate) use sent::RowCost;
pub(crate) use squares::{Squares, squares};
use triangular::triangular;
pub use vocabulary::VocabularyRows;
pub(crate) use wide_logits::{WideLogits, WideTerm, WideWeight};

use crate::moves::moved;

/// Largest number of elements of a temporary (64 MiB in f32) where the work can be split.
const TEMPORARY: usize = 1 << 24;

/// Per-sample gradient rows of one use of a parameter with P entries, for M samples.
///
/// Row n is the gradient of the (scaled) loss of sample n with respect to the flattened
/// (row-major) parameter.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::Rows;
///
/// let device = Device::flex();
/// let input = Tensor::<3>::ones([4, 7, 3], &device);  // 4 samples, 7 tokens, 3 features
/// let error = Tensor::<3>::ones([4, 7, 5], &device);  // gradient at the output, 5 features
/// let rows = Rows::outer(input, error);               // rows of a 3 x 5 weight
/// assert_eq!((rows.samples(), rows.len()), (4, 15));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one per use of a parameter, so the size does not matter"
)]
pub enum Rows {
    /// `[M, P]`, one row per sample.
    Dense(Tensor<2>),
    /// A sum of outer products over positions: the weight of a linear layer.
    Outer(Outer),
    /// Vectors that are added to rows of a table: an embedding.
    Lookup(Lookup),
    /// Outer products whose errors over a large vocabulary are not kept: the head of
    /// [`token_cross_entropy`](crate::tokens::token_cross_entropy).
    Vocabulary(VocabularyRows),
}

impl Rows {
    /// Dense rows, `[M, P]`.
    pub fn dense(rows: Tensor<2>) -> Self {
        Self::Dense(rows)
    }

    /// Row n is `Σ_t left[n, t]ᵀ right[n, t]`, for a parameter of shape `[i, o]`. `left` holds the
    /// inputs of the layer and `right` its output errors.
    ///
    /// # Shapes
    ///
    /// - left: `[M, T, i]`
    /// - right: `[M, T, o]`
    pub fn outer(left: Tensor<3>, right: Tensor<3>) -> Self {
        Self::Outer(Outer::new(left, right))
    }

    /// Like [`outer`](Self::outer), for a parameter of shape `[o, i]`: row n is
    /// `Σ_t error[n, t]ᵀ input[n, t]`.
    ///
    /// The K-FAC family needs to know which factor holds the inputs.
    ///
    /// # Shapes
    ///
    /// - error: `[M, T, o]`
    /// - input: `[M, T, i]`
    pub fn outer_transposed(error: Tensor<3>, input: Tensor<3>) -> Self {
        Self::Outer(Outer::transposed(error, input))
    }

    /// Number of samples M.
    pub fn samples(&self) -> usize {
        match self {
            Self::Dense(rows) => rows.dims()[0],
            Self::Outer(rows) => rows.samples(),
            Self::Lookup(rows) => rows.samples(),
            Self::Vocabulary(rows) => rows.samples(),
        }
    }

    /// Number of entries P of a row, without a fused bias.
    pub fn len(&self) -> usize {
        match self {
            Self::Dense(rows) => rows.dims()[1],
            Self::Outer(rows) => rows.len(),
            Self::Lookup(rows) => rows.len(),
            Self::Vocabulary(rows) => rows.len(),
        }
    }

    /// Whether a row has no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows of the samples `start..start + count`.
    pub fn narrow(&self, start: usize, count: usize) -> Self {
        match self {
            Self::Dense(rows) => Self::Dense(rows.clone().narrow(0, start, count)),
            Self::Outer(rows) => Self::Outer(rows.narrow(start, count)),
            Self::Lookup(rows) => Self::Lookup(rows.narrow(start, count)),
            Self::Vocabulary(rows) => Self::Vocabulary(rows.narrow(start, count)),
        }
    }

    /// The same rows on another device.
    pub(crate) fn moved_to(self, device: &Device) -> Self {
        match self {
            Self::Dense(rows) => Self::Dense(moved(rows, device)),
            Self::Outer(rows) => Self::Outer(rows.moved_to(device)),
            Self::Lookup(rows) => Self::Lookup(rows.moved_to(device)),
            Self::Vocabulary(rows) => Self::Vocabulary(rows.moved_to(device)),
        }
    }

    /// The same rows in another precision.
    pub(crate) fn cast(self, dtype: DType) -> Self {
        match self {
            Self::Dense(rows) => Self::Dense(to_dtype(rows, dtype)),
            Self::Outer(rows) => Self::Outer(rows.cast(dtype)),
            Self::Lookup(rows) => Self::Lookup(rows.cast(dtype)),
            Self::Vocabulary(rows) => Self::Vocabulary(rows.cast(dtype)),
        }
    }

    /// Dense rows `[M, P]`, computed from the stored form.
    pub fn to_dense(&self) -> Tensor<2> {
        match self {
            Self::Dense(rows) => rows.clone(),
            Self::Outer(rows) => rows.to_dense(),
            Self::Lookup(rows) => rows.to_dense(),
            Self::Vocabulary(rows) => rows.to_outer().to_dense(),
        }
    }

    /// Inner products of these rows with `other`'s, `[M, M']`, accumulated in `dtype`.
    pub(crate) fn cross(&self, other: &Self, dtype: DType) -> Tensor<2> {
        match (self, other) {
            (Self::Outer(a), Self::Outer(b)) => a.cross(b, dtype),
            (Self::Lookup(a), Self::Lookup(b)) => a.cross(b, dtype),
            (Self::Lookup(a), Self::Outer(b)) => a.cross_outer(b, dtype),
            (Self::Outer(a), Self::Lookup(b)) => b.cross_outer(a, dtype).transpose(),
            (Self::Vocabulary(a), Self::Vocabulary(b)) => a.cross(b, dtype),
            (Self::Lookup(a), Self::Vocabulary(b)) => b.cross_lookup(a, dtype),
            (Self::Vocabulary(a), Self::Lookup(b)) => a.cross_lookup(b, dtype).transpose(),
            (Self::Outer(a), Self::Vocabulary(b)) => a.cross(&b.to_outer(), dtype),
            (Self::Vocabulary(a), Self::Outer(b)) => a.to_outer().cross(b, dtype),
            _ => dense_cross(self.to_dense(), other.to_dense(), dtype),
        }
    }

    /// Gram share of these rows, `[M, M]`; only the lower triangle is guaranteed.
    pub(crate) fn gram(&self, dtype: DType) -> Tensor<2> {
        match self {
            Self::Outer(rows) => rows.gram(dtype),
            Self::Dense(rows) => dense_gram(rows.clone(), dtype),
            Self::Lookup(rows) => rows.gram(dtype),
            Self::Vocabulary(rows) => rows.gram(dtype),
        }
    }

    /// Squared norms of the rows, `[M]`, accumulated in `dtype`.
    pub(crate) fn squared_norms(&self, dtype: DType) -> Tensor<1> {
        match self {
            Self::Outer(rows) => rows.squared_norms(dtype),
            Self::Vocabulary(rows) => rows.squared_norms(dtype),
            _ => dense_squared_norms(self.to_dense(), dtype),
        }
    }

    /// The device and the precision of the rows.
    pub(crate) fn place(&self) -> (Device, DType) {
        match self {
            Self::Dense(rows) => (rows.device(), rows.dtype()),
            Self::Outer(rows) => rows.place(),
            Self::Lookup(rows) => rows.place(),
            Self::Vocabulary(rows) => rows.place(),
        }
    }

    /// Squared rows. Dense rows are squared entry by entry. In the other forms every position is
    /// squared, and the cross terms between positions of a sample are left out.
    pub(crate) fn squared(&self) -> Self {
        match self {
            Self::Dense(rows) => Self::Dense(rows.clone().square()),
            Self::Outer(rows) => Self::Outer(rows.squared()),
            Self::Lookup(rows) => Self::Lookup(rows.squared()),
            Self::Vocabulary(rows) => Self::Outer(rows.to_outer().squared()),
        }
    }

    /// `Jv` share for the flattened parameter direction `v`, `[M]`.
    pub(crate) fn matvec(&self, v: Tensor<1>) -> Tensor<1> {
        match self {
            Self::Dense(rows) => dense_matvec(rows.clone(), v),
            Self::Outer(rows) => rows.matvec(v),
            Self::Lookup(rows) => rows.matvec(v),
            Self::Vocabulary(rows) => rows.matvec(v),
        }
    }

    /// `Jᵀc` share, flattened `[P]`.
    pub(crate) fn t_matvec(&self, c: Tensor<1>) -> Tensor<1> {
        match self {
            Self::Dense(rows) => dense_t_matvec(rows.clone(), c),
            Self::Outer(rows) => rows.t_matvec(c),
            Self::Lookup(rows) => rows.t_matvec(c),
            Self::Vocabulary(rows) => rows.t_matvec(c),
        }
    }
}

/// From how many factored uses on they are put together. Every two uses have inner products of their
/// own, so the Gram share of T uses takes T² products of small matrices. Put together, they are one
/// use with T times the positions, for which [`Outer`] takes the cheaper of its two ways. A few uses
/// of many positions do not gain enough to pay for the copy.
const JOINED: usize = 4;

/// The same rows from fewer uses: dense rows are added up, and many factored uses become one.
pub(crate) fn joined(uses: Vec<Rows>) -> Vec<Rows> {
    joined_from(uses, JOINED)
}

/// [`joined`], with at least this many factored uses put together.
fn joined_from(uses: Vec<Rows>, fewest: usize) -> Vec<Rows> {
    if uses.len() < 2 {
        return uses;
    }
    let mut dense: Option<Tensor<2>> = None;
    let mut outer: Vec<Outer> = Vec::new();
    let mut others = Vec::new();
    for rows in uses {
        match rows {
            Rows::Dense(rows) => {
                dense = Some(match dense {
                    Some(sum) => sum + rows,
                    None => rows,
                });
            }
            Rows::Outer(rows) => outer.push(rows),
            rows => others.push(rows),
        }
    }
    if outer.len() >= fewest && outer.iter().all(|rows| rows.fits(&outer[0])) {
        others.push(Rows::Outer(Outer::joined(outer)));
    } else {
        others.extend(outer.into_iter().map(Rows::Outer));
    }
    others.extend(dense.map(Rows::Dense));
    others
}

/// `a b`, by faer where that is faster than Burn.
pub(crate) fn matmul(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let Some(product) = burn_flex_fused::product::product(&a, &b) {
        return product;
    }
    a.matmul(b)
}

/// Cast if the dtype differs. A cast to the same dtype would copy.
fn to_dtype<const D: usize>(x: Tensor<D>, dtype: DType) -> Tensor<D> {
    if x.dtype() == dtype { x } else { x.cast(dtype) }
}

/// `A Bᵀ` of dense rows `[M, P]`, accumulated in `dtype`.
fn dense_cross(a: Tensor<2>, b: Tensor<2>, dtype: DType) -> Tensor<2> {
    let samples = a.dims()[0].max(b.dims()[0]);
    let shares = column_blocks(&a, samples, dtype).map(|(start, count)| {
        let cut = |rows: &Tensor<2>| to_dtype(rows.clone().narrow(1, start, count), dtype);
        cut(&a).matmul(cut(&b).transpose())
    });
    shares
        .reduce(|a, b| a + b)
        .expect("at least one block of columns")
}

/// `A Aᵀ` of dense rows, accumulated in `dtype`; only the lower triangle is guaranteed.
fn dense_gram(rows: Tensor<2>, dtype: DType) -> Tensor<2> {
    let [samples, columns] = rows.dims();
    if samples * columns <= TEMPORARY
        && let Some(gram) = flex_gram(&rows, dtype)
    {
        return gram;
    }
    let shares = column_blocks(&rows, samples, dtype).map(|(start, count)| {
        let wide = to_dtype(rows.clone().narrow(1, start, count), dtype);
        triangular(samples, usize::MAX, |rows, columns| {
            let columns = wide.clone().narrow(0, columns.start, columns.len());
            let rows = wide.clone().narrow(0, rows.start, rows.len());
            rows.matmul(columns.transpose())
        })
    });
    shares
        .reduce(|a, b| a + b)
        .expect("at least one block of columns")
}

/// The lower triangle of `A Aᵀ` by the kernel for Flex; `None` on other devices.
#[cfg(feature = "flex")]
fn flex_gram(rows: &Tensor<2>, dtype: DType) -> Option<Tensor<2>> {
    use burn_flex_fused::product::{GramFactor, hadamard_gram};
    let [samples, _] = rows.dims();
    let rows = GramFactor {
        rows: rows.clone(),
        constant: false,
    };
    // A factor whose inner products are all 1.
    let one = GramFactor {
        rows: Tensor::zeros([samples, 1], (&rows.rows.device(), rows.rows.dtype())),
        constant: true,
    };
    hadamard_gram(rows, one, dtype)
}

#[cfg(not(feature = "flex"))]
fn flex_gram(_: &Tensor<2>, _: DType) -> Option<Tensor<2>> {
    None
}

/// Blocks of columns as (start, count): one block, or several if the columns have to be cast, so that
/// the cast copy has a bounded size.
fn column_blocks(
    rows: &Tensor<2>,
    samples: usize,
    dtype: DType,
) -> impl Iterator<Item = (usize, usize)> + use<> {
    let [_, columns] = rows.dims();
    let width = if rows.dtype() == dtype {
        columns
    } else {
        (TEMPORARY / samples.max(1)).min(columns)
    };
    let width = width.max(1);
    let starts = (0..columns.max(1)).step_by(width);
    starts.map(move |start| (start, width.min(columns - start)))
}

/// Squared norms of dense rows `[M, P]`, accumulated in `dtype`.
fn dense_squared_norms(rows: Tensor<2>, dtype: DType) -> Tensor<1> {
    to_dtype(rows, dtype).square().sum_dim(1).squeeze_dim(1)
}

/// `Jv` for dense rows.
fn dense_matvec(rows: Tensor<2>, v: Tensor<1>) -> Tensor<1> {
    rows.matmul(v.unsqueeze_dim(1)).squeeze_dim(1)
}

/// `Jᵀc` for dense rows.
fn dense_t_matvec(rows: Tensor<2>, c: Tensor<1>) -> Tensor<1> {
    c.unsqueeze_dim::<2>(0).matmul(rows).squeeze_dim(0)
}
