//! Errors of `adapter` and `roundtrip`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::program::{Folder, entries};

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../models/tests/fixtures")
        .join(path)
}

impl Folder {
    /// The program refuses these folders and inputs, says all of `message` and writes nothing.
    fn refuses_adapter(&self, folders: [PathBuf; 3], merged: bool, message: &[&str]) {
        let before = entries(&self.0);
        let [model, adapter, inputs] = folders;
        let mut command = Command::new(env!("CARGO_BIN_EXE_replay"));
        command.arg("adapter").arg("--model").arg(model);
        command
            .arg("--adapter")
            .arg(adapter)
            .arg("--inputs")
            .arg(inputs);
        command.arg("--out").arg(self.0.join("out.safetensors"));
        if merged {
            command.arg("--merged");
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.starts_with("error: ") && !said.contains("panicked"),
            "{said}"
        );
        for part in message {
            assert!(said.contains(part), "`{part}` is not in: {said}");
        }
        assert_eq!(entries(&self.0), before, "something was written");
    }
}

#[test]
fn folders_and_inputs_that_do_not_go_together() {
    let folder = Folder::new("adapter-errors");
    let bert = || fixture("bert");
    let golden = |model: &str| fixture(&format!("{model}/golden.safetensors"));
    let lora = || fixture("bert/lora");

    // Another model's inputs, adapter, and none at all.
    let inputs = [bert(), lora(), golden("vit")];
    folder.refuses_adapter(inputs, false, &["input.pixel_values"]);
    let adapter = [bert(), fixture("vit/lora"), golden("bert")];
    folder.refuses_adapter(adapter, false, &["vit.encoder", "no such module"]);
    let nothing = [bert(), bert(), golden("bert")];
    folder.refuses_adapter(nothing, false, &["adapter_config.json"]);
    let weights = fixture("bert/model.safetensors");
    folder.refuses_adapter([bert(), lora(), weights], false, &["input."]);
    let model = [lora(), lora(), golden("bert")];
    folder.refuses_adapter(model, false, &["config.json"]);

    let prompt = [bert(), fixture("bert/prompt_tuning"), golden("bert")];
    folder.refuses_adapter(prompt, true, &["--merged", "prompt"]);
    let image = [fixture("vit"), fixture("bert/prompt_tuning"), golden("vit")];
    folder.refuses_adapter(image, false, &["classifier"]);

    let other = folder.0.join("gpt");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("config.json"), r#"{"model_type": "gpt2"}"#).unwrap();
    folder.refuses_adapter(
        [other, lora(), golden("bert")],
        false,
        &["gpt2", "known are bert"],
    );
}

#[test]
fn a_round_trip_that_fails_leaves_no_folder() {
    let folder = Folder::new("roundtrip-errors");
    let out = folder.0.join("adapter");
    let output = Command::new(env!("CARGO_BIN_EXE_replay"))
        .args(["roundtrip", "--model"])
        .arg(fixture("bert"))
        .arg("--adapter")
        .arg(fixture("llama/lora"))
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(!out.exists());
}
