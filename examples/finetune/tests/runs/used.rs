//! What was trained is used: predictions, merged folders, GGUF files.
//!
//! `scripts/check_merged.py` and `scripts/check_predictions.py` compare both with `transformers` and PEFT.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use super::on_texts;
use super::place::{CLASSES, Place, text};

/// Rows of a file in JSON lines.
fn rows(place: &Place, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(name)).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The probabilities of a row, in the order of the classes.
fn probabilities(row: &Value) -> Vec<f64> {
    let all = row["probabilities"].as_object().unwrap();
    all.values().map(|value| value.as_f64().unwrap()).collect()
}

/// Compare the predictions of two files.
pub fn same(place: &Place, one: &str, other: &str) {
    let (one, other) = (rows(place, one), rows(place, other));
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(&other) {
        assert_eq!(one["text"], other["text"]);
        let pairs = probabilities(one).into_iter().zip(probabilities(other));
        for (a, b) in pairs {
            assert!((a - b).abs() < 2e-5, "{one} {other}");
        }
    }
}

/// Unlabelled rows for a model of texts.
pub fn new_rows(place: &Place) -> usize {
    let rows = (0..11).map(|n| {
        let more = " w12".repeat(n % 5);
        json!({"id": n, "text": format!("w{} w{}{more} n{n}", 13 + n, n % 3)}).to_string() + "\n"
    });
    fs::write(place.path("new.jsonl"), rows.collect::<String>()).unwrap();
    11
}

pub fn predict(place: &Place, target: &str, out: &str, more: &[&str]) -> String {
    let flags = ["predict", target, "--data=new.jsonl", "--out", out];
    let output = place.run(&[&flags[..], more].concat());
    let said = text(&output.stderr);
    assert!(output.status.success(), "{target}: {said}");
    said
}

#[test]
fn texts_are_classified_by_run_adapter_and_merged_folder() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let count = new_rows(&place);
    place.succeed(&on_texts(
        "bert",
        &["--epochs=2", "--method=adamw", "--step-size=0.03"],
    ));
    let said = predict(&place, "runs/adamw-seed1", "run.jsonl", &[]);
    assert!(
        said.contains("11 rows") && !said.contains("accuracy"),
        "{said}"
    );
    let found = rows(&place, "run.jsonl");
    assert_eq!(found.len(), count);
    for (n, row) in found.iter().enumerate() {
        assert_eq!(row["id"], n);
        let values = probabilities(row);
        assert!((values.iter().sum::<f64>() - 1.0).abs() < 1e-5);
        let best = (0..3)
            .max_by(|&a, &b| values[a].total_cmp(&values[b]))
            .unwrap();
        assert_eq!(row["predicted"], CLASSES[best]);
    }
    // Whatever the batches, and from each of the folders.
    predict(
        &place,
        "runs/adamw-seed1/adapter",
        "small.jsonl",
        &["--batch=2"],
    );
    same(&place, "run.jsonl", "small.jsonl");
    fs::rename(place.path("runs/adamw-seed1/adapter"), place.path("moved")).unwrap();
    predict(&place, "moved", "moved.jsonl", &[]);
    same(&place, "run.jsonl", "moved.jsonl");
    place.succeed(&["merge", "moved", "--out=merged"]);
    predict(&place, "merged", "merged.jsonl", &[]);
    same(&place, "run.jsonl", "merged.jsonl");
    let config = fs::read_to_string(place.path("merged/config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(
        config["id2label"],
        json!({"0": "alpha", "1": "beta", "2": "gamma"})
    );
    assert!(place.path("merged/tokenizer.json").exists());

    // A table from standard input, with labels.
    let mut child = place
        .command(&["predict", "merged", "--data=-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let table = "text,label\n\"w13 w0 n0\",alpha\nw14 w1 w12 n1,\n";
    child
        .stdin
        .take()
        .unwrap()
        .write_all(table.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let (table, said) = (text(&output.stdout), text(&output.stderr));
    assert!(
        said.contains("2 rows, accuracy") && said.contains("on 1 with a label"),
        "{said}"
    );
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "text,label,predicted,p_alpha,p_beta,p_gamma");
    assert_eq!(lines.len(), 3);
    assert!(lines[2].starts_with("w14 w1 w12 n1,,"));
}

#[test]
fn a_run_predicts_its_test_rows_as_its_record_says() {
    for (model, more) in [
        ("bert", &["--adapter=prompt", "--virtual-tokens=3"][..]),
        ("bert", &["--pooling=mean"]),
        ("bert", &["--adapter=full"]),
        ("t5_relu", &[]),
        ("t5_relu", &["--adapter=prompt", "--virtual-tokens=3"]),
    ] {
        let place = Place::new();
        place.model(model);
        place.texts();
        let table = fs::read_to_string(place.path("texts.csv")).unwrap();
        let (header, rest) = table.split_once('\n').unwrap();
        let lines: Vec<&str> = rest.lines().collect();
        fs::create_dir(place.path("parts")).unwrap();
        for (part, lines) in [
            ("train", &lines[..60]),
            ("valid", &lines[60..75]),
            ("test", &lines[75..]),
        ] {
            let path = place.path("parts").join(part).with_extension("csv");
            fs::write(path, format!("{header}\n{}\n", lines.join("\n"))).unwrap();
        }
        let flags = [
            "--epochs=2",
            "--method=adamw",
            "--step-size=0.03",
            "--data=parts",
        ];
        place.succeed(&on_texts(model, &[&flags[..], more].concat()));
        let test = place.history("runs/adamw-seed1").test.unwrap();
        let mut targets = vec!["runs/adamw-seed1"];
        if model == "bert" && !more.contains(&"--adapter=prompt") {
            place.succeed(&["merge", "runs/adamw-seed1", "--out=merged"]);
            targets.push("merged");
        }
        for target in targets {
            // A folder without a record does not know the longest text of the training.
            let flags = ["predict", target, "--data=parts/test.csv", "--format=jsonl"];
            let output = place.run(&[&flags[..], &["--max-length=12"]].concat());
            let said = text(&output.stderr);
            assert!(output.status.success(), "{model} {more:?} {target}: {said}");
            let loss = |line: &str| {
                let row: Value = serde_json::from_str(line).unwrap();
                let label = row["label"].as_str().unwrap();
                -row["probabilities"][label].as_f64().unwrap().ln()
            };
            let loss = text(&output.stdout).lines().map(loss).sum::<f64>() / 33.0;
            if model == "bert" {
                let accuracy = format!("accuracy {:.4}", test.metrics["accuracy"]);
                assert!(
                    said.contains(&accuracy),
                    "{more:?} {target}: {said}, {test:?}"
                );
                assert!(
                    (loss - test.loss).abs() < 1e-4,
                    "{more:?} {target}: {loss}, {test:?}"
                );
            } else {
                assert!(said.contains("on 33 with a label"), "{said}");
            }
        }
    }
}

#[test]
fn pictures_are_classified() {
    for model in ["vit", "vit/dinov2", ""] {
        let place = Place::new();
        place.pictures();
        let folder = model.replace('/', "-");
        let mut flags = vec![
            "--task=images",
            "--data=pictures",
            "--out=runs",
            "--epochs=1",
            "--method=adamw",
        ];
        if model.is_empty() {
            flags.extend(["--adapter=full", "--hidden=8", "--image-size=8"]);
        } else {
            place.model(model);
            flags.extend(["--model", folder.as_str()]);
        }
        if model.ends_with("dinov2") {
            flags.push("--image-size=16");
        }
        place.succeed(&flags);
        let table = place.succeed(&["predict", "runs/adamw-seed1", "--data=pictures/dark"]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "file,predicted,p_dark,p_light");
        assert_eq!(lines.len(), 21);
        assert!(lines[1].starts_with("pictures/dark/0.png,"), "{}", lines[1]);
        fs::write(
            place.path("list.csv"),
            "image,label\npictures/dark/0.png,dark\n",
        )
        .unwrap();
        let listed = place.succeed(&["predict", "runs/adamw-seed1", "--data=list.csv"]);
        let dark = |line: &str| -> f64 { line.rsplit(',').nth(1).unwrap().parse().unwrap() };
        // Another batch, and so another order of sums.
        let difference = dark(listed.lines().nth(1).unwrap()) - dark(lines[1]);
        assert!(difference.abs() < 1e-5, "{listed} {}", lines[1]);
        if !model.is_empty() {
            place.succeed(&["merge", "runs/adamw-seed1", "--out=merged"]);
            let of = ["predict", "merged", "--data=pictures/dark"];
            if model == "vit" {
                let merged = place.succeed(&of);
                assert_eq!(merged.lines().count(), 21);
            }
        }
    }
}

#[test]
fn language_models_answer_rows_and_become_gguf_files() {
    let place = Place::new();
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/fixtures/gguf/llama.gguf");
    fs::copy(fixture, place.path("model.gguf")).unwrap();
    let row = |n: usize| {
        format!(
            "{{\"question\": \"is it {n}\", \"answer\": \"the one {}\"}}\n",
            n % 3
        )
    };
    fs::write(
        place.path("sums.jsonl"),
        (0..40).map(row).collect::<String>(),
    )
    .unwrap();
    place.succeed(&[
        "--task=chat",
        "--data=sums.jsonl",
        "--model=model.gguf",
        "--targets=all-linear",
        "--batch=8",
        "--epochs=1",
        "--method=adamw",
        "--step-size=0.02",
        "--out=runs",
    ]);
    let short = ["--max-new-tokens=5"];
    let run = "runs/adamw-seed1";
    let asked = place.succeed(&[&["generate", run, "--prompt=is it 7"][..], &short].concat());
    fs::write(place.path("new.jsonl"), row(7) + &row(8)).unwrap();
    predict(&place, run, "out.jsonl", &short);
    let found = rows(&place, "out.jsonl");
    assert_eq!(found.len(), 2);
    assert_eq!(found[0]["generated"].as_str().unwrap().trim(), asked.trim());

    // The merged folder and its GGUF file answer as the adapter does; all values were exact before.
    place.succeed(&["merge", run, "--out=merged", "--gguf=merged.gguf"]);
    for target in ["merged", "merged.gguf"] {
        let said = place.succeed(&[&["generate", target, "--prompt=is it 7"][..], &short].concat());
        assert_eq!(said, asked, "{target}");
    }
    place.succeed(&["merge", run, "--gguf=small.gguf", "--gguf-type=q8_0"]);
    let [large, small] =
        ["merged.gguf", "small.gguf"].map(|name| fs::metadata(place.path(name)).unwrap().len());
    assert!(small < large);
    place.succeed(&["export-adapter", run, "--gguf=adapter.gguf"]);
    assert!(
        fs::read(place.path("adapter.gguf"))
            .unwrap()
            .starts_with(b"GGUF")
    );
}

#[test]
fn what_cannot_be_used_is_refused() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    new_rows(&place);
    place.succeed(&on_texts(
        "bert",
        &["--epochs=1", "--adapter=prompt", "--pooling=pooler"],
    ));
    let run = "runs/ief-seed1";
    let refused = |code: i32, flags: &[&str], expected: &str| {
        let said = place.fail(code, flags);
        assert!(said.contains(expected), "{flags:?}: {said}");
    };
    refused(2, &["merge", run, "--out=merged"], "cannot be merged");
    refused(2, &["merge", "nothing", "--out=merged"], "found nothing");
    refused(2, &["merge", run], "--out");
    refused(
        2,
        &["export-adapter", run, "--gguf=a.gguf"],
        "a soft prompt",
    );
    refused(2, &["predict", run, "--data=no.csv"], "no.csv: not found");
    refused(2, &["predict", run, "--data=bert"], "a folder");
    fs::write(place.path("bad.csv"), "text\nw1\n\"w2\n").unwrap();
    refused(
        2,
        &["predict", run, "--data=bad.csv", "--out=out.csv"],
        "bad.csv, line 3: a quotation mark",
    );
    assert!(!place.path("out.csv").exists() && !place.path("out.csv.part").exists());
    fs::write(place.path("other.csv"), "sentence\nw1\n").unwrap();
    refused(
        2,
        &["predict", run, "--data=other.csv"],
        "no column `text`; there is `sentence`",
    );
    place.succeed(&["predict", run, "--data=other.csv", "--text-column=sentence"]);
    fs::write(place.path("empty.csv"), "text\n").unwrap();
    refused(2, &["predict", run, "--data=empty.csv"], "no rows");
    refused(
        2,
        &["predict", run, "--data=new.jsonl", "--batch=0"],
        "at least 1",
    );
    fs::remove_dir_all(place.path("bert")).unwrap();
    refused(2, &["predict", run, "--data=new.jsonl"], "--model");
    assert!(!place.path("merged").exists());
}
