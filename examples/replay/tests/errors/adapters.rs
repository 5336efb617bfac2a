//! Errors of `adapter` and `roundtrip`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::changed_folders::{self, fixture};
use crate::program::{Folder, entries};

impl Folder {
    /// The program refuses these folders and inputs, says all of `message` and writes nothing.
    pub fn refuses_adapter(&self, folders: [PathBuf; 3], merged: bool, message: &[&str]) {
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
        assert!(said.chars().count() <= 2010, "{said}");
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
        &[
            "`model_type`: expected bert, roberta, distilbert, modernbert, vit, dinov2, t5, llama, mistral, qwen2, qwen3, gemma2, gemma3_text, phi3 or smollm3, found `gpt2`",
            "config.json",
        ],
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

#[test]
fn a_head_that_nothing_holds_is_named() {
    let folder = Folder::new("no-head");
    let keep = |name: &str| Some(name.to_string());
    let headless = |name: &str| (!name.starts_with("lm_head")).then(|| name.to_string());
    let model = changed_folders::model("llama", &folder.0.join("llama"), json!({}), headless);
    let golden = fixture("llama/golden.safetensors");
    let folders = [model, fixture("llama/lora"), golden];
    folder.refuses_adapter(folders, false, &["lm_head.weight", "random head"]);

    // The adapter's task calls for a head, and its file has none.
    let encoder = |name: &str| name.strip_prefix("bert.").map(String::from);
    let fields = json!({"architectures": ["BertModel"]});
    let model = changed_folders::model("bert", &folder.0.join("bert"), fields, encoder);
    let task = json!({"task_type": "SEQ_CLS"});
    let adapter = folder.0.join("adapter");
    let adapter = changed_folders::adapter("bert/lora", &adapter, task, keep);
    let folders = [model, adapter, fixture("bert/golden.safetensors")];
    folder.refuses_adapter(
        folders,
        false,
        &["classifier.weight", "classifier.bias", "random head"],
    );
}

#[test]
fn classes_that_contradict_each_other_stop() {
    let folder = Folder::new("classes");
    let golden = || fixture("bert/golden.safetensors");
    let keep = |name: &str| Some(name.to_string());
    let other = json!({"architectures": ["BertForTokenClassification"]});
    let model = changed_folders::model("bert", &folder.0.join("tokens"), other, keep);
    let folders = [model, fixture("bert/lora_seqcls"), golden()];
    folder.refuses_adapter(
        folders,
        false,
        &["sequence classification", "BertForTokenClassification"],
    );
    let encoder = json!({"architectures": ["BertModel"]});
    let model = changed_folders::model("bert", &folder.0.join("encoder"), encoder, keep);
    let folders = [model, fixture("bert/lora"), golden()];
    folder.refuses_adapter(folders, false, &["nothing tells which class"]);
}

#[test]
fn damaged_model_folders_are_named_before_anything_is_allocated() {
    let folder = Folder::new("damaged");
    let keep = |name: &str| Some(name.to_string());
    let at = |name: &str| folder.0.join(name);
    for (index, (model, field, value)) in [
        ("bert", "num_hidden_layers", json!(1 << 24)),
        ("bert", "num_hidden_layers", json!(4096)),
        ("vit", "num_hidden_layers", json!(65_535)),
        ("llama", "num_hidden_layers", json!(4096)),
        ("t5_relu", "num_layers", json!(1u64 << 62)),
        ("t5_relu", "num_layers", json!(4096)),
        ("t5_relu", "num_decoder_layers", json!(1 << 30)),
        ("t5_relu", "d_kv", json!((1u64 << 62) + 8)),
        ("t5_relu", "vocab_size", json!(1u64 << 40)),
        ("llama", "head_dim", json!(u64::MAX)),
        ("bert", "hidden_act", json!("x".repeat(1 << 20))),
        (
            "llama",
            "quantization_config",
            json!({"bits": 4, "text": "x".repeat(100_000)}),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let changed = json!({ field: value });
        let path = at(&format!("{model}-{index}"));
        let changed = changed_folders::model(model, &path, changed, keep);
        let adapter = fixture(&format!("{model}/lora"));
        let golden = fixture(&format!("{model}/golden.safetensors"));
        folder.refuses_adapter([changed, adapter, golden], false, &["config.json", field]);
    }
    // These fit their ranges and not the file.
    let wide = json!({"hidden_size": 1 << 23});
    let wide = changed_folders::model("bert", &at("hidden"), wide, keep);
    let folders = [
        wide,
        fixture("bert/lora"),
        fixture("bert/golden.safetensors"),
    ];
    folder.refuses_adapter(
        folders,
        false,
        &["model.safetensors", "word_embeddings", "8388608"],
    );
    let wide = json!({"vocab_size": 1 << 20});
    let wide = changed_folders::model("bert", &at("wide"), wide, keep);
    let folders = [
        wide,
        fixture("bert/lora"),
        fixture("bert/golden.safetensors"),
    ];
    folder.refuses_adapter(
        folders,
        false,
        &["model.safetensors", "word_embeddings", "1048576"],
    );

    let pointer = changed_folders::model("bert", &at("pointer"), json!({}), keep);
    let text = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    fs::write(pointer.join("model.safetensors"), text).unwrap();
    let folders = [
        pointer,
        fixture("bert/lora"),
        fixture("bert/golden.safetensors"),
    ];
    folder.refuses_adapter(
        folders,
        false,
        &["model.safetensors", "Git LFS", "git lfs pull"],
    );
}
