//! Picture models with a classification head.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use burn_hf_models::vit::dinov2::{Dinov2Config, Dinov2ForImageClassification};
use burn_hf_models::vit::{ViTConfig, ViTForImageClassification};
use burn_hf_models::weights::load_named;
use burn_peft::NameMap;

use super::adapter::{Family, Trained, no_prompt, save_layers};
use super::export::{Class, Destination, load_weights, write_model_folder};
use super::image_backbone::Backbone;
use super::mlp::Mlp;
use super::{FineTune, Judged, Outcome, fits, head};
use crate::config::{AdapterKind, Config};
use crate::data::ImageBatch;
use crate::error::Error;

/// PEFT looks for an adapter's layers under the names of the installed `transformers`: these are those of version 5.
const FAMILY: Family<'_> = Family {
    model_type: "vit",
    targets: &["q_proj", "v_proj"],
    saved: &["classifier"],
    task: None,
};

/// The namings that an adapter's layers are looked up in.
fn newest_first<B: Backbone>() -> Vec<NameMap> {
    B::namings().into_iter().rev().collect()
}

/// Names in weight files.
fn file_names<B: Backbone>() -> NameMap {
    B::namings().into_iter().next().unwrap_or_default()
}

/// A model of pictures with what is trained of it.
///
/// ```
/// use burn::module::Module;
/// use burn::tensor::Device;
/// use finetune::model::ImageClassifier;
/// use finetune::preset::Preset;
///
/// let config = Preset::MlpCifar10.config();
/// let mlp = ImageClassifier::mlp(&config, 32, 10, &Device::flex())?;
/// assert_eq!(mlp.num_params(), 10_510_346);
/// # Ok::<(), finetune::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct ImageClassifier<B> {
    backbone: B,
    #[module(skip)]
    trained: Trained,
}

/// A backbone from a Hugging Face folder.
pub trait Pretrained: Backbone {
    /// The folder's model, with its dropout or without, and a new head for `classes`.
    ///
    /// # Errors
    ///
    /// The model's own, if the folder does not hold it.
    fn load(
        folder: &Path,
        dropout: bool,
        classes: usize,
        device: &Device,
    ) -> Result<Self, burn_hf_models::Error>;
}

impl Pretrained for ViTForImageClassification {
    fn load(
        folder: &Path,
        dropout: bool,
        classes: usize,
        device: &Device,
    ) -> Result<Self, burn_hf_models::Error> {
        let mut sizes = ViTConfig::from_folder(folder)?;
        if !dropout {
            (
                sizes.hidden_dropout_prob,
                sizes.attention_probs_dropout_prob,
            ) = (0.0, 0.0);
        }
        let options = Self::load_options().keep_initial("classifier");
        let vit = sizes.init_classifier(device)?;
        let vit = load_named(vit, &Self::namings(), folder, &options)?;
        Ok(Self {
            classifier: head::new(sizes.hidden_size, classes, device),
            ..vit
        })
    }
}

impl Pretrained for Dinov2ForImageClassification {
    /// The head is on the class token next to the mean of the patches.
    fn load(
        folder: &Path,
        dropout: bool,
        classes: usize,
        device: &Device,
    ) -> Result<Self, burn_hf_models::Error> {
        let mut sizes = Dinov2Config::from_folder(folder)?;
        if !dropout {
            (
                sizes.hidden_dropout_prob,
                sizes.attention_probs_dropout_prob,
            ) = (0.0, 0.0);
        }
        let dinov2 = sizes.init_classifier(device)?;
        let options = Self::load_options().keep_initial("classifier");
        let mut dinov2 = load_named(dinov2, &Self::namings(), folder, &options)?;
        dinov2.classifier = head::new(2 * sizes.hidden_size, classes, device);
        Ok(dinov2)
    }
}

impl<B: Pretrained> ImageClassifier<B> {
    /// The configured folder's model, with a new head for `classes`.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] for the folder, [`Error::Adapter`] and [`Error::Config`] for the adapter.
    pub fn pretrained(
        config: &Config,
        folder: &Path,
        classes: usize,
        device: &Device,
    ) -> Result<Self, Error> {
        Self::new(
            B::load(folder, config.model.dropout, classes, device)?,
            config,
        )
    }
}

impl ImageClassifier<Mlp> {
    /// The MLP, trained whole.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for an adapter.
    pub fn mlp(
        config: &Config,
        size: usize,
        classes: usize,
        device: &Device,
    ) -> Result<Self, Error> {
        if config.adapter.kind != AdapterKind::Full {
            let expected = "full for the MLP, which has nothing pretrained to adapt";
            let found = format!("{:?}", config.adapter.kind).to_lowercase();
            return Err(Error::config("adapter.kind", found, expected));
        }
        let mlp = Mlp::new(3 * size * size, &config.model.hidden, classes, device);
        Self::new(mlp, config)
    }
}

impl<B: Backbone> ImageClassifier<B> {
    fn new(backbone: B, config: &Config) -> Result<Self, Error> {
        no_prompt(config)?;
        if config.adapter.kind == AdapterKind::Full {
            return Ok(Self {
                backbone,
                trained: Trained::Full,
            });
        }
        let (backbone, trained) = FAMILY.adapted(backbone, config, &newest_first::<B>())?;
        Ok(Self { backbone, trained })
    }

    fn outcome(&self, batch: ImageBatch) -> Outcome {
        Outcome::classified(fits(self.backbone.logits(batch.pixels)), batch.labels)
    }
}

impl<B: Backbone> TrainStep for ImageClassifier<B> {
    type Input = ImageBatch;
    type Output = Outcome;

    fn step(&self, batch: ImageBatch) -> TrainOutput<Outcome> {
        self.outcome(batch).trained(self)
    }
}

impl<B: Backbone> InferenceStep for ImageClassifier<B> {
    type Input = ImageBatch;
    type Output = Outcome;

    fn step(&self, batch: ImageBatch) -> Outcome {
        self.outcome(batch)
    }
}

impl<B: Backbone> Judged for ImageClassifier<B> {
    type Batch = ImageBatch;

    fn outputs(&self, batch: &ImageBatch) -> Tensor<3> {
        fits(self.backbone.logits(batch.pixels.clone())).unsqueeze_dim(1)
    }

    fn loss(&self, batch: &ImageBatch) -> Tensor<1> {
        self.outcome(batch.clone()).loss
    }

    fn samples(batch: &ImageBatch) -> usize {
        let [samples] = batch.labels.dims();
        samples
    }
}

impl<B: Backbone> FineTune for ImageClassifier<B> {
    fn save(&self, to: &Destination<'_>) -> Result<(), Error> {
        match (&self.trained, B::class()) {
            (Trained::Layers(settings), _) => save_layers(
                &self.backbone,
                settings,
                &newest_first::<B>(),
                &to.adapter(),
            ),
            (_, Some(name)) => {
                let class = Class {
                    name: Some(name),
                    has_head: true,
                    mask_token: self.backbone.mask_token(),
                };
                write_model_folder(&self.backbone, &file_names::<B>(), Some(class), to)
            }
            (_, None) => write_model_folder(&self.backbone, &file_names::<B>(), None, to),
        }
    }

    fn load_full(self, folder: &Path) -> Result<Self, Error> {
        let backbone = load_weights(self.backbone, &file_names::<B>(), folder)?;
        Ok(Self { backbone, ..self })
    }

    fn head(&self) -> String {
        format!("backbone.{}", self.backbone.head())
    }
}
