//! Batches of samples.

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Int, Tensor, TensorData};
use tokenizers::Tokenizer;

use super::encoded::{EncodedSample, NO_LABEL};
use super::template::SpecialTokens;

/// The side of a sample that is filled up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum PaddingSide {
    /// Behind its end, as for training.
    #[default]
    Right,
    /// In front of its beginning, as for generation of several texts at once.
    Left,
}

/// A batch of M samples, the longest of T tokens.
///
/// See [`ConversationBatcher`] for an example.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConversationBatch {
    /// Tokens, `[M, T]`.
    pub input_ids: Tensor<2, Int>,
    /// 1 for tokens and 0 for padding, `[M, T]`.
    pub attention_mask: Tensor<2, Int>,
    /// As Hugging Face's, `[M, T]`: the token itself where it is trained, otherwise −100. The first token of a sample
    /// has no label, because nothing predicts it: behind padding, the padding would.
    pub labels: Tensor<2, Int>,
}

/// Puts samples into batches, with labels as [`burn_ief::token_cross_entropy`] takes them.
///
/// ```
/// use burn::data::dataloader::batcher::Batcher;
/// use burn::tensor::Device;
/// use finetune::conversation::{ConversationBatcher, EncodedSample};
///
/// let batcher = ConversationBatcher::new(0);
/// let items = vec![
///     EncodedSample { ids: vec![5, 6, 7], labels: vec![-100, 6, 7] },
///     EncodedSample { ids: vec![8, 9], labels: vec![-100, 9] },
/// ];
/// let batch = batcher.batch(items, &Device::flex());
/// let rows = |tensor: burn::tensor::Tensor<2, burn::tensor::Int>| tensor.into_data().iter::<i64>().collect::<Vec<_>>();
/// assert_eq!(rows(batch.input_ids), [5, 6, 7, 8, 9, 0]);
/// assert_eq!(rows(batch.labels), [-100, 6, 7, -100, 9, -100]);
/// ```
#[derive(Debug, Clone)]
pub struct ConversationBatcher {
    padding: u32,
    side: PaddingSide,
}

impl ConversationBatcher {
    /// Fill samples up with this token, behind their end.
    pub fn new(padding: u32) -> Self {
        Self {
            padding,
            side: PaddingSide::default(),
        }
    }

    /// Fill up with the tokenizer's own `pad_token`, or `eos_token`, or token 0. Which it is does not matter to the
    /// training: padding is masked by its place.
    pub fn for_tokenizer(tokenizer: &Tokenizer, special: &SpecialTokens) -> Self {
        let roles = ["pad_token", "eos_token"].into_iter();
        let padding = roles
            .filter_map(|role| tokenizer.token_to_id(special.get(role)?))
            .next();
        Self::new(padding.unwrap_or(0))
    }

    /// Fill up at this side.
    pub fn with_side(self, side: PaddingSide) -> Self {
        Self { side, ..self }
    }

    /// The token that fills up.
    pub fn padding(&self) -> u32 {
        self.padding
    }
}

impl Batcher<EncodedSample, ConversationBatch> for ConversationBatcher {
    /// # Panics
    ///
    /// Panics if there are no items.
    fn batch(&self, items: Vec<EncodedSample>, device: &Device) -> ConversationBatch {
        assert!(!items.is_empty(), "a batch of at least 1 sample");
        let longest = items.iter().map(EncodedSample::length).max().unwrap_or(0);
        let (mut ids, mut mask, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        for item in &items {
            let missing = longest - item.length();
            let (left, right) = match self.side {
                PaddingSide::Left => (missing, 0),
                PaddingSide::Right => (0, missing),
            };
            let fill = |values: &mut Vec<i64>, own: &mut dyn Iterator<Item = i64>, padding: i64| {
                values.extend(std::iter::repeat_n(padding, left));
                values.extend(own);
                values.extend(std::iter::repeat_n(padding, right));
            };
            fill(
                &mut ids,
                &mut item.ids.iter().map(|&id| id.into()),
                self.padding.into(),
            );
            fill(&mut mask, &mut item.ids.iter().map(|_| 1), 0);
            let mut own = item.labels.iter().copied().skip(1);
            let first = item.labels.first().map(|_| NO_LABEL);
            fill(
                &mut labels,
                &mut first.into_iter().chain(&mut own),
                NO_LABEL,
            );
        }
        let table = |values: Vec<i64>| {
            Tensor::from_data(TensorData::new(values, [items.len(), longest]), device)
        };
        ConversationBatch {
            input_ids: table(ids),
            attention_mask: table(mask),
            labels: table(labels),
        }
    }
}
