//! Which weights are pruned, as a module.

use burn::module::{Module, Param, ParamGroup, ParamId};
use burn::tensor::{Bool, Shape, Tensor, TensorData};

use super::parameters::{Choice, Found, describe, find, rewrite};
use crate::error::Error;
use crate::params::ParamInfo;

/// Which weights of a model are pruned, as a module of frozen parameters: Burn's records save and
/// load it.
///
/// It covers some of the model's parameters, found by their paths, and takes a byte for each of
/// their weights.
///
/// ```
/// use burn::module::{Module, ParamGroup};
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_ief::woodfisher::{Scope, SparsityMask, magnitude};
///
/// let model = LinearConfig::new(4, 5).init(&Device::flex().autodiff());
/// let weights = SparsityMask::weights(&model)?;
/// let chosen = SparsityMask::group(&model, &ParamGroup::from_predicate("weight"))?;
/// assert_eq!((weights.total(), chosen.total()), (20, 20));
///
/// let pruned = magnitude(model, &weights, 0.75, Scope::Global)?;
/// assert_eq!(pruned.mask.sparsity(), 0.75);
/// let record = pruned.mask.into_record().into_bytes()?;
/// // … in another process, with the model from its own record:
/// let record = burn::store::ModuleRecord::from_bytes(record)?;
/// let mask = SparsityMask::weights(&pruned.model)?.try_load_record(record)?;
/// assert_eq!(mask.pruned(), 15);
/// let model = mask.apply(pruned.model)?;
/// # let _ = model;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Module, Debug)]
pub struct SparsityMask {
    /// Flattened, true where a weight is pruned; one for each covered parameter.
    pruned: Vec<Param<Tensor<1, Bool>>>,
    #[module(skip)]
    layout: Vec<Column>,
}

/// The parameter that an entry belongs to.
#[derive(Debug, Clone)]
struct Column {
    path: String,
    shape: Shape,
}

/// How many weights of a parameter are pruned.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_ief::woodfisher::{Scope, SparsityMask, magnitude};
///
/// let model = LinearConfig::new(4, 5).init(&Device::flex().autodiff());
/// let dense = SparsityMask::weights(&model)?;
/// let pruned = magnitude(model, &dense, 0.5, Scope::Global)?;
/// let layer = &pruned.mask.layers()[0];
/// assert_eq!((layer.path.as_str(), layer.pruned, layer.total), ("weight", 10, 20));
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSparsity {
    /// Path of the parameter in the module.
    pub path: String,
    /// Weights that are pruned.
    pub pruned: usize,
    /// Weights in all.
    pub total: usize,
}

impl SparsityMask {
    /// For all trainable weights of a module, none of them pruned: matrices and tensors of higher
    /// rank, neither biases nor the scales of norms.
    ///
    /// # Errors
    ///
    /// [`Error::NothingToPrune`] if there are none.
    pub fn weights<M: Module>(module: &M) -> Result<Self, Error> {
        Self::new(find(module, &Choice::Weights))
    }

    /// For the float parameters of a module that a group matches, whatever their rank, none of
    /// them pruned.
    ///
    /// # Errors
    ///
    /// [`Error::NothingToPrune`] if there are none.
    pub fn group<M: Module>(module: &M, group: &ParamGroup) -> Result<Self, Error> {
        Self::new(find(module, &Choice::Group(group)))
    }

    fn new(found: Vec<Found>) -> Result<Self, Error> {
        if found.is_empty() {
            return Err(Error::NothingToPrune);
        }
        let pruned = found.iter().map(|found| {
            let data = TensorData::new(
                vec![false; found.param.shape.num_elements()],
                [found.param.shape.num_elements()],
            );
            Param::initialized(ParamId::new(), Tensor::from_data(data, &found.device))
        });
        Ok(Self {
            pruned: pruned.collect(),
            layout: found
                .iter()
                .map(|found| Column {
                    path: found.param.path.clone(),
                    shape: found.param.shape.clone(),
                })
                .collect(),
        })
    }

    /// Set the pruned weights of a module to zero.
    ///
    /// An optimizer moves pruned weights too (by momentum, weight decay and their own gradients):
    /// call this after each of its steps. The parameters keep their ids and the optimizer its state.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignMask`] if a covered parameter is missing or has another shape.
    pub fn apply<M: Module>(&self, module: M) -> Result<M, Error> {
        let params = self.locate(&module)?;
        let masks: Vec<_> = self.pruned.iter().map(|entry| entry.val()).collect();
        let masked = rewrite(module, &params, |k, value| {
            let mask = masks[k].clone().to_device(&value.device());
            value.mask_fill(mask, 0.0)
        });
        Ok(masked)
    }

    /// Share of the covered weights that are pruned.
    pub fn sparsity(&self) -> f64 {
        self.pruned() as f64 / self.total().max(1) as f64
    }

    /// Weights that are pruned.
    pub fn pruned(&self) -> usize {
        self.layers().iter().map(|layer| layer.pruned).sum()
    }

    /// Weights that are covered.
    pub fn total(&self) -> usize {
        let sizes = self.layout.iter().map(|column| column.shape.num_elements());
        sizes.sum()
    }

    /// The covered parameters, in the module's order.
    pub fn layers(&self) -> Vec<LayerSparsity> {
        let columns = self.layout.iter().zip(self.to_host());
        columns
            .map(|(column, pruned)| LayerSparsity {
                path: column.path.clone(),
                pruned: pruned.iter().filter(|&&pruned| pruned).count(),
                total: pruned.len(),
            })
            .collect()
    }

    /// Which weights of the parameter at this path are pruned, flattened (row-major); `None` if it
    /// is not covered.
    pub fn at(&self, path: &str) -> Option<Vec<bool>> {
        let k = self.layout.iter().position(|column| column.path == path)?;
        Some(to_host(&self.pruned[k]))
    }

    /// One for each covered parameter.
    pub(super) fn to_host(&self) -> Vec<Vec<bool>> {
        self.pruned.iter().map(to_host).collect()
    }

    /// With other weights pruned.
    pub(super) fn with_pruned(&self, pruned: Vec<Vec<bool>>) -> Self {
        let entries = self.pruned.iter().zip(pruned);
        let entries = entries.map(|(entry, pruned)| {
            let device = entry.val().device();
            let size = pruned.len();
            let data = Tensor::from_data(TensorData::new(pruned, [size]), &device);
            entry.clone().map(|_| data)
        });
        Self {
            pruned: entries.collect(),
            layout: self.layout.clone(),
        }
    }

    /// The covered parameters in a module.
    pub(crate) fn locate<M: Module>(&self, module: &M) -> Result<Vec<ParamInfo>, Error> {
        let found = find(module, &Choice::Group(&ParamGroup::all()));
        let columns = self.layout.iter().map(|column| {
            let mut found = found.iter().map(|found| &found.param);
            let param = found.find(|param| param.path == column.path);
            match param {
                Some(param) if param.shape == column.shape => Ok(param.clone()),
                _ => Err(Error::ForeignMask {
                    expected: describe(&column.path, &column.shape),
                    found: match param {
                        Some(param) => describe(&param.path, &param.shape),
                        None => "nothing".into(),
                    },
                }),
            }
        });
        columns.collect()
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
        assert_eq!(none.unwrap_err(), Error::NothingToPrune);
        let frozen = SparsityMask::weights(&net.no_grad());
        assert_eq!(frozen.unwrap_err(), Error::NothingToPrune);
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
