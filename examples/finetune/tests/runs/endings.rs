//! How runs end when something is in their way, and what they leave behind.

use std::fs;
use std::process::Stdio;

use burn_peft::AdapterFolder;
use finetune::history::Status;

use crate::on_texts;
use crate::place::{Place, text, wait_for};

#[test]
fn a_run_that_becomes_nan_keeps_the_model_of_its_best_epoch() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    // One step an epoch: the first has a finite loss, and its update leads to an infinite one in the third.
    let own = [
        "--batch=200",
        "--epochs=12",
        "--method=sgd",
        "--step-size=1e36",
        "--schedule=constant",
    ];
    let flags = on_texts("bert", &own);
    let said = place.fail(1, &flags);
    let cause = "the training loss of step 3 is inf";
    let expected = format!("{cause}; the model of epoch 1, the best one, is tested and saved");
    assert!(said.contains(&expected), "{said}");
    let history = place.history("runs/sgd-seed1");
    assert_eq!(history.status, Status::Failed);
    assert_eq!(history.reason.as_deref(), Some(cause));
    assert_eq!(history.best_epoch, Some(1));
    assert!(history.test.unwrap().loss.is_finite());
    let folder = AdapterFolder::read(place.path("runs/sgd-seed1/adapter")).unwrap();
    assert!(!folder.tensors.is_empty());
    assert!(place.path("runs/sgd-seed1/checkpoint/model-1.bpk").exists());
    // It does not go on, and does not begin again by itself.
    let said = place.fail(1, &[&flags[..], &["--resume"]].concat());
    assert!(
        said.contains(cause) && said.contains("--force starts it again"),
        "{said}"
    );
}

#[test]
fn a_test_loss_that_is_not_finite_is_a_failure() {
    let place = Place::new();
    place.model("bert");
    fs::create_dir(place.path("parts")).unwrap();
    // After one step all texts are of the class that most of them have.
    let rows = |name: &str, rows: &[(usize, &str)]| {
        let rows = rows
            .iter()
            .map(|(row, class)| format!("w{} w{row},{class}\n", 10 + row % 40));
        let header = std::iter::once("text,label\n".to_string());
        let path = place.path("parts").join(name);
        fs::write(path, header.chain(rows).collect::<String>()).unwrap();
    };
    let class = |row| if row % 10 == 0 { "beta" } else { "alpha" };
    rows(
        "train.csv",
        &(0..50).map(|row| (row, class(row))).collect::<Vec<_>>(),
    );
    rows("valid.csv", &[(51, "alpha"), (52, "alpha")]);
    rows("test.csv", &[(53, "beta"), (54, "beta")]);
    let own = [
        "--data=parts",
        "--batch=200",
        "--epochs=1",
        "--method=sgd,ief",
        "--step-size=sgd=2e38",
        // The pooler's outputs are at most 1.
        "--pooling=mean",
    ];
    let said = place.fail(1, &on_texts("bert", &own));
    let cause = "the test loss of the model of epoch 1 is inf";
    assert!(said.contains(cause), "{said}");
    let history = place.history("runs/sgd-seed1");
    assert_eq!((history.status, history.test), (Status::Failed, None));
    assert!(place.path("runs/sgd-seed1/adapter").exists());
    assert_eq!(place.history("runs/ief-seed1").status, Status::Finished);
    let said = place.succeed(&["report", "runs"]);
    assert!(said.contains("iEF") && said.contains(cause), "{said}");
}

#[test]
fn failed_runs_are_reported_with_their_cause() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let own = ["--epochs=2", "--method=sgd,ief", "--step-size=sgd=1e300"];
    place.fail(1, &on_texts("bert", &own));
    let output = place.run(&["report", "runs"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(said.contains("iEF"), "{said}");
    assert!(
        said.contains("SGD seed 1 failed: the training loss of step"),
        "{said}"
    );
    // A record that cannot be read does not hide the others.
    fs::create_dir(place.path("runs/broken")).unwrap();
    fs::write(place.path("runs/broken/run.json"), "{").unwrap();
    let output = place.run(&["report", "runs"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("left out: "));
    assert!(text(&output.stdout).contains("iEF"));
}

#[test]
fn a_search_without_a_result_says_why() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let own = [
        "--epochs=1",
        "--method=sgd",
        "--tune",
        "--tune-factors=1e300,1e301",
    ];
    let said = place.fail(1, &on_texts("bert", &own));
    assert!(
        said.contains("no step size for SGD: all of its trials failed (step size 1"),
        "{said}"
    );
    assert!(
        said.contains("the training loss of step 2 is NaN"),
        "{said}"
    );
    assert!(place.path("runs/tune.json").exists());
    assert!(!place.path("runs/tuned.toml").exists());
    for factor in ["0", "-1", "nan", "inf", "1e309"] {
        let flag = format!("--tune-factors=1,{factor}");
        let own = ["--method=sgd", "--tune", "--out=none", &flag];
        let said = place.fail(2, &on_texts("bert", &own));
        assert!(said.contains("`method.sgd.step_size` is "), "{said}");
        assert!(!place.path("none").exists());
    }
    // A method that has a result keeps it.
    let own = [
        "--epochs=1",
        "--method=sgd,ief",
        "--tune",
        "--tune-factors=0.5,1",
        "--out=two",
    ];
    let sizes = "--step-size=sgd=1e300";
    let output = place.run(&on_texts("bert", &[&own[..], &[sizes]].concat()));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let tuned = fs::read_to_string(place.path("two/tuned.toml")).unwrap();
    assert!(tuned.contains("methods = [\"ief\"]"), "{tuned}");
}

/// Nobody reads what the program prints.
#[cfg(unix)]
#[test]
fn a_closed_output_stops_no_run() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let flags = on_texts("bert", &["--epochs=1", "--seed=1,2"]);
    let mut child = place.command(&flags).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert!(
        output.status.success() && !said.contains("panicked"),
        "{said}"
    );
    assert_eq!(place.history("runs/ief-seed2").status, Status::Finished);

    let full = fs::OpenOptions::new().write(true).open("/dev/full");
    let Ok(full) = full else { return };
    let errors = full.try_clone().unwrap();
    let mut command = place.command(&["report", "runs"]);
    let status = command.stdout(full).stderr(errors).status().unwrap();
    assert!(status.success());
    assert!(place.path("runs/table.md").exists());
}

#[test]
fn one_process_at_a_time_writes_into_a_folder() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let flags = on_texts("bert", &["--epochs=300", "--step-size=0.001"]);
    let mut first = place.command(&flags).spawn().unwrap();
    wait_for(
        &place.path("runs/ief-seed1/checkpoint/scheduler-1.bpk"),
        &mut first,
    );
    for more in [&["--force"][..], &["--resume"], &[], &["--seed=2"]] {
        let said = place.fail(2, &[&flags[..], more].concat());
        let expected = format!("runs: another process ({}) is writing", first.id());
        assert!(said.contains(&expected), "{more:?}: {said}");
    }
    first.kill().unwrap();
    first.wait().unwrap();
    // What it left behind is in nobody's way.
    let run = place.path("runs/ief-seed1");
    fs::write(run.join("run.json.part"), "{").unwrap();
    fs::create_dir(run.join(".adapterX1")).unwrap();
    let short = on_texts("bert", &["--epochs=1", "--force"]);
    place.succeed(&short);
    let names = |folder: &str| {
        let entries = fs::read_dir(place.path(folder)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(
        names("runs/ief-seed1"),
        ["adapter", "run.json", "steps.csv"]
    );
    assert_eq!(names("runs"), ["ief-seed1"]);

    // Killed behind its end, before its checkpoints were removed.
    fs::create_dir(run.join("checkpoint")).unwrap();
    fs::write(run.join("checkpoint/model-1.bpk"), "").unwrap();
    fs::write(run.join("adapter/.adapterZ9"), "").unwrap();
    place.succeed(&on_texts("bert", &["--epochs=1"]));
    assert_eq!(
        names("runs/ief-seed1"),
        ["adapter", "run.json", "steps.csv"]
    );
    assert_eq!(
        names("runs/ief-seed1/adapter"),
        [
            "README.md",
            "adapter_config.json",
            "adapter_model.safetensors",
            "labels.json"
        ]
    );
}

#[test]
fn outputs_that_cannot_be_written_are_found_before_the_training() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let run = place.path("runs/ief-seed1");
    fs::create_dir_all(&run).unwrap();
    fs::write(run.join("adapter"), "a file").unwrap();
    let said = place.fail(1, &on_texts("bert", &["--epochs=1"]));
    assert!(
        said.contains("cannot write") && said.contains("adapter"),
        "{said}"
    );
    assert!(!run.join("run.json").exists());
    assert_eq!(fs::read_to_string(run.join("adapter")).unwrap(), "a file");
}

/// A step behind the begin is not a refusal, and the record does not say `running`.
#[test]
fn a_checkpoint_of_another_model_is_an_error_and_no_panic() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let flags = ["--epochs=2", "--method=sgd", "--keep-checkpoints"];
    place.succeed(&on_texts("bert", &flags));
    let other = ["--rank=2", "--out=other"];
    place.succeed(&on_texts("bert", &[&flags[..], &other].concat()));
    let run = place.path("runs/sgd-seed1");
    let mut history = place.history("runs/sgd-seed1");
    history.epochs.truncate(1);
    history.status = Status::Interrupted;
    history.test = None;
    history.write(&run).unwrap();
    for name in ["model-1.bpk", "model-1.bpk.sha256"] {
        let from = place.path("other/sgd-seed1/checkpoint").join(name);
        fs::copy(from, run.join("checkpoint").join(name)).unwrap();
    }
    let resume = on_texts("bert", &[&flags[..], &["--resume"]].concat());
    let said = place.fail(1, &resume);
    assert!(
        said.contains("model-1.bpk") && !said.contains("panicked"),
        "{said}"
    );
    let history = place.history("runs/sgd-seed1");
    assert_eq!(history.status, Status::Failed);
    assert!(history.reason.unwrap().contains("model-1.bpk"));
}

#[test]
fn a_flipped_bit_in_a_checkpoint_is_found() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let flags = ["--epochs=3", "--method=sgd", "--keep-checkpoints"];
    place.succeed(&on_texts("bert", &flags));
    let unbroken = place.history("runs/sgd-seed1");
    let run = place.path("runs/sgd-seed1");
    let mut history = unbroken.clone();
    history.status = Status::Interrupted;
    history.test = None;
    history.epochs.truncate(2);
    history.write(&run).unwrap();
    for part in ["optim", "scheduler"] {
        let [from, to] = [3, 2].map(|epoch| run.join(format!("checkpoint/{part}-{epoch}.bpk")));
        if !to.exists() {
            fs::copy(from, to).unwrap();
        }
    }
    // A bit in a name: the file has them as text.
    let path = run.join("checkpoint/model-2.bpk");
    let mut bytes = fs::read(&path).unwrap();
    let name = b"classifier";
    let place_of = |bytes: &[u8]| bytes.windows(name.len()).position(|window| window == name);
    let at = place_of(&bytes).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let output = place.run(&on_texts("bert", &[&flags[..], &["--resume"]].concat()));
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("model-2.bpk: damaged") && said.contains("going back further"),
        "{said}"
    );
    assert_eq!(place.history("runs/sgd-seed1").epochs.len(), 3);
}

#[test]
fn sizes_are_refused_before_they_are_allocated() {
    let place = Place::new();
    let model = place.model("bert");
    place.texts();
    place.pictures();
    let refused = |flags: &[&str], expected: &str| {
        let said = place.fail(2, flags);
        assert!(said.contains(expected), "{flags:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
        assert!(!place.path("runs").exists());
    };
    for rank in ["65", "2147483648", "18446744073709551615"] {
        let flag = format!("--rank={rank}");
        let expected = format!("`adapter.rank` is {rank}, expected at most 64");
        refused(&on_texts("bert", &[&flag]), &expected);
    }
    let mlp = [
        "--task=images",
        "--data=pictures",
        "--adapter=full",
        "--image-size=8",
        "--out=runs",
    ];
    let wide = [&mlp[..], &["--hidden=1099511627776"]].concat();
    refused(
        &wide,
        "`model.hidden` is 1099511627776, expected a smaller value",
    );
    let decay = ["--method=adafactor", "--weight-decay=1e39"];
    refused(&on_texts("bert", &decay), "`method.adafactor.weight_decay`");
    refused(
        &on_texts("bert", &["--epochs=18446744073709551615"]),
        "`training.epochs`",
    );
    let long = format!("--task={}", "x".repeat(100_000));
    let said = place.fail(2, &on_texts("bert", &[&long]));
    assert!(said.chars().count() < 2100, "{}", said.len());

    // Numbers of the tokenizer that the model's tables do not have.
    let path = model.join("tokenizer.json");
    let whole: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let template = |id: u32, type_id: u32| {
        let mut value = whole.clone();
        value["post_processor"] = serde_json::json!({
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": type_id}},
            ],
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 0}},
            ],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [id], "tokens": ["[CLS]"]}},
        });
        fs::write(&path, value.to_string()).unwrap();
    };
    template(1_000_000, 0);
    refused(&on_texts("bert", &[]), "tokenizer.json: the text `");
    refused(
        &on_texts("bert", &[]),
        "found token 1000000, expected one below",
    );
    template(3, 9);
    refused(
        &on_texts("bert", &[]),
        "found type_id 9, expected one below",
    );
    template(3, 1);
    place.succeed(&on_texts("bert", &["--epochs=1"]));
    AdapterFolder::read(place.path("runs/ief-seed1/adapter")).unwrap();
}

#[cfg(unix)]
#[test]
fn pipes_in_the_place_of_files_are_not_waited_for() {
    let place = Place::new();
    let model = place.model("bert");
    place.texts();
    let make = |name: &str| {
        let path = place.path(name);
        let _ = fs::remove_file(&path);
        let mut mkfifo = std::process::Command::new("mkfifo");
        assert!(
            mkfifo
                .arg(&path)
                .stdin(Stdio::null())
                .status()
                .unwrap()
                .success()
        );
    };
    let refused = |flags: &[&str], expected: &str| {
        let said = place.fail(2, flags);
        assert!(said.contains(expected), "{said}");
        assert!(
            said.contains("expected a regular file, found a FIFO"),
            "{said}"
        );
    };
    make("pipe.csv");
    refused(&on_texts("bert", &["--data=pipe.csv"]), "pipe.csv");
    make("own.toml");
    refused(&on_texts("bert", &["--config=own.toml"]), "own.toml");
    fs::create_dir_all(place.path("runs/ief-seed1")).unwrap();
    make("runs/ief-seed1/run.json");
    refused(&on_texts("bert", &[]), "run.json");
    fs::remove_file(model.join("tokenizer.json")).unwrap();
    make("bert/tokenizer.json");
    refused(&on_texts("bert", &["--out=other"]), "tokenizer.json");
}
