//! A user's own CSV and JSON lines.

use finetune::data::{DataSource, Error, Task};

use super::{all, fixture, folder, named, texts};

fn refused(task: Task, name: &str, text: &str, options: DataSource) -> String {
    let folder = folder(&[(name, text.as_bytes())]);
    let options = DataSource {
        folder: folder.path().join(name),
        ..options
    };
    let error = task.load(&options).unwrap_err();
    let path = options.folder.display().to_string();
    error.to_string().replace(&path, "FILE")
}

#[test]
fn a_table_is_split_by_shares_and_numbers_are_in_their_order() {
    let options = DataSource {
        label_column: "stars".into(),
        test_share: 0.25,
        valid_share: 0.25,
        ..DataSource::new(fixture("reviews.csv"))
    };
    let splits = texts(Task::Csv, &options).unwrap();
    assert_eq!(splits.labels, ["2", "9", "10"]);
    let sizes = [&splits.train, &splits.valid, &splits.test].map(Vec::len);
    assert_eq!((sizes, splits.left_out.empty), ([2, 1, 1], 1));
    let named = named(&splits);
    assert!(named.contains(&("Two lines\nin one field".into(), "10".into())));
    assert!(named.contains(&("with, comma".into(), "10".into())));
    let first = splits.left_out.first_empty.unwrap();
    assert!(first.ends_with("reviews.csv, line 5"), "{first}");
}

#[test]
fn a_folder_of_json_lines_has_its_own_test_set() {
    let options = DataSource {
        text_column: "a".into(),
        second_column: Some("b".into()),
        label_column: "same".into(),
        valid_rows: Some(1),
        ..DataSource::new(fixture("pairs"))
    };
    let splits = texts(Task::Jsonl, &options).unwrap();
    assert_eq!(splits.labels, ["false", "true"]);
    // The pair that is in both files is a test example only.
    let sizes = [&splits.train, &splits.valid, &splits.test].map(Vec::len);
    assert_eq!((sizes, splits.left_out.duplicates), ([2, 1, 2], 1));
    assert!(all(&splits).iter().all(|row| row.second.is_some()));
}

#[test]
fn tabs_separate_where_the_name_says_so() {
    let folder = folder(&[("t.tsv", b"text\tlabel\na, b\tx\nc\ty\nd\tx\n")]);
    let splits = texts(Task::Csv, &DataSource::new(folder.path().join("t.tsv"))).unwrap();
    assert!(named(&splits).contains(&("a, b".into(), "x".into())));
}

#[test]
fn labels_of_other_parts_must_be_known() {
    let files: [(&str, &[u8]); 2] = [
        ("train.csv", b"text,label\na,x\nb,y\nc,x\n"),
        ("test.csv", b"text,label\nd,x\ne,z\n"),
    ];
    let folder = folder(&files);
    let error = texts(Task::Csv, &DataSource::new(folder.path())).unwrap_err();
    let Error::Line {
        path,
        line,
        problem,
    } = error
    else {
        panic!("{error}")
    };
    assert!(path.ends_with("test.csv"));
    assert_eq!(
        (line, problem.as_str()),
        (3, "unknown label `z`, expected one of `x`, `y`")
    );

    let options = DataSource {
        labels: Some(["x", "y", "z"].map(String::from).to_vec()),
        ..DataSource::new(folder.path())
    };
    assert_eq!(texts(Task::Csv, &options).unwrap().labels, ["x", "y", "z"]);
}

#[test]
fn damaged_tables_are_refused_by_line() {
    let csv = |text: &str| refused(Task::Csv, "t.csv", text, DataSource::new(""));
    assert_eq!(
        csv("text,label\na,x\nb,y,z\n"),
        "FILE, line 3: expected 2 columns as in the header, found 3"
    );
    assert_eq!(
        csv("texts,label\na,x\n"),
        "FILE, line 1: no column `text`; the header has `texts`, `label`"
    );
    assert_eq!(
        csv("text,label\na,x\nb,\n"),
        "FILE, line 3: the label is empty"
    );
    assert_eq!(csv("text,label\n,x\n"), "FILE: no rows with text");
    assert_eq!(
        csv("text,label\na,x\nb,x\n"),
        "FILE: all rows have the label `x`: expected two or more"
    );
    let many: String = (0..30).map(|i| format!("a{i},{i}.5\n")).collect();
    let many = csv(&format!("text,label\n{many}"));
    assert!(many.contains("30 different labels in 30 rows"), "{many}");
}

#[test]
fn damaged_json_is_refused_by_line() {
    let json = |text: &str| refused(Task::Jsonl, "t.jsonl", text, DataSource::new(""));
    let good = "{\"text\": \"a\", \"label\": 1}\n";
    let cut = json(&format!("{good}{{\"text\": \"b\""));
    assert!(
        cut.starts_with("FILE, line 2: expected a JSON object: "),
        "{cut}"
    );
    assert_eq!(
        json(&format!("{good}{{\"texts\": \"b\", \"label\": 1}}\n")),
        "FILE, line 2: no key `text`; the object has `texts`, `label`"
    );
    assert_eq!(
        json(&format!("{good}{{\"text\": 7, \"label\": 1}}\n")),
        "FILE, line 2: `text`: expected a text, found 7"
    );
    assert_eq!(
        json(&format!("{good}{{\"text\": \"b\", \"label\": [1]}}\n")),
        "FILE, line 2: `label`: expected a text, a number or true or false, found [1]"
    );
}

#[test]
fn a_folder_without_a_training_file_is_refused_with_what_belongs_there() {
    let folder = folder(&[("test.csv", b"text,label\na,x\n")]);
    let error = texts(Task::Csv, &DataSource::new(folder.path())).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("train.csv: not found; expected a file `.csv`"),
        "{error}"
    );
}
