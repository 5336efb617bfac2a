//! The program on small models and data.

mod adapters;
mod devices;
mod endings;
mod inputs;
mod kfac;
mod language;
mod outputs;
mod place;
mod prune;
mod resume;
mod stages;
mod tasks;
mod used;

use std::fs;
use std::process::Command;

use burn::tensor::Device;
use burn_hf_models::bert::BertForSequenceClassification;
use burn_hf_models::t5::T5ForConditionalGeneration;
use burn_peft::{AdapterFolder, Peft};
use finetune::history::{History, Status};
use place::{Place, text};

/// Flags of a small run on texts.
const TEXTS: [&str; 10] = [
    "--task",
    "csv",
    "--data",
    "texts.csv",
    "--max-length",
    "12",
    "--batch",
    "8",
    "--out",
    "runs",
];

fn on_texts<'a>(model: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&TEXTS[..], &["--model", model], more].concat()
}

fn learned(history: &History) -> bool {
    let first = history.epochs.first().unwrap().train_loss;
    history.final_train_loss() < 0.8 * first
}

#[test]
fn every_method_trains_lora_on_bert_and_is_reported() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let all = "--method=ief,ef,sf,iekfac,ekfac,kfac,sgd,adamw,adafactor";
    let sizes = "--step-size=0.5,adamw=0.03,adafactor=0.03,sgd=0.1,ief=1";
    let flags = on_texts(
        "bert",
        &[
            all,
            sizes,
            "--epochs=5",
            "--name=toy",
            "--schedule=constant",
        ],
    );
    let said = place.succeed(&flags);
    assert!(
        said.contains("training loss") && said.contains("Adafactor"),
        "{said}"
    );
    for method in [
        "ief",
        "ef",
        "sf",
        "iekfac",
        "ekfac",
        "kfac",
        "sgd",
        "adamw",
        "adafactor",
    ] {
        let history = place.history(&format!("runs/{method}-seed1"));
        assert_eq!(
            (history.status, history.epochs.len()),
            (Status::Finished, 5)
        );
        assert_eq!(history.losses.len(), 5 * history.steps_per_epoch);
        assert_eq!(history.losses.len(), history.milliseconds.len());
        // Query and value projections of two layers at rank 8, the pooler, and the head.
        let pooler = 32 * 32 + 32;
        assert_eq!(
            history.model.trainable,
            2 * 2 * 2 * 8 * 32 + pooler + 32 * 3 + 3
        );
        assert!(history.test.is_some());
        assert!(
            !place
                .path(&format!("runs/{method}-seed1/checkpoint"))
                .exists()
        );
        if !["ef", "ekfac"].contains(&method) {
            assert!(learned(&history), "{method}: {:?}", history.epochs);
        }
    }

    // The same seed starts all methods from the same model.
    let first = |method: &str| place.history(&format!("runs/{method}-seed1")).losses[0];
    assert_eq!(first("sgd"), first("adamw"));
    assert!((first("ief") - first("sgd")).abs() < 1e-4);

    // Finished runs are left alone.
    let before = fs::read(place.path("runs/ief-seed1/run.json")).unwrap();
    let said = place.succeed(&flags);
    assert_eq!(said.matches("(finished before)").count(), 9, "{said}");
    assert_eq!(
        fs::read(place.path("runs/ief-seed1/run.json")).unwrap(),
        before
    );

    let said = place.succeed(&["report", "runs", "--out", "report"]);
    assert!(said.contains("toy") && said.contains("runs.csv"), "{said}");
    let rows = fs::read_to_string(place.path("report/runs.csv")).unwrap();
    assert_eq!(rows.lines().count(), 10);
    for file in [
        "toy-training-loss.svg",
        "toy-training-loss.csv",
        "toy-validation.svg",
    ] {
        assert!(place.path("report").join(file).exists(), "{file}");
    }
}

#[test]
fn adapters_are_peft_folders_with_the_head() {
    let place = Place::new();
    let model = place.model("bert");
    place.texts();
    place.succeed(&on_texts("bert", &["--epochs=1"]));
    let folder = AdapterFolder::read(place.path("runs/ief-seed1/adapter")).unwrap();
    for end in ["classifier.weight", "bert.pooler.dense.weight"] {
        assert!(folder.tensors.keys().any(|key| key.ends_with(end)));
    }
    let device = Device::flex();
    let options = BertForSequenceClassification::load_options();
    let base = BertForSequenceClassification::load(&model, &options, &device).unwrap();
    let names = BertForSequenceClassification::names();
    base.load_adapter("default", &folder, &names).unwrap();
}

#[test]
fn prompts_train_and_are_peft_folders() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let flags = [
        "--adapter=prompt",
        "--virtual-tokens=4",
        "--epochs=4",
        "--method=ief,sf,adamw",
    ];
    let sizes = ["--step-size=adamw=0.03,ief=1,sf=0.5"];
    place.succeed(&on_texts("bert", &[&flags[..], &sizes].concat()));
    for method in ["ief", "sf", "adamw"] {
        let history = place.history(&format!("runs/{method}-seed1"));
        assert_eq!(history.model.trainable, 4 * 32 + 32 * 3 + 3);
        assert!(learned(&history), "{method}: {:?}", history.epochs);
        let folder = AdapterFolder::read(place.path(&format!("runs/{method}-seed1/adapter")));
        let folder = folder.unwrap();
        assert_eq!(
            folder.tensors["prompt_embeddings"].shape().as_slice(),
            [4, 32]
        );
        let head = format!("runs/{method}-seed1/adapter/head.safetensors");
        assert!(place.path(&head).exists());
    }
}

#[test]
fn t5_learns_to_answer() {
    let place = Place::new();
    let model = place.model("t5_relu");
    place.texts();
    // Its weights are random: trained as a whole it learns, with an adapter alone it learns little.
    let flags = [
        "--epochs=6",
        "--method=ief,sf,adafactor",
        "--adapter=full",
        "--out=full",
    ];
    let sizes = ["--step-size=ief=1,sf=0.5,adafactor=0.02"];
    place.succeed(&on_texts("t5_relu", &[&flags[..], &sizes].concat()));
    for method in ["ief", "sf", "adafactor"] {
        let history = place.history(&format!("full/{method}-seed1"));
        assert!(learned(&history), "{method}: {:?}", history.epochs);
        assert!(history.best_valid() > 0.5, "{method}: {:?}", history.epochs);
    }
    place.succeed(&on_texts("t5_relu", &["--epochs=2", "--step-size=0.3"]));
    let folder = AdapterFolder::read(place.path("runs/ief-seed1/adapter")).unwrap();
    let t5 = T5ForConditionalGeneration::load(&model, &Device::flex()).unwrap();
    t5.load_adapter("default", &folder, &T5ForConditionalGeneration::names())
        .unwrap();

    let prompt = [
        "--adapter=prompt",
        "--virtual-tokens=4",
        "--epochs=1",
        "--out=prompt",
    ];
    place.succeed(&on_texts("t5_relu", &prompt));
    assert_eq!(place.history("prompt/ief-seed1").model.trainable, 4 * 32);
    let folder = AdapterFolder::read(place.path("prompt/ief-seed1/adapter")).unwrap();
    assert_eq!(
        folder.tensors["prompt_embeddings"].shape().as_slice(),
        [8, 32]
    );
}

#[test]
fn picture_models_train() {
    let place = Place::new();
    place.model("vit");
    place.model("vit/dinov2");
    place.pictures();
    let flags = |more: &[&'static str]| {
        let same = [
            "--task=images",
            "--data=pictures",
            "--batch=8",
            "--epochs=4",
        ];
        [&same[..], more].concat()
    };
    let dino = flags(&["--model=vit-dinov2", "--image-size=16", "--out=dino"]);
    place.succeed(&[&dino[..], &["--method=ief,sf"]].concat());
    place.succeed(&flags(&["--model=vit", "--out=vit", "--bias=lora_only"]));
    let mlp = [
        "--adapter=full",
        "--hidden=16,16",
        "--image-size=8",
        "--out=mlp",
    ];
    place.succeed(&flags(
        &[&mlp[..], &["--method=ief,adamw", "--step-size=adamw=0.01"]].concat(),
    ));
    for run in [
        "dino/ief-seed1",
        "dino/sf-seed1",
        "vit/ief-seed1",
        "mlp/ief-seed1",
    ] {
        let history = place.history(run);
        assert!(learned(&history), "{run}: {:?}", history.epochs);
    }
    assert!(place.path("mlp/ief-seed1/model/model.safetensors").exists());
    assert!(
        place
            .path("vit/ief-seed1/adapter/adapter_config.json")
            .exists()
    );
}

#[test]
fn training_stops_early_and_tests_the_best_epoch() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    // Steps too small to change any answer: the first epoch stays the best but for its loss.
    let own = [
        "--epochs=50",
        "--patience=2",
        "--method=sgd",
        "--step-size=1e-30",
    ];
    place.succeed(&on_texts("bert", &own));
    let history = place.history("runs/sgd-seed1");
    assert_eq!(history.epochs.len(), 3);
    assert!(history.stopped_early);
    assert_eq!(history.best_epoch, Some(1));
}

#[test]
fn step_sizes_are_searched_on_the_validation_rows() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let own = [
        "--epochs=1",
        "--method=ief,sgd",
        "--tune",
        "--tune-factors=0.01,1,1e300",
    ];
    let said = place.succeed(&on_texts("bert", &own));
    assert_eq!(said.matches("step size").count(), 6, "{said}");
    assert!(said.contains("failed"), "{said}");
    let run = place.succeed(&["--config=runs/tuned.toml", "--out=final", "--epochs=2"]);
    assert!(run.contains("iEF") && run.contains("SGD"), "{run}");
}

#[test]
fn a_run_that_comes_to_nothing_does_not_stop_the_others() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let own = ["--epochs=2", "--method=sgd,ief", "--step-size=sgd=1e300"];
    let flags = on_texts("bert", &own);
    let said = place.fail(1, &flags);
    assert!(
        said.contains("SGD seed 1 stopped: the training loss of step"),
        "{said}"
    );
    assert_eq!(place.history("runs/sgd-seed1").status, Status::Failed);
    assert_eq!(place.history("runs/ief-seed1").status, Status::Finished);
    let said = place.fail(1, &flags);
    assert!(said.contains("--force starts it again"), "{said}");
}

#[test]
fn what_does_not_fit_is_refused_before_a_run() {
    let place = Place::new();
    let model = place.model("bert");
    let data = place.texts();
    let refused = |more: &[&str], expected: &str| {
        let said = place.fail(2, &on_texts("bert", more));
        assert!(said.contains(expected), "{more:?}: {said}");
        assert!(!place.path("runs").exists());
    };
    // Longer than the model, which has 40 positions.
    refused(
        &["--max-length=41"],
        "`data.max_length` is 41, expected at most 40",
    );
    let prompt = ["--adapter=prompt", "--max-length=30"];
    refused(
        &prompt,
        "at most 20: the model has 40 positions, 20 of them for virtual",
    );
    refused(&["--targets=nothing"], "nothing");
    refused(&["--labels=alpha,beta"], "gamma");
    refused(&["--task=images"], "a task of texts for this model");
    refused(&["--batch=0"], "`training.batch` is 0");
    refused(&["--device=cuda"], "not part of this build");
    refused(&["--model=nowhere"], "nowhere/config.json");

    let weights = model.join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    refused(&[], "model.safetensors");
    fs::write(&weights, bytes).unwrap();

    fs::write(&data, "text,label\nw1 w2,alpha\n").unwrap();
    let said = place.fail(2, &on_texts("bert", &[]));
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn folders_that_cannot_be_written_are_named() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    fs::write(place.path("file"), "").unwrap();
    let said = place.fail(1, &on_texts("bert", &["--out=file/runs"]));
    assert!(
        said.contains("cannot write") && said.contains("file/runs"),
        "{said}"
    );
}

/// A limit on the size of files plays the part of a full disk.
#[test]
fn a_full_disk_ends_a_run_with_what_it_has() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    // The optimizer's moments are larger than the model's own trained parameters.
    let flags = on_texts("bert", &["--epochs=3", "--method=adamw"]);
    let limited = "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\"";
    let mut shell = Command::new("bash");
    shell.args(["-c", limited, env!("CARGO_BIN_EXE_finetune")]);
    let output = shell
        .args(&flags)
        .current_dir(place.path(""))
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("cannot write") && said.contains("optim-1.bpk"),
        "{said}"
    );
    assert!(said.contains("--resume"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(
        place.history("runs/adamw-seed1").status,
        Status::Interrupted
    );
    place.succeed(&[&flags[..], &["--resume"]].concat());
    assert_eq!(place.history("runs/adamw-seed1").status, Status::Finished);
}

#[test]
fn another_run_in_the_folder_is_not_overwritten() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    place.succeed(&on_texts("bert", &["--epochs=1"]));
    let other = on_texts("bert", &["--epochs=1", "--rank=2"]);
    let said = place.fail(2, &other);
    assert!(said.contains("adapter.rank was 8 and is 2"), "{said}");
    place.succeed(&[&other[..], &["--force"]].concat());
    assert_eq!(place.history("runs/ief-seed1").config.adapter.rank, Some(2));
}

#[test]
fn the_settings_in_effect_can_be_written_and_read() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let flags = on_texts("bert", &["--epochs=1", "--seed=3", "--write-config"]);
    let toml = place.succeed(&flags);
    fs::write(place.path("own.toml"), &toml).unwrap();
    assert_eq!(
        place.succeed(&["--config=own.toml", "--write-config"]),
        toml
    );
    place.succeed(&["--config=own.toml"]);
    assert_eq!(place.history("runs/ief-seed3").epochs.len(), 1);
    fs::write(place.path("own.toml"), "[training]\nbach = 1\n").unwrap();
    let said = place.fail(2, &["--config=own.toml"]);
    assert!(said.contains("own.toml") && said.contains("bach"), "{said}");
}
