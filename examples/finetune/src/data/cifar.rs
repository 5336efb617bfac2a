//! CIFAR-10 and CIFAR-100: the binary files, and sheets of one picture a row.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use image::{ImageReader, Limits};
use programs::reading;

use super::error::Error;
use super::lines::{Encoding, read};
use super::split::{Parts, Repeats, arrange};
use super::{DataSource, ImageExample, LeftOut, Splits};

pub(super) const FILES_10: &str = "a folder with CIFAR-10's `data_batch_1.bin` to \
    `data_batch_5.bin` and `test_batch.bin`, or the same as `.png` sheets with \
    `train_lables.json` and `test_lables.json`";
pub(super) const FILES_100: &str = "a folder with CIFAR-100's `train.bin` and `test.bin`";

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
const PIXELS: usize = 3 * PLANE;

const NAMES_10: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

pub(super) fn load_10(options: &DataSource) -> Result<Splits<ImageExample>, Error> {
    let folder = root(&options.folder, "cifar-10-batches-bin");
    let file = |name: &str| folder.join(name);
    let train = |end: &str| [1, 2, 3, 4, 5].map(|i| file(&format!("data_batch_{i}.{end}")));
    let classes = NAMES_10.len();
    let (train, test) = match (
        file("data_batch_1.bin").exists(),
        file("data_batch_1.png").exists(),
    ) {
        (true, _) => {
            let train = train("bin")
                .into_iter()
                .map(|path| binary(&path, 1, classes, FILES_10));
            let train: Vec<Vec<_>> = train.collect::<Result<_, _>>()?;
            let train = train.into_iter().flatten().collect();
            (
                train,
                binary(&file("test_batch.bin"), 1, classes, FILES_10)?,
            )
        }
        (false, true) => {
            let pictures = train("png").into_iter().map(|path| sheet(&path));
            let pictures: Vec<Vec<_>> = pictures.collect::<Result<_, _>>()?;
            let pictures = pictures.into_iter().flatten().collect();
            let train = labelled(pictures, &file("train_lables.json"), classes)?;
            let test = sheet(&file("test_batch.png"))?;
            (train, labelled(test, &file("test_lables.json"), classes)?)
        }
        (false, false) => return Err(Error::missing(&file("data_batch_1.bin"), FILES_10)),
    };
    split(train, test, NAMES_10.map(String::from).to_vec(), options)
}

pub(super) fn load_100(options: &DataSource) -> Result<Splits<ImageExample>, Error> {
    const CLASSES: usize = 100;
    let folder = root(&options.folder, "cifar-100-binary");
    let part = |name: &str| binary(&folder.join(name), 2, CLASSES, FILES_100);
    let names = folder.join("fine_label_names.txt");
    let labels = if names.exists() {
        let text = read(&names, Encoding::Utf8, FILES_100)?;
        let lines = text.lines().map(str::trim).filter(|name| !name.is_empty());
        lines.map(str::to_string).collect()
    } else {
        (0..CLASSES)
            .map(|class| class.to_string())
            .collect::<Vec<_>>()
    };
    if labels.len() != CLASSES {
        let problem = format!("expected {CLASSES} names, found {}", labels.len());
        return Err(Error::file(&names, problem));
    }
    split(part("train.bin")?, part("test.bin")?, labels, options)
}

/// The folder, or the one of the official archive in it.
fn root(folder: &Path, name: &str) -> PathBuf {
    match folder.join(name) {
        inner if inner.is_dir() => inner,
        _ => folder.into(),
    }
}

fn split(
    train: Vec<ImageExample>,
    test: Vec<ImageExample>,
    labels: Vec<String>,
    options: &DataSource,
) -> Result<Splits<ImageExample>, Error> {
    let parts = Parts {
        test: Some(test),
        ..Parts::pool(train)
    };
    arrange(parts, Repeats::Drop, labels, LeftOut::default(), options)
}

/// Records of labels (the last of them is the fine one) and three planes.
fn binary(
    path: &Path,
    labels: usize,
    classes: usize,
    expected: &str,
) -> Result<Vec<ImageExample>, Error> {
    let bytes = reading::bytes(path).map_err(|source| Error::read(path, source, expected))?;
    let record = labels + PIXELS;
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        let (whole, rest) = (bytes.len() / record, bytes.len() % record);
        let problem = format!(
            "truncated: expected records of {record} bytes, found {whole} and {rest} bytes"
        );
        return Err(Error::file(path, problem));
    }
    let example = |(index, record): (usize, &[u8])| {
        let (labels, planes) = record.split_at(labels);
        let label = usize::from(labels[labels.len() - 1]);
        if label >= classes {
            return Err(unknown(path, index, label, classes));
        }
        let pixels = (0..PIXELS).map(|i| planes[i % 3 * PLANE + i / 3]).collect();
        Ok(picture(pixels, label))
    };
    bytes
        .chunks_exact(record)
        .enumerate()
        .map(example)
        .collect()
}

fn picture(pixels: Vec<u8>, label: usize) -> ImageExample {
    ImageExample {
        pixels,
        height: SIDE,
        width: SIDE,
        label,
    }
}

fn unknown(path: &Path, index: usize, label: usize, classes: usize) -> Error {
    let problem = format!(
        "record {index}: unknown label {label}, expected 0 to {}",
        classes - 1
    );
    Error::file(path, problem)
}

/// A sheet of 1024 pixels in width, of which each row is one picture by rows.
fn sheet(path: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let refuse = |error: image::ImageError| Error::file(path, format!("not a picture: {error}"));
    let file = reading::open(path).map_err(|source| Error::read(path, source, FILES_10))?;
    let mut reader = ImageReader::new(BufReader::new(file))
        .with_guessed_format()
        .map_err(|source| Error::read(path, source, FILES_10))?;
    reader.limits(Limits::default());
    let sheet = reader.decode().map_err(refuse)?.into_rgb8();
    if sheet.width() as usize != PLANE {
        let problem = format!(
            "expected a sheet of {PLANE} pixels in width, one picture a row, found {}",
            sheet.width()
        );
        return Err(Error::file(path, problem));
    }
    Ok(sheet
        .into_raw()
        .chunks_exact(PIXELS)
        .map(<[u8]>::to_vec)
        .collect())
}

/// Pictures with the labels of a JSON list.
fn labelled(
    pictures: Vec<Vec<u8>>,
    path: &Path,
    classes: usize,
) -> Result<Vec<ImageExample>, Error> {
    let text = read(path, Encoding::Utf8, FILES_10)?;
    let labels: Vec<usize> = serde_json::from_str(&text)
        .map_err(|error| Error::file(path, format!("expected a list of labels: {error}")))?;
    if labels.len() != pictures.len() {
        let (expected, found) = (pictures.len(), labels.len());
        let problem = format!("expected {expected} labels, one for each picture, found {found}");
        return Err(Error::file(path, problem));
    }
    if let Some(index) = labels.iter().position(|&label| label >= classes) {
        return Err(unknown(path, index, labels[index], classes));
    }
    Ok(pictures
        .into_iter()
        .zip(labels)
        .map(|(pixels, label)| picture(pixels, label))
        .collect())
}
