//! The K-FAC family on small models.

use crate::place::Place;
use crate::{learned, on_texts};

const ALL: &str = "--method=iekfac,ekfac,kfac";

#[test]
fn the_family_trains_prompts_by_their_diagonal() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    let flags = [
        ALL,
        "--adapter=prompt",
        "--virtual-tokens=4",
        "--epochs=4",
        "--step-size=0.5",
        "--factor-interval=1",
    ];
    place.succeed(&on_texts("bert", &flags));
    for method in ["iekfac", "kfac"] {
        let history = place.history(&format!("runs/{method}-seed1"));
        assert!(learned(&history), "{method}: {:?}", history.epochs);
        assert!(history.plain_gradients.is_empty());
    }
}

#[test]
fn whole_models_train_and_the_record_names_plain_gradients() {
    let place = Place::new();
    place.model("t5_relu");
    place.texts();
    let same = ["--method=iekfac", "--adapter=full", "--step-size=0.5"];
    place.succeed(&on_texts("t5_relu", &[&same[..], &["--epochs=6"]].concat()));
    let history = place.history("runs/iekfac-seed1");
    assert!(learned(&history), "{:?}", history.epochs);

    let gradient = ["--epochs=1", "--others=gradient", "--out=gradient"];
    let said = place.succeed(&on_texts("t5_relu", &[&same[..], &gradient].concat()));
    assert!(said.contains("plain gradients"), "{said}");
    let plain = place.history("gradient/iekfac-seed1").plain_gradients;
    let named = |part: &str| plain.iter().any(|path| path.contains(part));
    assert!(named("norm") && !named(".q."), "{plain:?}");
}

#[test]
fn the_family_trains_pictures() {
    let place = Place::new();
    place.model("vit");
    place.pictures();
    let same = ["--task=images", "--data=pictures", "--batch=8", ALL];
    let vit = ["--model=vit", "--bias=lora_only", "--out=vit", "--epochs=4"];
    place.succeed(&[&same[..], &vit].concat());
    let mlp = [
        "--adapter=full",
        "--hidden=16,16",
        "--image-size=8",
        "--out=mlp",
        "--epochs=4",
    ];
    place.succeed(&[&same[..], &mlp].concat());
    for run in [
        "vit/iekfac-seed1",
        "vit/kfac-seed1",
        "mlp/iekfac-seed1",
        "mlp/kfac-seed1",
    ] {
        let history = place.history(run);
        assert!(learned(&history), "{run}: {:?}", history.epochs);
    }
}

#[test]
fn options_are_checked_before_a_run() {
    let place = Place::new();
    place.model("bert");
    place.texts();
    for (flag, expected) in [
        ("--factor-interval=0", "factor_interval"),
        ("--factor-decay=1", "decay"),
        ("--kl-clip=-1", "kl_clip"),
        ("--solve-momentum=iekfac=0.9", "--solve-momentum"),
    ] {
        let said = place.fail(2, &on_texts("bert", &["--method=iekfac", flag]));
        assert!(said.contains(expected), "{flag}: {said}");
        assert!(!place.path("runs").exists());
    }
}

#[test]
fn the_written_settings_have_the_factors_of_the_family_alone() {
    let place = Place::new();
    let toml = place.succeed(&on_texts(
        "bert",
        &[ALL, "--inverse-interval=3", "--write-config"],
    ));
    assert_eq!(toml.matches(".factors]").count(), 3, "{toml}");
    assert_eq!(toml.matches("inverse_interval = 3").count(), 3, "{toml}");
}
