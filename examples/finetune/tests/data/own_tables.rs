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
fn a_table_is_split_by_shares_and_named_classes_are_in_their_order() {
    let options = DataSource {
        label_column: "stars".into(),
        labels: Some(["2", "9", "10"].map(String::from).to_vec()),
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
    assert!(
        many.contains("30 different labels in 30 rows") && many.contains("--task regression"),
        "{many}"
    );
}

#[test]
fn numbers_are_not_turned_into_classes_unless_they_are_named() {
    let csv = |text: &str| refused(Task::Csv, "t.csv", text, DataSource::new(""));
    let scores = csv("text,label\na,4.5\nb,1.2\nc,3.0\nd,0.5\n");
    assert!(
        scores.starts_with(
            "FILE: the labels are numbers (`0.5`, `1.2`, `3.0`, `4.5`), expected classes."
        ),
        "{scores}"
    );
    assert!(
        scores.contains("`--task regression` learns numbers"),
        "{scores}"
    );
    assert!(scores.ends_with("`--labels 0.5,1.2,3.0,4.5`"), "{scores}");
    let whole = csv("text,label\na,1\nb,0\nc,1\nd,10\ne,9\n");
    assert!(whole.ends_with("`--labels 0,1,9,10`"), "{whole}");
    let comma = csv("text,label\na,\"1,5\"\nb,\"0,5\"\n");
    assert!(
        comma.contains("the labels are numbers (`0,5`, `1,5`)"),
        "{comma}"
    );
    let json = "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\", \"label\": \"2\"}\n";
    let json = refused(Task::Jsonl, "t.jsonl", json, DataSource::new(""));
    assert!(json.contains("`--labels 1,2`"), "{json}");
    let rows: String = (0..100).map(|i| format!("a{i},{}\n", i % 50)).collect();
    let rows = csv(&format!("text,label\n{rows}"));
    assert!(rows.contains("and 42 more") && rows.len() < 600, "{rows}");

    let text = b"text,label\na,1\nb,0\nc,1\nd,0\n";
    let folder = folder(&[("t.csv", text)]);
    let options = DataSource {
        labels: Some(["1", "0"].map(String::from).to_vec()),
        valid_share: 0.0,
        test_share: 0.0,
        ..DataSource::new(folder.path().join("t.csv"))
    };
    assert_eq!(texts(Task::Csv, &options).unwrap().labels, ["1", "0"]);
}

/// 40 rows, of which a reader that believes in the mark would find a few.
fn with_a_mark(delimiter: char, row: usize) -> String {
    let rows = (0..40).map(|i| {
        let mark = if i == row { "\"" } else { "" };
        let class = ["x", "y"][i % 2];
        format!("{class}{delimiter}{mark}text {i}\n")
    });
    let header = std::iter::once(format!("label{delimiter}text\n"));
    header.chain(rows).collect()
}

#[test]
fn a_mark_that_is_never_closed_loses_no_rows() {
    let csv = |text: &str| refused(Task::Csv, "t.csv", text, DataSource::new(""));
    let open = csv(&with_a_mark(',', 7));
    assert!(
        open.starts_with("FILE, line 9: a quotation mark that is never closed: "),
        "{open}"
    );
    assert!(open.contains("--quotes off"), "{open}");
    let stray = csv("text,label\na,x\nsay \"hi\",y\n");
    assert!(
        stray.starts_with("FILE, line 3: a quotation mark inside"),
        "{stray}"
    );
    let behind = csv("text,label\n\"a\" b,x\nc,y\n");
    assert!(
        behind.starts_with("FILE, line 2: text behind the quotation mark"),
        "{behind}"
    );

    // Between tabs, and where it is asked for, marks are characters.
    for (name, delimiter, quotes) in [("t.tsv", '\t', None), ("t.csv", ',', Some(false))] {
        let text = with_a_mark(delimiter, 7);
        let folder = folder(&[(name, text.as_bytes())]);
        let options = DataSource {
            quotes,
            ..DataSource::new(folder.path().join(name))
        };
        let splits = texts(Task::Csv, &options).unwrap();
        assert_eq!(all(&splits).len(), 40);
        assert!(named(&splits).contains(&("\"text 7".into(), "y".into())));
        let asked = DataSource {
            quotes: Some(true),
            ..options
        };
        assert!(texts(Task::Csv, &asked).is_err());
    }
}

#[test]
fn columns_and_keys_that_are_there_twice_are_refused() {
    let csv = |text: &str| refused(Task::Csv, "t.csv", text, DataSource::new(""));
    assert_eq!(
        csv("text,label,text\na,x,b\n"),
        "FILE, line 1: the header has the column `text` twice: rename one of them"
    );
    assert!(csv("text,label,other, other\na,x,b,c\n").contains("`other` twice"));
    let json = "{\"text\": \"a\", \"label\": \"x\", \"text\": \"b\"}\n";
    let json = refused(Task::Jsonl, "t.jsonl", json, DataSource::new(""));
    assert!(
        json.contains("line 1: ") && json.contains("the key `text` is there twice"),
        "{json}"
    );
}

#[test]
fn files_that_are_no_tables_are_named() {
    let refused = |task, name: &str, bytes: &[u8]| {
        let folder = folder(&[(name, bytes)]);
        let options = DataSource::new(folder.path().join(name));
        let error = task_error(task, &options);
        error.replace(&options.folder.display().to_string(), "FILE")
    };
    let mut utf_16 = b"\xff\xfe".to_vec();
    utf_16.extend(
        "text,label\ngood,a\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes),
    );
    let said = refused(Task::Csv, "t.csv", &utf_16);
    assert!(
        said.starts_with("FILE: text in UTF-16 (little endian"),
        "{said}"
    );
    assert!(
        said.contains("iconv -f utf-16") && !said.contains("latin1"),
        "{said}"
    );
    let said = refused(Task::Csv, "t.csv", b"PAR1\x15\x04\0\0PAR1");
    assert!(
        said.starts_with("FILE: a Parquet file, expected a table"),
        "{said}"
    );
    let said = refused(Task::Jsonl, "t.jsonl", b"text\0\n");
    assert!(said.starts_with("FILE, line 1: a NUL byte"), "{said}");
    let said = refused(
        Task::Jsonl,
        "t.jsonl",
        b"{\"text\": \"a\\u0000\", \"label\": \"x\"}\n",
    );
    assert!(said.starts_with("FILE, line 1: a NUL character"), "{said}");
    let said = refused(
        Task::Jsonl,
        "t.json",
        b"[{\"text\": \"a\", \"label\": \"x\"}]",
    );
    assert!(said.contains("one JSON object on each line"), "{said}");
    let folder = folder(&[("train-00000.parquet", b"PAR1")]);
    let said = task_error(Task::Csv, &DataSource::new(folder.path()));
    assert!(
        said.contains("train-00000.parquet: a Parquet file"),
        "{said}"
    );
    // Nor is a device read for ever.
    let said = task_error(Task::Csv, &DataSource::new("/dev/zero"));
    assert!(
        said.contains("expected a regular file, found a device"),
        "{said}"
    );
}

fn task_error(task: Task, options: &DataSource) -> String {
    texts(task, options).unwrap_err().to_string()
}

#[test]
fn long_values_are_shortened() {
    let long = "x".repeat(100_000);
    let csv = |text: &str| refused(Task::Csv, "t.csv", text, DataSource::new(""));
    let label = csv(&format!("text,label\na,{long}\n"));
    let columns: String = (0..5000).map(|i| format!(",c{i}")).collect();
    let header = csv(&format!("a{columns}\n"));
    let json = format!("{{\"text\": [\"{long}\"], \"label\": \"x\"}}\n");
    let json = refused(Task::Jsonl, "t.jsonl", &json, DataSource::new(""));
    for text in [label, header, json] {
        assert!(text.chars().count() < 500, "{}", text.len());
    }
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
        "FILE, line 2: a list of labels, expected one: `--task multi-label` learns several"
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
