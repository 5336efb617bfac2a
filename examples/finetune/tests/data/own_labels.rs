//! Numbers, several labels, and tags of words in the user's own files.

use finetune::data::{
    DataSource, Dataset, Error, Label, Splits, TaggedPieces, Task, TextBatcher, TokenExample,
    load_tokenizer,
};

use super::{all, fixture, folder, texts};

/// What is said about a file of this name.
fn refused(task: Task, name: &str, text: &str, options: DataSource) -> String {
    let folder = folder(&[(name, text.as_bytes())]);
    let path = folder.path().join(name);
    let options = DataSource {
        folder: path.clone(),
        ..options
    };
    let error = task.load(&options).unwrap_err().to_string();
    error.replace(&path.display().to_string(), "FILE")
}

fn label(splits: &Splits<finetune::data::TextExample>, text: &str) -> Label {
    let rows = all(splits);
    let row = rows.into_iter().find(|row| row.first == text);
    row.unwrap().label
}

#[test]
fn numbers_are_read_from_tables_and_lines() {
    let rows: String = (0..20).map(|i| format!("a{i},{}.5\n", i - 5)).collect();
    let csv = format!("text,score\n{rows}comma,\"7,25\"\n");
    let lines = "{\"text\": \"a\", \"score\": 3}\n{\"text\": \"b\", \"score\": \"-1e2\"}\n"
        .to_string()
        + &(0..9)
            .map(|i| format!("{{\"text\": \"r{i}\", \"score\": {i}}}\n"))
            .collect::<String>();
    let folder = folder(&[("t.csv", csv.as_bytes()), ("t.jsonl", lines.as_bytes())]);
    let read = |name: &str| {
        let options = DataSource {
            label_column: "score".into(),
            ..DataSource::new(folder.path().join(name))
        };
        texts(Task::Regression, &options).unwrap()
    };
    let splits = read("t.csv");
    assert_eq!(splits.labels, ["score"]);
    assert_eq!(label(&splits, "a0"), Label::Number(-5.5));
    assert_eq!(label(&splits, "comma"), Label::Number(7.25));
    let splits = read("t.jsonl");
    assert_eq!(label(&splits, "a"), Label::Number(3.0));
    assert_eq!(label(&splits, "b"), Label::Number(-100.0));
}

#[test]
fn labels_that_are_no_numbers_are_named_with_the_task_that_fits() {
    let csv = |text: &str| refused(Task::Regression, "t.csv", text, DataSource::new(""));
    assert_eq!(
        csv("text,label\na,1.5\nb,good\n"),
        "FILE, line 3: expected a number, found `good`: `--task csv` and `--task jsonl` learn classes"
    );
    assert!(csv("text,label\na,inf\n").starts_with("FILE, line 2: expected a number"));
    assert_eq!(
        csv("text,label\na,1\nb,\n"),
        "FILE, line 3: the label is empty"
    );
    let list = "{\"text\": \"a\", \"label\": [1, 2]}\n";
    let list = refused(Task::Regression, "t.jsonl", list, DataSource::new(""));
    assert!(
        list.starts_with("FILE, line 1: expected a number, found `a list`"),
        "{list}"
    );
    let classes = "{\"text\": \"a\", \"label\": [\"x\", \"y\"]}\n";
    let classes = refused(Task::Jsonl, "t.jsonl", classes, DataSource::new(""));
    assert_eq!(
        classes,
        "FILE, line 1: a list of labels, expected one: `--task multi-label` learns several"
    );
}

#[test]
fn several_labels_are_lists_texts_or_columns() {
    let rows: String = (0..10).map(|i| format!("r{i},x;y\n")).collect();
    let csv = format!("text,label\na,\"y; z\"\nb,\nc,x\n{rows}");
    let lines: String = (0..10)
        .map(|i| format!("{{\"text\": \"r{i}\", \"label\": [\"x, or so\", \"y\"]}}\n"))
        .collect();
    let lines = format!("{{\"text\": \"a\", \"label\": []}}\n{lines}");
    let flags: String = (0..10).map(|i| format!("r{i},0,1\n")).collect();
    let flags = format!("text,toxic,rude\na,1,1\nb,0.0,False\n{flags}");
    let folder = folder(&[
        ("t.csv", csv.as_bytes()),
        ("t.jsonl", lines.as_bytes()),
        ("flags.csv", flags.as_bytes()),
    ]);
    let set = |set: &[u8]| Label::Set(set.iter().map(|&applies| applies == 1).collect());
    let options = DataSource {
        label_separator: ";".into(),
        ..DataSource::new(folder.path().join("t.csv"))
    };
    let splits = texts(Task::MultiLabel, &options).unwrap();
    assert_eq!(splits.labels, ["x", "y", "z"]);
    assert_eq!(label(&splits, "a"), set(&[0, 1, 1]));
    assert_eq!(label(&splits, "b"), set(&[0, 0, 0]));
    let options = DataSource {
        labels: Some(["z", "y", "x", "w"].map(String::from).to_vec()),
        ..options
    };
    let splits = texts(Task::MultiLabel, &options).unwrap();
    assert_eq!(label(&splits, "c"), set(&[0, 0, 1, 0]));

    let splits = texts(
        Task::MultiLabel,
        &DataSource::new(folder.path().join("t.jsonl")),
    )
    .unwrap();
    assert_eq!(splits.labels, ["x, or so", "y"]);
    assert_eq!(label(&splits, "a"), set(&[0, 0]));
    let options = DataSource {
        label_columns: ["rude", "toxic"].map(String::from).to_vec(),
        ..DataSource::new(folder.path().join("flags.csv"))
    };
    let splits = texts(Task::MultiLabel, &options).unwrap();
    assert_eq!(splits.labels, ["rude", "toxic"]);
    assert_eq!(label(&splits, "a"), set(&[1, 1]));
    assert_eq!(label(&splits, "b"), set(&[0, 0]));
    assert_eq!(label(&splits, "r0"), set(&[1, 0]));
}

#[test]
fn sets_that_are_none_are_named_with_what_fits() {
    let csv = |text: &str| refused(Task::MultiLabel, "t.csv", text, DataSource::new(""));
    let one = csv("text,label\na,x\nb,y\n");
    assert!(
        one.starts_with("FILE: no row has more than one label: `--task csv`"),
        "{one}"
    );
    assert_eq!(
        csv("text,label\na,\"x,y,x\"\n"),
        "FILE, line 2: the label `x` is there twice"
    );
    assert_eq!(
        csv("text,label\na,\"x,,y\"\n"),
        "FILE, line 2: one of the labels is empty"
    );
    assert_eq!(csv("text,label\na,\nb,\n"), "FILE: no row has a label");
    let columns = DataSource {
        label_columns: vec!["x".into()],
        ..DataSource::new("")
    };
    assert_eq!(
        refused(
            Task::MultiLabel,
            "t.csv",
            "text,x\na,1\nb,2\n",
            columns.clone()
        ),
        "FILE, line 3: column `x`: expected 0 or 1, found `2`"
    );
    let missing = refused(Task::MultiLabel, "t.csv", "text,y\na,1\n", columns);
    assert!(missing.contains("no column `x`"), "{missing}");
    let known = DataSource {
        labels: Some(["x", "y"].map(String::from).to_vec()),
        ..DataSource::new("")
    };
    let unknown = refused(Task::MultiLabel, "t.csv", "text,label\na,\"x,z\"\n", known);
    assert_eq!(
        unknown,
        "FILE, line 2: unknown label `z`, expected one of `x`, `y`"
    );
}

fn tokens(options: &DataSource) -> Result<Splits<TokenExample>, Error> {
    Task::TokenClassification
        .load(options)
        .map(|dataset| match dataset {
            Dataset::Tokens(splits) => splits,
            _ => panic!("words with tags"),
        })
}

#[test]
fn tags_are_read_from_columns_and_lines() {
    let conll: String = (0..12)
        .map(|i| format!("Bach{i} NNP B-PER\ndied VBD O\n\n"))
        .collect();
    let lines: String = (0..12)
        .map(|i| {
            format!("{{\"id\": {i}, \"tokens\": [\"Bach{i}\", \"died\"], \"ner_tags\": [1, 0]}}\n")
        })
        .collect();
    let folder = folder(&[("t.conll", conll.as_bytes()), ("t.jsonl", lines.as_bytes())]);
    let splits = tokens(&DataSource::new(folder.path().join("t.conll"))).unwrap();
    assert_eq!(splits.labels, ["O", "B-PER"]);
    let rows = all(&splits);
    assert_eq!(rows.len(), 12);
    assert!(
        rows.iter()
            .all(|row| row.tags == [1, 0] && row.words[1] == "died")
    );
    // Numbers are the places of their names.
    let options = DataSource {
        labels: Some(["O", "B-LOC"].map(String::from).to_vec()),
        ..DataSource::new(folder.path().join("t.jsonl"))
    };
    let rows = all(&tokens(&options).unwrap());
    assert!(rows.iter().all(|row| row.tags == [1, 0]));
}

#[test]
fn rows_without_a_tag_for_each_word_are_named() {
    let refused = |name: &str, text: &str| {
        refused(Task::TokenClassification, name, text, DataSource::new(""))
    };
    assert_eq!(
        refused(
            "t.jsonl",
            "{\"tokens\": [\"a\", \"b\"], \"tags\": [\"O\"]}\n"
        ),
        "FILE, line 1: 2 words and 1 tags, expected one tag for each word"
    );
    let missing = refused("t.jsonl", "{\"tokens\": [\"a\"], \"text\": \"a\"}\n");
    assert!(
        missing.starts_with("FILE, line 1: no key `tags`, `ner_tags`"),
        "{missing}"
    );
    let text = refused("t.jsonl", "{\"tokens\": \"a b\", \"tags\": [\"O\"]}\n");
    assert!(
        text.starts_with("FILE, line 1: `tokens`: expected a list with an entry for each word"),
        "{text}"
    );
    let numbers = refused("t.jsonl", "{\"tokens\": [\"a\"], \"tags\": [0]}\n");
    assert!(numbers.contains("the tags are numbers (`0`)"), "{numbers}");
    let words = refused("t.txt", "a\nb\n");
    assert!(
        words.starts_with("FILE, line 1: the word `a` has no tag"),
        "{words}"
    );
    let same = refused("t.txt", "a O\nb O\n");
    assert!(same.contains("all words have the tag `O`"), "{same}");
    assert_eq!(refused("t.txt", "\n\n"), "FILE: no words with tags");
    // A table for another task.
    let csv = refused("t.csv", "text,label\nsome text here,x\nb,y\n");
    assert!(csv.contains("line 2: expected 1 columns"), "{csv}");
}

#[test]
fn the_first_token_of_a_word_has_its_tag() {
    let tokenizer = load_tokenizer(&fixture("bert"), 26).unwrap();
    let batcher = TextBatcher::for_words(tokenizer, 8).unwrap();
    let example = |words: &[&str], tags: &[usize]| TokenExample {
        words: words.iter().map(|word| word.to_string()).collect(),
        tags: tags.to_vec(),
    };
    // [CLS] the mill rain ##ed [SEP]
    let row = example(&["The", "mill", "rained"], &[0, 1, 2]);
    let tags = |row: &TokenExample, pieces| {
        let encoded = batcher
            .encode_words(std::slice::from_ref(row), pieces)
            .unwrap();
        (encoded.items[0].label.clone(), encoded.truncated)
    };
    let first = tags(&row, TaggedPieces::First);
    assert_eq!(first, (Label::Tags(vec![-100, 0, 1, 2, -100, -100]), 0));
    let every = tags(&row, TaggedPieces::All);
    assert_eq!(every.0, Label::Tags(vec![-100, 0, 1, 2, 2, -100]));
    // Words that do not fit lose their tags.
    let long = example(&["the"; 9], &[1; 9]);
    let (label, truncated) = tags(&long, TaggedPieces::First);
    assert_eq!(
        (label, truncated),
        (Label::Tags(vec![-100, 1, 1, 1, 1, 1, 1, -100]), 1)
    );
}
