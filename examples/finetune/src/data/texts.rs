//! Batches of texts for an encoder with a classifier.

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use super::error::Error;
use super::example::{TextExample, TokenExample};
use super::label::{Label, LabelBatch, NO_TAG};
use super::scale::NumberScale;
use super::tokens::{Encoded, Encoder, SHOWN, Tokens, WordTokens, padded};

/// A text as tokens, and its label.
///
/// ```
/// use finetune::data::{Label, TextItem, Tokens};
///
/// let tokens = Tokens { ids: vec![101, 7592, 102], types: vec![0; 3] };
/// assert_eq!(TextItem { tokens, label: Label::Class(1) }.length(), 3);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TextItem {
    /// With the tokenizer's special tokens.
    pub tokens: Tokens,
    /// What would be right.
    pub label: Label,
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
/// assert_eq!((batch.ids.dims(), batch.labels.classes().unwrap().dims()), ([2, 3], [2]));
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
    /// What would be right.
    pub labels: LabelBatch,
}

/// Which tokens of a word have its tag.
///
/// ```
/// use clap::ValueEnum;
/// use finetune::data::TaggedPieces;
///
/// assert_eq!(TaggedPieces::from_str("all", false), Ok(TaggedPieces::All));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaggedPieces {
    /// The first one; the others have none.
    #[default]
    First,
    /// All of them.
    All,
}

/// Makes a [`TextBatch`] of texts, padded to the longest of them.
///
/// See [`TextBatch`] for an example.
#[derive(Debug, Clone)]
pub struct TextBatcher {
    encoder: Encoder,
    scale: NumberScale,
}

impl TextBatcher {
    /// Texts of up to `max_length` tokens with the special ones; longer ones lose their end, the
    /// longer one of a pair first. The padding and truncation set in the tokenizer are replaced.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] if `max_length` has no room for more than the special tokens.
    pub fn new(tokenizer: Tokenizer, max_length: usize) -> Result<Self, Error> {
        Ok(Self::of(Encoder::new(tokenizer, max_length)?))
    }

    /// The same for texts that come as words.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn for_words(tokenizer: Tokenizer, max_length: usize) -> Result<Self, Error> {
        Ok(Self::of(Encoder::for_words(tokenizer, max_length)?))
    }

    fn of(encoder: Encoder) -> Self {
        Self {
            encoder,
            scale: NumberScale::default(),
        }
    }

    /// The same, with numbers in a scale.
    pub fn with_scale(self, scale: NumberScale) -> Self {
        Self { scale, ..self }
    }

    /// The scale of numbers.
    pub fn scale(&self) -> NumberScale {
        self.scale
    }

    /// Turn words with tags into tokens with tags: of each word the first token has its tag, or all have.
    ///
    /// # Errors
    ///
    /// [`Error::Tokens`] for a row none of whose words has a token.
    pub fn encode_words(
        &self,
        examples: &[TokenExample],
        pieces: TaggedPieces,
    ) -> Result<Encoded<TextItem>, Error> {
        let words: Vec<&[String]> = examples.iter().map(|e| e.words.as_slice()).collect();
        let encoded = self.encoder.encode_words(&words)?;
        let (truncated, unknown) = (encoded.truncated, encoded.unknown);
        let mut items = Vec::new();
        for (index, (WordTokens { tokens, words }, example)) in
            encoded.items.into_iter().zip(examples).enumerate()
        {
            let mut before = None;
            let tags = words.iter().map(|&word| {
                let is_first = word != before;
                before = word;
                let tag = word.and_then(|word| example.tags.get(word));
                let tag = tag.filter(|_| is_first || pieces == TaggedPieces::All);
                tag.map_or(NO_TAG, |&tag| tag as i64)
            });
            let tags: Vec<i64> = tags.collect();
            if tags.iter().all(|&tag| tag == NO_TAG) {
                return Err(Error::Tokens {
                    index,
                    text: example.words.join(" ").chars().take(SHOWN).collect(),
                    problem: "none of its words has a token".into(),
                });
            }
            items.push(TextItem {
                tokens,
                label: Label::Tags(tags),
            });
        }
        Ok(Encoded {
            items,
            truncated,
            unknown,
        })
    }

    /// Turn words into tokens without tags.
    pub(crate) fn split_words(&self, rows: &[&[String]]) -> Result<Vec<SplitWords>, Error> {
        let encoded = self.encoder.encode_words(rows)?;
        let rows = encoded.items.into_iter().zip(rows);
        let split = |(row, words): (WordTokens, &&[String])| {
            let first = |word| row.words.iter().position(|it| *it == Some(word));
            SplitWords {
                firsts: (0..words.len()).map(first).collect(),
                item: TextItem {
                    label: Label::Tags(vec![NO_TAG; row.tokens.ids.len()]),
                    tokens: row.tokens,
                },
            }
        };
        Ok(rows.map(split).collect())
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
        let mut labels = examples.iter().map(|example| example.label.clone());
        let encoded = self.encoder.encode(texts)?;
        Ok(encoded.map(|tokens| TextItem {
            tokens,
            label: labels.next().expect("one encoding for each example"),
        }))
    }
}

/// A text in words as tokens without tags.
pub(crate) struct SplitWords {
    pub item: TextItem,
    /// The first token of each word; none of words that were cut off.
    pub firsts: Vec<Option<usize>>,
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
            labels: LabelBatch::of(
                items.iter().map(|item| &item.label),
                shape[1],
                self.scale,
                device,
            ),
        }
    }
}
