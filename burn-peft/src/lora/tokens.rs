//! Single rows of an embedding table as the factors of a low-rank adapter.
//!
//! Rows that train are `W + A B`, where A `[entries, n]` picks the n rows and does not train, and
//! B `[n, d]` is what they differ by from the table. So they are recorded, merged and mixed like
//! every other adapter of a table. PEFT stores the rows themselves.

use burn::module::Param;
use burn::tensor::{Int, Tensor, TensorData};

use super::factors::LoraFactors;
use super::layer_config::LayerConfig;
use crate::adapters::{at, place, plain};
use crate::error::Error;
use crate::settings::ranges::refuse;

/// The adapter of these rows of a table, with the rows that a folder has, or as they are.
pub(super) fn adapter(
    table: &Param<Tensor<2>>,
    tokens: &[usize],
    rows: Option<TensorData>,
) -> Result<LoraFactors<2>, Error> {
    let [entries, width] = table.lazy_shape().dims();
    if let Some(token) = tokens.iter().find(|token| **token >= entries) {
        return refuse(
            "trainable_token_indices",
            format!("token {token}"),
            "expected tokens within the embedding table",
        );
    }
    let (device, dtype) = place(table);
    let inner = device.clone().inner();
    let count = tokens.len();
    let mut picks = vec![0.0_f32; entries * count];
    for (column, token) in tokens.iter().enumerate() {
        picks[token * count + column] = 1.0;
    }
    let picks = TensorData::new(picks, [entries, count]);
    let picks = crate::adapters::tensor::<2>(picks, &device, dtype);
    let difference = match rows {
        None => Tensor::zeros([count, width], (&inner, dtype)),
        Some(rows) => {
            let rows = crate::adapters::tensor::<2>(rows, &device, dtype);
            rows - picked(table, tokens)
        }
    };
    let config = LayerConfig::of_rows(count);
    let mut adapter = config.assemble([picks, difference], None, &device);
    adapter.a = adapter.a.set_require_grad(false);
    adapter.picks_rows = true;
    Ok(adapter)
}

/// These rows of a table, in the type of its adapters.
pub(super) fn picked(table: &Param<Tensor<2>>, tokens: &[usize]) -> Tensor<2> {
    let (_, dtype) = place(table);
    let value = at(plain(table), dtype);
    let ids: Vec<i64> = tokens.iter().map(|&token| token as i64).collect();
    let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [tokens.len()]), &value.device());
    value.select(0, ids)
}
