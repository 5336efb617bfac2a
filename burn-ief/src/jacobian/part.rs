//! The rows of one recording, parameter by parameter, and their products.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use burn::module::ParamId;
use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::host::{supports_f64, to_host_scaled};
use crate::moves::moved;
use crate::names::named_variants;
use crate::params::{Direction, ParamInfo};
use crate::record::RecordedUse;
use crate::rows::{Outer, Rows, joined};

/// The precision in which Gram matrices are accumulated from the recorded factors.
///
/// In f32, the entries of K have an error of a few ε₃₂ (the machine epsilon) times the diagonal. That is
/// too much for a very small damping. In f64 they have only the rounding error of the factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
#[serde(rename_all = "snake_case")]
pub enum GramPrecision {
    /// f64 if the device supports it and the batch has at most 128 rows, f32 otherwise. A training
    /// method takes f64 for larger batches too if the damping is below the precision of f32.
    ///
    /// The cost of the Gram matrix grows with M² and the cost of the rest of a step with M. For an
    /// MLP on a CPU, f64 adds 2 % to the time of a step at 64 rows, 4 % at 128 and 8 % at 256.
    #[default]
    Auto,
    /// f64, or f32 on a device that does not support f64.
    F64,
    /// f32, or f64 if the rows are f64.
    F32,
}

named_variants!(
    GramPrecision,
    "Gram precision",
    Auto = "auto",
    F64 = "f64",
    F32 = "f32"
);

/// Most rows for which [`GramPrecision::Auto`] uses f64.
const F64_ROWS: usize = 128;

impl GramPrecision {
    pub(super) fn dtype(self, part: &Part, rows: usize) -> DType {
        let wide = match self {
            Self::Auto => rows <= F64_ROWS,
            Self::F64 => true,
            Self::F32 => false,
        };
        if wide && supports_f64(&part.device) {
            DType::F64
        } else {
            part.dtype
        }
    }
}

/// The rows of one recording.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// The first of its rows in J.
    pub(super) start: usize,
    pub(super) samples: usize,
    /// The stored rows contain the loss scale. Multiplying by this factor removes it.
    pub(crate) scale: f64,
    pub(crate) blocks: Vec<Block>,
    pub(super) device: Device,
    pub(super) dtype: DType,
}

impl Part {
    /// Its rows in J.
    pub(super) fn rows(&self) -> Range<usize> {
        self.start..self.end()
    }

    /// The row of J after its last one.
    pub(super) fn end(&self) -> usize {
        self.start + self.samples
    }

    pub(super) fn moved_to(self, device: &Device) -> Self {
        if self.device == *device {
            return self;
        }
        Self {
            blocks: self
                .blocks
                .into_iter()
                .map(|b| b.moved_to(device))
                .collect(),
            device: device.clone(),
            ..self
        }
    }

    /// Only the rows of parameters that another part has as well.
    pub(super) fn shared_with(&self, other: &Self) -> Self {
        let blocks = self.blocks.iter().filter(|block| {
            let mut ids = std::iter::once(block.parameter).chain(block.bias);
            ids.any(|id| other.blocks.iter().any(|known| known.covers(id)))
        });
        Self {
            blocks: blocks.cloned().collect(),
            ..self.clone()
        }
    }

    /// In f64, if the device supports it.
    pub(super) fn widened(self) -> Self {
        if self.dtype == DType::F64 || !supports_f64(&self.device) {
            return self;
        }
        let blocks = self.blocks.into_iter().map(|block| Block {
            uses: block
                .uses
                .into_iter()
                .map(|rows| rows.cast(DType::F64))
                .collect(),
            ..block
        });
        Self {
            blocks: blocks.collect(),
            dtype: DType::F64,
            ..self
        }
    }

    pub(super) fn narrow(&self, start: usize, count: usize) -> Self {
        Self {
            samples: count,
            blocks: self.blocks.iter().map(|b| b.narrow(start, count)).collect(),
            ..self.clone()
        }
    }

    /// The coefficients on the device, multiplied by `scale`.
    pub(super) fn coefficients(&self, c: &[f64]) -> Tensor<1> {
        let scaled: Vec<f64> = c.iter().map(|c| c * self.scale).collect();
        let data = TensorData::new(scaled, [c.len()]);
        Tensor::from_data(data, (&self.device, self.dtype))
    }

    /// `Jv`, `[M]`, without the factor `scale`, for a direction on the device of the rows; `None` if it is zero.
    pub(super) fn matvec(&self, direction: &Direction) -> Option<Tensor<1>> {
        let shares = self.blocks.iter().flat_map(|block| block.matvec(direction));
        shares.reduce(|a, b| a + b)
    }

    /// Bring what [`matvec`](Self::matvec) needs of a direction to the device of the rows, unless it is
    /// `there` already.
    pub(super) fn send(&self, direction: &Direction, there: &mut Direction) {
        let blocks = self.blocks.iter();
        let used = blocks.flat_map(|block| std::iter::once(block.parameter).chain(block.bias));
        for id in used {
            if let (None, Some(entry)) = (there.get(id), direction.get(id)) {
                there.add(id, moved(entry, &self.device));
            }
        }
    }

    pub(super) fn add_t_matvec(&self, c: &[f64], direction: &mut Direction) {
        let c = self.coefficients(c);
        for block in &self.blocks {
            block.add_t_matvec(c.clone(), direction);
        }
    }

    /// The Gram matrix `[M, M]` without the factor `scale²`; only the lower triangle is guaranteed.
    /// `None` if it is zero.
    pub(super) fn gram(&self, precision: GramPrecision, rows: usize) -> Option<Tensor<2>> {
        let dtype = precision.dtype(self, rows);
        let shares = self.blocks.iter().map(|block| block.gram(dtype));
        shares.reduce(|a, b| a + b)
    }

    /// Inner products with the rows of another part, `[M, M']`, without the factors `scale` of both;
    /// `None` if they are zero.
    pub(super) fn cross(
        &self,
        other: &Self,
        precision: GramPrecision,
        rows: usize,
    ) -> Option<Tensor<2>> {
        let dtype = precision.dtype(self, rows);
        let agree = |a: &Block, b: &Block| a.parameter == b.parameter && a.bias == b.bias;
        let (mut own, mut theirs) = (self.blocks.clone(), other.blocks.clone());
        if !own.iter().all(|a| theirs.iter().any(|b| agree(a, b))) {
            // One recording used a layer with its bias, and the other used it without.
            own = own.into_iter().flat_map(Block::split).collect();
            theirs = theirs.into_iter().flat_map(Block::split).collect();
        }
        let shared = own.iter().flat_map(|a| {
            let same = theirs.iter().filter(move |b| agree(a, b));
            same.map(move |b| (a, b))
        });
        shared.map(|(a, b)| a.cross(b, dtype)).reduce(|a, b| a + b)
    }

    pub(super) fn squared_norms(&self, precision: GramPrecision) -> Vec<f64> {
        let dtype = precision.dtype(self, 0);
        let sum = self
            .blocks
            .iter()
            .map(|b| b.squared_norms(dtype))
            .reduce(|a, b| a + b);
        match sum {
            Some(sum) => to_host_scaled(sum, self.scale * self.scale),
            None => vec![0.0; self.samples],
        }
    }

    /// Dense rows `[M, p]` of some parameters, without the factor `scale`, that its blocks have.
    pub(super) fn to_dense(&self, params: &[ParamInfo]) -> Vec<(ParamId, Tensor<2>)> {
        let covers = |block: &&Block| params.iter().any(|param| block.covers(param.id));
        let blocks = self.blocks.iter().filter(covers);
        let wanted = |id: &ParamId| params.iter().any(|param| param.id == *id);
        let dense = blocks.flat_map(Block::to_dense);
        dense.filter(|(id, _)| wanted(id)).collect()
    }
}

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

    pub fn moved_to(self, device: &Device) -> Self {
        Self {
            uses: self.uses.into_iter().map(|u| u.moved_to(device)).collect(),
            ..self
        }
    }

    pub fn sent_to(self, device: &Device, half: bool) -> Self {
        let uses = self.uses.into_iter();
        Self {
            uses: uses.map(|rows| rows.sent_to(device, half)).collect(),
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
        let outer = self.uses.iter().map(|rows| match rows {
            Rows::Outer(rows) => Some(rows),
            _ => None,
        });
        let outer: Option<Vec<_>> = outer.collect();
        if let Some(gram) = outer.and_then(|uses| Outer::gram_of_joined(&uses, dtype)) {
            return gram;
        }
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
        let weight = direction.get(self.parameter);
        let bias = self.bias.and_then(|bias| direction.get(bias));
        for rows in &self.uses {
            match (rows, weight.clone(), bias.clone()) {
                (Rows::Outer(rows), Some(weight), Some(bias)) => {
                    shares.push(rows.matvec_with_bias(weight, bias));
                }
                (Rows::Outer(rows), None, Some(bias)) => shares.push(rows.bias_matvec(bias)),
                (rows, Some(weight), _) => shares.push(rows.matvec(weight)),
                (_, None, _) => {}
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

/// Group the recorded uses by parameter.
///
/// A weight and its bias are one block if every use of either is a use of both.
pub(super) fn assemble(recorded: Vec<RecordedUse>) -> Vec<Block> {
    let mut partners: HashMap<ParamId, HashSet<Option<ParamId>>> = HashMap::new();
    for use_ in &recorded {
        partners
            .entry(use_.parameter)
            .or_default()
            .insert(use_.bias);
        if let Some(bias) = use_.bias {
            partners
                .entry(bias)
                .or_default()
                .insert(Some(use_.parameter));
        }
    }
    let exclusive = |use_: &RecordedUse| {
        use_.bias
            .is_some_and(|bias| partners[&use_.parameter].len() == 1 && partners[&bias].len() == 1)
    };
    let mut blocks: Vec<Block> = Vec::new();
    for use_ in recorded {
        let fused = exclusive(&use_);
        let block = Block {
            parameter: use_.parameter,
            bias: use_.bias,
            uses: vec![use_.rows],
        };
        for block in if fused { vec![block] } else { block.split() } {
            match blocks.iter_mut().find(|b| b.parameter == block.parameter) {
                Some(known) => known.uses.extend(block.uses),
                None => blocks.push(block),
            }
        }
    }
    for block in &mut blocks {
        block.uses = joined(std::mem::take(&mut block.uses));
    }
    blocks
}
