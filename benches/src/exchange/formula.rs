//! The formulas of "What a step sends" in the book.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

/// Bytes of an f32.
const NUMBER: f64 = 4.0;

/// A trained layer: its weight is inputs × outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerShape {
    /// i.
    pub inputs: usize,
    /// o.
    pub outputs: usize,
    /// Whether a bias is trained with it.
    pub bias: bool,
}

/// Bytes that all devices together send in a step, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SentBytes {
    /// Rows of samples, to the devices of their layers.
    pub rows: f64,
    /// The previous update, to the devices of its layers.
    pub previous: f64,
    /// The update, from them.
    pub update: f64,
    /// The new weights.
    pub weights: f64,
}

impl LayerShape {
    /// Its parameters.
    pub fn parameters(&self) -> usize {
        self.inputs * self.outputs + if self.bias { self.outputs } else { 0 }
    }

    /// Numbers of a row on its way: dense, or as inputs and errors at each of T positions.
    fn row(&self, positions: usize) -> usize {
        let factors = positions * (self.inputs + self.outputs);
        factors.min(self.parameters())
    }
}

/// The trained layers of a model whose weights are matrices, each followed by its bias if it has one.
pub fn trained_layers<M: Module>(model: &M) -> Vec<LayerShape> {
    struct Layers(Vec<LayerShape>);
    impl ModuleVisitor for Layers {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if !param.is_require_grad() {
                return;
            }
            let shape = param.base().shape();
            match (shape.as_slice(), self.0.last_mut()) {
                (&[inputs, outputs], _) => self.0.push(LayerShape {
                    inputs,
                    outputs,
                    bias: false,
                }),
                (_, Some(last)) => last.bias = true,
                _ => {}
            }
        }
    }
    let mut layers = Layers(Vec::new());
    model.visit(&mut layers);
    layers.0
}

/// What a step over equal parts of M samples on D devices sends, where layers are shared out evenly and have T
/// positions.
pub fn sent(layers: &[LayerShape], samples: usize, positions: usize, devices: usize) -> SentBytes {
    let others = (devices - 1) as f64 / devices as f64;
    let rows: usize = layers.iter().map(|layer| layer.row(positions)).sum();
    let parameters: usize = layers.iter().map(LayerShape::parameters).sum();
    let once = NUMBER * parameters as f64 * others;
    SentBytes {
        rows: NUMBER * samples as f64 * rows as f64 * others,
        previous: once,
        update: once,
        weights: NUMBER * parameters as f64 * (devices - 1) as f64,
    }
}

impl SentBytes {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.rows + self.previous + self.update + self.weights
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::LinearConfig;
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn layers_have_the_smaller_form_of_their_rows() {
        let device = Device::flex().autodiff();
        let model = [
            LinearConfig::new(6, 4).init(&device),
            LinearConfig::new(4, 3).with_bias(false).init(&device),
        ];
        let layers = trained_layers(&model.to_vec());
        let shape = |inputs, outputs, bias| LayerShape {
            inputs,
            outputs,
            bias,
        };
        assert_eq!(layers, [shape(6, 4, true), shape(4, 3, false)]);
        // 10 and 7 numbers at one position; 28 and 12 dense.
        let one = sent(&layers, 8, 1, 2);
        assert_eq!(one.rows, 4.0 * 8.0 * 17.0 / 2.0);
        let many = sent(&layers, 8, 100, 4);
        assert_eq!(many.rows, 4.0 * 8.0 * 40.0 * 0.75);
        assert_eq!(
            (many.update, many.weights),
            (4.0 * 40.0 * 0.75, 4.0 * 40.0 * 3.0)
        );
        assert_eq!(many.total(), many.rows + 2.0 * many.update + many.weights);
    }
}
