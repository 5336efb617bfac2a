//! Saliencies, and the removal of weights.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};

use super::config::Selection;
use super::fisher::WoodFisher;
use crate::error::{Error, PruneError};
use crate::params::{ParamInfo, rewrite};
use crate::prune::parameters::read;
use crate::prune::pruned::Pruned;
use crate::prune::select::{Candidates, removed_cost, select};

/// The weights of a module and what the removal of each one costs, for each covered parameter.
struct Priced {
    params: Vec<ParamInfo>,
    /// Flattened (row-major).
    weights: Vec<Vec<f64>>,
    candidates: Vec<Candidates>,
}

impl WoodFisher {
    /// The diagonal of F⁻¹, flattened (row-major), for each covered parameter in the mask's order.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] if gradients are [`missing`](Self::missing).
    pub fn inverse_diagonal(&self) -> Result<Vec<Vec<f64>>, Error> {
        let mut diagonals = Vec::with_capacity(self.targets.len());
        for (target, blocks) in self.targets.iter().zip(self.blocks()?) {
            diagonals.push(target.restore(blocks.diagonal()));
        }
        Ok(diagonals)
    }

    /// ρ_q, what removing each weight of a module alone costs in units of the mean loss; flattened
    /// (row-major), for each covered parameter in the mask's order.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] if gradients are [`missing`](Self::missing), [`PruneError::ForeignMask`](crate::error::PruneError::ForeignMask) if the
    /// mask was made for another module.
    pub fn saliencies<M: Module>(&self, module: &M) -> Result<Vec<Vec<f64>>, Error> {
        let params = self.mask.locate(module)?;
        self.independent_costs(&read(module, &params))
    }

    /// Prune a module to a sparsity, least salient weights first, and adjust the other weights as
    /// the [`Compensation`](super::Compensation) of the configuration says.
    ///
    /// `sparsity` is the share of the covered weights that are pruned afterwards, 0 to 1. Weights
    /// that were pruned before stay pruned, and count.
    ///
    /// # Errors
    ///
    /// - [`Error::Config`] if `sparsity` is not in 0 to 1.
    /// - [`Error::Size`] if gradients are [`missing`](Self::missing).
    /// - [`PruneError::ForeignMask`](crate::error::PruneError::ForeignMask) if the mask was made for another module.
    /// - [`PruneError::NonFiniteWeights`](crate::error::PruneError::NonFiniteWeights) if a weight or a saliency is NaN or infinite.
    /// - [`Error::NotPositiveDefinite`] if the damping is below the precision of f64.
    pub fn prune<M: Module>(&self, module: M, sparsity: f64) -> Result<Pruned<M>, Error> {
        let priced = self.price(&module)?;
        self.prune_priced(&priced, module, sparsity)
    }

    /// Prune a module to each of several sparsities, every time from its present weights. The costs
    /// of the removals are computed once.
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::tensor::{Device, Distribution, Tensor};
    /// use burn_ief::jacobian::Jacobian;
    /// use burn_ief::prune::{SparsityMask, WoodFisherConfig};
    ///
    /// let device = Device::flex().autodiff();
    /// let model = LinearConfig::new(8, 1).init(&device);
    /// let x = Tensor::<2>::random([16, 8], Distribution::Default, &device);
    /// let rows = Jacobian::by_sample(&model, 16, |model, n| {
    ///     model.forward(x.clone().narrow(0, n, 1)).square().sum() * 0.5
    /// })?;
    /// let dense = SparsityMask::weights(&model)?;
    /// let mut fisher = WoodFisherConfig::new(16).init(&model, &dense);
    /// fisher.add_rows(&rows, &[1.0; 16])?;
    /// let pruned = fisher.prune_each(&model, &[0.25, 0.5])?;
    /// assert_eq!((pruned[0].mask.pruned(), pruned[1].mask.pruned()), (2, 4));
    /// # Ok::<(), burn_ief::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`prune`](Self::prune).
    pub fn prune_each<M: Module>(
        &self,
        module: &M,
        sparsities: &[f64],
    ) -> Result<Vec<Pruned<M>>, Error> {
        let priced = self.price(module)?;
        let mut all = Vec::with_capacity(sparsities.len());
        for &sparsity in sparsities {
            all.push(self.prune_priced(&priced, module.clone(), sparsity)?);
        }
        Ok(all)
    }

    fn price<M: Module>(&self, module: &M) -> Result<Priced, Error> {
        let params = self.mask.locate(module)?;
        let weights = read(module, &params);
        let costs = match self.config.selection {
            Selection::Independent => self.independent_costs(&weights)?,
            Selection::Sequential => self.sequential_costs(&weights)?,
        };
        let mut candidates = Vec::with_capacity(params.len());
        for ((param, saliency), pruned) in params.iter().zip(costs).zip(self.mask.to_host()) {
            candidates.push(Candidates {
                path: param.path.clone(),
                saliency,
                pruned,
            });
        }
        Ok(Priced {
            params,
            weights,
            candidates,
        })
    }

    /// The cost of each removal alone, row-major.
    fn independent_costs(&self, weights: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, Error> {
        let mut costs = self.inverse_diagonal()?;
        for (costs, weights) in costs.iter_mut().zip(weights) {
            // The cost takes the place of the entry of the diagonal.
            for (cost, w) in costs.iter_mut().zip(weights) {
                *cost = w * w / (2.0 * *cost);
            }
        }
        Ok(costs)
    }

    /// The cost of each removal after the cheaper removals of its block, row-major.
    fn sequential_costs(&self, weights: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, Error> {
        let mut costs = Vec::with_capacity(self.targets.len());
        for ((target, blocks), weights) in self.targets.iter().zip(self.blocks()?).zip(weights) {
            let weights = target.arrange(weights.clone());
            costs.push(target.restore(blocks.elimination_costs(&weights, &target.pruned)));
        }
        Ok(costs)
    }

    /// Prune the module that `priced` was computed for.
    fn prune_priced<M: Module>(
        &self,
        priced: &Priced,
        module: M,
        sparsity: f64,
    ) -> Result<Pruned<M>, Error> {
        let after = select(&priced.candidates, sparsity, self.config.scope)?;
        let weights = self.compensated(&priced.weights, &after)?;
        let model = rewrite(module, &priced.params, |k, value| {
            let data = TensorData::new(weights[k].clone(), [weights[k].len()]);
            Tensor::from_data(data, (&value.device(), value.dtype()))
        });
        let cost = removed_cost(&priced.candidates, &after);
        let mask = self.mask.with_pruned(after);
        Ok(Pruned { model, mask, cost })
    }

    /// The weights after pruning, row-major; those that are pruned are exactly zero.
    ///
    /// # Errors
    ///
    /// [`PruneError::NonFiniteWeights`](crate::error::PruneError::NonFiniteWeights), [`Error::NotPositiveDefinite`].
    fn compensated(
        &self,
        weights: &[Vec<f64>],
        after: &[Vec<bool>],
    ) -> Result<Vec<Vec<f64>>, Error> {
        let blocks = self.blocks()?;
        let mut compensated = Vec::with_capacity(self.targets.len());
        for (k, target) in self.targets.iter().enumerate() {
            let weights = target.arrange(weights[k].clone());
            let chosen = target.arrange(after[k].clone());
            let left = blocks[k].remove(&weights, &chosen, self.config.compensation)?;
            if left.iter().any(|weight| !weight.is_finite()) {
                return Err(Error::Prune(PruneError::NonFiniteWeights {
                    what: "compensated weights",
                    parameter: target.param.path.clone(),
                }));
            }
            compensated.push(target.restore(left));
        }
        Ok(compensated)
    }
}
