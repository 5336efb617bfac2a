//! The model of a configuration, whatever its type.

use std::path::Path;

use burn::data::dataloader::batcher::Batcher;
use burn_hf_models::vit::ViTForImageClassification;
use burn_hf_models::vit::dinov2::Dinov2ForImageClassification;

use super::Experiment;
use super::batches::{Data, Source};
use crate::config::Architecture;
use crate::conversation::EncodedSample;
use crate::data::{Seq2SeqItem, TextItem};
use crate::error::Error;
use crate::model::{CausalLm, FineTune, HeadPlan, ImageClassifier, Seq2Seq, TextModel};

/// Something to do with a model and its data, whose types depend on the configuration.
pub(crate) trait WithModel {
    /// What comes of it.
    type Output;
    /// What can go wrong.
    type Error: From<Error>;

    /// Do it.
    fn apply<M, I, T>(self, model: M, data: Source<'_, I, T>) -> Result<Self::Output, Self::Error>
    where
        M: FineTune,
        I: Clone + Send + Sync + 'static,
        T: Batcher<I, M::Batch> + Clone + 'static;
}

impl Experiment {
    /// Make the configured model as it is before a training with this seed.
    pub(crate) fn with_model<W: WithModel>(
        &self,
        seed: u64,
        with: W,
    ) -> Result<W::Output, W::Error> {
        let (config, device) = (&self.config, &self.device);
        let classes = self.labels.len();
        let folder = config.model.folder.as_deref().unwrap_or(Path::new(""));
        device.seed(seed);
        match &self.data {
            Data::Text(parts, batcher) => {
                let plan = HeadPlan {
                    problem: config.task()?.problem(),
                    outputs: classes,
                    scale: batcher.scale(),
                };
                let model = TextModel::load(config, folder, plan, device)?;
                with.apply(model, Source::of_lengths(parts, batcher, TextItem::length))
            }
            Data::Words(parts, batcher) => {
                let model = Seq2Seq::load(config, folder, batcher.answers(), device)?;
                let source = Source::of_lengths(parts, batcher, Seq2SeqItem::length);
                with.apply(model, source)
            }
            Data::Language(parts, batcher) => {
                let model = CausalLm::load(config, folder, device)?;
                let source = Source::of_lengths(parts, batcher, EncodedSample::length);
                with.apply(model, source)
            }
            Data::Image(parts, batcher, size) => {
                let source = Source::new(parts, batcher);
                match self.architecture {
                    Architecture::Vit => {
                        let vit = ImageClassifier::<ViTForImageClassification>::pretrained(
                            config, folder, classes, device,
                        )?;
                        with.apply(vit, source)
                    }
                    Architecture::Dinov2 => {
                        let dinov2 = ImageClassifier::<Dinov2ForImageClassification>::pretrained(
                            config, folder, classes, device,
                        )?;
                        with.apply(dinov2, source)
                    }
                    _ => {
                        let mlp = ImageClassifier::mlp(config, *size, classes, device)?;
                        with.apply(mlp, source)
                    }
                }
            }
        }
    }
}
