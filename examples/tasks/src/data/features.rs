//! Texts as vectors of a frozen encoder.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use burn_hf_models::Error;
use burn_hf_models::bert::{BertInput, BertModel};

use super::{Arrays, Rows, Split, TargetValues, TextRows};

/// Texts that are encoded at once.
const CHUNK: usize = 64;

/// The mean over the tokens of each text of MiniLM's last layer, 384 numbers for a text.
///
/// # Errors
///
/// Names the file of the model.
pub fn features(folder: &Path, texts: &Split<TextRows>) -> Result<Split<Arrays>, Error> {
    let device = Device::flex();
    let encoder = BertModel::load(&folder.join("minilm"), false, &device)?;
    Ok(Split {
        train: encode(&encoder, &texts.train, &device)?,
        test: encode(&encoder, &texts.test, &device)?,
    })
}

fn encode(encoder: &BertModel, rows: &TextRows, device: &Device) -> Result<Arrays, Error> {
    let classes = rows
        .items
        .iter()
        .map(|item| item.label.class().unwrap_or_default() as i64);
    let mut vectors = Vec::new();
    let all: Vec<usize> = (0..rows.count()).collect();
    for places in all.chunks(CHUNK) {
        let (batch, _) = rows.batch(places, device);
        let input = BertInput::new(batch.ids).with_attention_mask(batch.mask.clone());
        let tokens = encoder.forward(input)?.last_hidden_state;
        let [m, _, width] = tokens.dims();
        let own = batch.mask.float();
        let counts = own.clone().sum_dim(1);
        let sum: Tensor<2> = (tokens * own.unsqueeze_dim(2))
            .sum_dim(1)
            .reshape([m, width]);
        vectors.extend((sum / counts).into_data().iter::<f32>());
    }
    Ok(Arrays::new(
        vectors,
        TargetValues::Classes(classes.collect()),
    ))
}
