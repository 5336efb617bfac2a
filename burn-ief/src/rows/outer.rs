//! Rows that are sums of outer products: linear layers, and convolutions of unfolded inputs.

use std::ops::Range;

use burn::tensor::{DType, Device, Tensor};

#[cfg(feature = "flex")]
use burn_flex_fused::product::{GramFactor, hadamard_gram};

use super::{
    TEMPORARY, dense_cross, dense_gram, dense_matvec, dense_squared_norms, matmul, to_dtype,
    triangular,
};

/// Row n is `Σ_t left[n, t]ᵀ right[n, t]`, for a parameter of shape `[i, o]`. The rows
/// `Σ_t right[n, t]` of a bias of shape `[o]` can be included.
///
/// There are two ways to compute the Gram share, and the cheaper one is used:
///
/// - from the factors, `Σ_{t,u} (left_nt · left_mu)(right_nt · right_mu)`, which takes M²T²(i + o)
///   multiplications;
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
    pub(super) fn moved_to(self, device: &Device) -> Self {
        Self {
            left: self.left.to_device(device),
            right: self.right.to_device(device),
            ..self
        }
    }

    pub(super) fn cast(self, dtype: DType) -> Self {
        Self {
            left: to_dtype(self.left, dtype),
            right: to_dtype(self.right, dtype),
            ..self
        }
    }

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

    pub(super) fn squared(&self) -> Self {
        Self {
            left: self.left.clone().square(),
            right: self.right.clone().square(),
            ..*self
        }
    }

    pub(super) fn samples(&self) -> usize {
        self.left.dims()[0]
    }

    pub(super) fn len(&self) -> usize {
        self.left.dims()[2] * self.right.dims()[2]
    }

    /// Whether dense rows take at most as many numbers as the factors.
    pub(super) fn is_larger_than_dense(&self) -> bool {
        let ([_, t, i], [_, _, o]) = (self.left.dims(), self.right.dims());
        i * o <= t * (i + o)
    }

    /// Which factor holds the layer's inputs.
    pub(crate) fn input_side(&self) -> Side {
        self.inputs
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

    pub(super) fn left(&self) -> Tensor<3> {
        self.left.clone()
    }

    pub(super) fn right(&self) -> Tensor<3> {
        self.right.clone()
    }

    /// With both factors changed, in their own memory where nothing else holds it.
    pub(super) fn map_factors(
        self,
        of_left: impl FnOnce(Tensor<3>) -> Tensor<3>,
        of_right: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> Self {
        Self {
            left: of_left(self.left),
            right: of_right(self.right),
            ..self
        }
    }

    pub(super) fn narrow(&self, start: usize, count: usize) -> Self {
        Self {
            left: self.left.clone().narrow(0, start, count),
            right: self.right.clone().narrow(0, start, count),
            ..*self
        }
    }

    /// `[M, i * o]`, without the bias.
    pub(super) fn to_dense(&self) -> Tensor<2> {
        let ([m, t, i], [_, _, o]) = (self.left.dims(), self.right.dims());
        if t == 1 {
            let left = self.left.clone().reshape([m, i, 1]);
            return (left * self.right.clone()).reshape([m, i * o]);
        }
        let left = self.left.clone().swap_dims(1, 2);
        left.matmul(self.right.clone()).reshape([m, i * o])
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
        if self.factored_is_cheaper(self) {
            if let Some(gram) = self.flex_gram(dtype) {
                return gram;
            }
            // Cast once here, and not in every block.
            let wide = Self {
                left: to_dtype(self.left.clone(), dtype),
                right: to_dtype(self.right.clone(), dtype),
                ..*self
            };
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

    /// The Gram share from the factors by the kernel for Flex; `None` on other devices and for more
    /// than one position per sample.
    #[cfg(feature = "flex")]
    fn flex_gram(&self, dtype: DType) -> Option<Tensor<2>> {
        let [_, positions, _] = self.left.dims();
        if positions != 1 {
            return None;
        }
        let factor = |factor: &Tensor<3>, constant| GramFactor {
            rows: factor.clone().squeeze_dim(1),
            constant,
        };
        hadamard_gram(
            factor(&self.left, self.constant_input(Side::Left)),
            factor(&self.right, self.constant_input(Side::Right)),
            dtype,
        )
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

    pub(super) fn squared_norms(&self, dtype: DType) -> Tensor<1> {
        let ([m, t, i], [_, _, o]) = (self.left.dims(), self.right.dims());
        if t * (i + o) <= i * o {
            let left = to_dtype(self.left.clone(), dtype);
            let right = to_dtype(self.right.clone(), dtype);
            let products = |factor: Tensor<3>, side| {
                let products = factor.clone().matmul(factor.swap_dims(1, 2));
                self.with_constant(products, side)
            };
            let products = products(left, Side::Left) * products(right, Side::Right);
            return products.reshape([m, t * t]).sum_dim(1).squeeze_dim(1);
        }
        let norms = dense_squared_norms(self.to_dense(), dtype);
        if self.bias {
            norms + dense_squared_norms(self.bias_rows(), dtype)
        } else {
            norms
        }
    }

    /// `Σ_t left_nt V right_ntᵀ`.
    pub(super) fn matvec(&self, v: Tensor<1>) -> Tensor<1> {
        let ([m, t, i], [_, _, o]) = (self.left.dims(), self.right.dims());
        let image = self.left.clone().reshape([m * t, i]);
        let image = matmul(image, v.reshape([i, o])).reshape([m, t, o]);
        (image * self.right.clone())
            .reshape([m, t * o])
            .sum_dim(1)
            .squeeze_dim(1)
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

impl Side {
    pub fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}
