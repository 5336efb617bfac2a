//! Batches of texts for a model that answers in words.

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Int, Tensor, TensorData};
use tokenizers::Tokenizer;

use super::error::Error;
use super::label::classes;
use super::template::Template;
use super::tokens::{Encoded, Encoder, padded};
use super::{Task, TextExample};

/// T5's end of a text.
const END: &str = "</s>";
/// Where no loss is taken.
const NO_LABEL: i64 = burn_ief::tokens::IGNORED;

/// A text in its task's template as tokens, and its class.
///
/// ```
/// use finetune::data::Seq2SeqItem;
///
/// assert_eq!(Seq2SeqItem { ids: vec![7, 8, 1], label: 0 }.length(), 3);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seq2SeqItem {
    /// Tokens of the encoder's input.
    pub ids: Vec<u32>,
    /// Index of the class.
    pub label: usize,
}

impl Seq2SeqItem {
    /// Number of tokens.
    pub fn length(&self) -> usize {
        self.ids.len()
    }
}

/// A batch of M texts, the longest of T tokens, whose longest answer has U.
///
/// See [`Seq2SeqBatcher`] for an example.
#[derive(Debug, Clone)]
pub struct Seq2SeqBatch {
    /// Tokens of the encoder, `[M, T]`.
    pub input_ids: Tensor<2, Int>,
    /// 1 for tokens and 0 for padding, `[M, T]`.
    pub mask: Tensor<2, Int>,
    /// Tokens of the answers with the end token, behind it −100, `[M, U]`; the decoder's input is
    /// `T5Config::shift_right` of it.
    pub targets: Tensor<2, Int>,
    /// Classes, `[M]`.
    pub labels: Tensor<1, Int>,
}

/// Puts classification to a model as text and answers in label words.
///
/// GLUE has the paper's templates and words; other tasks get a question that lists their classes.
///
/// ```
/// use burn::data::dataloader::batcher::Batcher;
/// use burn::tensor::Device;
/// use finetune::data::{Seq2SeqBatcher, Task, TextExample};
/// # let json = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
/// #     "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
/// #     "decoder": null, "model": {"type": "WordLevel", "unk_token": "<unk>",
/// #     "vocab": {"<pad>": 0, "</s>": 1, "<unk>": 2, "positive": 3, "negative": 4}}}"#;
/// # let tokenizer = json.parse().unwrap();
/// let labels = ["negative", "positive"].map(String::from);
/// let batcher = Seq2SeqBatcher::new(tokenizer, Task::Sst2, &labels, 64)?;
/// assert_eq!(batcher.answers(), [[4, 1], [3, 1]]);
///
/// let encoded = batcher.encode(&[TextExample::new("A fine film.", 1)])?;
/// let batch = batcher.batch(encoded.items, &Device::flex());
/// assert_eq!(batch.targets.dims(), [1, 2]);
/// # Ok::<(), finetune::data::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Seq2SeqBatcher {
    encoder: Encoder,
    template: Template,
    end: u32,
    answers: Vec<Vec<u32>>,
}

impl Seq2SeqBatcher {
    /// For a task with these classes; inputs of up to `max_length` tokens with the template and
    /// the end token. Longer ones lose their end.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] if `max_length` is too short or two classes have the same words, or if the
    /// tokenizer has no end token `</s>`.
    pub fn new(
        tokenizer: Tokenizer,
        task: Task,
        labels: &[String],
        max_length: usize,
    ) -> Result<Self, Error> {
        let Some(end) = tokenizer.token_to_id(END) else {
            return Err(Error::option(
                "model",
                "a tokenizer with the token `</s>` (T5)",
                "none",
            ));
        };
        let template = Template::new(task, labels);
        let encoder = Encoder::new(tokenizer, max_length)?;
        let words = template.words.iter().map(|word| (word.as_str(), None));
        let words = encoder.encode(words)?.items;
        let answers: Vec<_> = words.into_iter().map(|t| ended(t.ids, end)).collect();
        for (class, answer) in answers.iter().enumerate() {
            if let Some(other) = answers[..class].iter().position(|other| other == answer) {
                let [first, second] = [other, class].map(|class| &template.words[class]);
                let found = format!("`{first}` and `{second}`, both {answer:?}");
                let expected = "label words with tokens of their own";
                return Err(Error::option("labels", expected, found));
            }
        }
        Ok(Self {
            encoder,
            template,
            end,
            answers,
        })
    }

    /// Turn examples into tokens, on all cores; the answer says how many did not fit.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for an example whose class has no label word.
    pub fn encode(&self, examples: &[TextExample]) -> Result<Encoded<Seq2SeqItem>, Error> {
        let classes = self.answers.len();
        let class = |example: &TextExample| example.label.class().filter(|it| *it < classes);
        if let Some(example) = examples.iter().find(|example| class(example).is_none()) {
            let expected = format!("classes below {classes}");
            let found = format!("{:?}", example.label);
            return Err(Error::option("labels", expected, found));
        }
        let texts: Vec<_> = examples.iter().map(|e| self.template.apply(e)).collect();
        let mut labels = examples.iter().filter_map(class);
        let encoded = self
            .encoder
            .encode(texts.iter().map(|text| (text.as_str(), None)))?;
        Ok(encoded.map(|tokens| Seq2SeqItem {
            ids: tokens.ids,
            label: labels.next().expect("one encoding for each example"),
        }))
    }

    /// The answer of each class.
    pub fn words(&self) -> &[String] {
        &self.template.words
    }

    /// The tokens of each class's answer, with the end token.
    pub fn answers(&self) -> &[Vec<u32>] {
        &self.answers
    }

    /// The end token.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// The answers of classes as targets `[M, U]`, −100 behind the end.
    ///
    /// # Panics
    ///
    /// Panics if a class is not below the number of classes.
    pub fn targets(&self, labels: &[usize], device: &Device) -> Tensor<2, Int> {
        let rows = labels.iter().map(|&label| self.answers[label].as_slice());
        let (targets, _, shape) = padded(rows, NO_LABEL);
        Tensor::from_data(TensorData::new(targets, shape), device)
    }
}

/// With the end token, if the tokenizer did not put it there.
fn ended(mut ids: Vec<u32>, end: u32) -> Vec<u32> {
    if ids.last() != Some(&end) {
        ids.push(end);
    }
    ids
}

impl Batcher<Seq2SeqItem, Seq2SeqBatch> for Seq2SeqBatcher {
    /// # Panics
    ///
    /// Panics if a class is not below the number of classes.
    fn batch(&self, items: Vec<Seq2SeqItem>, device: &Device) -> Seq2SeqBatch {
        let ids = items.iter().map(|item| item.ids.as_slice());
        let (ids, mask, shape) = padded(ids, self.encoder.padding.into());
        let labels: Vec<_> = items.iter().map(|item| item.label).collect();
        let table = |values: Vec<i64>| Tensor::from_data(TensorData::new(values, shape), device);
        Seq2SeqBatch {
            input_ids: table(ids),
            mask: table(mask),
            targets: self.targets(&labels, device),
            labels: classes(labels.into_iter(), device),
        }
    }
}
