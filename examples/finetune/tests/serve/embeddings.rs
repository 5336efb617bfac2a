//! `/v1/embeddings`, against the encoder on one text at a time.

use std::fs;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use burn_hf_models::bert::{BertInput, BertModel};
use burn_hf_models::modernbert::ModernBertModel;
use data_encoding::BASE64;
use finetune::embedding::TextEncoder;
use finetune::serve::Served;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::http::{Response, get, post};
use crate::model::{Running, fixtures};
use crate::{CHAT, chat};

const PATH: &str = "/v1/embeddings";
/// Words of the vocabulary, as many as the smallest model has.
const WORDS: usize = 31;
/// Ids of the texts below; a word is its number.
const TEXTS: [(&str, &[i64]); 4] = [
    ("w5 w17 w30 w4", &[1, 5, 17, 30, 4, 2]),
    ("w9", &[1, 9, 2]),
    (
        "w12 w13 w14 w15 w16 w17 w18",
        &[1, 12, 13, 14, 15, 16, 17, 18, 2],
    ),
    ("w8 w8", &[1, 8, 8, 2]),
];

/// A model of the fixtures with a tokenizer of words, which puts 1 before a text and 2 behind it.
pub fn folder(fixture: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(
            fixtures().join(fixture).join(file),
            folder.path().join(file),
        )
        .unwrap();
    }
    let word = |id: usize| match id {
        1 => "[CLS]".to_string(),
        2 => "[SEP]".to_string(),
        id => format!("w{id}"),
    };
    let vocabulary: Map<String, Value> = (0..WORDS).map(|id| (word(id), json!(id))).collect();
    let special = |id: usize| json!({"id": word(id), "ids": [id], "tokens": [word(id)]});
    let piece = |kind: &str, id: &str| json!({kind: {"id": id, "type_id": 0}});
    let tokenizer = json!({
        "version": "1.0", "padding": null, "added_tokens": [], "normalizer": null, "decoder": null,
        // As it may be left over from training: texts must not be cut by it.
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [piece("SpecialToken", "[CLS]"), piece("Sequence", "A"), piece("SpecialToken", "[SEP]")],
            "pair": [piece("Sequence", "A"), piece("Sequence", "B")],
            "special_tokens": {"[CLS]": special(1), "[SEP]": special(2)},
        },
        "model": {"type": "WordLevel", "unk_token": "w0", "vocab": vocabulary},
    });
    fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    folder
}

fn serve(folder: &Path) -> Running {
    let encoder = TextEncoder::open(folder, &Device::flex()).unwrap();
    Running::serve(Served::encoder("bert", encoder), |_| ())
}

fn vectors(response: &Response) -> Vec<Vec<f32>> {
    assert_eq!(response.status, 200, "{}", response.body);
    let reply = response.json();
    let data = reply["data"].as_array().unwrap();
    let numbers = |entry: &Value| serde_json::from_value(entry["embedding"].clone()).unwrap();
    assert!(
        data.iter()
            .enumerate()
            .all(|(index, entry)| entry["index"] == index)
    );
    data.iter().map(numbers).collect()
}

fn close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
}

/// The mean over the tokens of one text, without padding.
fn mean(hidden: Tensor<3>) -> Vec<f32> {
    hidden.mean_dim(1).try_to_vec_as::<f32>().unwrap()
}

fn input(ids: &[i64]) -> BertInput {
    BertInput::new(Tensor::<1, Int>::from_data(ids, &Device::flex()).unsqueeze())
}

#[test]
fn vectors_are_those_of_each_text_alone() {
    let device = Device::flex();
    let (bert, modern) = (folder("bert"), folder("families/modernbert"));
    let of_bert = BertModel::load(bert.path(), false, &device)
        .unwrap()
        .valid();
    let of_modern = ModernBertModel::load(modern.path(), &device)
        .unwrap()
        .valid();
    let texts = TEXTS.map(|(text, _)| text);
    for is_modern in [false, true] {
        let folder = if is_modern { &modern } else { &bert };
        let server = serve(folder.path());
        let response = post(
            server.address,
            PATH,
            &json!({"model": "bert", "input": texts}),
        );
        assert_eq!(
            response.json()["usage"],
            json!({"prompt_tokens": 22, "total_tokens": 22})
        );
        let found = vectors(&response);
        for (found, (_, ids)) in found.iter().zip(TEXTS) {
            let hidden = if is_modern {
                of_modern.forward(input(ids)).unwrap()
            } else {
                of_bert.forward(input(ids)).unwrap().last_hidden_state
            };
            close(found, &mean(hidden));
        }
        let bytes = post(
            server.address,
            PATH,
            &json!({"input": texts[1], "encoding_format": "base64"}),
        )
        .json();
        let bytes = BASE64
            .decode(bytes["data"][0]["embedding"].as_str().unwrap().as_bytes())
            .unwrap();
        let numbers = bytes
            .chunks_exact(4)
            .map(|x| f32::from_le_bytes(x.try_into().unwrap()));
        close(&numbers.collect::<Vec<f32>>(), &found[1]);
    }
}

#[test]
fn files_of_sentence_transformers_decide_the_vector() {
    let folder = folder("bert");
    let write = |name: &str, json: Value| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, json.to_string()).unwrap();
    };
    let module = |kind: &str, path: &str| json!({"type": format!("sentence_transformers.models.{kind}"), "path": path});
    write(
        "modules.json",
        json!([
            module("Transformer", ""),
            module("Pooling", "1_Pooling"),
            module("Normalize", "")
        ]),
    );
    write(
        "1_Pooling/config.json",
        json!({"pooling_mode_cls_token": true}),
    );
    let server = serve(folder.path());
    let found = vectors(&post(
        server.address,
        PATH,
        &json!({"input": [TEXTS[1].0, TEXTS[0].0]}),
    ));
    let bert = BertModel::load(folder.path(), false, &Device::flex())
        .unwrap()
        .valid();
    for (found, (_, ids)) in found.iter().zip([TEXTS[1], TEXTS[0]]) {
        let hidden = bert.forward(input(ids)).unwrap().last_hidden_state;
        let first = hidden.narrow(1, 0, 1).try_to_vec_as::<f32>().unwrap();
        let length = first.iter().map(|x| x * x).sum::<f32>().sqrt();
        close(
            found,
            &first.iter().map(|x| x / length).collect::<Vec<f32>>(),
        );
    }
}

#[test]
fn what_an_encoder_cannot_do_is_named() {
    let folder = folder("bert");
    let server = serve(folder.path());
    for (path, body, status, param) in [
        (PATH, json!({"input": []}), 400, "input"),
        (PATH, json!({}), 400, "input"),
        (PATH, json!({"input": ["w1", ""]}), 400, "input"),
        (PATH, json!({"input": [1, 2]}), 400, "input"),
        (PATH, json!({"input": "w1 ".repeat(60)}), 400, "input"),
        (
            PATH,
            json!({"input": "w1", "dimensions": 7}),
            400,
            "dimensions",
        ),
        (
            PATH,
            json!({"input": "w1", "encoding_format": "hex"}),
            400,
            "encoding_format",
        ),
        (PATH, json!({"input": "w1", "model": "other"}), 404, "model"),
        (CHAT, chat("bert", "w1", json!({})), 400, "model"),
    ] {
        let response = post(server.address, path, &body);
        let reply = response.json();
        assert_eq!(
            (response.status, &reply["error"]["param"]),
            (status, &json!(param)),
            "{reply}"
        );
    }
    let width = json!({"input": "w1", "dimensions": 32, "user": "me"});
    assert_eq!(post(server.address, PATH, &width).status, 200);
    assert_eq!(
        get(server.address, "/v1/models").json()["data"][0]["id"],
        "bert"
    );
    let language = Running::start(64, |_| ());
    assert_eq!(
        post(language.address, PATH, &json!({"input": "a"})).status,
        400
    );
}
