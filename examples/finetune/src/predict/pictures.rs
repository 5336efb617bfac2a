//! Classes of pictures.

use burn::data::dataloader::batcher::Batcher;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn_hf_models::class::Task;
use burn_hf_models::classify::ImageClassifier;
use burn_hf_models::open::{OpenOptions, Opened, WithOpened, open};
use burn_hf_models::vit::ViTConfig;
use burn_hf_models::vit::dinov2::Dinov2Config;
use burn_peft::{AdapterFolder, Peft};

use super::columns::{Item, Row};
use super::prediction::{Predict, Prediction, probabilities};
use crate::class_labels::class_of;
use crate::config::Architecture;
use crate::data::{ImageBatch, ImageBatcher, picture};
use crate::error::Error;
use crate::model::{FineTune, ImageClassifier as OwnClassifier, Judged, normalization};
use crate::target::Target;

/// The name of the adapter in the model.
const NAME: &str = "default";

/// From a batch to logits `[M, C]`.
type Logits = Box<dyn Fn(ImageBatch) -> Result<Tensor<2>, Error> + Send>;

/// A classifier of pictures.
pub(super) struct Pictures {
    batcher: ImageBatcher,
    logits: Logits,
    classes: usize,
    device: Device,
}

impl Pictures {
    pub fn open(
        target: &Target,
        labels: &[String],
        kind: Architecture,
        device: &Device,
    ) -> Result<Self, Error> {
        let base = target.base.as_path();
        let run = target.run.as_deref();
        let own = match kind {
            Architecture::Vit => ViTConfig::from_folder(base)?.image_size[0],
            Architecture::Dinov2 => Dinov2Config::from_folder(base)?.image_size[0],
            _ => 32,
        };
        let size = run.and_then(|run| run.data.image_size).unwrap_or(own);
        let folder = (kind != Architecture::Mlp).then_some(base);
        let (mean, deviation) = normalization(folder, kind)?;
        let logits = match (kind, run) {
            (Architecture::Mlp, Some(config)) => {
                let mlp = OwnClassifier::mlp(config, size, labels.len(), device)?;
                let run = base.parent().unwrap_or(base);
                let mlp = mlp.load_full(run)?;
                Box::new(move |batch: ImageBatch| {
                    let [samples, ..] = batch.pixels.dims();
                    let logits = mlp.outputs(&batch);
                    let [_, _, classes] = logits.dims();
                    Ok(logits.reshape([samples, classes]))
                })
            }
            _ => pretrained(target, labels.len(), device)?,
        };
        Ok(Self {
            batcher: ImageBatcher::new(size, mean, deviation)?,
            logits,
            classes: labels.len(),
            device: device.clone(),
        })
    }
}

fn pretrained(target: &Target, classes: usize, device: &Device) -> Result<Logits, Error> {
    let base = target.base.as_path();
    let adapter = target.adapter.as_deref().map(AdapterFolder::read);
    let adapter = adapter.transpose()?;
    let class = class_of(base, adapter.as_ref())?;
    if class.task() != Task::ImageClassification {
        let expected = "image classification";
        return Err(Error::config(
            "the task of the model",
            class.task(),
            expected,
        ));
    }
    let mut options = OpenOptions::default().with_labels(classes);
    if let Some(folder) = &adapter {
        options = options.with_new_parts(folder.config.modules_to_save());
    }
    let classifier = Classifier {
        adapter: adapter.as_ref(),
    };
    open(base, class, &options, device, classifier)
}

impl Predict for Pictures {
    fn predict(&self, rows: &[Row]) -> Result<Vec<Prediction>, Error> {
        let mut examples = Vec::new();
        for row in rows {
            if let Item::Picture(path) = &row.item {
                examples.push(picture(path, 0)?);
            }
        }
        let batch = self.batcher.batch(examples, &self.device);
        probabilities((self.logits)(batch)?, self.classes)
    }
}

/// Opens a class of `transformers` with its adapter.
struct Classifier<'a> {
    adapter: Option<&'a AdapterFolder>,
}

impl WithOpened for Classifier<'_> {
    type Output = Logits;
    type Error = Error;

    fn apply<M: Module>(self, _: Opened<M>) -> Result<Logits, Error> {
        let expected = "a class that classifies images";
        Err(Error::config(
            "the class of the model",
            "another one",
            expected,
        ))
    }

    fn apply_to_images<M: ImageClassifier>(self, opened: Opened<M>) -> Result<Logits, Error> {
        let model = match self.adapter {
            Some(folder) => opened.model.load_adapter(NAME, folder, &opened.names)?,
            None => opened.model,
        };
        Ok(Box::new(move |batch| Ok(model.logits(batch.pixels)?)))
    }
}
