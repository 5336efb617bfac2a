//! Several devices that share every batch.

use super::place::{Place, wait_for};
use super::{TEXTS, on_texts};

/// Flags of a training by iEF and SF with dropout off, so that only the devices differ.
fn flags<'a>(out: &'a str, devices: &'a str) -> Vec<&'a str> {
    let common = [
        "--method=ief,sf",
        "--epochs=2",
        "--schedule=constant",
        "--model=bert",
    ];
    // All but the folder of the runs.
    let texts = &TEXTS[..TEXTS.len() - 2];
    [texts, &common, &["--out", out, devices]].concat()
}

#[test]
fn a_training_does_not_depend_on_the_number_of_devices() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    for (out, devices) in [
        ("one", "--devices=flex"),
        ("three", "--devices=flex,flex,flex"),
    ] {
        place.succeed(&flags(out, devices));
    }
    for method in ["ief", "sf"] {
        let losses = ["one", "three"].map(|out| {
            let history = place.history(&format!("{out}/{method}-seed1"));
            history.losses
        });
        let [one, three] = losses;
        assert_eq!(one.len(), three.len());
        for (one, three) in one.iter().zip(&three) {
            // Losses of parts, weighted by their samples: the same to the rounding of f32.
            assert!((one - three).abs() < 1e-3, "{method}: {one} {three}");
        }
        assert!(one.last() < one.first(), "{method}: {one:?}");
    }
}

#[test]
fn a_killed_training_goes_on_with_another_number_of_devices() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let own = ["--method=ief", "--epochs=12", "--schedule=constant"];
    let flags = on_texts("bert", &own);
    let with = |more: &[&'static str]| [&flags[..], more].concat();
    place.succeed(&with(&["--devices=flex"]));
    let unbroken = place.history("runs/ief-seed1");

    let begun = with(&["--out=again", "--devices=flex,flex"]);
    let mut child = place.command(&begun).spawn().unwrap();
    let folder = place.path("again/ief-seed1");
    wait_for(&folder.join("checkpoint/scheduler-3.bpk"), &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(place.history("again/ief-seed1").epochs.len() < 12);
    place.succeed(&with(&[
        "--out=again",
        "--devices=flex,flex,flex",
        "--resume",
    ]));
    let resumed = place.history("again/ief-seed1");
    assert_eq!(resumed.losses.len(), unbroken.losses.len());
    for (found, expected) in resumed.losses.iter().zip(&unbroken.losses) {
        assert!((found - expected).abs() < 1e-2, "{found} {expected}");
    }
}

#[test]
fn devices_that_do_not_fit_are_refused() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    for (flag, method, expected) in [
        (
            "--devices=flex,flex",
            "--method=adamw",
            "expected natural-gradient methods",
        ),
        (
            "--devices=flex,gpu",
            "--method=ief",
            "expected one of flex, ndarray, wgpu, cuda, found `gpu`",
        ),
        (
            "--devices=flex:1",
            "--method=ief",
            "the processor is one device",
        ),
        (
            "--devices=flex,flex,flex,flex,flex",
            "--method=ief",
            "at least 10, two samples for each device",
        ),
        (
            "--workers=http://gpu:1",
            "--method=ief",
            "expected ws://HOST:PORT",
        ),
        (
            "--workers=ws://gpu:1",
            "--method=ief",
            "build with `--features remote`",
        ),
    ] {
        let said = place.fail(2, &on_texts("bert", &[flag, method]));
        assert!(said.contains(expected), "{flag}: {said}");
    }
}
