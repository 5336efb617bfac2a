//! Runs whose data or model change under the same path.

use std::fs;
use std::path::Path;

use finetune::history::Status;

use crate::on_texts;
use crate::place::Place;

/// A run that ends without an epoch to spare.
const FLAGS: [&str; 3] = ["--epochs=2", "--method=sgd", "--step-size=0.01"];

/// A run that was interrupted after its first epoch: its record says so, and its checkpoint is there.
fn interrupted(place: &Place) {
    let flags = [&FLAGS[..], &["--keep-checkpoints"]].concat();
    place.succeed(&on_texts("bert", &flags));
    let run = place.path("runs/sgd-seed1");
    let mut history = place.history("runs/sgd-seed1");
    history.epochs.truncate(1);
    history.status = Status::Interrupted;
    history.test = None;
    history.write(&run).unwrap();
}

/// Two rows of one class: rows of different classes are split on their own.
fn swap_lines(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.swap(1, 4);
    fs::write(path, lines.join("\n") + "\n").unwrap();
}

#[test]
fn a_run_does_not_go_on_with_other_rows_or_weights() {
    let place = Place::new();
    let model = place.model("bert");
    let data = place.texts();
    interrupted(&place);
    let resume = on_texts("bert", &[&FLAGS[..], &["--resume"]].concat());
    let refused = |expected: &str| {
        for flags in [&resume, &on_texts("bert", &FLAGS)] {
            let said = place.fail(2, flags);
            assert!(
                said.contains("runs/sgd-seed1: holds a run with other inputs"),
                "{said}"
            );
            assert!(said.contains(expected), "{expected}: {said}");
        }
    };
    let rows = fs::read_to_string(&data).unwrap();
    let content = "changed since it began: rows of the data (texts, pictures or labels). ";
    let without_a_row = rows.replacen("\n", "\r", 1);
    let (_, rest) = without_a_row.split_once('\n').unwrap();
    for changed in [
        format!("text,label\n{rest}"),
        rows.replacen(",alpha", ",beta", 1),
        rows.replacen("n7,", "n700,", 1),
    ] {
        assert_ne!(changed, rows);
        fs::write(&data, changed).unwrap();
        refused(content);
    }
    fs::write(&data, &rows).unwrap();
    swap_lines(&data);
    refused("the order of the rows, which decides on their split (");
    fs::write(&data, rows.replace("alpha", "delta")).unwrap();
    refused("the classes (`alpha`, `beta`, `gamma` before, `beta`, `delta`, `gamma` now)");
    fs::write(&data, &rows).unwrap();

    for (name, change) in [
        ("model.safetensors", 1),
        ("tokenizer.json", 0),
        ("config.json", 0),
    ] {
        let path = model.join(name);
        let bytes = fs::read(&path).unwrap();
        let mut changed = bytes.clone();
        if change == 1 {
            *changed.last_mut().unwrap() ^= 1;
        } else {
            changed.push(b'\n');
        }
        fs::write(&path, changed).unwrap();
        refused(&format!("changed since it began: {name} of the model. "));
        fs::write(&path, bytes).unwrap();
    }

    // All is as it was: the run goes on.
    place.succeed(&resume);
    assert_eq!(place.history("runs/sgd-seed1").status, Status::Finished);
    // Nor is a finished run taken for one of other data; --force replaces it.
    swap_lines(&data);
    refused("the order of the rows");
    place.succeed(&on_texts("bert", &[&FLAGS[..], &["--force"]].concat()));
}

#[test]
fn records_of_older_versions_go_on() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    interrupted(&place);
    let run = place.path("runs/sgd-seed1");
    let mut history = place.history("runs/sgd-seed1");
    history.inputs = None;
    history.write(&run).unwrap();
    place.succeed(&on_texts("bert", &[&FLAGS[..], &["--resume"]].concat()));
    assert!(place.history("runs/sgd-seed1").inputs.is_some());
}

#[test]
fn a_step_size_of_seventeen_digits_is_the_same_after_a_record() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let flags = on_texts(
        "bert",
        &[
            "--epochs=1",
            "--method=sgd",
            "--step-size=0.17832712829113007",
        ],
    );
    place.succeed(&flags);
    let said = place.succeed(&flags);
    assert!(said.contains("(finished before)"), "{said}");
}
