//! `/classify`, against the classifier without a server.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use finetune::predict::{Classifier, PredictOptions};
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
        let expected = &alone.classify(&[(text.to_string(), None)]).unwrap()[0];
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
