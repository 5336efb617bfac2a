//! Runs that end before their end, and go on.

use std::fs;
use std::process::Command;

use finetune::history::{History, Status};

use crate::on_texts;
use crate::place::{Place, text, wait_for};

/// Kill a run after some epochs, go on with it, and compare with one that was not killed.
#[test]
fn a_killed_run_goes_on_as_the_unbroken_one() {
    let cases = [
        ("sf", "--momentum=0.5"),
        ("ief", "--momentum=0"),
        ("ief", "--solve-momentum=0.9"),
        ("adamw", "--momentum=0"),
        ("sgd", "--momentum=0.9"),
        // Epochs end between two refreshes: factors and inverses come from the checkpoint.
        ("iekfac", "--inverse-interval=7"),
        ("kfac", "--factor-interval=3"),
    ];
    for (method, option) in cases {
        let place = Place::new();
        place.model("bert");
        place.texts();
        let size = "--step-size=0.05,ief=0.1,adamw=0.001,sgd=0.01";
        let own = [
            "--method",
            method,
            "--epochs=25",
            "--lora-dropout=0.2",
            size,
            option,
        ];
        let flags = on_texts("bert", &own);
        place.succeed(&flags);
        let unbroken = place.history(&format!("runs/{method}-seed1"));

        let again = [&flags[..], &["--out=again"]].concat();
        let mut child = place.command(&again).spawn().unwrap();
        let folder = place.path(&format!("again/{method}-seed1"));
        wait_for(&folder.join("checkpoint/scheduler-3.bpk"), &mut child);
        child.kill().unwrap();
        child.wait().unwrap();
        let killed = History::read(&folder).unwrap();
        assert_eq!(
            killed.status,
            Status::Running,
            "{method} ended before it was killed"
        );
        assert!(killed.epochs.len() >= 3);

        let said = place.fail(2, &again);
        assert!(said.contains("--resume goes on with it"), "{said}");
        place.succeed(&[&again[..], &["--resume"]].concat());
        let resumed = History::read(&folder).unwrap();
        assert_eq!(resumed.losses, unbroken.losses, "{method}");
        assert_eq!(resumed.epochs, unbroken.epochs, "{method}");
        assert_eq!(resumed.test, unbroken.test, "{method}");
    }
}

#[test]
fn interrupting_keeps_the_checkpoint_and_says_how_to_go_on() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let flags = on_texts("bert", &["--epochs=200", "--seed=1,2"]);
    let mut child = place.command(&flags).spawn().unwrap();
    let folder = place.path("runs/ief-seed1");
    wait_for(&folder.join("checkpoint/scheduler-2.bpk"), &mut child);
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("is kept: the same command with --resume goes on"),
        "{said}"
    );
    let history = History::read(&folder).unwrap();
    assert_eq!(history.status, Status::Interrupted);
    // The next run did not start.
    assert!(!place.path("runs/ief-seed2").exists());
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let flags = on_texts("bert", &["--epochs=40"]);
    let mut child = place.command(&flags).spawn().unwrap();
    let checkpoint = place.path("runs/ief-seed1/checkpoint");
    wait_for(&checkpoint.join("scheduler-2.bpk"), &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    let whole = |epoch: &usize| {
        let parts = ["model", "optim", "scheduler"].iter();
        let mut files = parts.map(|part| checkpoint.join(format!("{part}-{epoch}.bpk")));
        files.all(|file| file.exists())
    };
    let last = (1..=40).rev().find(whole).unwrap();
    let model = checkpoint.join(format!("model-{last}.bpk"));
    let bytes = fs::read(&model).unwrap();
    fs::write(&model, &bytes[..bytes.len() / 2]).unwrap();
    let output = place.run(&[&flags[..], &["--resume"]].concat());
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("going back further"), "{said}");
    assert_eq!(place.history("runs/ief-seed1").epochs.len(), 40);
}

#[test]
fn checkpoints_of_all_epochs_are_kept_if_asked_for() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let own = ["--epochs=5", "--method=iekfac", "--keep-checkpoints"];
    place.succeed(&on_texts("bert", &own));
    let size = |epoch: usize| {
        let file = format!("runs/iekfac-seed1/checkpoint/model-{epoch}.bpk");
        fs::metadata(place.path(&file)).unwrap().len()
    };
    let sizes: Vec<u64> = (1..=5).map(size).collect();
    // The factors are only there to go on from the last ones.
    let best = place.history("runs/iekfac-seed1").best_epoch.unwrap();
    let old = (1..4).find(|epoch| *epoch != best).unwrap();
    assert!(2 * sizes[old - 1] < sizes[4], "{sizes:?}");
}

#[test]
fn rounds_and_accumulated_batches_resume_too() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    // 86 rows: 22 batches of 4 an epoch.
    let flags = |out: &str, more: &[&str]| {
        let fixed = [
            "--batch=4",
            "--gradient-accumulation=3",
            "--eval-steps=4",
            "--max-steps=10",
            "--method=ief,adamw",
            "--schedule=cosine:0.2",
            "--clip-norm=0.5",
            "--out",
            out,
        ];
        let flags = [&fixed[..], more].concat();
        let flags = on_texts("bert", &flags);
        flags.into_iter().map(str::to_string).collect::<Vec<_>>()
    };
    let run = |out: &str, more: &[&str]| {
        let flags = flags(out, more);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        place.succeed(&flags);
    };
    run("whole", &[]);
    for method in ["ief", "adamw"] {
        let history = place.history(&format!("whole/{method}-seed1"));
        assert_eq!((history.losses.len(), history.epochs.len()), (10, 3));
        assert_eq!(history.milliseconds.len(), 10);
    }
    // The record of a run that was killed after its first round.
    let copy = place.path("whole/adamw-seed1");
    run("kept", &["--keep-checkpoints", "--method=adamw"]);
    let folder = place.path("kept/adamw-seed1");
    let mut history = finetune::history::History::read(&folder).unwrap();
    history.status = Status::Running;
    history.epochs.truncate(2);
    history.test = None;
    std::fs::write(
        folder.join("run.json"),
        serde_json::to_string(&history).unwrap(),
    )
    .unwrap();
    run(
        "kept",
        &["--keep-checkpoints", "--method=adamw", "--resume"],
    );
    let resumed = finetune::history::History::read(&folder).unwrap();
    let whole = finetune::history::History::read(&copy).unwrap();
    assert_eq!(resumed.losses, whole.losses);
    assert_eq!(resumed.epochs, whole.epochs);
}
