//! Data sets in their real formats: what is read, what is refused, what is split.

mod benchmarks;
mod corpora;
mod own_images;
mod own_labels;
mod own_tables;
mod pictures;
mod published;
mod tokens;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use finetune::data::{DataSource, Dataset, Error, ImageExample, Splits, Task, TextExample};

/// A hand-made fixture (see `fixtures/README.md`).
fn fixture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fixtures");
    folder.join(name)
}

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder
}

fn texts(task: Task, options: &DataSource) -> Result<Splits<TextExample>, Error> {
    task.load(options).map(|dataset| match dataset {
        Dataset::Text(splits) => splits,
        _ => panic!("{task:?} has texts"),
    })
}

fn images(task: Task, options: &DataSource) -> Result<Splits<ImageExample>, Error> {
    task.load(options).map(|dataset| match dataset {
        Dataset::Image(splits) => splits,
        _ => panic!("{task:?} has pictures"),
    })
}

/// All examples of a data set.
fn all<E: Clone>(splits: &Splits<E>) -> Vec<E> {
    [&splits.train[..], &splits.valid, &splits.test].concat()
}

/// The text with its label's name, of each example.
fn named(splits: &Splits<TextExample>) -> HashSet<(String, String)> {
    let name = |e: TextExample| {
        let class = e.label.class().unwrap();
        (e.first, splits.labels[class].clone())
    };
    all(splits).into_iter().map(name).collect()
}

/// The message of a refusal without the folder's path, which differs from run to run.
fn refused(task: Task, folder: &Path) -> String {
    let error = task.load(&DataSource::new(folder)).unwrap_err();
    error
        .to_string()
        .replace(&format!("{}/", folder.display()), "")
}
