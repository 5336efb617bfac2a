//! Parquet files that Python wrote.

use finetune::conversation::{Content, Form, ReadOptions, Role, load};
use finetune::data::Error;

use super::{fixture, source};

fn read(name: &str) -> Result<(Form, Vec<Content>), Error> {
    let found = load(&source(fixture(name)), &ReadOptions::default())?;
    let mut samples = found.splits.train;
    samples.sort_by_key(|sample| sample.place.number());
    Ok((
        found.form,
        samples.into_iter().map(|sample| sample.content).collect(),
    ))
}

#[test]
fn nested_lists_and_absent_values_are_read() {
    let (form, contents) = read("messages.parquet").unwrap();
    assert_eq!(form, Form::Messages);
    assert_eq!(contents.len(), 3);
    let Content::Chat { messages, .. } = &contents[1] else {
        panic!("{contents:?}")
    };
    assert_eq!(messages[0].role, Role::System);
    assert_eq!(messages[4].content.as_deref(), Some(" 15.\n"));
    let Content::Chat { messages, .. } = &contents[2] else {
        panic!("{contents:?}")
    };
    assert!(
        messages[1]
            .content
            .as_ref()
            .unwrap()
            .starts_with("👩‍👩‍👧 e\u{301}")
    );
    let (form, contents) = read("alpaca.parquet").unwrap();
    assert_eq!(form, Form::Alpaca);
    let expected = Content::Instruction {
        instruction: "Sing.".into(),
        input: String::new(),
        output: "La 😀".into(),
        system: None,
    };
    assert_eq!(contents[1], expected);
}

#[test]
fn rows_of_parquet_files_are_named() {
    let mut options = ReadOptions::default();
    options.form = Some(Form::Text);
    let error = load(&source(fixture("alpaca.parquet")), &options).unwrap_err();
    assert!(matches!(error, Error::Row { row: 1, .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("alpaca.parquet, row 1: found the form Alpaca"),
        "{error}"
    );
}

#[test]
fn other_compression_is_refused_with_a_way_out() {
    let error = read("zstd.parquet").unwrap_err().to_string();
    assert!(
        error.contains("the column `text` is compressed with ZSTD"),
        "{error}"
    );
    assert!(error.contains("compression=\"snappy\""), "{error}");
}

#[test]
fn shards_are_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
    ] {
        std::fs::copy(fixture("messages.parquet"), folder.path().join(name)).unwrap();
    }
    let found = load(&source(folder.path()), &ReadOptions::default()).unwrap();
    assert_eq!(found.splits.train.len(), 3);
    assert_eq!(found.splits.left_out.duplicates, 3);
    assert_eq!(found.unused, ["id"]);
}
