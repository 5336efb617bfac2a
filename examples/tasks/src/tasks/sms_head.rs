//! Text messages: a new head on frozen MiniLM.

use std::path::Path;

use burn::module::Param;
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use burn_ief::nn::ForwardRecorded;
use finetune::data::Task as DataSet;

use crate::data::{Arrays, Split, TextSizes, features, texts};
use crate::definition::{Definition, Half, Score, Trained};
use crate::error::Error;
use crate::task::Task;

/// Values of a text's vector.
const WIDTH: usize = 384;

/// Text messages: a new head on the vectors of frozen MiniLM, which are made once for a run.
#[derive(Debug)]
pub struct SmsHead;

impl Task for SmsHead {
    type Rows = Arrays;
    type Model = Linear;

    const DEFINITION: Definition = Definition {
        name: "sms-head",
        title: "SMS spam, MiniLM, head only",
        half: Half::Confirm,
        version: 1,
        trained: Trained::Head,
        batch: 32,
        steps: 600,
        measured_rows: 1200,
        score: Score::Accuracy,
        folders: &["minilm", "sms"],
        not_hidden: &["weight"],
    };

    fn rows(folder: &Path) -> Result<Split<Arrays>, Error> {
        let sizes = TextSizes {
            train: Some(1200),
            test: 800,
            length: 32,
        };
        let texts = texts(DataSet::Sms, folder, "sms", sizes).map_err(Self::refuse)?;
        features(folder, &texts).map_err(Self::refuse)
    }

    /// Small weights and zero biases, as for every new head of `transformers`.
    fn model(_folder: &Path, device: &Device) -> Result<Linear, Error> {
        let normal = Initializer::Normal {
            mean: 0.0,
            std: 0.02,
        };
        let head: Linear = LinearConfig::new(WIDTH, 2)
            .with_initializer(normal)
            .with_bias(false)
            .init(device);
        Ok(Linear {
            bias: Some(Param::from_tensor(Tensor::zeros([2], device))),
            ..head
        })
    }

    fn outputs(model: &Linear, vectors: Tensor<2>) -> Tensor<2> {
        model.forward_recorded(vectors)
    }
}
