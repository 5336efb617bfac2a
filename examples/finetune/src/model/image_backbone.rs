//! Models of pictures.

use burn::module::{Module, ModuleDisplay};
use burn::tensor::Tensor;
use burn_hf_models::vit::dinov2::Dinov2ForImageClassification;
use burn_hf_models::vit::{ViTForImageClassification, ViTInput};
use burn_peft::NameMap;

/// A model of pictures.
pub trait Backbone: Module + ModuleDisplay + 'static {
    /// Logits `[M, C]` of pixels `[M, 3, H, W]`.
    ///
    /// # Errors
    ///
    /// The model's own, if the pictures do not fit.
    fn logits(&self, pixels: Tensor<4>) -> Result<Tensor<2>, burn_hf_models::Error>;

    /// Names of its modules in files, those that every version of `transformers` reads first, and those of the
    /// newest version last.
    fn namings() -> Vec<NameMap>;

    /// Path of the layer that makes the logits.
    fn head(&self) -> String;

    /// Its class in `transformers`, if there is one.
    fn class() -> Option<&'static str>;

    /// The tensor of masked patches and its width, where that class has one.
    fn mask_token(&self) -> Option<(&'static str, usize)> {
        None
    }
}

impl Backbone for ViTForImageClassification {
    fn logits(&self, pixels: Tensor<4>) -> Result<Tensor<2>, burn_hf_models::Error> {
        Ok(self.forward(ViTInput::new(pixels).interpolated())?.logits)
    }

    fn namings() -> Vec<NameMap> {
        ViTForImageClassification::names()
    }

    fn head(&self) -> String {
        "classifier".into()
    }

    fn class() -> Option<&'static str> {
        Some("ViTForImageClassification")
    }
}

impl Backbone for Dinov2ForImageClassification {
    fn logits(&self, pixels: Tensor<4>) -> Result<Tensor<2>, burn_hf_models::Error> {
        Ok(self.forward(pixels)?.logits)
    }

    fn namings() -> Vec<NameMap> {
        Dinov2ForImageClassification::names()
    }

    fn head(&self) -> String {
        "classifier".into()
    }

    fn class() -> Option<&'static str> {
        Some("Dinov2ForImageClassification")
    }

    fn mask_token(&self) -> Option<(&'static str, usize)> {
        // The head is on two vectors.
        let [width, _] = self.classifier.weight.shape().dims();
        Some(("dinov2.embeddings.mask_token", width / 2))
    }
}
