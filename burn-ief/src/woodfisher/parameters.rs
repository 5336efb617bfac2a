//! Reading and writing the parameters of a module by path.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::tensor::{Device, Shape, Tensor};

use crate::jacobian::to_host;
use crate::params::ParamInfo;

/// Which parameters.
pub(super) enum Choice<'a> {
    /// Trainable matrices and tensors of higher rank: no biases, no scales of norms.
    Weights,
    /// Those of a group.
    Group(&'a ParamGroup),
}

impl Choice<'_> {
    fn takes<const D: usize>(&self, param: &Param<Tensor<D>>, path: &str) -> bool {
        match self {
            Self::Weights => D >= 2 && param.is_require_grad(),
            Self::Group(group) => group.matches(&param.id, Some(path)),
        }
    }
}

/// A parameter of a module.
pub(super) struct Found {
    pub param: ParamInfo,
    pub device: Device,
}

/// The chosen parameters of a module, in its order.
pub(super) fn find<M: Module>(module: &M, choice: &Choice<'_>) -> Vec<Found> {
    struct Find<'a> {
        choice: &'a Choice<'a>,
        path: Vec<String>,
        found: Vec<Found>,
    }
    impl ModuleVisitor for Find<'_> {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_string());
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let path = self.path.join(".");
            if self.choice.takes(param, &path) {
                self.found.push(Found {
                    param: ParamInfo::at(path, param),
                    device: param.lazy_device().inner(),
                });
            }
        }
    }
    let mut find = Find {
        choice,
        path: Vec::new(),
        found: Vec::new(),
    };
    module.visit(&mut find);
    find.found
}

/// Values of the given parameters, flattened, on the host.
pub(super) fn read<M: Module>(module: &M, params: &[ParamInfo]) -> Vec<Vec<f64>> {
    struct Read<'a> {
        params: &'a [ParamInfo],
        values: Vec<Vec<f64>>,
    }
    impl ModuleVisitor for Read<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(k) = position(self.params, param.id) {
                self.values[k] = to_host(param.base().inner());
            }
        }
    }
    let mut read = Read {
        params,
        values: vec![Vec::new(); params.len()],
    };
    module.visit(&mut read);
    read.values
}

/// Replace the flattened values of the given parameters by what `f` makes of them.
///
/// Everything else about a parameter stays: its id, and how it takes part in autodiff.
pub(super) fn rewrite<M: Module>(
    module: M,
    params: &[ParamInfo],
    f: impl Fn(usize, Tensor<1>) -> Tensor<1>,
) -> M {
    struct Rewrite<'a, F> {
        params: &'a [ParamInfo],
        f: F,
    }
    impl<F: Fn(usize, Tensor<1>) -> Tensor<1>> ModuleMapper for Rewrite<'_, F> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(k) = position(self.params, param.id) else {
                return param;
            };
            let id = param.id;
            param.map(|value| {
                let shape = value.shape();
                let flat = |value: Tensor<D>| value.reshape([shape.num_elements()]);
                if !value.device().is_autodiff() {
                    return (self.f)(k, flat(value)).reshape(shape.clone());
                }
                let (trained, distributed) = (value.is_require_grad(), value.is_distributed());
                let checkpointing = value.gradient_checkpointing_strategy();
                let inner: Tensor<D> = (self.f)(k, flat(value.inner())).reshape(shape.clone());
                let mut value = Tensor::from_inner(inner);
                if let Some(strategy) = checkpointing {
                    value = value.with_gradient_checkpointing_strategy(strategy);
                }
                if trained {
                    value = value.require_grad();
                }
                match distributed {
                    true => value.set_distributed(id),
                    false => value,
                }
            })
        }
    }
    module.map(&mut Rewrite { params, f })
}

fn position(params: &[ParamInfo], id: ParamId) -> Option<usize> {
    params.iter().position(|param| param.id == id)
}

/// A parameter's path and shape, for messages.
pub(super) fn describe(path: &str, shape: &Shape) -> String {
    format!("`{path}` {:?}", shape.as_slice())
}
