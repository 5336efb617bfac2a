//! GLUE.

use finetune::data::{DataSource, Task};

use super::{fixture, folder, named, refused, texts};

const TASKS: [(Task, &str, [usize; 3]); 8] = [
    (Task::Cola, "cola", [6, 2, 2]),
    (Task::Sst2, "sst2", [5, 2, 2]),
    (Task::Mrpc, "mrpc", [3, 1, 1]),
    (Task::Qqp, "qqp", [3, 1, 1]),
    (Task::Mnli, "mnli", [3, 1, 1]),
    (Task::MnliMismatched, "mnli", [3, 1, 2]),
    (Task::Qnli, "qnli", [2, 1, 1]),
    (Task::Rte, "rte", [2, 1, 1]),
];

#[test]
fn all_tasks_are_read_and_the_development_set_is_halved() {
    for (task, name, sizes) in TASKS {
        let splits = texts(task, &DataSource::new(fixture(name))).unwrap();
        let found = [&splits.train, &splits.valid, &splits.test].map(Vec::len);
        assert_eq!(found, sizes, "{name}");
        let pair = !matches!(task, Task::Cola | Task::Sst2);
        let rows = [&splits.train[..], &splits.valid, &splits.test].concat();
        assert!(
            rows.iter().all(|row| row.second.is_some() == pair),
            "{name}"
        );
        assert!(
            rows.iter()
                .all(|row| row.label.class().unwrap() < splits.labels.len()),
            "{name}"
        );
        assert_eq!(
            splits,
            texts(task, &DataSource::new(fixture(name))).unwrap()
        );
    }
}

#[test]
fn labels_have_the_names_and_the_order_of_glue() {
    let labels = |task, name| texts(task, &DataSource::new(fixture(name))).unwrap().labels;
    assert_eq!(labels(Task::Cola, "cola"), ["unacceptable", "acceptable"]);
    assert_eq!(
        labels(Task::Mnli, "mnli"),
        ["entailment", "neutral", "contradiction"]
    );
    assert_eq!(labels(Task::Rte, "rte"), ["entailment", "not_entailment"]);
}

#[test]
fn quotes_are_plain_characters_and_repetitions_of_the_training_set_stay() {
    let splits = texts(Task::Cola, &DataSource::new(fixture("cola"))).unwrap();
    let named = named(&splits);
    let has = |text: &str, label: &str| named.contains(&(text.to_string(), label.to_string()));
    assert!(has(
        "She said \"the train is late\" and left.",
        "acceptable"
    ));
    assert!(has("The \"quoted word stays open.", "acceptable"));
    assert!(has("The rain fell roof the on.", "unacceptable"));
    assert_eq!(named.len(), 9);
    assert_eq!(splits.left_out.to_string(), "nothing was left out");
}

#[test]
fn columns_are_found_by_name_behind_a_byte_order_mark() {
    let splits = texts(Task::Mrpc, &DataSource::new(fixture("mrpc"))).unwrap();
    let open = splits
        .train
        .iter()
        .find(|row| row.first.starts_with("He said"));
    let open = open.unwrap();
    assert_eq!(open.first, "He said: \"We will rebuild");
    assert_eq!(
        open.second.as_deref(),
        Some("The man said they would rebuild.")
    );
    assert_eq!(splits.labels[open.label.class().unwrap()], "equivalent");
}

#[test]
fn known_flaws_of_published_files_are_counted() {
    let splits = texts(Task::Qqp, &DataSource::new(fixture("qqp"))).unwrap();
    assert_eq!(splits.left_out.malformed, 2);
    let splits = texts(Task::Mnli, &DataSource::new(fixture("mnli"))).unwrap();
    assert_eq!(splits.left_out.undecided, 1);
}

#[test]
fn a_development_row_leaves_the_training_set() {
    let train = b"sentence\tlabel\nseen\t1\nown\t0\n";
    let dev = b"sentence\tlabel\nseen\t1\nother\t0\n";
    let folder = folder(&[("train.tsv", train), ("dev.tsv", dev)]);
    let splits = texts(Task::Sst2, &DataSource::new(folder.path())).unwrap();
    assert_eq!(splits.train.len(), 1);
    assert_eq!(splits.train[0].first, "own");
    assert_eq!(splits.left_out.to_string(), "left out: 1 duplicates");
}

#[test]
fn damaged_files_are_refused_by_line() {
    let dev: &[u8] = b"sentence\tlabel\na\t1\nb\t0\n";
    let sst2 = |train: &[u8]| {
        let folder = folder(&[("train.tsv", train), ("dev.tsv", dev)]);
        refused(Task::Sst2, folder.path())
    };
    assert_eq!(
        sst2(b"sentence\tlabel\nc\t1\nd\t2\n"),
        "train.tsv, line 3: unknown label `2`, expected one of `0`, `1`"
    );
    assert_eq!(
        sst2(b"sentence\tlabel\nc\t1\td\n"),
        "train.tsv, line 2: expected 2 columns, found 3"
    );
    assert_eq!(
        sst2(b"text\tlabel\nc\t1\n"),
        "train.tsv, line 1: no column `sentence`; the header has `text`, `label`"
    );
    assert_eq!(sst2(b"sentence\tlabel\n"), "train.tsv: no rows");
    assert_eq!(sst2(b""), "train.tsv: empty");
    let latin = sst2(b"sentence\tlabel\ncaf\xe9\t1\n");
    assert!(
        latin.starts_with("train.tsv, line 2: byte 0xE9 is not UTF-8"),
        "{latin}"
    );
    let folder = folder(&[("train.tsv", dev)]);
    assert_eq!(
        refused(Task::Sst2, folder.path()),
        "dev.tsv: not found; expected `dev.tsv` of GLUE"
    );
}

#[test]
fn rows_without_text_are_left_out_with_their_place() {
    let train = b"sentence\tlabel\n\nc\t1\n \t0\n";
    let dev = b"sentence\tlabel\na\t1\nb\t0\n";
    let folder = folder(&[("train.tsv", train), ("dev.tsv", dev)]);
    let splits = texts(Task::Sst2, &DataSource::new(folder.path())).unwrap();
    assert_eq!((splits.train.len(), splits.left_out.empty), (1, 2));
    let told = splits.left_out.to_string();
    assert!(
        told.starts_with("left out: 2 rows without text (the first: "),
        "{told}"
    );
    assert!(told.ends_with("train.tsv, line 2)"), "{told}");
}
