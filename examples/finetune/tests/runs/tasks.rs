//! Numbers, several labels and tags, on every encoder.

use std::fs;

use burn_peft::AdapterFolder;
use finetune::history::History;
use finetune::metric::{Metric, Pairs};
use serde_json::{Value, json};

use super::place::Place;

/// A model folder of a family, whose small vocabulary has these words.
fn encoder(place: &Place, fixture: &str) {
    let folder = place.model(fixture);
    let special = ["<pad>", "</s>", "<unk>", "[CLS]", "[SEP]"].map(String::from);
    let words = (0..26).map(|word| format!("w{word}"));
    let vocabulary: serde_json::Map<String, Value> = special
        .into_iter()
        .chain(words)
        .enumerate()
        .map(|(id, word)| (word, json!(id)))
        .collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null,
        "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "<unk>", "vocab": vocabulary},
    });
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}

/// 90 texts of 5 words; what is said about them depends on whether they have the words w0, w1 and w2.
fn words(row: usize) -> Vec<String> {
    let has = |word: usize| row >> word & 1 == 1;
    let word = |place: usize| {
        if place < 3 && has(place) {
            format!("w{place}")
        } else {
            format!("w{}", 3 + (row * 7 + place * 5) % 23)
        }
    };
    (0..5).map(word).collect()
}

fn flag(row: usize, word: usize) -> usize {
    row >> word & 1
}

/// Rows in JSON lines, for all problems.
fn rows(place: &Place) {
    let line = |row: usize| {
        let words = words(row);
        let labels: Vec<&str> = ["a", "b", "c"]
            .into_iter()
            .enumerate()
            .filter_map(|(word, label)| (flag(row, word) == 1).then_some(label))
            .collect();
        let number = 500.0 + 100.0 * flag(row, 0) as f64 + 40.0 * flag(row, 1) as f64;
        let mut tags = vec!["O"; 5];
        if flag(row, 0) == 1 {
            (tags[0], tags[1]) = ("B-X", "I-X");
        }
        if flag(row, 2) == 1 {
            tags[2] = "B-Y";
        }
        let object = json!({
            "text": words.join(" "), "labels": labels, "number": number, "tokens": words,
            "tags": tags,
        });
        format!("{object}\n")
    };
    let lines: String = (0..90).map(line).collect();
    fs::write(place.path("rows.jsonl"), lines).unwrap();
}

const PROBLEMS: [(&str, &[&str]); 3] = [
    ("regression", &["--label-column=number"]),
    ("multi-label", &["--label-column=labels"]),
    ("token-classification", &[]),
];

fn flags<'a>(task: &'a str, model: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let (_, own) = PROBLEMS.iter().find(|(name, _)| *name == task).unwrap();
    let same = [
        "--data=rows.jsonl",
        "--max-length=8",
        "--batch=8",
        "--task",
        task,
        "--model",
        model,
        "--out",
        out,
    ];
    [&same[..], own, more].concat()
}

/// Predictions of the test rows, again, from the file's own rows.
fn predicted(place: &Place, run: &str) -> Vec<Value> {
    let said = place.succeed(&["predict", run, "--data=rows.jsonl", "--format=jsonl"]);
    said.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn learned(history: &History) -> bool {
    let first = history.epochs.first().unwrap().train_loss;
    history.final_train_loss() < 0.8 * first
}

#[test]
fn every_encoder_learns_numbers_labels_and_tags() {
    let place = Place::new();
    rows(&place);
    for (fixture, model) in [
        ("bert", "bert"),
        ("families/roberta_base", "families-roberta_base"),
        ("families/distilbert", "families-distilbert"),
        ("families/modernbert_base", "families-modernbert_base"),
    ] {
        encoder(&place, fixture);
        for (task, _) in PROBLEMS {
            let out = format!("{model}-{task}");
            place.succeed(&flags(task, model, &out, &["--epochs=3"]));
            let history = place.history(&format!("{out}/ief-seed1"));
            assert!(learned(&history), "{out}: {:?}", history.epochs);
            let adapter = place.path(&format!("{out}/ief-seed1/adapter"));
            let card = fs::read_to_string(adapter.join("README.md")).unwrap();
            let class = match task {
                "token-classification" => "AutoModelForTokenClassification",
                _ => "AutoModelForSequenceClassification",
            };
            assert!(card.contains(class), "{card}");
            let read = AdapterFolder::read(&adapter).unwrap();
            let expected = match task {
                "token-classification" => "\"TOKEN_CLS\"",
                _ => "\"SEQ_CLS\"",
            };
            assert_eq!(read.config.field("task_type").unwrap(), expected);
        }
    }
}

#[test]
fn every_method_and_kind_of_adapter_learns_them() {
    let place = Place::new();
    rows(&place);
    place.model("bert");
    for (task, _) in PROBLEMS {
        let methods = match task {
            "token-classification" => "--method=ief,ef,sf,iekfac,adamw",
            _ => "--method=ief,ef,sf,ngd,iekfac,adamw",
        };
        let sizes = "--step-size=adamw=0.01,ief=0.5,sf=0.5,iekfac=1,ef=0.001";
        let more = [methods, sizes, "--epochs=5", "--schedule=constant"];
        let said = place.succeed(&flags(task, "bert", task, &more));
        let metric = match task {
            "regression" => "MSE",
            "multi-label" => "micro F1",
            _ => "entity F1",
        };
        assert!(said.contains(metric), "{said}");
        for method in ["ief", "sf", "iekfac", "adamw"] {
            let history = place.history(&format!("{task}/{method}-seed1"));
            assert!(learned(&history), "{task} {method}: {:?}", history.epochs);
            assert_eq!(history.metrics[0], metric);
        }
        // The folder of the run gives what the run has measured, and other kinds of adapters train.
        for kind in ["ia3", "full"] {
            let kind_flag = format!("--adapter={kind}");
            let out = format!("{task}-{kind}");
            place.succeed(&flags(task, "bert", &out, &[&kind_flag, "--epochs=1"]));
            assert_eq!(predicted(&place, &format!("{out}/ief-seed1")).len(), 90);
        }
    }
    let report = place.succeed(&["report", "regression", "--out", "report"]);
    assert!(report.contains("Pearson"), "{report}");
    let prompt = ["--adapter=prompt", "--virtual-tokens=2", "--epochs=1"];
    place.succeed(&flags("regression", "bert", "prompt", &prompt));
    predicted(&place, "prompt/ief-seed1");
}

#[test]
fn predictions_are_those_that_were_measured() {
    let place = Place::new();
    rows(&place);
    place.model("bert");
    // All rows are test rows.
    let lines = fs::read_to_string(place.path("rows.jsonl")).unwrap();
    let folder = place.path("parts");
    fs::create_dir_all(&folder).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    for (part, range) in [("train", 0..60), ("valid", 60..75), ("test", 75..90)] {
        let own: String = lines[range]
            .iter()
            .map(|line| format!("{line}\n"))
            .collect();
        fs::write(folder.join(format!("{part}.jsonl")), own).unwrap();
    }
    for (task, _) in PROBLEMS {
        for kind in ["lora", "full"] {
            let out = format!("{task}-{kind}");
            let kind_flag = format!("--adapter={kind}");
            let more = [
                &kind_flag,
                "--data=parts",
                "--epochs=2",
                "--method=adamw",
                "--step-size=0.01",
            ];
            place.succeed(&flags(task, "bert", &out, &more));
            let run = format!("{out}/adamw-seed1");
            let history = place.history(&run);
            let test = history.test.unwrap();
            let rows: Vec<Value> = predicted(&place, &run).split_off(75);
            let names = |value: &Value| -> Vec<String> {
                let list = value.as_array().unwrap().iter();
                list.map(|name| name.as_str().unwrap_or("").into())
                    .collect()
            };
            let set = |value: &Value| -> Vec<bool> {
                let applying = names(value);
                history
                    .labels
                    .iter()
                    .map(|label| applying.contains(label))
                    .collect()
            };
            let tags = |value: &Value| -> Vec<usize> {
                let place = |name: &String| history.labels.iter().position(|it| it == name);
                names(value)
                    .iter()
                    .map(|name| place(name).unwrap())
                    .collect()
            };
            let pairs = match task {
                "regression" => Pairs::Numbers(
                    rows.iter()
                        .map(|row| {
                            let number = |name: &str| row[name].as_f64().unwrap();
                            (number("predicted"), number("number"))
                        })
                        .collect(),
                ),
                "multi-label" => Pairs::LabelSets(
                    rows.iter()
                        .map(|row| (set(&row["predicted"]), set(&row["labels"])))
                        .collect(),
                ),
                _ => Pairs::Tags(
                    rows.iter()
                        .map(|row| (tags(&row["predicted"]), tags(&row["tags"])))
                        .collect(),
                ),
            };
            let metrics = match task {
                "regression" => [Metric::Mse, Metric::Pearson],
                "multi-label" => [Metric::MicroF1, Metric::SubsetAccuracy],
                _ => [Metric::EntityF1, Metric::Accuracy],
            };
            for metric in metrics {
                let found = metric.score(&pairs, &history.labels, 0.0);
                let expected = test.metrics[metric.name()];
                let near = (found - expected).abs() <= 1e-4 * (1.0 + expected.abs());
                assert!(near, "{out} {metric}: {found} {expected}");
            }
        }
    }

    // Numbers of the data come out, with and without a scale.
    let run = "regression-lora/adamw-seed1";
    let numbers: Vec<f64> = predicted(&place, run)
        .iter()
        .map(|row| row["predicted"].as_f64().unwrap())
        .collect();
    assert!(
        numbers.iter().all(|number| (400.0..800.0).contains(number)),
        "{numbers:?}"
    );
    // Training goes on from the numbers of the folder.
    let from = [
        "--adapter-from=regression-lora/adamw-seed1/adapter",
        "--data=parts",
        "--epochs=1",
    ];
    let more = [&from[..], &["--method=sgd", "--step-size=1e-9"]].concat();
    place.succeed(&flags("regression", "bert", "again", &more));
    let again = place.history("again/sgd-seed1").test.unwrap();
    let before = place.history(run).test.unwrap();
    let [again, before] = [again, before].map(|scores| scores.metrics["MSE"]);
    assert!((again - before).abs() < 1e-3 * before, "{again} {before}");

    // A run's adapter alone, in another place, is still what it was.
    let adapter = place.path(run).join("adapter");
    let moved = place.path("moved");
    fs::rename(&adapter, &moved).unwrap();
    let said = place.succeed(&["predict", "moved", "--data=rows.jsonl", "--format=jsonl"]);
    let first: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert!(
        (first["predicted"].as_f64().unwrap() - numbers[0]).abs() < 1e-3,
        "{first}"
    );
    // And merged.
    place.succeed(&["merge", "moved", "--out=merged"]);
    let config = fs::read_to_string(place.path("merged/config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["problem_type"], "regression");
    let said = place.succeed(&["predict", "merged", "--data=rows.jsonl", "--format=jsonl"]);
    let merged: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert!(
        (merged["predicted"].as_f64().unwrap() - numbers[0]).abs() < 0.01,
        "{merged}"
    );

    // Sentences of CoNLL's form.
    fs::write(place.path("some.conll"), "w0 B-X\nw5 I-X\n\nw7 O\n").unwrap();
    let run = "token-classification-lora/adamw-seed1";
    let said = place.succeed(&["predict", run, "--data=some.conll", "--format=jsonl"]);
    assert_eq!(said.lines().count(), 2);
    let first: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!(first["tokens"], json!(["w0", "w5"]));
    assert_eq!(first["predicted"].as_array().unwrap().len(), 2);
}

#[test]
fn what_does_not_fit_a_problem_is_refused() {
    let place = Place::new();
    rows(&place);
    place.model("bert");
    place.model("t5_relu");
    let refused = |task: &str, model: &str, more: &[&str], expected: &str| {
        let said = place.fail(2, &flags(task, model, "runs", more));
        assert!(said.contains(expected), "{task} {more:?}: {said}");
    };
    refused(
        "regression",
        "t5_relu",
        &[],
        "a task of one class for each text",
    );
    refused(
        "token-classification",
        "bert",
        &["--method=ngd"],
        "each word has one",
    );
    refused(
        "token-classification",
        "bert",
        &["--adapter=prompt"],
        "`adapter.kind` is prompt",
    );
    refused(
        "token-classification",
        "bert",
        &["--pooling=mean"],
        "`model.pooling`",
    );
    refused("regression", "bert", &["--labels=a,b"], "`data.labels`");
    refused(
        "regression",
        "bert",
        &["--label-column=text"],
        "`--task csv` and `--task jsonl`",
    );
    refused(
        "multi-label",
        "bert",
        &["--standardize=off"],
        "only `--task regression` has it",
    );
    refused(
        "multi-label",
        "bert",
        &["--label-column=number"],
        "no row has more than one label",
    );
    encoder(&place, "families/roberta_base");
    let roberta = "families-roberta_base";
    refused(
        "regression",
        roberta,
        &["--pooling=mean"],
        "one vector for its head",
    );
    refused(
        "regression",
        roberta,
        &["--adapter=prompt"],
        "prompts are for",
    );
    refused("regression", roberta, &["--max-length=13"], "at most 12");
}
