//! ΔᵀFΔ from labels drawn from the model.

use burn::module::{Module, ParamGroup};
use burn::tensor::{Bool, Tensor, TensorData};

use super::loss_kind::LossKind;
use super::recorded_pass::record;
use crate::error::Error;
use crate::jacobian::Jacobian;
use crate::params::Direction;
use crate::record::LabelDraw;

/// The rows ∇log p of drawn labels, for each draw.
pub(super) struct DrawnRows {
    draws: Vec<Draw>,
}

struct Draw {
    rows: Jacobian,
    /// Gradients at the outputs, `[M, T, C]`.
    cotangent: Tensor<3>,
}

/// How many labels to draw for each position of the outputs, and from what.
pub(super) struct Draws<'a> {
    pub count: usize,
    pub seed: u64,
    pub loss: LossKind,
    /// True at positions without a label, `[M, T, C]`.
    pub padding: Option<&'a Tensor<3, Bool>>,
}

/// What the draws say about one direction.
pub(super) struct Estimate {
    /// Estimates of ΔᵀFΔ for each sample.
    pub per_sample: Vec<f64>,
    pub standard_error: f64,
    /// The estimate of H u `[M, T, C]`: FΔ is its pull-back to the parameters.
    pub output_product: Tensor<3>,
}

impl DrawnRows {
    /// Make one pass per draw, for outputs z `[M, T, C]`.
    ///
    /// # Errors
    ///
    /// As [`record`].
    pub fn record<M: Module, const D: usize>(
        module: &M,
        group: Option<&ParamGroup>,
        forward: impl Fn(&M) -> Tensor<D>,
        z: &Tensor<3>,
        settings: &Draws<'_>,
    ) -> Result<Self, Error> {
        let mut draws = Vec::with_capacity(settings.count);
        for step in 0..settings.count {
            let labels = LabelDraw::sample(1, settings.seed, step as u64);
            let mut cotangent = settings.loss.draw(z, &labels);
            if let Some(padding) = settings.padding {
                cotangent = cotangent.mask_fill(padding.clone(), 0.0);
            }
            let rows = record(module, group, &forward, cotangent.clone())?;
            draws.push(Draw { rows, cotangent });
        }
        Ok(Self { draws })
    }

    /// Number of passes that it took.
    pub fn passes(&self) -> usize {
        self.draws.len()
    }

    /// The mean over draws of r² with r = Δᵀ∇log p, which is unbiased, and its standard error.
    ///
    /// Samples are independent, so their variances add up. A single draw shows no variance; E r⁴,
    /// which bounds it, is used then.
    pub fn estimate(&self, direction: &Direction, z: &Tensor<3>) -> Result<Estimate, Error> {
        let [samples, _, _] = z.dims();
        let count = self.draws.len() as f64;
        let mut rates = Vec::with_capacity(self.draws.len());
        let mut output_product = z.zeros_like();
        for draw in &self.draws {
            let rate = draw.rows.image(direction)?;
            let weights: Vec<f64> = rate.iter().map(|rate| rate / count).collect();
            let weights = TensorData::new(weights, [samples, 1, 1]);
            let cotangent = draw.cotangent.clone();
            let options = (&cotangent.device(), cotangent.dtype());
            output_product = output_product + cotangent * Tensor::from_data(weights, options);
            rates.push(rate);
        }
        let mut per_sample = Vec::with_capacity(samples);
        let mut variance = 0.0;
        for n in 0..samples {
            let squares = rates.iter().map(|rates| rates[n] * rates[n]);
            let mean = squares.clone().sum::<f64>() / count;
            variance += if self.draws.len() == 1 {
                mean * mean
            } else {
                let distances = squares.map(|square| (square - mean).powi(2));
                distances.sum::<f64>() / (count - 1.0)
            };
            per_sample.push(mean);
        }
        Ok(Estimate {
            per_sample,
            standard_error: (variance / count).sqrt(),
            output_product,
        })
    }
}
