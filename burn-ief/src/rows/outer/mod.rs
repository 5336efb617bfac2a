//! Rows that are sums of outer products: linear layers, and convolutions of unfolded inputs.

mod parts;

use std::ops::Range;

#[cfg(feature = "flex")]
use burn::tensor::TensorData;
use burn::tensor::{DType, Device, Tensor};

#[cfg(feature = "flex")]
use burn_flex_fused::product::{GramFactor, hadamard_gram};

use super::{TEMPORARY, dense_cross, dense_gram, dense_matvec, matmul, to_dtype, triangular};

/// Samples up to which both triangles of a Gram matrix are computed on a GPU: the kernels for one triangle,
/// block by block, would take longer to launch than to run.
const ONE_LAUNCH: usize = 256;

/// Whether operations are function calls, without a price for each.
fn is_flex(_device: &Device) -> bool {
    #[cfg(feature = "flex")]
    if *_device == Device::flex() {
        return true;
    }
    false
}

/// Row n is `Σ_t left[n, t]ᵀ right[n, t]`, for a parameter of shape `[i, o]`. The rows
/// `Σ_t right[n, t]` of a bias of shape `[o]` can be included.
///
/// There are two ways to compute the Gram share, and the cheaper one is used:
///
/// - from the factors, `Σ_{t,u} (left_nt · left_mu)(right_nt · right_mu)`, which takes M²T²(i + o)
///   multiplications, and half of that for the rows with themselves;
/// - from dense rows, which takes M·T·i·o + M²·i·o multiplications. Dense rows of a large layer are
///   computed in blocks of columns and never kept.
#[derive(Debug, Clone)]
pub struct Outer {
    left: Tensor<3>,
    right: Tensor<3>,
    pub(super) bias: bool,
    inputs: Side,
}

/// A factor of an outer product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

impl Outer {
    /// From `left [M, T, i]` and `right [M, T, o]`.
    ///
    /// # Panics
    ///
    /// Panics if M or T differ.
    pub fn new(left: Tensor<3>, right: Tensor<3>) -> Self {
        let ([m, t, _], [n, u, _]) = (left.dims(), right.dims());
        assert_eq!((m, t), (n, u), "samples and positions of both factors");
        Self {
            left,
            right,
            bias: false,
            inputs: Side::Left,
        }
    }

    /// From output errors `[M, T, o]` and inputs `[M, T, i]`, for a parameter of shape `[o, i]`.
    ///
    /// # Panics
    ///
    /// Panics if M or T differ.
    pub fn transposed(error: Tensor<3>, input: Tensor<3>) -> Self {
        Self {
            inputs: Side::Right,
            ..Self::new(error, input)
        }
    }

    /// Include the rows `Σ_t error[n, t]` of a bias.
    pub(crate) fn with_bias(mut self) -> Self {
        self.bias = true;
        self
    }

    /// Separate the rows of the weight from the rows of the bias.
    pub(crate) fn split(self) -> (Self, Tensor<2>) {
        let bias = self.bias_rows();
        let weight = Self {
            bias: false,
            ..self
        };
        (weight, bias)
    }

    pub(super) fn place(&self) -> (Device, DType) {
        (self.right.device(), self.right.dtype())
    }

    /// Whether the rows of `other` can be put next to these, position by position.
    pub(super) fn fits(&self, other: &Self) -> bool {
        let shape = |rows: &Self| {
            let ([m, _, i], [_, _, o]) = (rows.left.dims(), rows.right.dims());
            (m, i, o, rows.bias, rows.inputs)
        };
        shape(self) == shape(other) && self.place() == other.place()
    }

    /// The sum of several uses that fit: their positions next to each other.
    pub(super) fn joined(uses: Vec<Self>) -> Self {
        let (bias, inputs) = (uses[0].bias, uses[0].inputs);
        let (left, right) = uses.into_iter().map(|rows| (rows.left, rows.right)).unzip();
        Self {
            left: Tensor::cat(left, 1),
            right: Tensor::cat(right, 1),
            bias,
            inputs,
        }
    }

    pub(super) fn samples(&self) -> usize {
        self.left.dims()[0]
    }

    pub(super) fn len(&self) -> usize {
        self.left.dims()[2] * self.right.dims()[2]
    }

    /// The factor on this side, `[M, T, …]`.
    pub(crate) fn factor(&self, side: Side) -> Tensor<3> {
        match side {
            Side::Left => self.left.clone(),
            Side::Right => self.right.clone(),
        }
    }

    /// The output errors, `[M, T, o]`.
    fn errors(&self) -> Tensor<3> {
        self.factor(self.inputs.other())
    }

    /// Whether a bias is included and `side` holds the inputs. The bias then counts as one more input
    /// with the constant value 1.
    fn constant_input(&self, side: Side) -> bool {
        self.bias && self.inputs == side
    }

    fn bias_rows(&self) -> Tensor<2> {
        self.errors().sum_dim(1).squeeze_dim(1)
    }

    pub(super) fn cross(&self, other: &Self, dtype: DType) -> Tensor<2> {
        assert_eq!(self.bias, other.bias, "uses of one layer agree on its bias");
        assert!(
            !self.bias || self.inputs == other.inputs,
            "uses of one layer agree on its side"
        );
        if self.factored_is_cheaper(other) {
            return self.cross_factored(other, dtype);
        }
        let shares = self.column_blocks(other.samples()).map(|columns| {
            let (a, b) = (self.columns(columns.clone()), other.columns(columns));
            dense_cross(a.to_dense(), b.to_dense(), dtype)
        });
        self.add_bias(other, shares.reduce(|a, b| a + b), dtype)
    }

    pub(super) fn gram(&self, dtype: DType) -> Tensor<2> {
        let (m, t) = (self.samples(), self.left.dims()[1]);
        if self.gram_is_cheaper_factored() {
            if let Some(gram) = self.flex_gram(dtype) {
                return gram;
            }
            // Cast once here, and not in every block.
            let wide = Self {
                left: to_dtype(self.left.clone(), dtype),
                right: to_dtype(self.right.clone(), dtype),
                ..*self
            };
            if m <= ONE_LAUNCH && (m * t).pow(2) <= TEMPORARY && !is_flex(&self.place().0) {
                return wide.cross_factored(&wide, dtype);
            }
            // The products over all pairs of positions are temporaries; the blocks bound their size.
            return triangular(m, TEMPORARY / (t * t).max(1), |rows, columns| {
                let columns = wide.narrow(columns.start, columns.len());
                wide.narrow(rows.start, rows.len())
                    .cross_factored(&columns, dtype)
            });
        }
        let shares = self
            .column_blocks(m)
            .map(|columns| dense_gram(self.columns(columns).to_dense(), dtype));
        self.add_bias(self, shares.reduce(|a, b| a + b), dtype)
    }

    /// The Gram share from the factors by the kernel for Flex; `None` on other devices, and where the
    /// products over all pairs of positions are too many to keep.
    #[cfg(feature = "flex")]
    fn flex_gram(&self, dtype: DType) -> Option<Tensor<2>> {
        let [m, t, _] = self.left.dims();
        if t != 1 && (m * t).pow(2) > TEMPORARY {
            return None;
        }
        let factor = |factor: &Tensor<3>, constant| {
            let [_, _, width] = factor.dims();
            GramFactor {
                rows: factor.clone().reshape([m * t, width]),
                constant,
            }
        };
        let pairs = hadamard_gram(
            factor(&self.left, self.constant_input(Side::Left)),
            factor(&self.right, self.constant_input(Side::Right)),
            dtype,
        )?;
        if t == 1 {
            return Some(pairs);
        }
        Some(sum_positions(pairs, m, t))
    }

    #[cfg(not(feature = "flex"))]
    fn flex_gram(&self, _: DType) -> Option<Tensor<2>> {
        None
    }

    fn add_bias(&self, other: &Self, weight: Option<Tensor<2>>, dtype: DType) -> Tensor<2> {
        let weight = weight.expect("a weight has columns");
        if self.bias {
            weight + dense_cross(self.bias_rows(), other.bias_rows(), dtype)
        } else {
            weight
        }
    }

    /// `Σ_t left_nt V right_ntᵀ`.
    pub(super) fn matvec(&self, v: Tensor<1>) -> Tensor<1> {
        self.sum_with_right(self.product(v))
    }

    /// [`matvec`](Self::matvec) and [`bias_matvec`](Self::bias_matvec) together.
    pub(crate) fn matvec_with_bias(&self, v: Tensor<1>, bias: Tensor<1>) -> Tensor<1> {
        match self.inputs {
            // The errors are on the right: both shares are products with them.
            Side::Left => {
                let [_, _, o] = self.right.dims();
                self.sum_with_right(self.product(v) + bias.reshape([1, 1, o]))
            }
            Side::Right => self.matvec(v) + self.bias_matvec(bias),
        }
    }

    /// `left V`, `[M, T, o]`.
    fn product(&self, v: Tensor<1>) -> Tensor<3> {
        let ([m, t, i], [_, _, o]) = (self.left.dims(), self.right.dims());
        let left = self.left.clone().reshape([m * t, i]);
        matmul(left, v.reshape([i, o])).reshape([m, t, o])
    }

    fn sum_with_right(&self, x: Tensor<3>) -> Tensor<1> {
        let [m, t, o] = self.right.dims();
        let products = (x * self.right.clone()).reshape([m, t * o]);
        products.sum_dim(1).squeeze_dim(1)
    }

    /// The bias's share of `Jv`.
    pub(crate) fn bias_matvec(&self, v: Tensor<1>) -> Tensor<1> {
        dense_matvec(self.bias_rows(), v)
    }

    /// `Σ_n c_n Σ_t left_ntᵀ right_nt`: the weight-gradient product of a plain backward pass.
    pub(super) fn t_matvec(&self, c: Tensor<1>) -> Tensor<1> {
        let ([m, t, i], [_, _, o]) = (self.left.dims(), self.right.dims());
        let c = c.reshape([m, 1, 1]);
        // Scale the smaller factor.
        let (left, right) = if i < o {
            (self.left.clone() * c, self.right.clone())
        } else {
            (self.left.clone(), self.right.clone() * c)
        };
        let left = left.reshape([m * t, i]).transpose();
        matmul(left, right.reshape([m * t, o])).reshape([i * o])
    }

    /// The bias's share of `Jᵀc`, `[o]`.
    pub(crate) fn bias_t_matvec(&self, c: Tensor<1>) -> Tensor<1> {
        let errors = self.errors();
        let [m, t, o] = errors.dims();
        let c = c.reshape([m, 1, 1]).expand([m, t, 1]).reshape([1, m * t]);
        c.matmul(errors.reshape([m * t, o])).squeeze_dim(0)
    }

    /// Whether these uses of one layer take less work as one with all their positions, from the factors.
    pub(crate) fn gram_of_joined(uses: &[&Self], dtype: DType) -> Option<Tensor<2>> {
        let [first, others @ ..] = uses else {
            return None;
        };
        if others.is_empty() || !others.iter().all(|rows| first.fits(rows)) {
            return None;
        }
        let [m, t, i] = first.left.dims();
        let positions: usize = uses.iter().map(|rows| rows.left.dims()[1]).sum();
        let [_, _, o] = first.right.dims();
        if t == 0 || (m * positions).pow(2) > TEMPORARY || !cheaper_factored(m, positions, i, o) {
            return None;
        }
        let joined = Self::joined(uses.iter().map(|&rows| rows.clone()).collect());
        joined.flex_gram(dtype)
    }

    fn gram_is_cheaper_factored(&self) -> bool {
        let ([m, t, i], [_, _, o]) = (self.left.dims(), self.right.dims());
        cheaper_factored(m, t, i, o)
    }

    pub(super) fn factored_is_cheaper(&self, other: &Self) -> bool {
        let ([m, t, i], [_, _, o]) = (self.left.dims(), self.right.dims());
        let [n, u, _] = other.left.dims();
        let [m, t, n, u, i, o] = [m, t, n, u, i, o].map(|x| x as f64);
        let factored = m * t * n * u * (i + o);
        let materialised = (m * t + n * u + m * n) * i * o;
        factored <= materialised
    }

    fn cross_factored(&self, other: &Self, dtype: DType) -> Tensor<2> {
        let ([m, t, _], [n, u, _]) = (self.left.dims(), other.left.dims());
        let product = |a: &Tensor<3>, b: &Tensor<3>| {
            let [_, _, width] = a.dims();
            let a = to_dtype(a.clone(), dtype).reshape([m * t, width]);
            let b = to_dtype(b.clone(), dtype).reshape([n * u, width]);
            a.matmul(b.transpose())
        };
        let left = self.with_constant(product(&self.left, &other.left), Side::Left);
        let right = self.with_constant(product(&self.right, &other.right), Side::Right);
        let all = left * right;
        if t == 1 && u == 1 {
            return all;
        }
        let all = all.reshape([m, t, n, u]).sum_dim(3).sum_dim(1);
        all.reshape([m, n])
    }

    /// Add the product of the constant inputs to the inner products of the factors on `side`.
    fn with_constant<const D: usize>(&self, products: Tensor<D>, side: Side) -> Tensor<D> {
        if self.constant_input(side) {
            products + 1.0
        } else {
            products
        }
    }

    fn columns(&self, columns: Range<usize>) -> Self {
        Self {
            left: self.left.clone(),
            right: self
                .right
                .clone()
                .slice([0..self.samples(), 0..self.left.dims()[1], columns]),
            bias: false,
            inputs: self.inputs,
        }
    }

    /// Ranges of columns of `right` for which dense rows have a bounded size.
    fn column_blocks(&self, others: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let rows = self.samples().max(others) * self.left.dims()[2];
        self.column_blocks_of(TEMPORARY / rows.max(1))
    }

    pub(super) fn column_blocks_of(
        &self,
        width: usize,
    ) -> impl Iterator<Item = Range<usize>> + use<> {
        let columns = self.right.dims()[2];
        let width = width.clamp(1, columns.max(1));
        (0..columns)
            .step_by(width)
            .map(move |start| start..(start + width).min(columns))
    }
}

/// Sums over the pairs of positions, from the lower triangle `[M * T, M * T]` to the lower triangle `[M, M]`, in one
/// pass on the host, in whose memory the tensors of Flex are.
#[cfg(feature = "flex")]
fn sum_positions(pairs: Tensor<2>, m: usize, t: usize) -> Tensor<2> {
    let (device, dtype) = (pairs.device(), pairs.dtype());
    let pairs = pairs.into_data();
    let sums = match pairs.as_slice::<f32>() {
        Ok(pairs) => sums_of_lower(pairs, m, t),
        Err(_) => {
            let pairs = pairs.as_slice::<f64>();
            sums_of_lower(pairs.expect("products are in f32 or f64"), m, t)
        }
    };
    let sums = Tensor::from_data(TensorData::new(sums, [m, m]), (&device, DType::F64));
    to_dtype(sums, dtype)
}

#[cfg(feature = "flex")]
fn sums_of_lower<E: Copy + Into<f64>>(pairs: &[E], m: usize, t: usize) -> Vec<f64> {
    let mut sums = vec![0.0; m * m];
    let sum = |entries: &[E]| -> f64 { entries.iter().map(|&entry| entry.into()).sum() };
    for (at, line) in pairs.chunks_exact((m * t).max(1)).enumerate() {
        let (n, position) = (at / t, at % t);
        let (before, own) = line.split_at(n * t);
        let sums = &mut sums[n * m..(n + 1) * m];
        for (total, entries) in sums.iter_mut().zip(before.chunks_exact(t)) {
            *total += sum(entries);
        }
        // Of a sample with itself, two different positions are below the diagonal once and count twice.
        sums[n] += 2.0 * sum(&own[..position]) + own[position].into();
    }
    sums
}

/// Whether the Gram share of M samples with T positions takes less work from factors of widths i and o than from
/// dense rows.
fn cheaper_factored(m: usize, t: usize, i: usize, o: usize) -> bool {
    let [m, t, i, o] = [m, t, i, o].map(|x| x as f64);
    let factored = (m * t) * (m * t) / 2.0 * (i + o);
    let materialised = (m * t + m * m / 2.0) * i * o;
    factored <= materialised
}

impl Side {
    pub fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}
