//! The Gram matrix K = J Jᵀ, and the precision in which it is accumulated.

use burn::tensor::{DType, Tensor};

use super::{Block, Jacobian, Part, to_host_scaled};
use crate::error::Error;
use crate::linalg::Symmetric;
use crate::names::named_variants;
use crate::params::ParamInfo;

/// The precision in which Gram matrices are accumulated from the recorded factors.
///
/// In f32, the entries of K have an error of a few ε₃₂ (the machine epsilon) times the diagonal. That is
/// too much for a very small damping. In f64 they have only the rounding error of the factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum GramPrecision {
    /// f64 if the device supports it and the batch has at most 128 rows, f32 otherwise.
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
    fn dtype(self, part: &Part, rows: usize) -> DType {
        let wide = match self {
            Self::Auto => rows <= F64_ROWS,
            Self::F64 => true,
            Self::F32 => false,
        };
        if wide && part.device.supports_dtype(DType::F64) {
            DType::F64
        } else {
            part.dtype
        }
    }
}

impl Jacobian {
    /// Inner products of the samples' gradients, K = J Jᵀ `[M, M]`, read to the host.
    ///
    /// # Errors
    ///
    /// [`Error::NonFinite`] naming the samples whose gradients are NaN or infinite.
    pub fn gram(&self) -> Result<Symmetric, Error> {
        gram(self)
    }

    /// Inner products with the rows of another Jacobian, J J'ᵀ `[M][M']`, on the host.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] if the two have columns for different parameters.
    pub fn cross_gram(&self, other: &Self) -> Result<Vec<Vec<f64>>, Error> {
        self.same_params(other)?;
        Ok(cross(self, other))
    }

    /// Machine epsilon of the precision in which [`gram`](Self::gram) is accumulated.
    pub fn gram_epsilon(&self) -> f64 {
        let rows = self.samples();
        let wide = |part: &Part| self.precision.dtype(part, rows) == DType::F64;
        if self.parts.iter().all(wide) {
            f64::EPSILON
        } else {
            f64::from(f32::EPSILON)
        }
    }
}

fn gram(jacobian: &Jacobian) -> Result<Symmetric, Error> {
    let size = jacobian.samples();
    let values = match jacobian.parts.as_slice() {
        [part] => part.gram(jacobian.precision, size),
        _ => stacked(jacobian, size),
    };
    let gram = Symmetric::new(size, values);
    let bad: Vec<usize> = (0..size).filter(|&n| !gram.get(n, n).is_finite()).collect();
    if bad.is_empty() {
        Ok(gram)
    } else {
        Err(Error::NonFinite {
            what: "per-sample gradients",
            samples: bad,
        })
    }
}

/// The lower triangle over all recordings.
fn stacked(jacobian: &Jacobian, size: usize) -> Vec<f64> {
    let mut values = vec![0.0; size * size];
    let mut row = 0;
    for (i, part) in jacobian.parts.iter().enumerate() {
        let mut column = 0;
        for other in &jacobian.parts[..i] {
            let cross = part.cross(other, jacobian.precision, size);
            for (a, line) in cross.chunks(other.samples.max(1)).enumerate() {
                for (b, value) in line.iter().enumerate() {
                    values[(row + a) * size + column + b] = *value;
                }
            }
            column += other.samples;
        }
        let own = part.gram(jacobian.precision, size);
        for a in 0..part.samples {
            for b in 0..=a {
                values[(row + a) * size + row + b] = own[a * part.samples + b];
            }
        }
        row += part.samples;
    }
    values
}

fn cross(a: &Jacobian, b: &Jacobian) -> Vec<Vec<f64>> {
    let rows = a.samples().max(b.samples());
    let mut all = Vec::with_capacity(a.samples());
    for part in &a.parts {
        let mut lines = vec![Vec::with_capacity(b.samples()); part.samples];
        for other in &b.parts {
            let cross = part.cross(other, a.precision, rows);
            for (line, values) in lines.iter_mut().zip(cross.chunks(other.samples.max(1))) {
                line.extend_from_slice(values);
            }
        }
        all.extend(lines);
    }
    all
}

impl Part {
    fn read(&self, sum: Option<Tensor<2>>, size: usize, scale: f64) -> Vec<f64> {
        match sum {
            Some(sum) => to_host_scaled(sum, scale),
            None => vec![0.0; size],
        }
    }

    fn gram(&self, precision: GramPrecision, rows: usize) -> Vec<f64> {
        let dtype = precision.dtype(self, rows);
        let sum = self
            .blocks
            .iter()
            .map(|b| b.gram(dtype))
            .reduce(|a, b| a + b);
        self.read(sum, self.samples * self.samples, self.scale * self.scale)
    }

    fn cross(&self, other: &Self, precision: GramPrecision, rows: usize) -> Vec<f64> {
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
        let sum = shared.map(|(a, b)| a.cross(b, dtype)).reduce(|a, b| a + b);
        self.read(sum, self.samples * other.samples, self.scale * other.scale)
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

    pub(super) fn to_dense(&self, params: &[ParamInfo]) -> Vec<Vec<f64>> {
        let mut lines = vec![Vec::new(); self.samples];
        let covers = |block: &&Block| params.iter().any(|param| block.covers(param.id));
        let blocks = self.blocks.iter().filter(covers);
        let dense: Vec<_> = blocks.flat_map(Block::to_dense).collect();
        for param in params {
            let width = param.shape.num_elements();
            let shares = dense.iter().filter(|(id, _)| *id == param.id);
            let rows = shares.map(|(_, rows)| rows.clone()).reduce(|a, b| a + b);
            match rows {
                Some(rows) => {
                    let values = to_host_scaled(rows, self.scale);
                    for (line, row) in lines.iter_mut().zip(values.chunks(width.max(1))) {
                        line.extend(row);
                    }
                }
                None => lines
                    .iter_mut()
                    .for_each(|line| line.resize(line.len() + width, 0.0)),
            }
        }
        lines
    }
}
