//! Batches of texts for an encoder with a classifier.

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Int, Tensor, TensorData};
use tokenizers::Tokenizer;

use super::TextExample;
use super::error::Error;
use super::tokens::{Encoded, Encoder, Tokens, padded};

/// A text as tokens, and its class.
///
/// ```
/// use finetune::data::{TextItem, Tokens};
///
/// let tokens = Tokens { ids: vec![101, 7592, 102], types: vec![0; 3] };
/// assert_eq!(TextItem { tokens, label: 1 }.length(), 3);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextItem {
    /// With the tokenizer's special tokens.
    pub tokens: Tokens,
    /// Index of the class.
    pub label: usize,
}

impl TextItem {
    /// Number of tokens.
    pub fn length(&self) -> usize {
        self.tokens.ids.len()
    }
}

/// A batch of M texts, the longest of T tokens.
///
/// ```
/// use burn::data::dataloader::batcher::Batcher;
/// use burn::tensor::Device;
/// use finetune::data::{TextBatch, TextBatcher, TextExample};
/// # let json = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
/// #     "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
/// #     "decoder": null, "model": {"type": "WordLevel", "unk_token": "[UNK]",
/// #     "vocab": {"[PAD]": 0, "[UNK]": 1, "good": 2, "very": 3}}}"#;
/// # let tokenizer = json.parse().unwrap();
/// let batcher = TextBatcher::new(tokenizer, 16)?;
/// let examples = [TextExample::new("good", 1), TextExample::new("very very good", 0)];
/// let encoded = batcher.encode(&examples)?;
/// let batch: TextBatch = batcher.batch(encoded.items, &Device::flex());
/// assert_eq!((batch.ids.dims(), batch.labels.dims()), ([2, 3], [2]));
/// # Ok::<(), finetune::data::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct TextBatch {
    /// Tokens, `[M, T]`.
    pub ids: Tensor<2, Int>,
    /// Segments, `[M, T]`.
    pub types: Tensor<2, Int>,
    /// 1 for tokens and 0 for padding, `[M, T]`.
    pub mask: Tensor<2, Int>,
    /// Classes, `[M]`.
    pub labels: Tensor<1, Int>,
}

/// Makes a [`TextBatch`] of texts, padded to the longest of them.
///
/// See [`TextBatch`] for an example.
#[derive(Debug, Clone)]
pub struct TextBatcher {
    encoder: Encoder,
}

impl TextBatcher {
    /// Texts of up to `max_length` tokens with the special ones; longer ones lose their end, the
    /// longer one of a pair first. The padding and truncation set in the tokenizer are replaced.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] if `max_length` has no room for more than the special tokens.
    pub fn new(tokenizer: Tokenizer, max_length: usize) -> Result<Self, Error> {
        let encoder = Encoder::new(tokenizer, max_length)?;
        Ok(Self { encoder })
    }

    /// Turn examples into tokens, on all cores; the answer says how many did not fit.
    ///
    /// # Errors
    ///
    /// [`Error::Tokens`] for a text without any token.
    pub fn encode(&self, examples: &[TextExample]) -> Result<Encoded<TextItem>, Error> {
        let texts = examples
            .iter()
            .map(|e| (e.first.as_str(), e.second.as_deref()));
        let mut labels = examples.iter().map(|example| example.label);
        let encoded = self.encoder.encode(texts)?;
        Ok(encoded.map(|tokens| TextItem {
            tokens,
            label: labels.next().expect("one encoding for each example"),
        }))
    }
}

impl Batcher<TextItem, TextBatch> for TextBatcher {
    fn batch(&self, items: Vec<TextItem>, device: &Device) -> TextBatch {
        let ids = items.iter().map(|item| item.tokens.ids.as_slice());
        let types = items.iter().map(|item| item.tokens.types.as_slice());
        let (ids, mask, shape) = padded(ids, self.encoder.padding.into());
        let (types, ..) = padded(types, 0);
        let table = |values: Vec<i64>| Tensor::from_data(TensorData::new(values, shape), device);
        TextBatch {
            ids: table(ids),
            types: table(types),
            mask: table(mask),
            labels: classes(items.iter().map(|item| item.label), device),
        }
    }
}

/// Classes as a tensor `[M]`.
pub(super) fn classes(labels: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let labels: Vec<i64> = labels.map(|label| label as i64).collect();
    let shape = [labels.len()];
    Tensor::from_data(TensorData::new(labels, shape), device)
}
