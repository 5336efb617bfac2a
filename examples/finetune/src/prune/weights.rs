//! The weights that are pruned.

use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::tensor::Tensor;

/// How a visitor hears of linear layers.
const LINEAR: &str = "Struct:Linear";

/// The weights of linear layers outside of `head`.
pub(super) fn inner_weights<M: Module>(model: &M, head: &str) -> ParamGroup {
    struct Weights<'a> {
        head: Vec<&'a str>,
        path: Vec<String>,
        containers: Vec<String>,
        found: Vec<ParamId>,
    }
    impl Weights<'_> {
        fn in_head(&self) -> bool {
            self.path.len() >= self.head.len()
                && self.path.iter().zip(&self.head).all(|(a, b)| a == b)
        }
    }
    impl ModuleVisitor for Weights<'_> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.push(name.into());
            self.containers.push(container.into());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
            self.containers.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let linear = self.containers.last().is_some_and(|last| last == LINEAR);
            if D == 2 && linear && !self.in_head() {
                self.found.push(param.id);
            }
        }
    }
    let mut weights = Weights {
        head: head.split('.').collect(),
        path: Vec::new(),
        containers: Vec::new(),
        found: Vec::new(),
    };
    model.visit(&mut weights);
    ParamGroup::from_ids(weights.found)
}

#[cfg(test)]
mod tests {
    use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
    use burn::tensor::Device;
    use burn_ief::prune::SparsityMask;

    use super::*;

    #[derive(Module, Debug)]
    struct Net {
        table: Embedding,
        norm: LayerNorm,
        layers: Vec<Linear>,
        head: Linear,
        header: Linear,
    }

    #[test]
    fn linear_layers_outside_of_the_head_are_pruned() {
        let device = Device::flex().autodiff();
        let linear = |a, b| LinearConfig::new(a, b).init(&device);
        let net = Net {
            table: EmbeddingConfig::new(5, 4).init(&device),
            norm: LayerNormConfig::new(4).init(&device),
            layers: vec![linear(4, 3), linear(3, 4)],
            head: linear(4, 2),
            header: linear(4, 4),
        };
        let found = |head: &str| {
            let mask = SparsityMask::group(&net, &inner_weights(&net, head)).unwrap();
            let layers = mask.layers().into_iter().map(|layer| layer.path);
            layers.collect::<Vec<_>>()
        };
        assert_eq!(
            found("head"),
            ["layers.0.weight", "layers.1.weight", "header.weight"]
        );
        assert_eq!(
            found("layers.1"),
            ["layers.0.weight", "head.weight", "header.weight"]
        );
    }
}
