//! Every adapter of every model in f64, adapted and merged, and through the writer. A process of
//! its own: the precision of a device is set once.

mod changed_folders;
mod models_reference;

use std::path::Path;

use ::replay::{AdapterCase, DeviceKind, Inputs, Place, Precision, Task, adapter};
use changed_folders::{empty, fixture};
use models_reference::{CASES, check, check_ia3, compare};
use serde_json::{Value, json};

#[test]
fn outputs_match_transformers_and_peft() {
    let place = Place::open(DeviceKind::Flex, Precision::F64).unwrap();
    for case in CASES {
        // Relative to the largest value; the references are f64 throughout.
        check(case, "f64", 1e-9, &place);
    }
    check_ia3(1e-9, &place);
}

/// Relative to the largest value; the references are f64 throughout.
const TOLERANCE: f64 = 1e-9;

/// Run the case and compare all of its outputs with those under a prefix.
fn compare_case(case: &AdapterCase, inputs: &str, golden: &Path, prefix: &str, outputs: &[&str]) {
    let place = Place::open(DeviceKind::Flex, Precision::F64).unwrap();
    let inputs = Inputs::read(&fixture(inputs)).unwrap();
    let found = adapter(case, &inputs, false, &place).unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), outputs);
    compare(golden, prefix, "f64", &found, TOLERANCE);
}

fn below<'a>(prefix: &'a str) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| Some(name.strip_prefix(prefix)?.to_string())
}

#[test]
fn an_adapter_brings_the_head_to_a_pretrained_encoder() {
    let folder = empty("class-seqcls");
    // As every encoder is published: without a head, and under the names of a class without one.
    // Its configuration does not know how many classes the adapter tells apart.
    let encoder = json!({"architectures": ["BertModel"], "id2label": null});
    let model = changed_folders::model("bert", &folder.join("model"), encoder, below("bert."));
    let case = AdapterCase::new(model, fixture("bert/lora_seqcls"));
    let golden = fixture("bert/golden.safetensors");
    let outputs = ["last_hidden_state", "logits"];
    compare_case(
        &case,
        "bert/golden.safetensors",
        &golden,
        "lora_seqcls",
        &outputs,
    );
}

#[test]
fn an_adapter_for_hidden_states_runs_on_a_folder_with_another_head() {
    let folder = empty("class-base");
    for (model, adapter, below, with, outputs) in [
        (
            "bert",
            "lora",
            "bert.",
            "BertForPreTraining",
            &["last_hidden_state"][..],
        ),
        (
            "llama",
            "lora",
            "model.",
            "LlamaForCausalLM",
            &["last_hidden_state"],
        ),
        (
            "qwen2",
            "lora",
            "model.",
            "Qwen2ForCausalLM",
            &["last_hidden_state"],
        ),
        (
            "vit",
            "lora",
            "vit.",
            "ViTForImageClassification",
            &["encoder_output", "last_hidden_state"],
        ),
        (
            "vit",
            "lora_tf5",
            "vit.",
            "ViTModel",
            &["encoder_output", "last_hidden_state"],
        ),
    ] {
        let to = folder.join(format!("{model}-{adapter}"));
        let trained = json!({"architectures": [with]});
        let keep = |name: &str| Some(name.to_string());
        let base = changed_folders::model(model, &to.join("model"), trained, keep);
        let without = |name: &str| Some(name.replace(&format!(".model.{below}"), ".model."));
        let from = format!("{model}/{adapter}");
        let mut fields = json!({"task_type": "FEATURE_EXTRACTION"});
        let config = std::fs::read_to_string(fixture(&from).join("adapter_config.json")).unwrap();
        let config: Value = serde_json::from_str(&config).unwrap();
        if let Some(targets) = config["target_modules"].as_array() {
            let targets = targets.iter().filter_map(Value::as_str);
            let targets = targets.map(|target| target.strip_prefix(below).unwrap_or(target));
            fields["target_modules"] = targets.collect();
        }
        let changed = changed_folders::adapter(&from, &to.join("adapter"), fields, without);
        let golden = fixture(&format!("{model}/golden.safetensors"));
        let inputs = format!("{model}/golden.safetensors");
        compare_case(
            &AdapterCase::new(base, changed),
            &inputs,
            &golden,
            "lora",
            outputs,
        );
    }
}

/// `fixtures/bert/lora_tokencls` was made by PEFT 0.21.2 for `BertForTokenClassification`.
#[test]
fn tokens_are_classified() {
    let folder = empty("class-tokencls");
    let keep = |name: &str| Some(name.to_string());
    let golden = fixture("bert/lora_tokencls.safetensors");
    let outputs = ["last_hidden_state", "logits"];
    let pretrained = json!({"architectures": ["BertForPreTraining"]});
    let model = changed_folders::model("bert", &folder.join("model"), pretrained, keep);
    let case = AdapterCase::new(model, fixture("bert/lora_tokencls"));
    compare_case(
        &case,
        "bert/golden.safetensors",
        &golden,
        "lora_tokencls",
        &outputs,
    );

    // The folder was trained for another task: that stops, unless the task is given.
    let case = AdapterCase::new(fixture("bert"), fixture("bert/lora_tokencls"));
    let place = Place::open(DeviceKind::Flex, Precision::F64).unwrap();
    let inputs = Inputs::read(&fixture("bert/golden.safetensors")).unwrap();
    let error = adapter(&case, &inputs, false, &place)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("token classification") && error.contains("BertForSequenceClassification")
    );
    let case = case.with_task(Some(Task::TokenClassification));
    compare_case(
        &case,
        "bert/golden.safetensors",
        &golden,
        "lora_tokencls",
        &outputs,
    );
}
