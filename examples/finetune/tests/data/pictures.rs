//! CIFAR in both formats.

use std::collections::HashSet;
use std::io::Cursor;

use finetune::data::{DataSource, Task};
use image::{ImageFormat, RgbImage};

use super::{all, folder, images, refused};

const PIXELS: usize = 3 * 32 * 32;

/// Names and contents.
type Files = Vec<(String, Vec<u8>)>;

/// The colour of a pixel of picture `id`, different at each place.
fn value(id: usize, row: usize, column: usize, colour: usize) -> u8 {
    ((row * 32 + column) * 3 + colour + 7 * id) as u8
}

/// The picture's pixels by rows, the colours side by side.
fn pixels(id: usize) -> Vec<u8> {
    (0..PIXELS)
        .map(|i| value(id, i / 96, i / 3 % 32, i % 3))
        .collect()
}

/// The same as a binary record: labels, then three planes.
fn record(labels: &[u8], id: usize) -> Vec<u8> {
    let planes = (0..PIXELS).map(|i| value(id, i / 32 % 32, i % 32, i / 1024));
    labels.iter().copied().chain(planes).collect()
}

fn records(ids: std::ops::Range<usize>, labels: impl Fn(usize) -> Vec<u8>) -> Vec<u8> {
    ids.flat_map(|id| record(&labels(id), id)).collect()
}

fn sheet(ids: std::ops::Range<usize>) -> Vec<u8> {
    let rows = ids.len() as u32;
    let sheet = RgbImage::from_raw(1024, rows, ids.flat_map(pixels).collect()).unwrap();
    let mut bytes = Cursor::new(Vec::new());
    sheet.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Files of CIFAR-10 with four pictures each: `data_batch_1` … `test_batch`.
fn files(of: impl Fn(std::ops::Range<usize>) -> Vec<u8>, end: &str) -> Files {
    let names = (1..=5).map(|i| format!("data_batch_{i}.{end}"));
    let names = names.chain([format!("test_batch.{end}")]);
    names
        .enumerate()
        .map(|(i, name)| (name, of(4 * i..4 * i + 4)))
        .collect()
}

fn write(files: &[(String, Vec<u8>)]) -> tempfile::TempDir {
    let files: Vec<_> = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    folder(&files)
}

fn binary_files() -> Files {
    files(|ids| records(ids, |id| vec![(id % 10) as u8]), "bin")
}

fn sheet_files() -> Files {
    let labels = |ids: std::ops::Range<usize>| {
        let labels: Vec<_> = ids.map(|id| id % 10).collect();
        serde_json::to_vec(&labels).unwrap()
    };
    let mut files = files(sheet, "png");
    files.push(("train_lables.json".into(), labels(0..20)));
    files.push(("test_lables.json".into(), labels(20..24)));
    files
}

#[test]
fn binary_files_and_sheets_hold_the_same() {
    let [binary, sheets] = [binary_files(), sheet_files()].map(|files| {
        let folder = write(&files);
        images(Task::Cifar10, &DataSource::new(folder.path())).unwrap()
    });
    assert_eq!(binary, sheets);
    let sizes = [&binary.train, &binary.valid, &binary.test].map(Vec::len);
    assert_eq!(sizes, [18, 2, 4]);
    assert_eq!(
        (binary.labels[0].as_str(), binary.labels[9].as_str()),
        ("airplane", "truck")
    );
    for id in 0..24 {
        let rows = all(&binary);
        let row = rows.iter().find(|row| row.pixels == pixels(id));
        assert_eq!(row.unwrap().label, id % 10);
    }
    assert!(binary.test.iter().any(|row| row.pixels == pixels(20)));
}

#[test]
fn the_archive_s_own_folder_is_found() {
    let files: Vec<_> = binary_files()
        .into_iter()
        .map(|(name, bytes)| (format!("cifar-10-batches-bin/{name}"), bytes))
        .collect();
    let folder = write(&files);
    let options = DataSource {
        valid_rows: Some(5),
        train_rows: Some(10),
        test_rows: Some(2),
        ..DataSource::new(folder.path())
    };
    let splits = images(Task::Cifar10, &options).unwrap();
    let sizes = [&splits.train, &splits.valid, &splits.test].map(Vec::len);
    assert_eq!(sizes, [10, 5, 2]);
    let different: HashSet<_> = all(&splits).into_iter().map(|row| row.pixels).collect();
    assert_eq!(different.len(), 17);
}

#[test]
fn pictures_of_the_test_set_leave_the_training_set() {
    let mut files = binary_files();
    let repeated = record(&[3], 0);
    files[5].1.extend(repeated);
    let folder = write(&files);
    let splits = images(Task::Cifar10, &DataSource::new(folder.path())).unwrap();
    assert_eq!(
        (splits.left_out.duplicates, splits.left_out.contradictions),
        (1, 1)
    );
    assert_eq!(
        (splits.test.len(), splits.train.len() + splits.valid.len()),
        (5, 19)
    );
}

#[test]
fn the_fine_label_is_the_second_of_cifar_100() {
    let part = |ids| records(ids, |id| vec![1, 90 + id as u8]);
    let names: String = (0..100).map(|i| format!("name {i}\n")).collect();
    let files = [
        ("train.bin".to_string(), part(0..6)),
        ("test.bin".to_string(), part(6..9)),
        ("fine_label_names.txt".to_string(), names.into_bytes()),
    ];
    let folder = write(&files);
    let splits = images(Task::Cifar100, &DataSource::new(folder.path())).unwrap();
    let mut labels: Vec<_> = splits
        .test
        .iter()
        .map(|row| splits.labels[row.label].clone())
        .collect();
    labels.sort();
    assert_eq!(labels, ["name 96", "name 97", "name 98"]);
}

#[test]
fn damaged_files_are_refused() {
    let with = |change: &dyn Fn(&mut Files), mut files: Files| {
        change(&mut files);
        refused(Task::Cifar10, write(&files).path())
    };
    let cut = with(&|files| files[1].1.truncate(3073 * 2 + 5), binary_files());
    assert_eq!(
        cut,
        "data_batch_2.bin: truncated: expected records of 3073 bytes, found 2 and 5 bytes"
    );
    let label = with(&|files| files[0].1[3073] = 10, binary_files());
    assert_eq!(
        label,
        "data_batch_1.bin: record 1: unknown label 10, expected 0 to 9"
    );
    let missing = with(&|files| drop(files.pop()), binary_files());
    assert!(
        missing.starts_with("test_batch.bin: not found; expected a folder"),
        "{missing}"
    );
    let nothing = with(&Vec::clear, binary_files());
    assert!(
        nothing.starts_with("data_batch_1.bin: not found"),
        "{nothing}"
    );

    let cut = with(&|files| files[1].1.truncate(3000), sheet_files());
    assert!(
        cut.starts_with("data_batch_2.png: not a picture: "),
        "{cut}"
    );
    let count = with(&|files| files[7].1 = b"[1, 2]".to_vec(), sheet_files());
    assert_eq!(
        count,
        "test_lables.json: expected 4 labels, one for each picture, found 2"
    );
    let list = with(&|files| files[7].1 = b"{}".to_vec(), sheet_files());
    assert!(
        list.starts_with("test_lables.json: expected a list of labels: "),
        "{list}"
    );
    let label = with(
        &|files| files[7].1 = b"[1, 2, 3, 44]".to_vec(),
        sheet_files(),
    );
    assert_eq!(
        label,
        "test_lables.json: record 3: unknown label 44, expected 0 to 9"
    );
}
