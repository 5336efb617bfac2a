//! `/classify`, against the classifier without a server.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use finetune::predict::{Classifier, PredictOptions, Prediction};
use finetune::serve::Served;
use finetune::target::Target;
use serde_json::{Value, json};

use crate::embeddings::folder;
use crate::http::{get, post};
use crate::model::{Running, fixtures};
use crate::{CHAT, chat};

const PATH: &str = "/classify";
const TEXTS: [&str; 3] = ["w5 w17 w30 w4", "w9", "w12 w13 w14 w15 w16 w17 w18"];

fn classifier(adapter: &Path, base: &Path) -> Classifier {
    let target = Target::of(adapter, Some(base)).unwrap();
    assert!(Classifier::is_in(&target).unwrap());
    Classifier::open(&target, &PredictOptions::default(), &Device::flex()).unwrap()
}

#[test]
fn classes_are_those_without_a_server() {
    let base = folder("bert");
    let adapter = tempfile::tempdir().unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        let from = fixtures().join("bert/lora_seqcls").join(file);
        fs::copy(from, adapter.path().join(file)).unwrap();
    }
    let labels =
        json!({"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 1, "c": 2}});
    fs::write(adapter.path().join("labels.json"), labels.to_string()).unwrap();
    let alone = classifier(adapter.path(), base.path());
    assert_eq!(alone.labels(), ["a", "b", "c"]);
    let served = Served::classifier("abc", classifier(adapter.path(), base.path()));
    let server = Running::serve(served, |_| ());
    let reply = post(
        server.address,
        PATH,
        &json!({"model": "abc", "input": TEXTS}),
    );
    assert_eq!(reply.status, 200, "{}", reply.body);
    let reply = reply.json();
    assert_eq!(reply["labels"], json!(["a", "b", "c"]));
    for (index, text) in TEXTS.iter().enumerate() {
        // One text is a batch without padding.
        let Prediction::Classes(expected) =
            &alone.classify(&[(text.to_string(), None)]).unwrap()[0]
        else {
            panic!("classes");
        };
        let entry = &reply["data"][index];
        let found: Vec<f32> = serde_json::from_value(entry["probs"].clone()).unwrap();
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
        assert!((found.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let best = (0..3)
            .max_by(|&a, &b| found[a].total_cmp(&found[b]))
            .unwrap();
        assert_eq!(entry["label"], ["a", "b", "c"][best]);
    }
    assert_eq!(
        get(server.address, "/v1/models").json()["data"][0]["id"],
        "abc"
    );

    let refused = |body: &Value, field: &str| {
        let reply = post(server.address, PATH, body);
        assert_eq!(reply.status, 400, "{}", reply.body);
        assert_eq!(reply.json()["error"]["param"], field, "{}", reply.body);
    };
    refused(&json!({"input": []}), "input");
    refused(&json!({"input": "w1", "second": "w2"}), "second");
    refused(&json!({"text": "w1"}), "input");
    let reply = post(server.address, CHAT, &chat("abc", "w1", json!({})));
    assert!(reply.body.contains("/classify"), "{}", reply.body);
    let reply = post(server.address, "/v1/embeddings", &json!({"input": "w1"}));
    assert_eq!(reply.status, 400, "{}", reply.body);
    let reply = post(server.address, PATH, &json!({"input": "w1", "model": "x"}));
    assert_eq!(reply.status, 404, "{}", reply.body);
}

/// What `scripts/make_tasks.py` made of BERT.
fn made(problem: &str) -> tempfile::TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/tasks_f64/fixtures")
        .join(format!("bert_{problem}/adapter"));
    let folder = tempfile::tempdir().unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(from.join(file), folder.path().join(file)).unwrap();
    }
    folder
}

#[test]
fn numbers_labels_and_tags_are_served() {
    let base = folder("bert");
    let ask = |adapter: &Path| {
        let served = Served::classifier("it", classifier(adapter, base.path()));
        let server = Running::serve(served, |_| ());
        let reply = post(server.address, PATH, &json!({"input": TEXTS[0]}));
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.json()["data"][0].clone()
    };
    let adapter = made("regression");
    let Prediction::Number(number) = classifier(adapter.path(), base.path())
        .classify(&[(TEXTS[0].into(), None)])
        .unwrap()[0]
    else {
        panic!("a number");
    };
    let found = ask(adapter.path())["number"].as_f64().unwrap();
    assert!((found - f64::from(number)).abs() < 1e-5, "{found} {number}");

    // An adapter does not say that its labels are independent: the file of their names does.
    let adapter = made("multi_label_classification");
    let names = json!({
        "id2label": {"0": "a", "1": "b", "2": "c", "3": "d"}, "label2id": {},
        "problem_type": "multi_label_classification",
    });
    fs::write(adapter.path().join("labels.json"), names.to_string()).unwrap();
    let found = ask(adapter.path());
    let probabilities: Vec<f64> = serde_json::from_value(found["probs"].clone()).unwrap();
    let expected: Vec<&str> = ["a", "b", "c", "d"]
        .into_iter()
        .zip(&probabilities)
        .filter_map(|(name, p)| (*p > 0.5).then_some(name))
        .collect();
    assert_eq!(found["labels"], json!(expected));

    let found = ask(made("tokens").path());
    assert_eq!(found["words"], json!(["w5", "w17", "w30", "w4"]));
    assert_eq!(found["tags"].as_array().unwrap().len(), 4);
}
