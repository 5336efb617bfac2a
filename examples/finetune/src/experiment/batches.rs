//! The data as a family of models takes it.

use std::path::Path;
use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::{Dataset as Items, DatasetError};
use burn::tensor::Device;
use burn_hf_models::vit::ViTConfig;
use burn_hf_models::vit::dinov2::Dinov2Config;
use burn_ief::train::EpochLoader;

use crate::bounds::NUMBER;
use crate::config::{Architecture, Config, Pooling, TrainingOptions};
use crate::conversation::{ConversationBatcher, EncodedSample};
use crate::data::{
    Encoded, ImageBatcher, ImageExample, Seq2SeqBatcher, Seq2SeqItem, Splits, Table, TextBatcher,
    TextExample, TextItem, TokenExample, load_tokenizer, number_scale,
};
use crate::error::Error;
use crate::model::{Seq2Seq, TextModel};
use crate::problem::Problem;
use crate::rounds::Rounds;
use crate::run::Loaders;

/// What the user of a model with such a head should know.
const MEAN: &str = "the head on the mean of the tokens (pooling mean) is none of a class of transformers: README.md in \
                    the written folder shows how to load it in Python";

/// The data as a family of models takes it.
pub(super) enum Data {
    Text(Parts<TextItem>, TextBatcher),
    Words(Parts<Seq2SeqItem>, Seq2SeqBatcher),
    Language(Parts<EncodedSample>, ConversationBatcher),
    Image(Parts<ImageExample>, ImageBatcher, usize),
}

impl Data {
    /// Rows for training, validation and test.
    pub(super) fn rows(&self) -> [usize; 3] {
        fn rows<I>(Parts(parts): &Parts<I>) -> [usize; 3] {
            [0, 1, 2].map(|part| parts[part].len())
        }
        match self {
            Self::Text(parts, _) => rows(parts),
            Self::Words(parts, _) => rows(parts),
            Self::Language(parts, _) => rows(parts),
            Self::Image(parts, ..) => rows(parts),
        }
    }

    /// Bytes of the longest row in a batch.
    pub(super) fn row_bytes(&self) -> f64 {
        /// Tokens, segments and mask, as the device's integers.
        const TOKEN: f64 = 24.0;
        fn longest<I>(Parts(parts): &Parts<I>, length: fn(&I) -> usize) -> f64 {
            let lengths = parts.iter().flat_map(|part| part.iter().map(length));
            lengths.max().unwrap_or(0) as f64
        }
        match self {
            Self::Text(parts, _) => TOKEN * longest(parts, TextItem::length),
            Self::Words(parts, _) => TOKEN * longest(parts, Seq2SeqItem::length),
            Self::Language(parts, _) => TOKEN * longest(parts, EncodedSample::length),
            Self::Image(_, _, side) => 3.0 * (side * side) as f64 * NUMBER,
        }
    }
}

/// Training, validation and test.
pub(super) struct Parts<I>(pub [Arc<Vec<I>>; 3]);

/// Items that several runs share.
struct Shared<I>(Arc<Vec<I>>);

impl<I: Clone + Send + Sync> Items<I> for Shared<I> {
    fn get(&self, index: usize) -> Result<I, DatasetError> {
        Ok(self.0[index].clone())
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// Training, validation and test, and what makes batches of them.
pub(crate) struct Source<'a, I, T> {
    parts: &'a Parts<I>,
    batcher: &'a T,
    length: Option<fn(&I) -> usize>,
}

impl<'a, I: Clone + Send + Sync + 'static, T> Source<'a, I, T> {
    pub(super) fn new(parts: &'a Parts<I>, batcher: &'a T) -> Self {
        Self {
            parts,
            batcher,
            length: None,
        }
    }

    /// Of items that have lengths: batches hold similar ones.
    pub(super) fn of_lengths(parts: &'a Parts<I>, batcher: &'a T, length: fn(&I) -> usize) -> Self {
        Self {
            length: Some(length),
            ..Self::new(parts, batcher)
        }
    }

    /// Loaders of a run with this seed, after `resumed` rounds. With `shares`, several devices have a part of every
    /// training batch.
    pub fn loaders<B>(
        &self,
        training: &TrainingOptions,
        seed: u64,
        resumed: usize,
        shares: bool,
    ) -> Loaders<B>
    where
        T: Batcher<I, B> + Clone + 'static,
        B: Send + 'static,
    {
        let Parts([train, valid, test]) = self.parts;
        let shared = |items: &Arc<Vec<I>>| Shared(items.clone());
        let finish = |loader: EpochLoader<I, B>, items: &Arc<Vec<I>>| match self.length {
            Some(length) => loader.with_lengths(items.iter().map(length).collect()),
            None => loader,
        };
        let evaluation = |items| {
            let batcher = self.batcher.clone();
            let loader = EpochLoader::in_order(batcher, shared(items), training.eval_batch);
            finish(loader, items).build()
        };
        let batcher = self.batcher.clone();
        let mut loader = EpochLoader::new(batcher, shared(train), training.batch, seed);
        if let Some((batches, total)) = Rounds::of(training, train.len()).batches {
            loader = loader.in_rounds(batches, total);
        }
        if shares {
            loader = loader.share_batches();
        }
        Loaders {
            train: finish(loader, train).resume_after(resumed as u64).build(),
            valid: evaluation(valid),
            test: evaluation(test),
        }
    }

    /// A batch of training rows, which must be there.
    pub fn training_batch<B>(&self, rows: &[usize], device: &Device) -> B
    where
        T: Batcher<I, B>,
    {
        let Parts([train, ..]) = self.parts;
        let items = rows.iter().map(|&row| train[row].clone());
        self.batcher.batch(items.collect(), device)
    }
}

/// Texts as the tokens of a family of models.
pub(super) fn texts(
    config: &Config,
    architecture: Architecture,
    splits: &Splits<TextExample>,
    notes: &mut Vec<String>,
) -> Result<Data, Error> {
    let folder = config.model.folder.as_deref().unwrap_or(Path::new(""));
    let length = config.max_length();
    let parts = [&splits.train, &splits.valid, &splits.test];
    match architecture {
        Architecture::T5 => {
            let vocabulary = Seq2Seq::vocabulary(config, folder)?;
            let table = Table::tokens(folder, vocabulary);
            let tokenizer = load_tokenizer(folder, vocabulary)?;
            let task = config.task()?;
            let batcher = Seq2SeqBatcher::new(tokenizer, task, &splits.labels, length)?;
            for (word, answer) in batcher.words().iter().zip(batcher.answers()) {
                table.check(answer, word)?;
            }
            let encoded = parts.map(|part| {
                let encoded = batcher.encode(part)?;
                for (item, example) in encoded.items.iter().zip(part) {
                    table.check(&item.ids, &example.first)?;
                }
                Ok(encoded)
            });
            Ok(Data::Words(joined(encoded, notes)?, batcher))
        }
        _ => {
            if config.pooling() == Pooling::Mean {
                notes.push(MEAN.into());
            }
            let tables = Tables::of(config, folder)?;
            let mut batcher = TextBatcher::new(load_tokenizer(folder, tables.vocabulary)?, length)?;
            let problem = config.task()?.problem();
            if problem == Problem::Regression && config.data.standardize {
                let labels = splits.train.iter().map(|example| &example.label);
                let scale = number_scale(labels)?;
                let (mean, deviation) = scale.parts();
                notes.push(format!(
                    "numbers of the training rows: mean {mean}, standard deviation {deviation}"
                ));
                batcher = batcher.with_scale(scale);
            }
            let encoded = parts.map(|part| {
                let encoded = batcher.encode(part)?;
                for (item, example) in encoded.items.iter().zip(part) {
                    tables.check(item, &example.first)?;
                }
                Ok(encoded)
            });
            Ok(Data::Text(joined(encoded, notes)?, batcher))
        }
    }
}

/// Words with tags as the tokens of an encoder.
pub(super) fn words(
    config: &Config,
    splits: &Splits<TokenExample>,
    notes: &mut Vec<String>,
) -> Result<Data, Error> {
    let folder = config.model.folder.as_deref().unwrap_or(Path::new(""));
    let tables = Tables::of(config, folder)?;
    let tokenizer = load_tokenizer(folder, tables.vocabulary)?;
    let batcher = TextBatcher::for_words(tokenizer, config.max_length())?;
    let encoded = [&splits.train, &splits.valid, &splits.test].map(|part| {
        let encoded = batcher.encode_words(part, config.data.tagged_pieces)?;
        for (item, example) in encoded.items.iter().zip(part) {
            let first = example.words.first().map_or("", String::as_str);
            tables.check(item, first)?;
        }
        Ok(encoded)
    });
    Ok(Data::Text(joined(encoded, notes)?, batcher))
}

/// The tables of an encoder that a tokenizer's numbers are looked up in.
struct Tables {
    vocabulary: usize,
    tokens: Table,
    segments: Option<Table>,
}

impl Tables {
    fn of(config: &Config, folder: &Path) -> Result<Self, Error> {
        let (vocabulary, segments) = TextModel::tables(config, folder)?;
        Ok(Self {
            vocabulary,
            tokens: Table::tokens(folder, vocabulary),
            segments: segments.map(|segments| Table::segments(folder, segments)),
        })
    }

    fn check(&self, item: &TextItem, text: &str) -> Result<(), crate::data::Error> {
        self.tokens.check(&item.tokens.ids, text)?;
        match &self.segments {
            Some(segments) => segments.check(&item.tokens.types, text),
            None => Ok(()),
        }
    }
}

fn joined<I>(
    encoded: [Result<Encoded<I>, crate::data::Error>; 3],
    notes: &mut Vec<String>,
) -> Result<Parts<I>, Error> {
    let mut parts = Vec::new();
    for (name, part) in ["training", "validation", "test"].into_iter().zip(encoded) {
        let part = part?;
        if part.truncated + part.unknown > 0 {
            notes.push(format!("{name}: {part}"));
        }
        parts.push(Arc::new(part.items));
    }
    match <[Arc<Vec<I>>; 3]>::try_from(parts) {
        Ok(parts) => Ok(Parts(parts)),
        Err(_) => unreachable!("three parts went in"),
    }
}

/// The side of the pictures: as configured, the model's own, or CIFAR's.
pub(super) fn image_size(config: &Config, architecture: Architecture) -> Result<usize, Error> {
    let folder = config.model.folder.as_deref().unwrap_or(Path::new(""));
    let own = match architecture {
        Architecture::Vit => {
            let sizes = ViTConfig::from_folder(folder)?;
            Some((sizes.image_size, sizes.patch_size))
        }
        Architecture::Dinov2 => {
            let sizes = Dinov2Config::from_folder(folder)?;
            Some((sizes.image_size, sizes.patch_size))
        }
        _ => None,
    };
    let size = match (config.data.image_size, own) {
        (Some(size), _) => size,
        (None, Some(([height, _], _))) => height,
        (None, None) => 32,
    };
    if let Some((_, [height, width])) = own
        && size < height.max(width)
    {
        let expected = format!("at least {}, a patch of the model", height.max(width));
        return Err(Error::config("data.image_size", size, expected));
    }
    Ok(size)
}
