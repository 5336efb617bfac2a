//! What the program does to the place of its output.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::changed_folders::{self, fixture};
use crate::program::{Folder, entries, golden};

fn write_to(out: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replay"));
    command.arg("golden").arg(golden("c_mlp"));
    command.args(["--only", "gram"]).arg("--out").arg(out);
    command.output().unwrap()
}

#[test]
fn nothing_but_regular_files_is_replaced() {
    let folder = Folder::new("outputs");
    let at = |name: &str| folder.0.join(name);
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("old"), b"old").unwrap();
    // Left by a program that was killed.
    fs::write(at("old.part"), b"half").unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(at("target"), at("link")).unwrap();
        fs::write(at("target"), b"target").unwrap();
        std::os::unix::fs::symlink(at("nothing"), at("dangling")).unwrap();
        let _ = Command::new("mkfifo").arg(at("fifo")).status();
    }
    let before = entries(&folder.0);
    let mut refused = vec![at("folder"), at("no/such/folder"), at("old").join("below")];
    if cfg!(unix) {
        refused.extend([
            "/dev/null".into(),
            "/dev/full".into(),
            at("link"),
            at("dangling"),
        ]);
        refused.extend(at("fifo").exists().then(|| at("fifo")));
    }
    for out in refused {
        let kind = |path: &Path| {
            fs::symlink_metadata(path)
                .map(|there| there.file_type())
                .ok()
        };
        let there = kind(&out);
        let output = write_to(&out);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{}: {said}", out.display());
        assert!(said.starts_with("error: cannot write"), "{said}");
        assert_eq!(kind(&out), there, "{}", out.display());
        assert_eq!(entries(&folder.0), before);
    }
    if cfg!(unix) {
        assert_eq!(fs::read(at("target")).unwrap(), b"target");
    }
    let output = write_to(&at("old"));
    assert!(output.status.success());
    assert!(fs::read(at("old")).unwrap().len() > 100);
    assert!(!at("old.part").exists());
}

#[test]
fn a_models_own_files_are_not_replaced() {
    let folder = Folder::new("own-files");
    let keep = |name: &str| Some(name.to_string());
    let model = changed_folders::model("bert", &folder.0, serde_json::json!({}), keep);
    let golden = fixture("bert/golden.safetensors");
    let weights = folder.0.join("model.safetensors");
    let before = fs::read(&weights).unwrap();
    let run = |out: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_replay"));
        command.arg("adapter").arg("--model").arg(&model);
        command.arg("--adapter").arg(fixture("bert/lora"));
        command
            .arg("--inputs")
            .arg(&golden)
            .arg("--out")
            .arg(out)
            .output()
            .unwrap()
    };
    let output = run(&weights);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("is a file that is read"), "{said}");
    assert_eq!(fs::read(&weights).unwrap(), before);
    // Results may be next to them, and be replaced by new ones.
    for _ in 0..2 {
        assert!(run(&folder.0.join("out.safetensors")).status.success());
    }
}

#[test]
fn a_round_trip_finds_an_unwritable_folder_first() {
    let folder = Folder::new("roundtrip-outputs");
    fs::write(folder.0.join("file"), b"kept").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_replay"));
    // The model folder does not exist: the output is looked at before it.
    command.args(["roundtrip", "--model", "none", "--adapter"]);
    command.arg(fixture("bert/lora"));
    let output = command
        .arg("--out")
        .arg(folder.0.join("file/new"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("is not a folder"), "{said}");
    assert_eq!(fs::read(folder.0.join("file")).unwrap(), b"kept");
}
