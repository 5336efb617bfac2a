//! Plain gradients of the trainable parameters that a method does not train.

use burn::optim::GradientsParams;

use crate::params::{Direction, ParamInfo};
use crate::record::LossScale;

/// Gradients of the trainable parameters outside the group, as `backward` gives them.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    pub params: Vec<ParamInfo>,
    pub gradients: Direction,
    pub scale: LossScale,
    /// Samples of the batch.
    pub samples: usize,
}

impl Rest {
    /// Put the gradients where optimizers read them.
    pub fn register(self, grads: &mut GradientsParams) {
        self.gradients.register(&self.params, grads);
    }

    /// The gradients that one batch of all samples would give.
    ///
    /// A declared factor counts as one over a number of terms (tokens, class weights), which add up
    /// over the shards.
    pub fn join(mut rests: Vec<Self>) -> Self {
        if rests.len() == 1 {
            return rests.swap_remove(0);
        }
        let factors = rests.iter().map(|rest| rest.scale.factor(rest.samples));
        let factors: Vec<f64> = factors.collect();
        let sums = rests.iter().all(|rest| rest.scale == LossScale::Sum);
        let joint = if sums {
            1.0
        } else {
            1.0 / factors.iter().map(|factor| 1.0 / factor).sum::<f64>()
        };
        for (rest, factor) in rests.iter_mut().zip(factors) {
            rest.gradients.scale(joint / factor);
        }
        Self::sum(rests)
    }

    /// The sum of the gradients, as Burn's gradient accumulation forms it.
    pub fn sum(rests: Vec<Self>) -> Self {
        let mut rests = rests.into_iter();
        let mut first = rests.next().unwrap_or_default();
        for rest in rests {
            first.gradients.add_all(&first.params, rest.gradients);
            first.samples += rest.samples;
        }
        first
    }
}
