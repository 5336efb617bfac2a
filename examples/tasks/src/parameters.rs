//! The parameters of a model.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;
use faer::Mat;

/// A float parameter that is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its id.
    pub id: ParamId,
    /// Where it is in the model, field names joined by dots.
    pub path: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// The trained parameters of a model, in its order. Parameters without a value yet draw it, so that the values
/// depend on the seed and the model alone, and not on which of them is used first.
pub fn trained<M: Module>(model: &M) -> Vec<Parameter> {
    #[derive(Default)]
    struct Visitor {
        names: Vec<String>,
        found: Vec<Parameter>,
    }
    impl ModuleVisitor for Visitor {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.names.push(name.into());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.names.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.base();
            if param.is_require_grad() {
                self.found.push(Parameter {
                    id: param.id,
                    path: self.names.join("."),
                    shape: value.dims().to_vec(),
                });
            }
        }
    }
    let mut visitor = Visitor::default();
    model.visit(&mut visitor);
    visitor.found
}

/// The two factors of a LoRA adapter: A `[inputs, r]` and B `[r, outputs]`.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraPair {
    /// The factor at the input.
    pub a: Parameter,
    /// The factor at the output.
    pub b: Parameter,
}

/// The adapters among the parameters: matrices `a` and `b` of one parent whose inner sizes agree.
pub fn lora_pairs(parameters: &[Parameter]) -> Vec<LoraPair> {
    let mut pairs = Vec::new();
    for a in parameters {
        let Some(parent) = a.path.strip_suffix(".a") else {
            continue;
        };
        let path = format!("{parent}.b");
        let b = parameters.iter().find(|b| b.path == path);
        if let Some(b) = b
            && a.shape.len() == 2
            && b.shape.len() == 2
            && a.shape[1] == b.shape[0]
        {
            pairs.push(LoraPair {
                a: a.clone(),
                b: b.clone(),
            });
        }
    }
    pairs
}

/// The values of these parameters of rank 2 on the host, in the order asked for.
///
/// # Panics
///
/// Panics if one of them is not in the model.
pub fn matrices<M: Module>(model: &M, ids: &[ParamId]) -> Vec<Mat<f64>> {
    struct Visitor<'a> {
        ids: &'a [ParamId],
        found: Vec<Option<Mat<f64>>>,
    }
    impl ModuleVisitor for Visitor<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(place) = self.ids.iter().position(|id| *id == param.id) {
                self.found[place] = Some(to_matrix(param.base()));
            }
        }
    }
    let mut visitor = Visitor {
        ids,
        found: vec![None; ids.len()],
    };
    model.visit(&mut visitor);
    let found = visitor.found.into_iter();
    found
        .map(|matrix| matrix.expect("a parameter of the model"))
        .collect()
}

/// A tensor `[r, c]` on the host.
pub fn to_matrix<const D: usize>(tensor: Tensor<D>) -> Mat<f64> {
    let dims = tensor.dims();
    let (rows, columns) = (dims[0], dims[1..].iter().product());
    let values: Vec<f64> = tensor.into_data().iter::<f64>().collect();
    Mat::from_fn(rows, columns, |i, j| values[i * columns + j])
}

#[cfg(test)]
mod tests {
    use burn::nn::LinearConfig;
    use burn::tensor::Device;
    use burn_peft::LoraConfig;

    use super::*;

    #[test]
    fn the_factors_of_an_adapter_are_found() {
        let device = Device::flex().autodiff();
        let layer = LoraConfig::new()
            .with_r(4)
            .init(LinearConfig::new(6, 5).init(&device));
        let parameters = trained(&layer);
        let paths: Vec<&str> = parameters.iter().map(|p| p.path.as_str()).collect();
        assert_eq!(paths, ["adapter.a", "adapter.b"]);
        let pairs = lora_pairs(&parameters);
        assert_eq!(pairs.len(), 1);
        assert_eq!(
            (&pairs[0].a.shape[..], &pairs[0].b.shape[..]),
            (&[6, 4][..], &[4, 5][..])
        );
        let matrices = matrices(&layer, &[pairs[0].b.id, pairs[0].a.id]);
        assert_eq!((matrices[0].nrows(), matrices[1].nrows()), (4, 6));
        assert_eq!(matrices[0].norm_l2(), 0.0);
        assert!(matrices[1].norm_l2() > 0.0);
    }

    #[test]
    fn matrices_that_do_not_fit_are_no_pair() {
        let parameter = |path: &str, shape: &[usize]| Parameter {
            id: ParamId::new(),
            path: path.into(),
            shape: shape.to_vec(),
        };
        let found = lora_pairs(&[
            parameter("one.a", &[6, 4]),
            parameter("one.b", &[3, 5]),
            parameter("two.a", &[6, 4]),
            parameter("other.b", &[4, 5]),
            parameter("three.a", &[4]),
            parameter("three.b", &[4]),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }
}
