//! Cross-attention.

use std::any::Any;
use std::collections::HashMap;
use std::str::FromStr;

use burn::module::{
    Content, DisplaySettings, Flag, Module, ModuleDisplayDefault, ModuleVisitor, Param,
};
use burn::nn::attention::CrossAttention;
use burn::nn::{Dropout, Linear};
use burn::tensor::activation::{quiet_softmax, softmax};
use burn::tensor::{Bool, Tensor, assert_shape};

use super::ForwardRecorded;
use crate::record::{is_empty_batch, recorder, without_samples};

/// Records the linear layers for query, key, value and output.
///
/// The input is what Burn's `forward` takes: query, context, and the padding mask of the context
/// (true for positions to leave out) or `None`.
///
/// Adapters inside of this layer are not recorded: if they train, the step is refused. Burn's own
/// fields are private, so that the recorded form has to read them from the module's traversal and
/// display, which do not show an adapted weight as a whole. `MultiHeadAttention` takes adapters.
///
/// For generation with a cache call Burn's `forward_cache`, outside of a recording.
///
/// # Shapes
///
/// - query: `[M, T, d_model]`
/// - context: `[M, U, d_context]`
/// - mask: `[M, U]`
/// - output: `[M, T, d_model]`
///
/// ```
/// use burn::nn::attention::CrossAttentionConfig;
/// use burn::tensor::{Bool, Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// // Four heads of two features for the query, two for key and value.
/// let attention = CrossAttentionConfig::new(8, 6, 4, 2, 2).init(&device);
/// let query = Tensor::<3>::ones([3, 7, 8], &device);
/// let context = Tensor::<3>::ones([3, 5, 6], &device);
/// let pad = Tensor::<2>::zeros([3, 5], &device).bool();
/// let y = attention.forward_recorded((query, context, Some(pad)));
/// assert_eq!(y.dims(), [3, 7, 8]);
/// ```
impl ForwardRecorded<(Tensor<3>, Tensor<3>, Option<Tensor<2, Bool>>)> for CrossAttention {
    type Output = Tensor<3>;

    fn forward_recorded(
        &self,
        (query, context, mask): (Tensor<3>, Tensor<3>, Option<Tensor<2, Bool>>),
    ) -> Tensor<3> {
        if is_empty_batch(query.dims()[0]) {
            return without_samples(query.dims(), &query);
        }
        let Some(recorder) = recorder() else {
            return self.forward(query, context, mask);
        };
        // Burn's own pass puts the parameters on the graph, so that those that train are reported.
        let Some(parts) = Parts::of(self) else {
            let mask = mask.map(|mask| recorder.batch(mask));
            return self.forward(recorder.batch(query), recorder.batch(context), mask);
        };
        let samples = query.dims()[0];
        assert_shape!(context, [samples, _, _]);
        let heads = |x: Tensor<3>, linear: &Linear, heads: usize| {
            let x = linear.forward_recorded(x);
            let [batch, positions, _] = x.dims();
            let x = x.reshape([batch, positions, heads, parts.d_head]);
            x.swap_dims(1, 2)
        };
        let query = heads(query, &parts.query, parts.n_heads);
        let key = heads(context.clone(), &parts.key, parts.n_heads_kv);
        let value = heads(context, &parts.value, parts.n_heads_kv);
        let [batch, _, positions, _] = query.dims();
        let keys = key.dims()[2];
        let repeat = parts.n_heads / parts.n_heads_kv;

        let scores = query.matmul(repeated(key, repeat).transpose()) * parts.scale;
        let scores = match mask {
            Some(mask) => {
                let mask = recorder.batch(mask).reshape([batch, 1, 1, keys]);
                scores.mask_fill(mask, parts.min_float)
            }
            None => scores,
        };
        let weights = if parts.quiet_softmax {
            quiet_softmax(scores, 3)
        } else {
            softmax(scores, 3)
        };
        let weights = parts.dropout.forward_recorded(weights);
        let y = weights.matmul(repeated(value, repeat)).swap_dims(1, 2);
        let y = y.reshape([batch, positions, parts.n_heads * parts.d_head]);
        parts.output.forward_recorded(y)
    }
}

/// Every head of key or value for the `count` heads of the query that share it.
fn repeated(x: Tensor<4>, count: usize) -> Tensor<4> {
    if count == 1 {
        return x;
    }
    let [batch, heads, positions, width] = x.dims();
    x.reshape([batch, heads, 1, positions, width])
        .expand([batch, heads, count, positions, width])
        .reshape([batch, heads * count, positions, width])
}

/// The private fields of a [`CrossAttention`].
struct Parts {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    dropout: Dropout,
    n_heads: usize,
    n_heads_kv: usize,
    d_head: usize,
    scale: f64,
    min_float: f64,
    quiet_softmax: bool,
}

impl Parts {
    /// `None` if a weight has an adapter, or if Burn shows the module in another way.
    fn of(module: &CrossAttention) -> Option<Self> {
        let mut found = Parameters::default();
        module.visit(&mut found);
        if found.adapted {
            return None;
        }
        let linear = |name: &str| {
            Some(Linear {
                weight: found.weights.get(&format!("{name}.weight"))?.clone(),
                bias: found.biases.get(&format!("{name}.bias")).cloned(),
            })
        };
        let settings = DisplaySettings::new().with_new_line_after_attribute(false);
        let shown = module.content(Content::new(settings))?;
        Some(Self {
            query: linear("query")?,
            key: linear("key")?,
            value: linear("value")?,
            output: linear("output")?,
            dropout: Dropout {
                prob: dropout_prob(&attribute::<String>(&shown, "dropout")?)?,
                training: found.training.clone()?,
            },
            n_heads: attribute(&shown, "n_heads")?,
            n_heads_kv: attribute(&shown, "n_heads_kv")?,
            d_head: attribute(&shown, "d_head")?,
            scale: attribute(&shown, "scale")?,
            min_float: attribute(&shown, "min_float")?,
            quiet_softmax: attribute(&shown, "quiet_softmax")?,
        })
    }
}

/// The value of a field. Rust prints numbers with all digits that it takes to read them back.
fn attribute<T: FromStr>(shown: &Content, name: &str) -> Option<T> {
    let found = shown.attributes.iter().find(|found| found.name == name);
    found?.value.parse().ok()
}

/// The probability in `Dropout {prob: 0.1}`.
fn dropout_prob(shown: &str) -> Option<f64> {
    let (_, rest) = shown.split_once("prob: ")?;
    rest.split([',', '}']).next()?.trim().parse().ok()
}

/// The parameters of a module by their paths.
#[derive(Default)]
struct Parameters {
    path: Vec<String>,
    weights: HashMap<String, Param<Tensor<2>>>,
    biases: HashMap<String, Param<Tensor<1>>>,
    training: Option<Param<Flag>>,
    adapted: bool,
}

impl ModuleVisitor for Parameters {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push(name.to_string());
        self.adapted |= container == "Reparameterization";
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        let param: &dyn Any = param;
        if let Some(weight) = param.downcast_ref::<Param<Tensor<2>>>() {
            self.weights.insert(path, weight.clone());
        } else if let Some(bias) = param.downcast_ref::<Param<Tensor<1>>>() {
            self.biases.insert(path, bias.clone());
        }
    }

    fn visit_flag(&mut self, flag: &Param<Flag>) {
        self.training = Some(flag.clone());
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::nn::attention::CrossAttentionConfig;
    use burn::tensor::Device;

    use super::Parts;

    #[test]
    fn private_fields_are_read_exactly() {
        let device = Device::flex().autodiff();
        for (d_head, min_float, quiet, prob) in [(3, -1e4, false, 0.1), (7, -3e38, true, 0.0)] {
            let attention = CrossAttentionConfig::new(5, 4, 6, 2, d_head)
                .with_min_float(min_float)
                .with_quiet_softmax(quiet)
                .with_dropout(prob)
                .init(&device);
            let parts = Parts::of(&attention).unwrap();
            assert_eq!((parts.n_heads, parts.n_heads_kv), (6, 2));
            assert_eq!(parts.d_head, d_head);
            assert_eq!(parts.scale, (d_head as f64).sqrt().recip());
            assert_eq!((parts.min_float, parts.quiet_softmax), (min_float, quiet));
            assert_eq!(parts.dropout.prob, prob);
            assert!(parts.dropout.training.is_enabled());
            assert_eq!(parts.query.weight.dims(), [5, 6 * d_head]);
            assert_eq!(parts.key.weight.dims(), [4, 2 * d_head]);
            assert_eq!(parts.output.weight.dims(), [6 * d_head, 5]);
            let frozen = Parts::of(&attention.freeze()).unwrap();
            assert!(!frozen.dropout.training.is_enabled());
            assert!(!frozen.value.weight.is_require_grad());
        }
    }
}
