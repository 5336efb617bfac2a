//! ΔᵀFΔ from labels drawn from the model.

use burn::module::{Module, ParamGroup};
use burn::tensor::{Bool, Tensor, TensorData};

use super::exact::record;
use super::loss::Loss;
use crate::error::Error;
use crate::jacobian::Jacobian;
use crate::params::{Direction, ParamInfo};
use crate::record::LabelDraw;

/// The rows ∇log p of drawn labels, one set for each draw.
pub(super) struct DrawnRows {
    draws: Vec<Draw>,
}

struct Draw {
    rows: Jacobian,
    /// Gradients at the outputs, `[M, T, C]`.
    cotangent: Tensor<3>,
}

/// What draws say about one direction.
pub(super) struct Estimate {
    /// Estimates of ΔᵀFΔ for each sample.
    pub per_sample: Vec<f64>,
    pub standard_error: f64,
    /// The estimate of H u, such that F Δ is its pull-back.
    pub curved: Tensor<3>,
}

impl DrawnRows {
    /// One pass per draw.
    pub fn record<M: Module, const D: usize>(
        module: &M,
        group: Option<&ParamGroup>,
        forward: impl Fn(&M) -> Tensor<D>,
        z: &Tensor<3>,
        loss: Loss,
        padding: Option<&Tensor<3, Bool>>,
        (draws, seed): (usize, u64),
    ) -> Result<Self, Error> {
        let draw = |step| {
            let cotangent = loss.draw(z, &LabelDraw::sample(1, seed, step as u64));
            let cotangent = match padding {
                Some(padding) => cotangent.mask_fill(padding.clone(), 0.0),
                None => cotangent,
            };
            let rows = record(module, group, &forward, cotangent.clone())?;
            Ok(Draw { rows, cotangent })
        };
        Ok(Self {
            draws: (0..draws).map(draw).collect::<Result<_, Error>>()?,
        })
    }

    pub fn passes(&self) -> usize {
        self.draws.len()
    }

    /// The mean over draws of `(Δᵀ∇log p)²`, which is unbiased, and its standard error.
    ///
    /// Samples are independent: their variances add up. One draw alone shows no variance; then
    /// E r⁴, which bounds it, stands in.
    pub fn estimate(&self, params: &[ParamInfo], direction: &Direction) -> Result<Estimate, Error> {
        let direction = direction.clone().into_gradients(params);
        let rates = self.draws.iter().map(|draw| draw.rows.matvec(&direction));
        let rates = rates.collect::<Result<Vec<_>, _>>()?;
        let count = rates.len() as f64;
        let samples = rates.first().map_or(0, Vec::len);
        let squares = |n: usize| rates.iter().map(move |rates| rates[n] * rates[n]);
        let per_sample: Vec<f64> = (0..samples)
            .map(|n| squares(n).sum::<f64>() / count)
            .collect();
        let variances = per_sample.iter().enumerate().map(|(n, mean)| match count {
            1.0 => squares(n).map(|square| square * square).sum::<f64>(),
            _ => {
                squares(n)
                    .map(|square| (square - mean).powi(2))
                    .sum::<f64>()
                    / (count - 1.0)
            }
        });
        let standard_error = (variances.sum::<f64>() / count).sqrt();
        let curved = self.draws.iter().zip(&rates).map(|(draw, rates)| {
            let weights: Vec<f64> = rates.iter().map(|rate| rate / count).collect();
            let cotangent = &draw.cotangent;
            let place = (&cotangent.device(), cotangent.dtype());
            let weights = Tensor::<1>::from_data(TensorData::new(weights, [samples]), place);
            cotangent.clone() * weights.reshape([samples, 1, 1])
        });
        Ok(Estimate {
            curved: curved.reduce(|a, b| a + b).ok_or(Error::NoSampledLabels)?,
            per_sample,
            standard_error,
        })
    }
}
