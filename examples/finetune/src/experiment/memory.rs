//! What the models and batches of a configuration take at least.

use std::path::Path;

use burn_hf_models::llama::LlamaConfig;
use burn_hf_models::t5::T5Config;
use burn_hf_models::vit::ViTConfig;
use burn_hf_models::vit::dinov2::Dinov2Config;

use super::batches::{Data, Parts};
use crate::bounds::{NUMBER, fits, left, size};
use crate::config::{AdapterKind, Architecture, Config};
use crate::conversation::EncodedSample;
use crate::data::{Seq2SeqItem, TextItem};
use crate::error::Error;
use crate::model::EncoderSizes;

/// Ranks up to this one are allowed for every model, however narrow it is.
const SMALL_RANK: usize = 64;

/// The sizes that decide on the memory of a transformer.
struct Sizes {
    width: usize,
    layers: usize,
    heads: usize,
    /// Tokens of the longest row.
    length: usize,
    /// Logits of a row; few in a classifier.
    logits: f64,
}

/// The data, as far as they decide on memory.
pub(super) struct Extent {
    /// Rows for training, validation and test.
    rows: [usize; 3],
    /// Tokens of the longest text, or pixels of a side of the pictures.
    length: usize,
    /// Tokens of the longest answer.
    answer: usize,
    classes: usize,
}

impl Extent {
    /// Of data that were read.
    pub(super) fn of(data: &Data, rows: [usize; 3], classes: usize) -> Self {
        let (length, answer) = match data {
            Data::Text(parts, _) => (longest(parts, TextItem::length), 0),
            Data::Words(parts, batcher) => {
                let answer = batcher.answers().iter().map(Vec::len).max();
                (longest(parts, Seq2SeqItem::length), answer.unwrap_or(0))
            }
            Data::Language(parts, _) => (longest(parts, EncodedSample::length), 0),
            Data::Image(_, _, side) => (*side, 0),
        };
        Self {
            rows,
            length,
            answer,
            classes,
        }
    }

    /// The least that pictures of this size are: one for each part.
    pub(super) fn pictures(side: usize) -> Self {
        Self {
            rows: [1; 3],
            length: side,
            answer: 0,
            classes: 2,
        }
    }
}

/// Refuse sizes of the configuration that do not fit into memory.
///
/// # Errors
///
/// [`Error::Config`] with an estimate.
pub(super) fn check(
    config: &Config,
    architecture: Architecture,
    extent: &Extent,
) -> Result<(), Error> {
    let left = left(config.device);
    let adapter = &config.adapter;
    let is_scaled = matches!(
        adapter.kind,
        AdapterKind::Lora | AdapterKind::Loha | AdapterKind::Lokr
    );
    if is_scaled && adapter.from.is_none() {
        let scale = adapter.alpha / adapter.rank() as f64;
        if !(scale as f32).is_finite() {
            let expected = "a number whose quotient by the rank is a finite 32-bit float";
            return Err(Error::config("adapter.alpha", adapter.alpha, expected));
        }
    }
    match sizes(config, architecture, extent)? {
        Some(sizes) => transformer(config, &sizes, extent.rows, left),
        None => perceptron(config, extent, left),
    }
}

fn sizes(
    config: &Config,
    architecture: Architecture,
    extent: &Extent,
) -> Result<Option<Sizes>, Error> {
    let folder = config.model.folder.as_deref().unwrap_or(Path::new(""));
    let length = extent.length;
    let patches = |patch: [usize; 2]| {
        let [height, width] = patch.map(|patch| length / patch.max(1));
        1 + height.saturating_mul(width)
    };
    Ok(match architecture {
        Architecture::Bert => {
            let sizes = EncoderSizes::of(folder)?;
            Some(Sizes {
                width: sizes.width,
                layers: sizes.layers,
                heads: sizes.heads,
                length,
                logits: 0.0,
            })
        }
        Architecture::T5 => {
            let t5 = T5Config::from_folder(folder)?;
            Some(Sizes {
                width: t5.d_model,
                layers: t5.num_layers,
                heads: t5.num_heads,
                length,
                logits: extent.answer as f64 * t5.vocab_size as f64,
            })
        }
        Architecture::Vit => {
            let vit = ViTConfig::from_folder(folder)?;
            Some(Sizes {
                width: vit.hidden_size,
                layers: vit.num_hidden_layers,
                heads: vit.num_attention_heads,
                length: patches(vit.patch_size),
                logits: 0.0,
            })
        }
        Architecture::Dinov2 => {
            let dinov2 = Dinov2Config::from_folder(folder)?;
            Some(Sizes {
                width: dinov2.hidden_size,
                layers: dinov2.num_hidden_layers,
                heads: dinov2.num_attention_heads,
                length: patches(dinov2.patch_size),
                logits: 0.0,
            })
        }
        Architecture::Causal => {
            let llama = LlamaConfig::from_folder(folder)?;
            Some(Sizes {
                width: llama.hidden_size,
                layers: llama.num_hidden_layers,
                heads: llama.num_attention_heads,
                length,
                // They are formed a few positions at a time.
                logits: 0.0,
            })
        }
        Architecture::Mlp => None,
    })
}

fn longest<I>(Parts(parts): &Parts<I>, length: fn(&I) -> usize) -> usize {
    let lengths = parts.iter().flat_map(|part| part.iter().map(length));
    lengths.max().unwrap_or(0)
}

fn transformer(config: &Config, sizes: &Sizes, rows: [usize; 3], left: f64) -> Result<(), Error> {
    let adapter = &config.adapter;
    let [width, layers, heads] = [sizes.width, sizes.layers, sizes.heads].map(|size| size as f64);
    let mut length = sizes.length as f64;
    match adapter.kind {
        // A folder's adapter is as large as its file.
        _ if adapter.from.is_some() => {}
        AdapterKind::Full | AdapterKind::Ia3 => {}
        // Two matrices that layers of one width share.
        AdapterKind::Vera => {
            let matrices = 2.0 * width * adapter.rank() as f64 * NUMBER;
            fits(
                left,
                "adapter.rank",
                adapter.rank(),
                "the matrices",
                matrices,
            )?;
        }
        AdapterKind::Loha | AdapterKind::Lokr => {
            // Two layers are adapted in each of the model's, with four factors each at most.
            let factors = 8.0 * layers * width * adapter.rank() as f64 * NUMBER;
            fits(left, "adapter.rank", adapter.rank(), "the factors", factors)?;
        }
        AdapterKind::Lora => {
            // Two layers are adapted in each of the model's, with two factors each.
            let factors = 4.0 * layers * width * adapter.rank() as f64 * NUMBER;
            let most = sizes.width.max(SMALL_RANK);
            if adapter.rank() > most {
                let expected = format!(
                    "at most {most}: a rank above the model's width of {} adds nothing (the factors would take \
                     about {})",
                    sizes.width,
                    size(factors)
                );
                return Err(Error::config("adapter.rank", adapter.rank(), expected));
            }
            fits(left, "adapter.rank", adapter.rank(), "the factors", factors)?;
        }
        AdapterKind::Prompt | AdapterKind::PTuning => {
            let tokens = adapter.virtual_tokens as f64;
            length += tokens;
            let scores = layers * heads * length * length * NUMBER;
            let what = format!("attention to {tokens} virtual tokens and the text");
            fits(left, "adapter.virtual_tokens", tokens, &what, scores)?;
        }
    }
    let [train, valid, test] = rows;
    // Training keeps the attention of all layers for the backward pass.
    for (field, found, rows, layers) in [
        ("training.batch", config.training.batch, train, layers),
        (
            "training.eval_batch",
            config.training.eval_batch,
            valid.max(test),
            1.0,
        ),
    ] {
        let batch = found.min(rows);
        let scores = layers * heads * length * length;
        let bytes = batch as f64 * (scores + sizes.logits) * NUMBER;
        let what = format!("attention and logits of a batch of {batch} rows of {length} tokens");
        fits(left, field, found, &what, bytes)?;
    }
    Ok(())
}

fn perceptron(config: &Config, extent: &Extent, left: f64) -> Result<(), Error> {
    /// Numbers for a weight in a step: its value, its gradient, its update and its next value.
    const COPIES: f64 = 4.0;

    let hidden = &config.model.hidden;
    let inputs = 3 * extent.length * extent.length;
    let widths = std::iter::once(&inputs)
        .chain(hidden)
        .chain([&extent.classes]);
    let widths: Vec<f64> = widths.map(|width| *width as f64).collect();
    let weights: f64 = widths.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let batch = config.training.batch.min(extent.rows[0]);
    let bytes = (COPIES * weights + batch as f64 * widths[0]) * NUMBER;
    let found = hidden.iter().map(ToString::to_string).collect::<Vec<_>>();
    let side = extent.length;
    let what =
        format!("a step of a network with these widths on pictures of {side} x {side} pixels");
    fits(left, "model.hidden", found.join(","), &what, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset::Preset;

    fn refused(change: fn(&mut Config), sizes: &Sizes) -> String {
        let mut config = Preset::MinilmLoraTrec.config();
        change(&mut config);
        match transformer(&config, sizes, [5000, 500, 500], 4e9) {
            Err(error) => error.to_string(),
            Ok(()) => String::new(),
        }
    }

    #[test]
    fn sizes_are_refused_before_they_are_allocated() {
        let sizes = Sizes {
            width: 384,
            layers: 6,
            heads: 12,
            length: 64,
            logits: 0.0,
        };
        assert_eq!(refused(|_| (), &sizes), "");
        assert_eq!(refused(|c| c.adapter.rank = Some(384), &sizes), "");
        let rank = refused(|c| c.adapter.rank = Some(1 << 31), &sizes);
        assert!(
            rank.contains("`adapter.rank` is 2147483648, expected at most 384"),
            "{rank}"
        );
        assert!(rank.contains("72.0 TiB"), "{rank}");
        let virtual_tokens = refused(
            |c| {
                c.adapter.kind = AdapterKind::Prompt;
                c.adapter.virtual_tokens = usize::MAX;
            },
            &sizes,
        );
        assert!(
            virtual_tokens.starts_with("`adapter.virtual_tokens` is "),
            "{virtual_tokens}"
        );
        let batch = refused(|c| c.training.batch = usize::MAX, &sizes);
        assert!(
            batch.contains("a batch of 5000 rows of 64 tokens would take"),
            "{batch}"
        );
        let long = Sizes {
            length: 10_000,
            ..sizes
        };
        let batch = refused(|c| c.training.batch = 1, &long);
        assert!(batch.starts_with("`training.batch` is 1, "), "{batch}");
    }

    #[test]
    fn widths_are_refused_before_they_are_allocated() {
        let mut config = Preset::MlpCifar10.config();
        let extent = Extent {
            classes: 10,
            ..Extent::pictures(32)
        };
        perceptron(&config, &extent, 4e9).unwrap();
        config.model.hidden = vec![1 << 40, usize::MAX];
        let text = perceptron(&config, &extent, 4e9).unwrap_err().to_string();
        assert!(
            text.contains("`model.hidden` is 1099511627776,") && text.contains("TiB"),
            "{text}"
        );
    }
}
