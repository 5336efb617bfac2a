//! Finding, reading and writing the parameters of a module that are pruned.

use burn::module::{Module, Param, ParamGroup, ParamId};
use burn::tensor::Tensor;

use crate::host::to_host;
use crate::params::{ParamInfo, ParamVisitor, Place, trainable, visit};

/// The trainable parameters of rank 2 and higher, in the module's order: no biases, no scales of
/// norms.
pub(super) fn weights<M: Module>(module: &M) -> Vec<ParamInfo> {
    let mut params = trainable(module);
    params.retain(|param| param.shape.num_dims() >= 2);
    params
}

/// The float parameters of a module that a group matches, frozen ones included, in the module's
/// order, each of them once.
pub(super) fn in_group<M: Module>(module: &M, group: &ParamGroup) -> Vec<ParamInfo> {
    struct Find<'a> {
        group: &'a ParamGroup,
        found: Vec<ParamInfo>,
    }
    impl ParamVisitor for Find<'_> {
        fn float<const D: usize>(&mut self, place: &Place<'_>, param: &Param<Tensor<D>>) {
            // A parameter that two layers share is visited twice.
            let known = self.found.iter().any(|known| known.id == param.id);
            if !known && self.group.matches(&param.id, Some(&place.path())) {
                self.found.push(ParamInfo::new(place, param));
            }
        }
    }
    let mut find = Find {
        group,
        found: Vec::new(),
    };
    visit(module, &mut find);
    find.found
}

/// Values of the given parameters, flattened, on the host.
pub(super) fn read<M: Module>(module: &M, params: &[ParamInfo]) -> Vec<Vec<f64>> {
    struct Read<'a> {
        params: &'a [ParamInfo],
        values: Vec<Vec<f64>>,
    }
    impl ParamVisitor for Read<'_> {
        fn float<const D: usize>(&mut self, _place: &Place<'_>, param: &Param<Tensor<D>>) {
            if let Some(k) = position(self.params, param.id) {
                self.values[k] = to_host(param.base().inner());
            }
        }
    }
    let mut read = Read {
        params,
        values: vec![Vec::new(); params.len()],
    };
    visit(module, &mut read);
    read.values
}

fn position(params: &[ParamInfo], id: ParamId) -> Option<usize> {
    params.iter().position(|param| param.id == id)
}
