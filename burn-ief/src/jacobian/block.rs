//! All recorded uses of one parameter, or of a weight and its bias together.

use burn::module::ParamId;
use burn::tensor::{DType, Device, Tensor};

use crate::params::Direction;
use crate::rows::Rows;

/// The row of a parameter is the **sum** over its uses, so its Gram share has cross terms between uses.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub parameter: ParamId,
    /// The bias whose rows are included in the uses; these are then [`Rows::Outer`].
    pub bias: Option<ParamId>,
    pub uses: Vec<Rows>,
}

impl Block {
    pub fn covers(&self, id: ParamId) -> bool {
        self.parameter == id || self.bias == Some(id)
    }

    pub fn to_device(self, device: &Device) -> Self {
        Self {
            uses: self.uses.into_iter().map(|u| u.to_device(device)).collect(),
            ..self
        }
    }

    pub fn narrow(&self, start: usize, count: usize) -> Self {
        Self {
            uses: self.uses.iter().map(|u| u.narrow(start, count)).collect(),
            ..*self
        }
    }

    /// Gram share `[M, M]`, lower triangle.
    pub fn gram(&self, dtype: DType) -> Tensor<2> {
        let own = self.uses.iter().map(|rows| rows.gram(dtype));
        let pairs = self.uses.iter().enumerate().flat_map(|(i, a)| {
            self.uses[..i].iter().map(move |b| {
                let cross = a.cross(b, dtype);
                cross.clone() + cross.transpose()
            })
        });
        own.chain(pairs)
            .reduce(|a, b| a + b)
            .expect("a block has at least one use")
    }

    /// Inner products with the rows of the same parameters in another recording, `[M, M']`.
    pub fn cross(&self, other: &Self, dtype: DType) -> Tensor<2> {
        let pairs = self
            .uses
            .iter()
            .flat_map(|a| other.uses.iter().map(move |b| (a, b)));
        pairs
            .map(|(a, b)| a.cross(b, dtype))
            .reduce(|a, b| a + b)
            .expect("a block has at least one use")
    }

    /// Squared row norms `[M]`.
    pub fn squared_norms(&self, dtype: DType) -> Tensor<1> {
        match self.uses.as_slice() {
            [rows] => rows.squared_norms(dtype),
            uses => {
                let rows = uses.iter().map(Rows::to_dense).reduce(|a, b| a + b);
                let rows = Rows::Dense(rows.expect("a block has at least one use"));
                let bias = self
                    .bias_rows()
                    .map(|rows| Rows::Dense(rows).squared_norms(dtype));
                let norms = rows.squared_norms(dtype);
                match bias {
                    Some(bias) => norms + bias,
                    None => norms,
                }
            }
        }
    }

    /// Dense rows of the parameter and of the bias.
    pub fn to_dense(&self) -> Vec<(ParamId, Tensor<2>)> {
        let rows = self.uses.iter().map(Rows::to_dense).reduce(|a, b| a + b);
        let weight = (self.parameter, rows.expect("a block has at least one use"));
        let bias = self.bias.zip(self.bias_rows());
        std::iter::once(weight).chain(bias).collect()
    }

    fn bias_rows(&self) -> Option<Tensor<2>> {
        self.bias?;
        let uses = self.uses.iter().map(|rows| match rows {
            Rows::Outer(rows) => rows.clone().split().1,
            _ => unreachable!("only outer-product rows include a bias"),
        });
        uses.reduce(|a, b| a + b)
    }

    /// Shares of `Jv`.
    pub fn matvec(&self, direction: &Direction) -> Vec<Tensor<1>> {
        let mut shares = Vec::new();
        for rows in &self.uses {
            if let Some(v) = direction.get(self.parameter) {
                shares.push(rows.matvec(v));
            }
            if let (Some(bias), Rows::Outer(rows)) = (self.bias, rows)
                && let Some(v) = direction.get(bias)
            {
                shares.push(rows.bias_matvec(v));
            }
        }
        shares
    }

    /// Add the shares of `Jᵀc`.
    pub fn add_t_matvec(&self, c: Tensor<1>, direction: &mut Direction) {
        for rows in &self.uses {
            direction.add(self.parameter, rows.t_matvec(c.clone()));
            if let (Some(bias), Rows::Outer(rows)) = (self.bias, rows) {
                direction.add(bias, rows.bias_t_matvec(c.clone()));
            }
        }
    }

    /// Separate blocks for the weight and the bias.
    pub fn split(self) -> Vec<Self> {
        let Some(bias) = self.bias else {
            return vec![self];
        };
        let (weight, bias_rows) = self
            .uses
            .into_iter()
            .map(|rows| match rows {
                Rows::Outer(rows) => {
                    let (weight, bias) = rows.split();
                    (Rows::Outer(weight), Rows::Dense(bias))
                }
                _ => unreachable!("only outer-product rows include a bias"),
            })
            .unzip();
        let block = |parameter, uses| Self {
            parameter,
            bias: None,
            uses,
        };
        vec![block(self.parameter, weight), block(bias, bias_rows)]
    }
}
