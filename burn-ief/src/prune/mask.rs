//! Which weights of a model are pruned, as a module.

use burn::module::{Module, Param, ParamGroup, ParamId};
use burn::tensor::{Bool, Tensor, TensorData};

use super::parameters::{in_group, weights};
use crate::error::{Error, PruneError};
use crate::params::{ParamInfo, rewrite};

/// Which weights of a model are pruned, as a module of frozen boolean parameters. Burn's records
/// save and load it.
///
/// It covers some or all of the model's parameters and finds them by their paths. It takes one byte
/// per covered weight.
///
/// ```
/// use burn::module::{Module, ParamGroup};
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_ief::prune::{PruneScope, SparsityMask, prune_by_magnitude};
///
/// let model = LinearConfig::new(4, 5).init(&Device::flex().autodiff());
/// let weights = SparsityMask::weights(&model)?;
/// let chosen = SparsityMask::group(&model, &ParamGroup::from_predicate("weight"))?;
/// assert_eq!((weights.total(), chosen.total()), (20, 20));
///
/// let pruned = prune_by_magnitude(model, &weights, 0.75, PruneScope::Global)?;
/// assert_eq!(pruned.mask.sparsity(), 0.75);
/// let record = pruned.mask.into_record().into_bytes()?;
/// // … in another process, with the model from its own record:
/// let record = burn::store::ModuleRecord::from_bytes(record)?;
/// let mask = SparsityMask::weights(&pruned.model)?.try_load_record(record)?;
/// assert_eq!(mask.pruned(), 15);
/// let model = mask.apply(pruned.model)?;
/// let zeros = model.weight.val().equal_elem(0.0).int().sum();
/// assert_eq!(zeros.into_scalar::<i64>(), 15);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Module, Debug)]
pub struct SparsityMask {
    /// For each covered parameter, flattened: true where a weight is pruned.
    pruned: Vec<Param<Tensor<1, Bool>>>,
    /// The covered parameters, in the same order. Those of a module that the mask is applied to have
    /// the same paths and shapes; everything else may differ.
    #[module(skip)]
    layout: Vec<ParamInfo>,
}

/// How many weights of a parameter are pruned.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_ief::prune::{PruneScope, SparsityMask, prune_by_magnitude};
///
/// let model = LinearConfig::new(4, 5).init(&Device::flex().autodiff());
/// let dense = SparsityMask::weights(&model)?;
/// let pruned = prune_by_magnitude(model, &dense, 0.5, PruneScope::Global)?;
/// let layer = &pruned.mask.layers()[0];
/// assert_eq!((layer.path.as_str(), layer.pruned, layer.total), ("weight", 10, 20));
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerSparsity {
    /// Path of the parameter in the module.
    pub path: String,
    /// Number of weights that are pruned.
    pub pruned: usize,
    /// Number of weights in all.
    pub total: usize,
}

impl SparsityMask {
    /// A mask of all trainable weights of a module, none of them pruned.
    ///
    /// Weights are the parameters of rank 2 and higher. Biases and the scales of norms are not
    /// covered.
    ///
    /// # Errors
    ///
    /// [`PruneError::NothingToPrune`](crate::error::PruneError::NothingToPrune) if there are none.
    pub fn weights<M: Module>(module: &M) -> Result<Self, Error> {
        Self::new(weights(module))
    }

    /// A mask of the float parameters of a module that a group matches, of any rank and frozen
    /// ones included, with no weight pruned.
    ///
    /// # Errors
    ///
    /// [`PruneError::NothingToPrune`](crate::error::PruneError::NothingToPrune) if there are none.
    pub fn group<M: Module>(module: &M, group: &ParamGroup) -> Result<Self, Error> {
        Self::new(in_group(module, group))
    }

    fn new(layout: Vec<ParamInfo>) -> Result<Self, Error> {
        if layout.is_empty() {
            return Err(Error::Prune(PruneError::NothingToPrune));
        }
        let mut pruned = Vec::with_capacity(layout.len());
        for param in &layout {
            let none = TensorData::new(vec![false; param.len()], [param.len()]);
            let none = Tensor::from_data(none, &param.device);
            pruned.push(Param::initialized(ParamId::new(), none));
        }
        Ok(Self { pruned, layout })
    }

    /// Set the pruned weights of a module to zero.
    ///
    /// An optimizer moves pruned weights too, by momentum, by weight decay and by their gradients.
    /// Call this after each of its steps. The parameters keep their ids, so the optimizer keeps its
    /// state.
    ///
    /// # Errors
    ///
    /// [`PruneError::ForeignMask`](crate::error::PruneError::ForeignMask) if a covered parameter is missing or has another shape.
    pub fn apply<M: Module>(&self, module: M) -> Result<M, Error> {
        let params = self.locate(&module)?;
        let masks: Vec<_> = self.pruned.iter().map(|entry| entry.val()).collect();
        let masked = rewrite(module, &params, |k, value| {
            let mask = masks[k].clone().to_device(&value.device());
            value.mask_fill(mask, 0.0)
        });
        Ok(masked)
    }

    /// Share of the covered weights that are pruned, 0 to 1.
    pub fn sparsity(&self) -> f64 {
        self.pruned() as f64 / self.total().max(1) as f64
    }

    /// Number of weights that are pruned.
    pub fn pruned(&self) -> usize {
        self.layers().iter().map(|layer| layer.pruned).sum()
    }

    /// Number of weights that are covered.
    pub fn total(&self) -> usize {
        self.layout.iter().map(ParamInfo::len).sum()
    }

    /// How many weights of each covered parameter are pruned, in the module's order.
    pub fn layers(&self) -> Vec<LayerSparsity> {
        let mut layers = Vec::with_capacity(self.layout.len());
        for (covered, pruned) in self.layout.iter().zip(self.to_host()) {
            layers.push(LayerSparsity {
                path: covered.path.clone(),
                pruned: pruned.iter().filter(|&&pruned| pruned).count(),
                total: pruned.len(),
            });
        }
        layers
    }

    /// Which weights of the parameter at `path` are pruned, flattened (row-major); `None` if the
    /// mask does not cover it.
    pub fn at(&self, path: &str) -> Option<Vec<bool>> {
        let k = self
            .layout
            .iter()
            .position(|covered| covered.path == path)?;
        Some(to_host(&self.pruned[k]))
    }

    /// Which weights are pruned, flattened, for each covered parameter.
    pub(super) fn to_host(&self) -> Vec<Vec<bool>> {
        self.pruned.iter().map(to_host).collect()
    }

    /// This mask with other weights pruned: `pruned` holds the flags of each covered parameter.
    pub(super) fn with_pruned(&self, pruned: Vec<Vec<bool>>) -> Self {
        let mut entries = Vec::with_capacity(pruned.len());
        for (entry, pruned) in self.pruned.iter().zip(pruned) {
            let size = pruned.len();
            let device = entry.val().device();
            let data = Tensor::from_data(TensorData::new(pruned, [size]), &device);
            entries.push(entry.clone().map(|_| data));
        }
        Self {
            pruned: entries,
            layout: self.layout.clone(),
        }
    }

    /// The covered parameters of a module, in the mask's order.
    ///
    /// # Errors
    ///
    /// [`PruneError::ForeignMask`](crate::error::PruneError::ForeignMask) if one is missing or has another shape.
    pub(crate) fn locate<M: Module>(&self, module: &M) -> Result<Vec<ParamInfo>, Error> {
        let found = in_group(module, &ParamGroup::all());
        let mut located = Vec::with_capacity(self.layout.len());
        for covered in &self.layout {
            match found.iter().find(|param| param.path == covered.path) {
                Some(param) if param.shape == covered.shape => located.push(param.clone()),
                other => {
                    return Err(Error::Prune(PruneError::ForeignMask {
                        expected: covered.describe(),
                        found: other.map_or_else(|| "nothing".into(), ParamInfo::describe),
                    }));
                }
            }
        }
        Ok(located)
    }
}

fn to_host(entry: &Param<Tensor<1, Bool>>) -> Vec<bool> {
    let data = entry.val().into_data();
    data.iter::<bool>().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
    use burn::tensor::Device;

    #[derive(Module, Debug)]
    struct Net {
        norm: LayerNorm,
        first: Linear,
        last: Linear,
    }

    fn net() -> Net {
        let device = Device::flex().autodiff();
        Net {
            norm: LayerNormConfig::new(4).init(&device),
            first: LinearConfig::new(4, 3).init(&device),
            last: LinearConfig::new(3, 2).init(&device),
        }
    }

    fn paths(mask: &SparsityMask) -> Vec<String> {
        mask.layers().into_iter().map(|layer| layer.path).collect()
    }

    #[test]
    fn weights_are_matrices_that_train_and_groups_take_what_they_match() {
        let net = net();
        let mask = SparsityMask::weights(&net).unwrap();
        assert_eq!(paths(&mask), ["first.weight", "last.weight"]);
        assert_eq!((mask.pruned(), mask.total()), (0, 18));
        let last = SparsityMask::group(&net, &ParamGroup::from_predicate("last")).unwrap();
        assert_eq!(paths(&last), ["last.weight", "last.bias"]);
        let none = SparsityMask::group(&net, &ParamGroup::from_path("first"));
        assert_eq!(none.unwrap_err(), Error::Prune(PruneError::NothingToPrune));
        let frozen = SparsityMask::weights(&net.no_grad());
        assert_eq!(
            frozen.unwrap_err(),
            Error::Prune(PruneError::NothingToPrune)
        );
    }

    #[test]
    fn applying_leaves_everything_but_the_pruned_weights() {
        let net = net();
        let mask = SparsityMask::weights(&net).unwrap();
        let pruned = vec![vec![true; 12], vec![true, false, false, false, false, true]];
        let mask = mask.with_pruned(pruned);
        let masked = mask.apply(net.clone()).unwrap();
        assert_eq!(masked.first.weight.id, net.first.weight.id);
        assert!(masked.first.weight.is_require_grad());
        assert_eq!(
            masked.first.weight.val().abs().sum().into_scalar::<f32>(),
            0.0
        );
        let values = |net: &Net| {
            net.last
                .weight
                .val()
                .into_data()
                .try_to_vec::<f32>()
                .unwrap()
        };
        let (before, after) = (values(&net), values(&masked));
        assert_eq!(before[1..5], after[1..5]);
        assert_eq!([after[0], after[5]], [0.0; 2]);
        assert_eq!(
            masked.first.bias.unwrap().val().into_data(),
            net.first.bias.clone().unwrap().val().into_data()
        );
        // A model for inference too.
        let valid = mask.apply(burn::module::Module::valid(&net)).unwrap();
        assert_eq!(
            valid.first.weight.val().abs().sum().into_scalar::<f32>(),
            0.0
        );
    }

    #[test]
    fn a_parameter_that_two_layers_share_is_covered_once() {
        let mut net = net();
        net.last = LinearConfig::new(4, 3).init(&Device::flex().autodiff());
        net.last.weight = net.first.weight.clone();
        let mask = SparsityMask::weights(&net).unwrap();
        assert_eq!(paths(&mask), ["first.weight"]);
        let masked = mask.with_pruned(vec![vec![true; 12]]).apply(net).unwrap();
        for layer in [masked.first, masked.last] {
            assert_eq!(layer.weight.val().abs().sum().into_scalar::<f32>(), 0.0);
        }
    }

    #[test]
    fn a_mask_of_another_model_is_refused() {
        let mask = SparsityMask::weights(&net()).unwrap();
        let device = Device::flex().autodiff();
        let other = LinearConfig::new(4, 3).init(&device);
        let error = mask.apply(other).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the mask covers `first.weight` [4, 3], the module has nothing in its place: it belongs \
             to another module, or to one that is wrapped in another way"
        );
        let mut wider = net();
        wider.first = LinearConfig::new(4, 5).init(&device);
        let error = mask.apply(wider).unwrap_err();
        assert!(
            error.to_string().contains("has `first.weight` [4, 5]"),
            "{error}"
        );
    }
}
