//! TREC-6: a transformer from scratch.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use finetune::data::{Task as DataSet, TextItem};

use crate::data::{Rows, Split, Targets, TextRows, TextSizes, texts};
use crate::definition::{Definition, Half, Score, Trained};
use crate::error::Error;
use crate::models::{PADDING, TextTransformer, TextTransformerConfig};
use crate::task::Task;

/// Tokens of a question.
const LENGTH: usize = 24;
/// The tokens that are most frequent in the training rows have embeddings of their own; all others share one.
const FREQUENT: usize = 2000;
/// The token of all others.
const RARE: i64 = PADDING + 1;

/// TREC-6: a transformer from scratch.
#[derive(Debug)]
pub struct TrecTransformer;

/// Questions of one length, in the numbers of this task's tokens.
#[derive(Debug, Clone)]
pub struct Questions {
    tokens: Vec<[i64; LENGTH]>,
    classes: Vec<i64>,
}

impl Task for TrecTransformer {
    type Rows = Questions;
    type Model = TextTransformer;

    const DEFINITION: Definition = Definition {
        name: "trec-transformer",
        title: "TREC-6, transformer from scratch",
        half: Half::Confirm,
        version: 1,
        trained: Trained::FromScratch,
        batch: 32,
        steps: 600,
        measured_rows: 1000,
        score: Score::Accuracy,
        folders: &["minilm", "trec"],
        not_hidden: &["embedding", "encoder.head"],
    };

    fn rows(folder: &Path) -> Result<Split<Questions>, Error> {
        let sizes = TextSizes {
            train: None,
            test: 500,
            length: LENGTH,
        };
        let texts = texts(DataSet::Trec, folder, "trec", sizes).map_err(Self::refuse)?;
        let numbers = frequent(&texts.train.items, FREQUENT);
        let questions = |rows: &TextRows| Questions {
            tokens: rows
                .items
                .iter()
                .map(|item| renumber(item, &numbers))
                .collect(),
            classes: rows
                .items
                .iter()
                .map(|item| item.label.class().unwrap_or_default() as i64)
                .collect(),
        };
        Ok(Split {
            train: questions(&texts.train),
            test: questions(&texts.test),
        })
    }

    fn model(_folder: &Path, device: &Device) -> Result<TextTransformer, Error> {
        let vocabulary = FREQUENT + RARE as usize + 1;
        Ok(TextTransformerConfig::new(vocabulary, LENGTH, 6).init(device))
    }

    fn outputs(model: &TextTransformer, tokens: Tensor<2, Int>) -> Tensor<2> {
        model.forward(tokens)
    }
}

impl Rows for Questions {
    /// `[M, 24]`.
    type Inputs = Tensor<2, Int>;

    fn count(&self) -> usize {
        self.classes.len()
    }

    fn batch(&self, places: &[usize], device: &Device) -> (Tensor<2, Int>, Targets) {
        let m = places.len();
        let tokens: Vec<i64> = places
            .iter()
            .flat_map(|&place| self.tokens[place])
            .collect();
        let classes: Vec<i64> = places.iter().map(|&place| self.classes[place]).collect();
        let tokens = Tensor::from_data(TensorData::new(tokens, [m, LENGTH]), device);
        let classes = Tensor::from_data(TensorData::new(classes, [m]), device);
        (tokens, Targets::Classes(classes))
    }
}

/// New numbers for the most frequent tokens; of those that are equally frequent the ones with lower ids.
fn frequent(items: &[TextItem], most: usize) -> HashMap<u32, i64> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for id in items.iter().flat_map(|item| &item.tokens.ids) {
        *counts.entry(*id).or_default() += 1;
    }
    let mut by_count: Vec<(u32, usize)> = counts.into_iter().collect();
    by_count.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let ids = by_count.into_iter().take(most).map(|(id, _)| id);
    ids.zip(RARE + 1..).collect()
}

fn renumber(item: &TextItem, numbers: &HashMap<u32, i64>) -> [i64; LENGTH] {
    let mut tokens = [PADDING; LENGTH];
    for (token, id) in tokens.iter_mut().zip(&item.tokens.ids) {
        *token = numbers.get(id).copied().unwrap_or(RARE);
    }
    tokens
}

#[cfg(test)]
mod tests {
    use finetune::data::{Label, Tokens};

    use super::*;

    #[test]
    fn frequent_tokens_are_numbered_and_others_share_a_number() {
        let item = |ids: &[u32]| TextItem {
            tokens: Tokens {
                ids: ids.to_vec(),
                types: vec![0; ids.len()],
            },
            label: Label::Class(0),
        };
        let items = [item(&[9, 5, 5]), item(&[9, 4, 9]), item(&[3, 4])];
        let numbers = frequent(&items, 2);
        assert_eq!(numbers, HashMap::from([(9, 2), (4, 3)]));
        let tokens = renumber(&items[0], &numbers);
        assert_eq!(tokens[..4], [2, RARE, RARE, PADDING]);
        assert_eq!(tokens[3..], [PADDING; LENGTH - 3]);
    }
}
