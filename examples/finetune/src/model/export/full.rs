//! Whole models as Hugging Face folders.

use std::fs;
use std::path::Path;

use burn::module::Module;
use burn_hf_models::weights::{self, LoadOptions, read_config};
use burn_peft::NameMap;
use programs::{files, reading};
use serde_json::{Map, Value, json};

use super::Destination;
use crate::error::Error;
use crate::problem::Problem;

/// The weights of a model folder.
pub(in crate::model) const WEIGHTS: &str = "model.safetensors";

/// What else of the pretrained model's folder belongs to the model: tokenizers, what is done to pictures, and how
/// texts are written.
pub(crate) const COPIED: [&str; 15] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "generation_config.json",
];

/// A class of `transformers`.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) struct Class {
    /// Its name; otherwise that of the pretrained model.
    pub name: Option<&'static str>,
    /// Whether it has a head for the classes of the data.
    pub has_head: bool,
    /// The tensor of masked patches, with its width, in a class that has one. No classification uses it.
    pub mask_token: Option<(&'static str, usize)>,
}

/// Write `model` with the weights under the names of `transformers`, the configuration of the pretrained model as
/// one of this class, and its tokenizer. A model without a class there has its weights alone.
pub(in crate::model) fn write_model_folder<M: Module>(
    model: &M,
    names: &NameMap,
    class: Option<Class>,
    to: &Destination<'_>,
) -> Result<(), Error> {
    let folder = to.model();
    files::make_folder(&folder)?;
    let mask_token = class.and_then(|class| class.mask_token);
    let unused: Vec<_> = mask_token
        .map(|(name, width)| (name, vec![1, width]))
        .into_iter()
        .collect();
    save_weights(model, names, &unused, &folder.join(WEIGHTS))?;
    let (Some(class), Some(base)) = (class, to.base()) else {
        return Ok(());
    };
    let labels = class.has_head.then(|| (to.labels, to.problem()));
    let config = described(read_config(base)?, class.name, labels, "float32");
    files::write_json(&folder.join("config.json"), &config)?;
    for name in COPIED {
        let path = base.join(name);
        if path.is_file() {
            let bytes = reading::bytes(&path).map_err(|error| Error::read(&path, error))?;
            files::write(&folder.join(name), bytes)?;
        }
    }
    Ok(())
}

/// The configuration of a model of this class with its labels and what they are of, in this float type.
pub(crate) fn described(
    mut config: Map<String, Value>,
    class: Option<&str>,
    labels: Option<(&[String], Problem)>,
    dtype: &str,
) -> Map<String, Value> {
    if let Some(class) = class {
        config.insert("architectures".into(), json!([class]));
    }
    for field in ["dtype", "torch_dtype"] {
        if config.contains_key(field) {
            config.insert(field.into(), json!(dtype));
        }
    }
    if let Some((labels, problem)) = labels {
        let numbered = labels.iter().enumerate();
        let names: Map<_, _> = numbered
            .clone()
            .map(|(id, label)| (id.to_string(), json!(label)))
            .collect();
        let ids: Map<_, _> = numbered
            .map(|(id, label)| (label.clone(), json!(id)))
            .collect();
        config.insert("id2label".into(), Value::Object(names));
        config.insert("label2id".into(), Value::Object(ids));
        match problem.name() {
            Some(name) => config.insert("problem_type".into(), json!(name)),
            None => config.remove("problem_type"),
        };
        // It would go before the labels.
        config.remove("num_labels");
    }
    config
}

/// Write a weight file. The old one stays until the new one is on the disk.
pub(in crate::model) fn save_weights<M: Module>(
    model: &M,
    names: &NameMap,
    unused: &[(&str, Vec<usize>)],
    path: &Path,
) -> Result<(), Error> {
    let part = files::unfinished(path);
    let saved = weights::save(model, names, unused, &part)
        .map_err(|error| error.to_string())
        .and_then(|()| files::put_in_place(path).map_err(|error| error.to_string()));
    saved.map_err(|error| {
        // The disk may be full: leave nothing half written.
        let _ = fs::remove_file(&part);
        Error::write(path, error)
    })
}

/// Read what [`write_model_folder`] wrote of a model like this.
pub(in crate::model) fn load_weights<M: Module>(
    model: M,
    names: &NameMap,
    folder: &Path,
) -> Result<M, Error> {
    let folder = folder.join("model");
    let options = LoadOptions::default().skip("embeddings.mask_token");
    weights::load(model, names, &folder, &options)
        .map_err(|error| Error::read(&folder.join(WEIGHTS), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn the_labels_take_the_place_of_other_ones() {
        let base = json!({
            "model_type": "bert", "architectures": ["BertForMaskedLM"], "num_labels": 5,
            "id2label": {"0": "LABEL_0"}, "problem_type": "regression", "torch_dtype": "bfloat16",
        });
        let Value::Object(base) = base else {
            unreachable!("it is an object");
        };
        let found = described(
            base.clone(),
            Some("BertForSequenceClassification"),
            Some((&labels(&["no", "yes"]), Problem::SingleLabel)),
            "float32",
        );
        let expected = json!({
            "model_type": "bert", "architectures": ["BertForSequenceClassification"],
            "id2label": {"0": "no", "1": "yes"}, "label2id": {"no": 0, "yes": 1},
            "problem_type": "single_label_classification", "torch_dtype": "float32",
        });
        assert_eq!(Value::Object(found), expected);
        let tags = labels(&["O", "B-X"]);
        let tokens = described(
            base.clone(),
            None,
            Some((&tags, Problem::Tokens)),
            "float32",
        );
        assert!(!tokens.contains_key("problem_type"));
        let several = described(
            base.clone(),
            None,
            Some((&tags, Problem::MultiLabel)),
            "float32",
        );
        assert_eq!(several["problem_type"], "multi_label_classification");
        let features = described(base, Some("BertModel"), None, "float32");
        assert_eq!(features["num_labels"], 5);
        assert_eq!(features["architectures"], json!(["BertModel"]));
    }
}
