//! Pruning the models of finished runs.

use std::fs;

use finetune::history::{FILE, History};
use serde_json::Value;

use crate::on_texts;
use crate::place::Place;

/// Weights of the attention and feed-forward layers and the pooler of the small BERT.
const WEIGHTS: u64 = 2 * (4 * 32 * 32 + 2 * 32 * 64) + 32 * 32;

/// Two seeds of BERT, trained in full.
fn trained() -> Place {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let flags = [
        "--adapter=full",
        "--method=adamw",
        "--step-size=0.003",
        "--epochs=4",
        "--seed=1,2",
        "--name=toy",
    ];
    place.succeed(&on_texts("bert", &flags));
    place
}

fn rows(place: &Place, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(file)).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    file["rows"].as_array().unwrap().clone()
}

fn number(row: &Value, field: &str) -> f64 {
    row[field].as_f64().unwrap()
}

/// Test metric and loss as the run itself noted them down.
fn noted(place: &Place, run: &str) -> [f64; 2] {
    let test = place.history(run).test.unwrap();
    [test.metrics["accuracy"], test.loss]
}

#[test]
fn tables_come_from_models_that_were_tested() {
    let place = trained();
    let flags = [
        "prune",
        "runs",
        "--sparsity=0,0.5,1",
        "--gradients=40",
        "--block-size=16",
        "--json=pruned.json",
        "--csv=pruned.csv",
    ];
    let said = place.succeed(&flags);
    let rows = rows(&place, "pruned.json");
    assert_eq!(rows.len(), 2 * (1 + 3 * 3));
    let csv = fs::read_to_string(place.path("pruned.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + rows.len());

    for (rows, run) in rows
        .chunks(10)
        .zip(["runs/adamw-seed1", "runs/adamw-seed2"])
    {
        let result = |row: &Value| [number(row, "test"), number(row, "test_loss")];
        let of = |pruning: &str, sparsity: f64| {
            let found = rows
                .iter()
                .find(|row| row["pruning"] == pruning && number(row, "sparsity") == sparsity);
            found.unwrap()
        };
        assert!(rows.iter().all(|row| row["weights"] == WEIGHTS));
        // The dense model is the one that the run tested, and so is one of which nothing is pruned.
        assert_eq!(rows[0]["pruning"], Value::Null);
        assert_eq!(result(&rows[0]), noted(&place, run));
        for pruning in ["magnitude", "ef", "ief"] {
            assert_eq!(result(of(pruning, 0.0)), result(&rows[0]));
            for (sparsity, pruned) in [(0.0, 0), (0.5, WEIGHTS / 2), (1.0, WEIGHTS)] {
                assert_eq!(of(pruning, sparsity)["pruned"], pruned);
            }
            // Without any weight it does not matter how they went.
            let gone = result(of(pruning, 1.0));
            assert_eq!(gone, result(of("magnitude", 1.0)));
            assert!(gone[1] > result(&rows[0])[1], "{gone:?}");
        }
        let losses = ["magnitude", "ef", "ief"].map(|pruning| result(of(pruning, 0.5))[1]);
        assert!(losses[0] != losses[1] && losses[1] != losses[2] && losses[0] != losses[2]);
    }

    let mean = |pruning: &str, sparsity: f64| {
        let chosen = rows
            .iter()
            .filter(|row| row["pruning"] == pruning && number(row, "sparsity") == sparsity);
        let tests: Vec<f64> = chosen.map(|row| number(row, "test")).collect();
        assert_eq!(tests.len(), 2);
        format!("{:.1} ±", 50.0 * (tests[0] + tests[1]))
    };
    let line = said.lines().find(|line| line.contains(" 50 % ")).unwrap();
    for pruning in ["magnitude", "ef", "ief"] {
        assert!(line.contains(&mean(pruning, 0.5)), "{pruning}: {said}");
    }
    assert!(said.contains("toy, trained by AdamW: test accuracy in % over 2 run(s)"));
}

#[test]
fn compensated_weights_lose_less_than_those_of_magnitude() {
    let place = trained();
    let flags = ["prune", "runs", "--sparsity=0.9", "--gradients=64"];
    place.succeed(&[&flags[..], &["--json=pruned.json"]].concat());
    let rows = rows(&place, "pruned.json");
    let loss = |pruning: &str| {
        let chosen = rows.iter().filter(|row| row["pruning"] == pruning);
        chosen.map(|row| number(row, "test_loss")).sum::<f64>()
    };
    assert!(loss("ief") < loss("magnitude"));
}

#[test]
fn every_family_is_pruned_but_for_its_head() {
    let place = Place::new();
    place.model("t5_relu");
    place.model("vit");
    place.model("vit/dinov2");
    place.texts();
    place.pictures();
    let pictures = ["--task=images", "--data=pictures", "--adapter=full"];
    let mlp = ["--hidden=16,16", "--image-size=8", "--out=mlp"];
    let dino = ["--model=vit-dinov2", "--image-size=16", "--out=dino"];
    let same = ["--method=adamw", "--step-size=0.003", "--epochs=2"];
    let t5 = on_texts("t5_relu", &["--adapter=full", "--out=t5"]);
    let vit = ["--model=vit", "--out=vit"];
    for (out, flags) in [
        ("t5", t5),
        ("mlp", [&pictures[..], &mlp].concat()),
        ("vit", [&pictures[..], &vit].concat()),
        ("dino", [&pictures[..], &dino].concat()),
    ] {
        place.succeed(&[&flags[..], &same].concat());
        let file = format!("--json={out}.json");
        let options = ["--sparsity=0.25", "--gradients=12", "--block-size=8"];
        place.succeed(&[&["prune", out, &file], &options[..]].concat());
        let rows = rows(&place, &format!("{out}.json"));
        assert_eq!(rows.len(), 4);
        let dense = [number(&rows[0], "test"), number(&rows[0], "test_loss")];
        assert_eq!(dense, noted(&place, &format!("{out}/adamw-seed1")));
        for row in &rows[1..] {
            let quarter = 0.25 * number(row, "weights");
            assert_eq!(number(row, "pruned"), quarter.round());
            assert!(number(row, "test_loss") != dense[1], "{row}");
        }
        if out == "mlp" {
            assert_eq!(rows[0]["weights"], 3 * 8 * 8 * 16 + 16 * 16);
        }
    }
}

#[test]
fn what_cannot_be_pruned_is_refused() {
    let place = trained();
    let refused = |code, flags: &[&str], expected: &str| {
        let said = place.fail(code, &[&["prune"], flags].concat());
        assert!(said.contains(expected), "{flags:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    };
    refused(2, &["runs", "--method=sgd"], "invalid value 'sgd'");
    refused(
        2,
        &["runs", "--sparsity=1.5"],
        "expected a share from 0 to 1",
    );
    refused(2, &["runs", "--gradients=0"], "`gradients`");
    refused(2, &["runs", "--block-size=0"], "`block_size`");
    refused(2, &["runs", "--damping=-1"], "`damping`");
    refused(2, &["runs", "--gradients=100000"], "the rows for training");
    refused(2, &["nowhere"], "no run here");
    refused(
        2,
        &["runs", "--gradients=40", "--data=nowhere.csv"],
        "nowhere.csv",
    );
    refused(
        1,
        &["runs", "--gradients=40", "--json=no/where.json"],
        "no/where.json",
    );

    let run = place.path("runs/adamw-seed2");
    let weights = run.join("model/model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    refused(
        2,
        &["runs/adamw-seed2", "--gradients=40"],
        "model.safetensors",
    );
    fs::remove_file(&weights).unwrap();
    refused(
        2,
        &["runs/adamw-seed2", "--gradients=40"],
        "model.safetensors",
    );

    // Of several runs none begins.
    let record = fs::read_to_string(run.join(FILE)).unwrap();
    let unfinished = record.replace("\"status\":\"finished\"", "\"status\":\"interrupted\"");
    assert_ne!(record, unfinished);
    fs::write(run.join(FILE), unfinished).unwrap();
    let said = place.run(&["prune", "runs", "--json=none.json"]);
    assert_eq!((said.status.code(), said.stdout.len()), (Some(2), 0));
    refused(
        2,
        &["runs"],
        "expected a finished run, this one is interrupted",
    );
    assert!(!place.path("none.json").exists());

    let lora = ["--method=adamw", "--epochs=1", "--out=lora"];
    place.succeed(&on_texts("bert", &lora));
    assert!(History::read(&place.path("lora/adamw-seed1")).is_ok());
    refused(2, &["lora"], "(`--adapter full`), found lora");
}
