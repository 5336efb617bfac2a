//! TREC, sentiment and text messages.

use finetune::data::{DataSource, Task};

use super::{all, fixture, folder, named, refused, texts};

#[test]
fn questions_are_read_once_in_both_encodings() {
    let splits = texts(Task::Trec, &DataSource::new(fixture("trec"))).unwrap();
    assert_eq!(splits.labels, ["ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"]);
    assert_eq!(all(&splits).len(), 10);
    assert_eq!(
        (splits.left_out.duplicates, splits.left_out.contradictions),
        (5, 0)
    );
    assert!(named(&splits).contains(&("What is a café ?".into(), "DESC".into())));

    let utf8 = folder(&[(
        "question_labels.txt",
        "DESC:def What is a café ?\nHUM:ind Who ?\nHUM:gr Which team ?\n".as_bytes(),
    )]);
    let splits = texts(Task::Trec, &DataSource::new(utf8.path())).unwrap();
    assert!(named(&splits).contains(&("What is a café ?".into(), "DESC".into())));
}

#[test]
fn fine_labels_tell_apart_what_coarse_ones_do_not() {
    let splits = texts(Task::TrecFine, &DataSource::new(fixture("trec"))).unwrap();
    assert_eq!(splits.labels.len(), 50);
    assert_eq!(
        (splits.left_out.duplicates, splits.left_out.contradictions),
        (5, 1)
    );
    // The first of the two labels is kept.
    let question = (
        "How many brothers built it ?".to_string(),
        "NUM:count".to_string(),
    );
    assert!(named(&splits).contains(&question));
}

#[test]
fn the_published_test_set_of_questions_is_kept() {
    let train = b"HUM:ind Who ?\nLOC:city Where ?\nLOC:other Which sea ?\nNUM:date When ?\n";
    let test = b"NUM:date When ?\nHUM:ind Who else ?\n";
    let folder = folder(&[("train_5500.label", train), ("TREC_10.label", test)]);
    let splits = texts(Task::Trec, &DataSource::new(folder.path())).unwrap();
    assert_eq!(
        (splits.test.len(), splits.train.len() + splits.valid.len()),
        (2, 3)
    );
}

#[test]
fn damaged_questions_are_refused_by_line() {
    let refused = |task, text: &[u8]| {
        let folder = folder(&[("question_labels.txt", text)]);
        refused(task, folder.path())
    };
    assert_eq!(
        refused(Task::Trec, b"HUM:ind Who ?\nWHO:ind Who ?\n"),
        "question_labels.txt, line 2: unknown label `WHO:ind`, expected `COARSE:fine`, one of \
         ABBR, DESC, ENTY, HUM, LOC, NUM"
    );
    let fine = refused(Task::TrecFine, b"HUM:who Who ?\n");
    assert!(fine.contains("line 1: unknown label `HUM:who`"), "{fine}");
    assert!(refused(Task::Trec, b"just a line\n").contains("unknown label `just`"));
    assert!(refused(Task::Trec, b"").contains("no rows for training"));
}

#[test]
fn sentiment_is_the_sign_of_a_decided_score() {
    let splits = texts(Task::Sentiment, &DataSource::new(fixture("sentiment"))).unwrap();
    let named = named(&splits);
    assert_eq!((named.len(), splits.left_out.undecided), (7, 1));
    for (text, label) in [
        ("A ''fine'' film, said the \"critic.", "positive"),
        ("Good company.", "positive"),
        ("Not much of a plot.", "negative"),
        ("Warm… and clever.", "positive"),
    ] {
        assert!(named.contains(&(text.into(), label.into())), "{text}");
    }
}

#[test]
fn damaged_reviews_are_refused_by_line() {
    let refused = |text: &str| {
        let name = "movieReviewSnippets_GroundTruth.txt";
        let folder = folder(&[(name, text.as_bytes())]);
        let message = refused(Task::Sentiment, folder.path());
        message.strip_prefix(name).unwrap().to_string()
    };
    let header = "id\tsentiment\ttext\r\n";
    assert_eq!(
        refused("id\ttext\n"),
        ", line 1: expected the header `id\tsentiment\ttext`, found `id\ttext`"
    );
    assert_eq!(
        refused(&format!("{header}1\t2.0\r\n")),
        ", line 2: expected 3 columns, found 2"
    );
    assert_eq!(
        refused(&format!("{header}1\tNaN\tx\r\n")),
        ", line 2: expected a score, found `NaN`"
    );
    assert_eq!(refused(""), ": empty");
}

#[test]
fn messages_are_ham_or_spam() {
    let splits = texts(Task::Sms, &DataSource::new(fixture("sms"))).unwrap();
    let named = named(&splits);
    assert_eq!((named.len(), splits.left_out.duplicates), (6, 1));
    assert!(named.contains(&("WIN a \"cart\" now, call 000".into(), "spam".into())));
    assert!(named.contains(&("See you at noon, at the mill".into(), "ham".into())));
    let path = fixture("sms/sms-spam.csv");
    assert_eq!(texts(Task::Sms, &DataSource::new(path)).unwrap(), splits);
}
