//! The rows of the shards of a step: how they become one system, and their squares.

use std::collections::HashMap;

use burn::module::ParamId;
use burn::tensor::Tensor;

use crate::error::Error;
use crate::exchange::Exchange;
use crate::jacobian::Jacobian;
use crate::moves::moved;
use crate::rows::Squares;

/// Below this s a sample is fitted: its row over √s may leave the range of f32.
const FITTED: f64 = 1e-24;

/// The rows of one system.
#[derive(Debug)]
pub(super) struct ShardRows {
    /// The samples, then their copies with drawn labels; shard after shard.
    pub jacobian: Jacobian,
    /// Samples without copies.
    pub samples: usize,
    pub norms: Option<Vec<f64>>,
    pub matches: Option<Vec<bool>>,
    /// Whether each sample is fitted to the precision of the outputs, if the outputs are marked and
    /// the rule asks for it.
    pub fitted: Option<Vec<bool>>,
    /// Rows of the Jacobian in the order of a single batch: all samples first, then copy after copy.
    pub order: Option<Vec<usize>>,
}

impl ShardRows {
    /// What each row of the Jacobian is multiplied by so that the sum of their squares is the
    /// diagonal of the rule's curvature matrix.
    fn curvature_weights(&self) -> Vec<f64> {
        let rows = self.jacobian.samples();
        if rows > self.samples {
            // The copies with drawn labels.
            let weights = (0..rows).map(|row| f64::from(u8::from(row >= self.samples)));
            let weights = weights.collect();
            return match &self.order {
                Some(order) => out_of_order(weights, order),
                None => weights,
            };
        }
        match &self.norms {
            Some(norms) => {
                let weight = |&s: &f64| if s > FITTED { 1.0 / s.sqrt() } else { 0.0 };
                norms.iter().map(weight).collect()
            }
            None => vec![1.0; rows],
        }
    }
}

/// The squares of the rows of all systems for a metric, summed over samples, and the number of
/// samples. The rows take the forms that this is cheapest for.
pub(super) fn squares(
    systems: &mut Vec<ShardRows>,
    wanted: Squares,
) -> (HashMap<ParamId, Vec<Tensor<1>>>, usize) {
    let mut sums: HashMap<ParamId, Vec<Tensor<1>>> = HashMap::new();
    let mut samples = 0;
    let condensed = std::mem::take(systems).into_iter().map(|rows| ShardRows {
        jacobian: rows.jacobian.condensed(wanted),
        ..rows
    });
    *systems = condensed.collect();
    for rows in systems.iter() {
        samples += rows.samples;
        for (id, own) in rows.jacobian.squares(&rows.curvature_weights(), wanted) {
            let sum = match sums.remove(&id) {
                Some(known) => {
                    let pairs = known.into_iter().zip(own);
                    let sums = pairs.map(|(sum, own)| {
                        let own = moved(own, &sum.device());
                        sum + own
                    });
                    sums.collect()
                }
                None => own,
            };
            sums.insert(id, sum);
        }
    }
    (sums, samples)
}

/// One system over the rows of all shards.
pub(super) fn stack(mut shards: Vec<ShardRows>, exchange: &Exchange) -> Result<ShardRows, Error> {
    let counts: Vec<usize> = shards.iter().map(|shard| shard.samples).collect();
    let samples = counts.iter().sum();
    let norms = shards.iter_mut().map(|shard| shard.norms.take());
    let norms: Option<Vec<Vec<f64>>> = norms.collect();
    let matches = shards.iter_mut().map(|shard| shard.matches.take());
    let matches: Option<Vec<Vec<bool>>> = matches.collect();
    let fitted = shards.iter_mut().map(|shard| shard.fitted.take());
    let fitted: Option<Vec<Vec<bool>>> = fitted.collect();
    let rows = shards.iter().map(|shard| shard.jacobian.samples());
    let rows: Vec<usize> = rows.collect();
    let jacobians = shards.into_iter().map(|shard| shard.jacobian);
    let jacobian = exchange.join(jacobians.collect())?;

    // Copy k of shard i starts at row `offset_i + k * samples_i`; copy 0 are the samples.
    let shards = rows.iter().zip(&counts).find(|(_, count)| **count > 0);
    let copies = shards.map_or(1, |(rows, count)| rows / count);
    let mut order = Vec::with_capacity(jacobian.samples());
    for copy in 0..copies {
        let mut offset = 0;
        for (count, rows) in counts.iter().zip(&rows) {
            let start = offset + copy * count;
            order.extend(start..start + count);
            offset += rows;
        }
    }
    let matches = matches.map(|matches| {
        let mut all = Vec::with_capacity(samples * copies.saturating_sub(1));
        for copy in 1..copies {
            for (matches, count) in matches.iter().zip(&counts) {
                all.extend_from_slice(&matches[(copy - 1) * count..copy * count]);
            }
        }
        all
    });
    Ok(ShardRows {
        jacobian,
        samples,
        norms: norms.map(|norms| norms.concat()),
        matches,
        fitted: fitted.map(|fitted| fitted.concat()),
        order: (copies > 1).then_some(order),
    })
}

/// Values of the system's rows, in the order of the Jacobian.
pub(super) fn out_of_order(values: Vec<f64>, order: &[usize]) -> Vec<f64> {
    let mut all = vec![0.0; values.len()];
    for (&row, value) in order.iter().zip(values) {
        all[row] = value;
    }
    all
}
