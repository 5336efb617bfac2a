//! The data that the examples are trained on.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use flate2::read::GzDecoder;
use programs::reading;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use tokenizers::Tokenizer;

use crate::batch::{Batch, Labelled, Measured, indices};
use crate::custom_image_dataset;
use crate::error::Error;
use crate::modern_lstm::LENGTH;
use crate::simple_regression::FEATURES;
use crate::text_classification::Texts;
use crate::text_generation::Sequences;

/// All of a training set and of a test set.
#[derive(Debug, Clone)]
pub struct Split<B> {
    /// For training.
    pub train: B,
    /// For nothing else.
    pub test: B,
}

impl<B: Batch> Split<B> {
    /// Every fifth sample is for the test.
    fn of(all: &B) -> Self {
        let (test, train): (Vec<usize>, Vec<usize>) =
            (0..all.samples()).partition(|place| place % 5 == 0);
        Self {
            train: all.select(&train),
            test: all.select(&test),
        }
    }
}

const DIGITS: &str = "mnist10k";
const IMAGES: &str = "cifar10";
const QUESTIONS: &str = "trec";
const REVIEWS: &str = "sentiment";
const TOKENIZER: &str = "minilm";

/// Pixels of a digit.
const PIXELS: usize = 28 * 28;

/// 10,000 images of MNIST, normalised as in the examples.
pub(super) fn digits(folder: &Path, device: &Device) -> Result<Split<Labelled<3>>, Error> {
    #[derive(serde::Deserialize)]
    struct File {
        data: Vec<f32>,
    }
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for digit in 0..10 {
        let path = folder.join(DIGITS).join(format!("{digit}.json"));
        let text = reading::text(&path).map_err(|error| Error::data(&path, DIGITS, error))?;
        let file: File =
            serde_json::from_str(&text).map_err(|error| Error::data(&path, DIGITS, error))?;
        let count = file.data.len() / PIXELS;
        if count == 0 || !file.data.len().is_multiple_of(PIXELS) {
            let problem = format!(
                "expected a multiple of {PIXELS} numbers, found {}",
                file.data.len()
            );
            return Err(Error::data(&path, DIGITS, problem));
        }
        pixels.extend(file.data.iter().map(|pixel| (pixel - 0.1307) / 0.3081));
        labels.resize(labels.len() + count, digit);
    }
    let data = TensorData::new(pixels, [labels.len(), 28, 28]);
    Ok(Split::of(&Labelled {
        inputs: Tensor::from_data(data, device),
        labels: indices(&labels, device),
    }))
}

/// 5,000 and 1,000 images of CIFAR-10, each channel normalised as in the example.
pub(super) fn images(folder: &Path, device: &Device) -> Result<Split<Labelled<4>>, Error> {
    const MEANS: [f32; 3] = [0.4914, 0.48216, 0.44653];
    const DEVIATIONS: [f32; 3] = [0.24703, 0.24349, 0.26159];
    const SIDE: usize = custom_image_dataset::SIDE;
    const PLANE: usize = SIDE * SIDE;
    const RECORD: usize = 1 + 3 * PLANE;
    let read = |name: &str, count: usize| {
        let path = folder.join(IMAGES).join(name);
        let bytes = reading::bytes(&path).map_err(|error| Error::data(&path, IMAGES, error))?;
        if bytes.len() < count * RECORD {
            let problem = format!(
                "expected at least {} bytes, found {}",
                count * RECORD,
                bytes.len()
            );
            return Err(Error::data(&path, IMAGES, problem));
        }
        let (mut pixels, mut labels) = (Vec::with_capacity(count * 3 * PLANE), Vec::new());
        for record in bytes.chunks_exact(RECORD).take(count) {
            labels.push(usize::from(record[0]));
            for (channel, plane) in record[1..].chunks_exact(PLANE).enumerate() {
                let (mean, deviation) = (MEANS[channel], DEVIATIONS[channel]);
                pixels.extend(
                    plane
                        .iter()
                        .map(|&pixel| (f32::from(pixel) / 255.0 - mean) / deviation),
                );
            }
        }
        if let Some(label) = labels.iter().find(|label| **label > 9) {
            let problem = format!("expected classes 0 to 9, found {label}");
            return Err(Error::data(&path, IMAGES, problem));
        }
        let data = TensorData::new(pixels, [count, 3, SIDE, SIDE]);
        Ok(Labelled {
            inputs: Tensor::from_data(data, device),
            labels: indices(&labels, device),
        })
    };
    Ok(Split {
        train: read("data_batch_1.bin", 5000)?,
        test: read("test_batch.bin", 1000)?,
    })
}

static DIAMONDS: &[u8] = include_bytes!("../../data/diamonds.csv.gz");

/// The embedded diamonds: inputs between 0 and 1, prices in units of 10,000 dollars.
pub(super) fn diamonds(device: &Device) -> Split<Measured<2>> {
    let mut reader = csv::Reader::from_reader(GzDecoder::new(DIAMONDS));
    let rows = reader.deserialize::<[f32; FEATURES + 1]>();
    let rows: Vec<_> = rows
        .collect::<Result<_, _>>()
        .expect("the embedded file is a table of numbers");
    let mut ranges = [(f32::INFINITY, f32::NEG_INFINITY); FEATURES];
    for row in &rows {
        for (range, &value) in ranges.iter_mut().zip(row) {
            *range = (range.0.min(value), range.1.max(value));
        }
    }
    let inputs: Vec<f32> = rows
        .iter()
        .flat_map(|row| {
            let columns = row.iter().zip(ranges);
            columns.map(|(value, (least, most))| (value - least) / (most - least))
        })
        .collect();
    let prices: Vec<f32> = rows.iter().map(|row| row[FEATURES] / 10_000.0).collect();
    let count = rows.len();
    Split::of(&Measured {
        inputs: Tensor::from_data(TensorData::new(inputs, [count, FEATURES]), device),
        targets: Tensor::from_data(TensorData::new(prices, [count, 1]), device),
    })
}

/// 1,250 sequences in which each number is the sum of the two before, plus noise, as in the example.
pub(super) fn sums(device: &Device) -> Split<Measured<3>> {
    const COUNT: usize = 1250;
    let noise = Normal::new(0.0f32, 0.1).expect("a deviation above 0");
    let mut generator = ChaCha8Rng::seed_from_u64(5);
    let (mut inputs, mut targets) = (Vec::new(), Vec::new());
    for _ in 0..COUNT {
        let mut last: [f32; 2] = [generator.random(), generator.random()];
        inputs.extend(last);
        for _ in 2..LENGTH {
            last = [last[1], last[0] + last[1] + noise.sample(&mut generator)];
            inputs.push(last[1]);
        }
        targets.push(last[0] + last[1] + noise.sample(&mut generator));
    }
    Split::of(&Measured {
        inputs: Tensor::from_data(TensorData::new(inputs, [COUNT, LENGTH, 1]), device),
        targets: Tensor::from_data(TensorData::new(targets, [COUNT, 1]), device),
    })
}

/// The questions of TREC without repeats, in six classes, cut to `length` tokens.
pub(super) fn questions(
    folder: &Path,
    length: usize,
    device: &Device,
) -> Result<Split<Texts>, Error> {
    const CLASSES: [&str; 6] = ["ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"];
    let tokenizer = tokenizer(folder)?;
    let path = folder.join(QUESTIONS).join("question_labels.txt");
    let (mut texts, mut labels) = (Vec::new(), Vec::new());
    let mut seen = std::collections::BTreeSet::new();
    for (at, line) in latin1(&path, QUESTIONS)?.lines().enumerate() {
        if line.trim().is_empty() || !seen.insert(line.to_string()) {
            continue;
        }
        let parts = line.split_once(' ');
        let class = parts.and_then(|(label, text)| {
            let coarse = label.split(':').next()?;
            let class = CLASSES.iter().position(|name| *name == coarse)?;
            Some((class, text))
        });
        let Some((class, text)) = class else {
            let problem = format!("line {}: expected `CLASS:fine text`", at + 1);
            return Err(Error::data(&path, QUESTIONS, problem));
        };
        texts.push(encode(&tokenizer, text, &path, QUESTIONS)?);
        labels.push(class);
    }
    Ok(Split::of(&Texts::new(&texts, &labels, length, device)))
}

/// The first snippets of movie reviews, at most `length` tokens of each.
pub(super) fn reviews(
    folder: &Path,
    length: usize,
    device: &Device,
) -> Result<Split<Sequences>, Error> {
    const COUNT: usize = 1500;
    let tokenizer = tokenizer(folder)?;
    let path = folder
        .join(REVIEWS)
        .join("movieReviewSnippets_GroundTruth.txt");
    let text = latin1(&path, REVIEWS)?;
    let mut texts = Vec::new();
    for (at, line) in text.lines().enumerate().skip(1).take(COUNT) {
        let Some(review) = line.split('\t').nth(2) else {
            let problem = format!("line {}: expected three columns", at + 1);
            return Err(Error::data(&path, REVIEWS, problem));
        };
        let mut ids = encode(&tokenizer, review, &path, REVIEWS)?;
        ids.truncate(length);
        texts.push(ids);
    }
    Ok(Split::of(&Sequences::new(&texts, 0, device)))
}

fn tokenizer(folder: &Path) -> Result<Tokenizer, Error> {
    let path = folder.join(TOKENIZER).join("tokenizer.json");
    let bytes = reading::bytes(&path).map_err(|error| Error::data(&path, TOKENIZER, error))?;
    let tokenizer = Tokenizer::from_bytes(bytes);
    let mut tokenizer = tokenizer.map_err(|error| Error::data(&path, TOKENIZER, error))?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

fn encode(
    tokenizer: &Tokenizer,
    text: &str,
    path: &Path,
    folder: &'static str,
) -> Result<Vec<usize>, Error> {
    let encoded = tokenizer.encode(text, true);
    let encoded = encoded.map_err(|error| Error::data(path, folder, error))?;
    Ok(encoded.get_ids().iter().map(|&id| id as usize).collect())
}

fn latin1(path: &Path, folder: &'static str) -> Result<String, Error> {
    let bytes = reading::bytes(path).map_err(|error| Error::data(path, folder, error))?;
    Ok(bytes.into_iter().map(char::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_table_is_scaled() {
        let split = diamonds(&Device::flex());
        assert_eq!((split.train.samples(), split.test.samples()), (3318, 830));
        for part in [split.train, split.test] {
            let [least, most] = [part.inputs.clone().min(), part.inputs.max()];
            let [least, most] = [least, most].map(|x| x.into_scalar::<f32>());
            assert!(least >= 0.0 && most <= 1.0 && most > 0.9);
            let price = part.targets.mean().into_scalar::<f32>();
            assert!((0.3..0.5).contains(&price), "{price}");
        }
    }

    #[test]
    fn sequences_are_sums() {
        let split = sums(&Device::flex());
        assert_eq!((split.train.samples(), split.test.samples()), (1000, 250));
        let inputs = split.train.inputs;
        let last = inputs
            .narrow(1, LENGTH - 2, 2)
            .sum_dim(1)
            .squeeze_dim::<2>(1);
        let error = (last - split.train.targets).square().mean().sqrt();
        let error = error.into_scalar::<f32>();
        assert!((0.09..0.11).contains(&error), "{error}");
    }

    #[test]
    fn missing_data_are_named() {
        let folder = Path::new("/nowhere");
        let error = digits(folder, &Device::flex()).unwrap_err().to_string();
        assert!(error.contains("/nowhere/mnist10k/0.json"), "{error}");
        assert!(error.contains("fetch-data --out DIR mnist10k"), "{error}");
    }
}
