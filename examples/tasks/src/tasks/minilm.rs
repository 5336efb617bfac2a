//! MiniLM with what is trained of it, for several tasks.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use finetune::config::{AdapterKind, Config, Pooling};
use finetune::data::TextBatch;
use finetune::model::{HeadPlan, Judged, TextModel};

/// MiniLM with an adapter, and a new linear head on the mean of the tokens.
///
/// # Errors
///
/// Names the file of the model.
pub(super) fn classifier(
    kind: AdapterKind,
    folder: &Path,
    length: usize,
    classes: usize,
    device: &Device,
) -> Result<TextModel, finetune::Error> {
    let mut config = Config::default();
    config.adapter.kind = kind;
    config.adapter.virtual_tokens = 10;
    config.data.max_length = Some(length);
    config.model.pooling = Some(Pooling::Mean);
    TextModel::load(
        &config,
        &folder.join("minilm"),
        HeadPlan::classes(classes),
        device,
    )
}

/// Logits `[M, classes]`.
pub(super) fn logits(model: &TextModel, batch: &TextBatch) -> Tensor<2> {
    let outputs = model.outputs(batch);
    let [rows, _, classes] = outputs.dims();
    outputs.reshape([rows, classes])
}
