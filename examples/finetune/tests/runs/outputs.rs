//! What is written is what other programs compute with it.
//!
//! `burn-hf-models` computes what `transformers` and PEFT do: its own tests compare it with values from Python.
//! `scripts/check_outputs.py` checks the same in Python.

use std::fs;
use std::path::Path;

use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::{Device, Int, Tensor};
use burn_hf_models::bert::{BertConfig, BertForSequenceClassification, BertInput, BertModel};
use burn_hf_models::vit::ViTForImageClassification;
use burn_peft::settings::TaskType;
use burn_peft::{AdapterFolder, Peft, PeftConfig, SoftPrompt};
use finetune::data::load_tokenizer;
use safetensors::SafeTensors;
use serde_json::{Value, json};

use super::place::{CLASSES, Place};

/// Words of a row, and its class.
fn row(part: usize, number: usize) -> (String, usize) {
    let word = |place: usize| format!("w{}", 10 + (number * 7 + place * 13 + part) % 50);
    let class = number % CLASSES.len();
    let more = [" ", &word(3)].concat().repeat(number % 4);
    (format!("{} w{class} {}{more}", word(1), word(2)), class)
}

/// Tables for training, validation and test; returns the test rows.
fn tables(place: &Place) -> Vec<(String, usize)> {
    let folder = place.path("texts");
    fs::create_dir_all(&folder).unwrap();
    let mut test = Vec::new();
    for (part, rows) in [("train", 60), ("valid", 9), ("test", 12)] {
        let mut table = "text,label\n".to_string();
        test.clear();
        for number in 0..rows {
            let (text, class) = row(rows, number);
            table += &format!("{text} {part} {number},{}\n", CLASSES[class]);
            test.push((format!("{text} {part} {number}"), class));
        }
        fs::write(folder.join(format!("{part}.csv")), table).unwrap();
    }
    test
}

/// Train a short time; returns the test loss.
fn train(place: &Place, more: &[&str]) -> f64 {
    let flags = [
        "--task=csv",
        "--data=texts",
        "--model=bert",
        "--max-length=12",
        "--batch=8",
        "--method=adamw",
        "--step-size=0.02",
        "--epochs=2",
        "--force",
        "--out=runs",
    ];
    place.succeed(&[&flags[..], more].concat());
    place.history("runs/adamw-seed1").test.unwrap().loss
}

/// The mean loss of the rows' logits, one row at a time.
fn loss(base: &Path, test: &[(String, usize)], logits: impl Fn(BertInput) -> Tensor<2>) -> f64 {
    let device = Device::flex();
    let tokenizer = load_tokenizer(base, 100).unwrap();
    let losses = test.iter().map(|(text, class)| {
        let tokens = tokenizer.encode(text.as_str(), true).unwrap();
        let ids: Vec<i64> = tokens.get_ids().iter().map(|&id| i64::from(id)).collect();
        let ids = Tensor::<1, Int>::from_ints(ids.as_slice(), &device).unsqueeze_dim(0);
        let labels = Tensor::<1, Int>::from_ints([*class as i64], &device);
        let loss = CrossEntropyLossConfig::new().init(&device);
        let loss = loss.forward(logits(BertInput::new(ids)), labels);
        f64::from(loss.into_scalar::<f32>())
    });
    losses.sum::<f64>() / test.len() as f64
}

fn same(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() < 1e-5,
        "{found}, expected {expected}"
    );
}

fn classifier(folder: &Path) -> BertForSequenceClassification {
    let options = BertForSequenceClassification::load_options();
    BertForSequenceClassification::load(folder, &options, &Device::flex()).unwrap()
}

/// Names of the tensors in a file, sorted.
fn names(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut names: Vec<String> = tensors.names().into_iter().map(String::from).collect();
    names.sort();
    names
}

#[test]
fn the_default_adapter_is_one_of_the_class_that_it_names() {
    let place = Place::new();
    let base = place.model("bert");
    let test = tables(&place);
    let expected = train(&place, &[]);
    let folder = AdapterFolder::read(place.path("runs/adamw-seed1/adapter")).unwrap();
    let PeftConfig::Lora(settings) = &folder.config else {
        panic!("{:?}", folder.config);
    };
    assert_eq!(settings.task_type, Some(TaskType::SequenceClassification));
    let namings = BertForSequenceClassification::names();
    let model = classifier(&base);
    let model = model.load_adapter("default", &folder, &namings).unwrap();
    same(
        loss(&base, &test, |input| model.forward(input).unwrap().logits),
        expected,
    );
}

#[test]
fn a_prompt_is_one_of_the_class_that_it_names() {
    let place = Place::new();
    let base = place.model("bert");
    let test = tables(&place);
    let expected = train(
        &place,
        &["--adapter=prompt", "--virtual-tokens=4", "--pooling=pooler"],
    );
    let folder = AdapterFolder::read(place.path("runs/adamw-seed1/adapter")).unwrap();
    let prompt = SoftPrompt::from_folder(&folder, &Device::flex()).unwrap();
    let namings = BertForSequenceClassification::names();
    let model = classifier(&base);
    let model = model.load_adapter("default", &folder, &namings).unwrap();
    let found = loss(&base, &test, |input| {
        let input = input.with_prompt(prompt.forward(1));
        model.forward(input).unwrap().logits
    });
    same(found, expected);
}

#[test]
fn a_head_on_the_mean_is_no_classifier_of_transformers() {
    let place = Place::new();
    let base = place.model("bert");
    let test = tables(&place);
    let expected = train(&place, &["--pooling=mean", "--bias=all"]);
    let path = place.path("runs/adamw-seed1/adapter");
    let folder = AdapterFolder::read(&path).unwrap();
    let PeftConfig::Lora(settings) = &folder.config else {
        panic!("{:?}", folder.config);
    };
    assert_eq!(settings.task_type, Some(TaskType::FeatureExtraction));
    // The classifier has no module that the targets name.
    let refused =
        classifier(&base).adapt("default", settings, &BertForSequenceClassification::names());
    assert!(refused.is_err());

    let device = Device::flex();
    let encoder = BertModel::load(&base, false, &device).unwrap();
    let encoder = encoder
        .load_adapter("default", &folder, &BertModel::names())
        .unwrap();
    let head = fs::read(path.join("head.safetensors")).unwrap();
    let head = SafeTensors::deserialize(&head).unwrap();
    let values = |name: &str| -> Vec<f32> {
        let bytes = head.tensor(name).unwrap().data().chunks_exact(4);
        bytes
            .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
            .collect()
    };
    let weight = Tensor::<1>::from_floats(values("classifier.weight").as_slice(), &device);
    let weight: Tensor<2> = weight.reshape([3, 32]);
    let bias = Tensor::<1>::from_floats(values("classifier.bias").as_slice(), &device);
    let found = loss(&base, &test, |input| {
        let tokens = encoder.forward(input).unwrap().last_hidden_state;
        let mean: Tensor<2> = tokens.mean_dim(1).squeeze_dim(1);
        mean.matmul(weight.clone().transpose()) + bias.clone().unsqueeze_dim(0)
    });
    same(found, expected);
    let readme = fs::read_to_string(path.join("README.md")).unwrap();
    assert!(readme.contains("head.safetensors"), "{readme}");

    // A later run with the pooler leaves no head behind.
    train(&place, &[]);
    assert!(!path.join("head.safetensors").exists());
    let readme = fs::read_to_string(path.join("README.md")).unwrap();
    assert!(
        readme.contains("AutoModelForSequenceClassification"),
        "{readme}"
    );
}

#[test]
fn a_full_model_is_a_folder_of_transformers() {
    let place = Place::new();
    let base = place.model("bert");
    let test = tables(&place);
    let expected = train(&place, &["--adapter=full"]);
    let folder = place.path("runs/adamw-seed1/model");
    // The fixture was written by `transformers`.
    assert_eq!(
        names(&folder.join("model.safetensors")),
        names(&base.join("model.safetensors"))
    );
    let config: Value =
        serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap();
    assert_eq!(
        config["architectures"],
        json!(["BertForSequenceClassification"])
    );
    assert_eq!(
        config["id2label"],
        json!({"0": "alpha", "1": "beta", "2": "gamma"})
    );
    assert_eq!(
        config["label2id"],
        json!({"alpha": 0, "beta": 1, "gamma": 2})
    );
    assert_eq!(
        fs::read(folder.join("tokenizer.json")).unwrap(),
        fs::read(base.join("tokenizer.json")).unwrap()
    );
    let model = classifier(&folder);
    same(
        loss(&base, &test, |input| model.forward(input).unwrap().logits),
        expected,
    );
    // As a base it is as good as any other.
    let again = ["--model", folder.to_str().unwrap(), "--out=again"];
    let flags = [
        "--task=csv",
        "--data=texts",
        "--max-length=12",
        "--epochs=1",
    ];
    place.succeed(&[&flags[..], &again].concat());
}

#[test]
fn a_full_model_with_a_head_on_the_mean_is_an_encoder_and_a_head() {
    let place = Place::new();
    place.model("bert");
    tables(&place);
    train(&place, &["--adapter=full", "--pooling=mean"]);
    let folder = place.path("runs/adamw-seed1/model");
    assert_eq!(
        names(&folder.join("head.safetensors")),
        ["classifier.bias", "classifier.weight"]
    );
    BertModel::load(&folder, false, &Device::flex()).unwrap();
    let all = names(&folder.join("model.safetensors"));
    assert!(all.iter().all(|name| !name.contains("classifier")));
}

#[test]
fn a_base_without_a_pooler_gets_a_new_one_which_is_written() {
    let place = Place::new();
    let base = place.model("bert");
    let test = tables(&place);
    // As the encoder of a language model is stored.
    let bytes = fs::read(base.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let kept = tensors.tensors().into_iter();
    let kept = kept.filter(|(name, _)| !name.contains("pooler") && !name.contains("classifier"));
    safetensors::serialize_to_file(kept, None, &base.join("model.safetensors")).unwrap();
    assert!(BertConfig::from_folder(&base).is_ok());
    let expected = train(&place, &[]);
    let folder = AdapterFolder::read(place.path("runs/adamw-seed1/adapter")).unwrap();
    let namings = BertForSequenceClassification::names();
    let options = BertForSequenceClassification::load_options()
        .keep_initial("classifier")
        .keep_initial("pooler");
    let model = BertForSequenceClassification::load(&base, &options, &Device::flex()).unwrap();
    let model = model.load_adapter("default", &folder, &namings).unwrap();
    same(
        loss(&base, &test, |input| model.forward(input).unwrap().logits),
        expected,
    );
}

#[test]
fn pictures_have_the_names_of_transformers() {
    let place = Place::new();
    let base = place.model("vit");
    place.pictures();
    let train = |kind: &str, out: &str| {
        let flags = [
            "--task=images",
            "--data=pictures",
            "--model=vit",
            "--epochs=1",
        ];
        place.succeed(&[&flags[..], &["--adapter", kind, "--out", out]].concat());
    };
    train("full", "full");
    let folder = place.path("full/ief-seed1/model");
    let mut expected = names(&base.join("model.safetensors"));
    expected.retain(|name| !name.contains("pooler") && !name.contains("mask_token"));
    assert_eq!(names(&folder.join("model.safetensors")), expected);
    let options = ViTForImageClassification::load_options();
    ViTForImageClassification::load(&folder, &options, &Device::flex()).unwrap();

    let dino = place.model("vit/dinov2");
    let flags = [
        "--task=images",
        "--data=pictures",
        "--image-size=16",
        "--epochs=1",
    ];
    let more = ["--model=vit-dinov2", "--adapter=full", "--out=dino"];
    place.succeed(&[&flags[..], &more].concat());
    let folder = place.path("dino/ief-seed1/model/model.safetensors");
    assert_eq!(names(&folder), names(&dino.join("model.safetensors")));

    train("lora", "lora");
    let adapter = AdapterFolder::read(place.path("lora/ief-seed1/adapter")).unwrap();
    let modules = adapter.adapted_modules().unwrap();
    assert!(
        modules.contains("vit.layers.0.attention.q_proj"),
        "{modules:?}"
    );
}
