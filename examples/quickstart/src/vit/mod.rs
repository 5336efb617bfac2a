//! A small vision transformer, with places for LoRA adapters.

mod attention;

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::store::ModuleRecord;
use burn::tensor::activation::gelu;
use burn::tensor::{Bytes, Device, Distribution, Tensor};
use burn_ief::nn::{ForwardRecorded, expand_param};
use burn_ief::{mark_loss, mark_output};
use burn_peft::LoraConfig;

pub use attention::{Attention, Projection};

use crate::data::{Batch, Digit, SIDE};
use crate::error::Error;

/// Pixels along one side of a patch.
const PATCH: usize = 2;
/// Patches of an image.
const PATCHES: usize = (SIDE / PATCH) * (SIDE / PATCH);
/// Digits 0 to 4.
pub const PRETRAINED_CLASSES: usize = 5;

static PRETRAINED: &[u8] = include_bytes!("../../data/vit.bpk");

/// Sizes of a [`Vit`].
#[derive(Config, Debug)]
pub struct VitConfig {
    /// Classes to tell apart.
    pub classes: usize,
    /// Width d of a token.
    #[config(default = 64)]
    pub width: usize,
    /// Attention heads.
    #[config(default = 4)]
    pub heads: usize,
    /// Transformer blocks.
    #[config(default = 4)]
    pub layers: usize,
    /// Width of the hidden layer of a block's network.
    #[config(default = 128)]
    pub hidden: usize,
}

/// A vision transformer (pre-norm, class token) for 8 × 8 images in 2 × 2 patches.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use quickstart::vit::VitConfig;
///
/// let device = Device::flex().autodiff();
/// let vit = VitConfig::new(10).init(&device);
/// let images = Tensor::<3>::zeros([3, 8, 8], &device);
/// assert_eq!(vit.forward(images).dims(), [3, 10]);
/// ```
#[derive(Module, Debug)]
pub struct Vit {
    patch: Linear,
    class_token: Param<Tensor<3>>,
    position: Param<Tensor<3>>,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
}

/// Attention and a two-layer network, each after a layer norm and with a residual connection.
#[derive(Module, Debug)]
pub struct Block {
    norm1: LayerNorm,
    attention: Attention,
    norm2: LayerNorm,
    up: Linear,
    down: Linear,
}

impl VitConfig {
    /// A new model with random parameters.
    pub fn init(&self, device: &Device) -> Vit {
        let d = self.width;
        let small = |shape| {
            let normal = Distribution::Normal(0.0, 0.02);
            Param::from_tensor(Tensor::<3>::random(shape, normal, device))
        };
        let block = |_| Block {
            norm1: LayerNormConfig::new(d).init(device),
            attention: Attention::new(d, self.heads, device),
            norm2: LayerNormConfig::new(d).init(device),
            up: LinearConfig::new(d, self.hidden).init(device),
            down: LinearConfig::new(self.hidden, d).init(device),
        };
        Vit {
            patch: LinearConfig::new(PATCH * PATCH, d).init(device),
            class_token: small([1, 1, d]),
            position: small([1, PATCHES + 1, d]),
            blocks: (0..self.layers).map(block).collect(),
            norm: LayerNormConfig::new(d).init(device),
            head: LinearConfig::new(d, self.classes).init(device),
        }
    }
}

impl Vit {
    /// The committed model, pretrained on the digits 0 to 4.
    ///
    /// # Errors
    ///
    /// [`Error::Checkpoint`] if the record does not fit the model.
    pub fn pretrained(device: &Device) -> Result<Self, Error> {
        let record = ModuleRecord::from_bytes(Bytes::from_bytes_vec(PRETRAINED.to_vec()))?;
        let vit = VitConfig::new(PRETRAINED_CLASSES).init(device);
        Ok(vit.try_load_record(record)?)
    }

    /// Freeze everything, put adapters on the query and value projections of every block, and a
    /// new head for `classes` classes on top; only these train.
    pub fn fine_tune(self, lora: &LoraConfig, classes: usize, device: &Device) -> Self {
        let mut vit = self.freeze();
        vit.blocks = vit
            .blocks
            .into_iter()
            .map(|block| Block {
                attention: block.attention.adapt(lora),
                ..block
            })
            .collect();
        let [width, _] = vit.head.weight.shape().dims();
        vit.head = LinearConfig::new(width, classes).init(device);
        vit
    }

    /// Logits.
    ///
    /// # Shapes
    ///
    /// - images: `[M, 8, 8]`
    /// - output: `[M, classes]`
    pub fn forward(&self, images: Tensor<3>) -> Tensor<2> {
        // With drawn labels (SF) the batch holds each image several times from here on.
        let images = burn_ief::expand_input(images);
        let [m, _, _] = images.dims();
        let tokens = folded(&self.patch, patches(images));
        let class = expand_param::<_, 3>(&self.class_token, m);
        let mut x = Tensor::cat(vec![class, tokens], 1) + expand_param::<_, 3>(&self.position, m);
        for block in &self.blocks {
            x = block.forward(x);
        }
        let [m, _, d] = x.dims();
        let class: Tensor<2> = x.narrow(1, 0, 1).reshape([m, d]);
        self.head.forward_recorded(self.norm.forward(class))
    }

    /// Mean cross-entropy of a batch. Logits and loss are marked for the natural-gradient methods.
    pub fn loss(&self, batch: &Batch) -> Tensor<1> {
        let logits = mark_output(self.forward(batch.images.clone()));
        let cross_entropy = CrossEntropyLossConfig::new().init(&logits.device());
        mark_loss(cross_entropy.forward(logits, batch.labels.clone()))
    }

    /// Share of the images that are recognised.
    pub fn accuracy(&self, digits: &[Digit], device: &Device) -> f64 {
        let batch = Batch::new(digits, &device.clone().inner());
        batch.share_of_right(self.valid().forward(batch.images.clone()))
    }
}

impl Block {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = x.clone() + self.attention.forward(self.norm1.forward(x));
        let hidden = gelu(folded(&self.up, self.norm2.forward(x.clone())));
        x + folded(&self.down, hidden)
    }
}

/// `[M, 8, 8]` to 16 squares of 2 × 2 pixels, by rows, `[M, 16, 4]`.
fn patches(images: Tensor<3>) -> Tensor<3> {
    let [m, _, _] = images.dims();
    let side = SIDE / PATCH;
    let rows: Tensor<5> = images.reshape([m, side, PATCH, side, PATCH]);
    rows.permute([0, 1, 3, 2, 4])
        .reshape([m, PATCHES, PATCH * PATCH])
}

/// A layer that is frozen in fine-tuning, applied to all tokens of all images as one matrix.
///
/// On a 3-D input Burn makes one matrix product per image, which is slower.
fn folded(layer: &Linear, x: Tensor<3>) -> Tensor<3> {
    let [m, t, d] = x.dims();
    let y: Tensor<2> = layer.forward(x.reshape([m * t, d]));
    let [_, width] = y.dims();
    y.reshape([m, t, width])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::{ModuleVisitor, Param};
    use burn::tensor::TensorData;

    #[derive(Default)]
    struct Trainable(Vec<String>, Vec<String>, usize);

    impl ModuleVisitor for Trainable {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.0.push(name.into());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.is_require_grad() {
                self.1.push(self.0.join("."));
                self.2 += param.shape().num_elements();
            }
        }
    }

    #[test]
    fn fine_tuning_trains_adapters_and_the_head_alone() {
        let device = Device::flex().autodiff();
        let vit = VitConfig::new(5).init(&device);
        let before = vit.num_params();
        let vit = vit.fine_tune(&LoraConfig::new(), 10, &device);
        let mut trainable = Trainable::default();
        vit.visit(&mut trainable);
        // Two adapters of 2 · 64 · 8 in each of 4 blocks, and the head.
        let adapters = 4 * 2 * 2 * 64 * 8;
        let head = 64 * 10 + 10;
        assert_eq!(trainable.2, adapters + head);
        assert_eq!(vit.num_params(), before + adapters + head - (64 * 5 + 5));
        let adapted = |path: &String| path.ends_with(".a") || path.ends_with(".b");
        assert!(
            trainable
                .1
                .iter()
                .all(|p| adapted(p) || p.starts_with("head"))
        );
        assert!(
            !trainable
                .1
                .iter()
                .any(|p| p.contains("key") || p.contains("out"))
        );
    }

    #[test]
    fn adapters_start_without_effect() {
        let device = Device::flex().autodiff();
        let vit = Vit::pretrained(&device).unwrap();
        let images = Tensor::random([3, 8, 8], Distribution::Uniform(-1.0, 1.0), &device);
        let before = vit.forward(images.clone());
        let mut adapted = vit.clone().fine_tune(&LoraConfig::new(), 10, &device);
        adapted.head = vit.head;
        let difference = (adapted.forward(images) - before).abs().max();
        assert!(difference.into_scalar::<f32>() < 1e-5);
    }

    #[test]
    fn patches_are_squares_of_the_image() {
        let pixels: Vec<f32> = (0..128).map(|i| i as f32).collect();
        let data = TensorData::new(pixels, [2, 8, 8]);
        let patches = patches(Tensor::from_data(data, &Device::flex()));
        assert_eq!(patches.dims(), [2, 16, 4]);
        let values = patches.into_data().try_to_vec::<f32>().unwrap();
        // The second patch of the first row of patches, and the last of the second image.
        assert_eq!(values[4..8], [2.0, 3.0, 10.0, 11.0]);
        assert_eq!(values[124..], [118.0, 119.0, 126.0, 127.0]);
    }
}
