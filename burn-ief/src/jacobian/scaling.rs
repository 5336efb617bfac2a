//! The Jacobian in other units of the parameters: J D for a positive diagonal matrix D.

use std::collections::HashMap;

use burn::module::ParamId;
use burn::tensor::Tensor;

use super::{Block, Jacobian};
use crate::params::{Direction, ParamInfo};
use crate::rows::{EntryScale, Rows, Squares, condensed, squares};

/// A positive diagonal matrix D over all parameters; what is missing is 1.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scaling {
    factors: HashMap<ParamId, EntryScale>,
}

impl Scaling {
    /// Set the factors of one parameter.
    pub fn set(&mut self, id: ParamId, factors: EntryScale) {
        self.factors.insert(id, factors);
    }

    /// D^½.
    pub fn root(&self) -> Self {
        let factors = self.factors.iter();
        Self {
            factors: factors.map(|(&id, scale)| (id, scale.root())).collect(),
        }
    }

    /// D times a direction.
    pub fn times(&self, direction: Direction, params: &[ParamInfo]) -> Direction {
        let mut direction = direction;
        let mut scaled = Direction::default();
        for param in params {
            let Some(entry) = direction.remove(param.id) else {
                continue;
            };
            let entry = match self.factors.get(&param.id) {
                Some(factors) => {
                    let factors = factors.moved_to(&entry.device(), entry.dtype());
                    let entry = factors.times(entry.unsqueeze_dim(0), param.matrix());
                    entry.squeeze_dim(0)
                }
                None => entry,
            };
            scaled.add(param.id, entry);
        }
        scaled
    }
}

impl ParamInfo {
    /// The shape of the parameter as a matrix: its first axis, and all others together. A vector is
    /// one row.
    pub(crate) fn matrix(&self) -> [usize; 2] {
        let rows = match self.shape.as_slice() {
            [first, _, ..] => *first,
            _ => 1,
        };
        [rows, self.len() / rows.max(1)]
    }
}

impl Jacobian {
    /// The same rows in the forms that [`squares`](Self::squares) and [`scaled`](Self::scaled) take
    /// the least work for: every parameter by itself, as one use where that is possible.
    pub(crate) fn condensed(self, wanted: Squares) -> Self {
        let shapes = matrices(&self.params);
        self.map_blocks(|block| Block {
            uses: condensed(block.uses, shapes[&block.parameter], wanted),
            ..block
        })
    }

    /// For every parameter in use, the sums of its squared rows, each row multiplied by its weight
    /// before it is squared.
    pub(crate) fn squares(
        &self,
        weights: &[f64],
        wanted: Squares,
    ) -> HashMap<ParamId, Vec<Tensor<1>>> {
        let shapes = matrices(&self.params);
        let mut all: HashMap<ParamId, Vec<Tensor<1>>> = HashMap::new();
        for part in &self.parts {
            let weights = part.coefficients(&weights[part.rows()]);
            for block in part.blocks.iter().cloned().flat_map(Block::split) {
                let own = squares(&block.uses, shapes[&block.parameter], &weights, wanted);
                let sum = match all.remove(&block.parameter) {
                    Some(known) => known.into_iter().zip(own).map(|(a, b)| a + b).collect(),
                    None => own,
                };
                all.insert(block.parameter, sum);
            }
        }
        all
    }

    /// J D, in the memory of J where nothing else holds it.
    pub(crate) fn scaled(self, scaling: &Scaling) -> Self {
        let shapes = matrices(&self.params);
        self.map_blocks(|block| {
            let Some(factors) = scaling.factors.get(&block.parameter) else {
                return block;
            };
            let shape = shapes[&block.parameter];
            let uses = block.uses.into_iter().map(|rows: Rows| {
                let (device, dtype) = rows.place();
                rows.scaled(&factors.moved_to(&device, dtype), shape)
            });
            Block {
                uses: uses.collect(),
                ..block
            }
        })
    }

    /// With every block of one parameter replaced.
    fn map_blocks(mut self, mut f: impl FnMut(Block) -> Block) -> Self {
        for part in &mut self.parts {
            let blocks = std::mem::take(&mut part.blocks);
            let single = blocks.into_iter().flat_map(Block::split);
            part.blocks = single.map(&mut f).collect();
        }
        self
    }
}

/// The shapes of all parameters as matrices.
fn matrices(params: &[ParamInfo]) -> HashMap<ParamId, [usize; 2]> {
    let shapes = params.iter().map(|param| (param.id, param.matrix()));
    shapes.collect()
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn a_parameter_is_a_matrix_of_its_first_axis() {
        let matrix = |dims: &[usize]| {
            let x = Tensor::<1>::zeros([dims.iter().product::<usize>()], &Device::flex());
            match *dims {
                [_] => ParamInfo::at("x".into(), &Param::from_tensor(x)).matrix(),
                [a, b] => {
                    ParamInfo::at("x".into(), &Param::from_tensor(x.reshape([a, b]))).matrix()
                }
                [a, b, c, d] => {
                    ParamInfo::at("x".into(), &Param::from_tensor(x.reshape([a, b, c, d]))).matrix()
                }
                _ => unreachable!(),
            }
        };
        assert_eq!(matrix(&[5]), [1, 5]);
        assert_eq!(matrix(&[4, 3]), [4, 3]);
        assert_eq!(matrix(&[6, 2, 3, 3]), [6, 18]);
    }
}
