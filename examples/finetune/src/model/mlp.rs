//! A multi-layer perceptron.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use burn_ief::nn::ForwardRecorded;
use burn_peft::NameMap;

use super::image_backbone::Backbone;

/// Linear layers with ReLU between them.
///
/// ```
/// use burn::module::Module;
/// use burn::tensor::Device;
/// use finetune::model::Mlp;
///
/// let mlp = Mlp::new(3072, &[2048, 2048], 10, &Device::flex());
/// assert_eq!(mlp.num_params(), 10_510_346);
/// ```
#[derive(Module, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    /// From `inputs` values through hidden layers of these widths to `classes` logits.
    pub fn new(inputs: usize, hidden: &[usize], classes: usize, device: &Device) -> Self {
        let widths: Vec<usize> = [&[inputs], hidden, &[classes]].concat();
        let layers = widths.windows(2);
        Self {
            layers: layers
                .map(|pair| LinearConfig::new(pair[0], pair[1]).init(device))
                .collect(),
        }
    }

    /// # Shapes
    ///
    /// - pixels: `[M, channels, height, width]`
    /// - output: `[M, classes]`
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<2> {
        let x: Tensor<2> = burn_ief::expand_input(pixels).flatten(1, 3);
        let Some((first, rest)) = self.layers.split_first() else {
            return x;
        };
        let x = first.forward_recorded(x);
        rest.iter()
            .fold(x, |x, layer| layer.forward_recorded(relu(x)))
    }
}

impl Backbone for Mlp {
    fn logits(&self, pixels: Tensor<4>) -> Result<Tensor<2>, burn_hf_models::Error> {
        Ok(self.forward(pixels))
    }

    fn namings() -> Vec<NameMap> {
        vec![NameMap::default()]
    }

    fn head(&self) -> String {
        format!("layers.{}", self.layers.len() - 1)
    }

    fn class() -> Option<&'static str> {
        None
    }
}
