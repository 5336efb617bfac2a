//! The data sets that `scripts/fetch-data` gets, by their counts.
//!
//! `cargo test --workspace --test data -- --ignored` after fetching them; `FINETUNE_DATA` is their
//! folder if it is not `~/.cache/burn-ief/data`.

use std::path::PathBuf;

use finetune::data::{DataSource, Splits, Task, TextBatcher, TextExample, load_tokenizer};

use super::{all, images, texts};

fn tell<E>(name: &str, splits: &Splits<E>) {
    let sizes = [&splits.train, &splits.valid, &splits.test].map(Vec::len);
    println!("{name}: {sizes:?}, {}", splits.left_out);
}

fn published(name: &str) -> PathBuf {
    let root = std::env::var_os("FINETUNE_DATA").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").expect("a home folder"));
    let root = root.unwrap_or_else(|| home().join(".cache/burn-ief/data"));
    root.join(name)
}

#[test]
#[ignore = "needs scripts/fetch-data"]
fn trec_has_5381_questions() {
    // 15,452 lines with 5,382 different ones; one question is there with two fine labels.
    for (task, contradictions) in [(Task::Trec, 0), (Task::TrecFine, 1)] {
        let splits = texts(task, &DataSource::new(published("trec"))).unwrap();
        assert_eq!(all(&splits).len(), 5381);
        assert_eq!(splits.left_out.duplicates, 15_452 - 5381);
        assert_eq!(splits.left_out.contradictions, contradictions);
        tell(&format!("{task:?}"), &splits);
    }
}

#[test]
#[ignore = "needs scripts/fetch-data"]
fn sentiment_has_10070_decided_snippets() {
    let splits = texts(Task::Sentiment, &DataSource::new(published("sentiment"))).unwrap();
    let rows = all(&splits);
    assert_eq!((rows.len(), splits.left_out.duplicates), (10_070, 2));
    assert_eq!(splits.left_out.undecided, 10_605 - 10_072);
    tell("sentiment", &splits);
}

#[test]
#[ignore = "needs scripts/fetch-data"]
fn sms_has_4512_messages() {
    let splits = texts(Task::Sms, &DataSource::new(published("sms"))).unwrap();
    let rows = all(&splits);
    assert_eq!(
        (rows.len(), rows.len() + splits.left_out.duplicates),
        (4512, 4837)
    );
    assert_eq!(
        rows.iter()
            .filter(|row| row.label.class() == Some(1))
            .count(),
        557
    );
    tell("sms", &splits);
}

#[test]
#[ignore = "needs scripts/fetch-data"]
fn cifar_10_has_60000_pictures() {
    let splits = images(Task::Cifar10, &DataSource::new(published("cifar10"))).unwrap();
    tell("cifar10", &splits);
    let count = splits.train.len() + splits.valid.len() + splits.test.len();
    assert_eq!(count + splits.left_out.duplicates, 60_000);
    for class in 0..10 {
        let of = |row: &&finetune::data::ImageExample| row.label == class;
        assert_eq!(splits.test.iter().filter(of).count(), 1000);
    }
}

#[test]
#[ignore = "needs scripts/fetch-data"]
fn minilm_reads_all_of_them() {
    let tokenizer = load_tokenizer(&published("minilm"), 30_522).unwrap();
    let batcher = TextBatcher::new(tokenizer, 64).unwrap();
    let known = batcher
        .encode(&[TextExample::new("That is a happy person", 0)])
        .unwrap();
    // Places of the words in `vocab.txt`.
    assert_eq!(
        known.items[0].tokens.ids,
        [101, 2008, 2003, 1037, 3407, 2711, 102]
    );
    for (task, name) in [
        (Task::Trec, "trec"),
        (Task::Sentiment, "sentiment"),
        (Task::Sms, "sms"),
    ] {
        let rows = all(&texts(task, &DataSource::new(published(name))).unwrap());
        let encoded = batcher.encode(&rows).unwrap();
        println!("{name}: {encoded}");
        assert_eq!(encoded.items.len(), rows.len());
        // Most fit in 64 tokens.
        assert!(encoded.truncated * 20 < rows.len());
    }
}
