//! Texts with classes, as MiniLM's tokens.

use std::path::Path;

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::Device;
use finetune::data::{
    DataSource, Dataset, Error, Task, TextBatch, TextBatcher, TextExample, TextItem, load_tokenizer,
};

use super::{Rows, Split, Targets};

/// Tokens of MiniLM's tokenizer.
const VOCABULARY: usize = 30_522;

/// Texts as tokens. A batch is padded to its longest text.
#[derive(Debug, Clone)]
pub struct TextRows {
    /// The texts.
    pub items: Vec<TextItem>,
    batcher: TextBatcher,
}

impl Rows for TextRows {
    type Inputs = TextBatch;

    fn count(&self) -> usize {
        self.items.len()
    }

    fn batch(&self, places: &[usize], device: &Device) -> (TextBatch, Targets) {
        let items = places.iter().map(|&place| self.items[place].clone());
        let batch = self.batcher.batch(items.collect(), device);
        match batch.labels.classes() {
            Some(classes) => (batch, Targets::Classes(classes)),
            None => unreachable!("these data sets have classes"),
        }
    }
}

/// How much of a data set a task takes.
#[derive(Debug, Clone, Copy)]
pub struct TextSizes {
    /// Rows for training; all that are left without a number.
    pub train: Option<usize>,
    /// Rows for the test.
    pub test: usize,
    /// Tokens of a text at most, the special ones included.
    pub length: usize,
}

/// A data set of texts from its folder in `folder`, in tokens of MiniLM's tokenizer.
///
/// # Errors
///
/// Names the file.
pub fn texts(
    set: Task,
    folder: &Path,
    name: &str,
    sizes: TextSizes,
) -> Result<Split<TextRows>, Error> {
    let source = DataSource {
        train_rows: sizes.train,
        test_rows: Some(sizes.test),
        valid_share: 0.0,
        ..DataSource::new(folder.join(name))
    };
    let splits = match set.load(&source)? {
        Dataset::Text(splits) => splits,
        _ => unreachable!("`{name}` has texts"),
    };
    let tokenizer = load_tokenizer(&folder.join("minilm"), VOCABULARY)?;
    let batcher = TextBatcher::new(tokenizer, sizes.length)?;
    let rows = |examples: &[TextExample]| -> Result<TextRows, Error> {
        Ok(TextRows {
            items: batcher.encode(examples)?.items,
            batcher: batcher.clone(),
        })
    };
    Ok(Split {
        train: rows(&splits.train)?,
        test: rows(&splits.test)?,
    })
}
