//! The class of a model with its adapter, and the classes that it predicts.

use std::path::Path;

use burn_hf_models::class::{ModelClass, Task};
use burn_peft::AdapterFolder;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::problem::Problem;
use crate::target::{EXPECTED_PROBLEM, Target};

/// The class that adapter and base are of. An adapter that brings its head along decides alone: that of a base which was
/// trained for another task has no part in it.
pub(crate) fn class_of(base: &Path, adapter: Option<&AdapterFolder>) -> Result<ModelClass, Error> {
    let chosen = ModelClass::choose(base, adapter, None);
    let own_task = adapter.and_then(|folder| {
        let saved = folder.config.modules_to_save();
        let task = folder.config.field("task_type")?;
        let task = match task.trim_matches('"') {
            "SEQ_CLS" => Task::SequenceClassification,
            "TOKEN_CLS" => Task::TokenClassification,
            _ => return None,
        };
        (!saved.is_empty()).then_some(task)
    });
    match (chosen, own_task) {
        (Err(burn_hf_models::Error::Class { .. }), Some(task)) => {
            Ok(ModelClass::choose(base, adapter, Some(task))?)
        }
        (chosen, _) => Ok(chosen?),
    }
}

/// What the head of a whole text with so many outputs says, by the configuration of the base, as `transformers` reads
/// it: as stated, or a number if it has one output. A run's labels are classes, whatever its base was trained for.
pub(crate) fn stated_problem(
    target: &Target,
    config: &Map<String, Value>,
    outputs: usize,
) -> Result<Problem, Error> {
    if !target.labels.is_empty() {
        return Ok(Problem::SingleLabel);
    }
    let stated = config.get("problem_type").and_then(Value::as_str);
    match stated {
        None if outputs == 1 => Ok(Problem::Regression),
        None => Ok(Problem::SingleLabel),
        Some(name) => Problem::of_name(name).ok_or_else(|| {
            let field = format!(
                "{}: problem_type",
                target.base.join("config.json").display()
            );
            Error::config(field, name, EXPECTED_PROBLEM)
        }),
    }
}

/// Ends of the names of weights that make logits.
const HEADS: [&str; 4] = [
    "classifier.out_proj.weight",
    "classifier.weight",
    "score.weight",
    "classifier.modules_to_save.weight",
];

/// The classes, and where they are from.
pub(crate) enum Labels {
    /// By the record of the run, or of the adapter's folder.
    Named(Vec<String>),
    /// As many as the adapter's head has, without names.
    Counted(usize),
    /// As the base model's configuration says.
    OfBase(usize),
}

impl Labels {
    /// By the names that are known, or else by the adapter's head, or else by the configuration of the base.
    pub fn find(
        names: &[String],
        adapter: Option<&AdapterFolder>,
        config: &Map<String, Value>,
    ) -> Self {
        if !names.is_empty() {
            return Self::Named(names.to_vec());
        }
        let of_base = count(config);
        match adapter.and_then(classes) {
            Some(found) if found != of_base => Self::Counted(found),
            _ => Self::OfBase(of_base),
        }
    }

    pub fn count(&self) -> usize {
        match self {
            Self::Named(names) => names.len(),
            Self::Counted(count) | Self::OfBase(count) => *count,
        }
    }

    /// The names, unless those of the base stay; classes without names have those that `transformers` gives them.
    pub fn new_names(&self) -> Option<Vec<String>> {
        match self {
            Self::Named(names) => Some(names.clone()),
            Self::Counted(count) => Some((0..*count).map(|id| format!("LABEL_{id}")).collect()),
            Self::OfBase(_) => None,
        }
    }
}

/// The number of classes in a configuration, as `transformers` reads it.
fn count(config: &Map<String, Value>) -> usize {
    let names = config.get("id2label").and_then(Value::as_object);
    let number = config.get("num_labels").and_then(Value::as_u64);
    names.map_or(number.map_or(2, |number| number as usize), Map::len)
}

/// The rows of an adapter's own head.
fn classes(adapter: &AdapterFolder) -> Option<usize> {
    let mut heads = HEADS.iter().flat_map(|end| {
        let tensors = adapter.tensors.iter();
        tensors.filter(move |(key, _)| key.ends_with(&format!(".{end}")))
    });
    let (_, data) = heads.next()?;
    let shape = data.shape();
    shape
        .as_slice()
        .first()
        .copied()
        .filter(|_| shape.as_slice().len() == 2)
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use burn_peft::LoraConfig;
    use serde_json::json;

    use super::*;

    fn config(text: Value) -> Map<String, Value> {
        text.as_object().unwrap().clone()
    }

    #[test]
    fn names_go_before_the_head_and_the_head_before_the_base() {
        let base = config(json!({"id2label": {"0": "a", "1": "b", "2": "c"}}));
        let key = "base_model.model.classifier.weight".to_string();
        let adapter = |rows| {
            let head = TensorData::zeros::<f32, _>([rows, 4]);
            AdapterFolder::new(LoraConfig::new(), [(key.clone(), head)])
        };
        let names = ["x", "y"].map(String::from);
        let found = Labels::find(&names, Some(&adapter(5)), &base);
        assert_eq!(found.new_names().unwrap(), names);
        let found = Labels::find(&[], Some(&adapter(5)), &base);
        assert_eq!((found.count(), found.new_names().unwrap().len()), (5, 5));
        // As many as the base has: its names stay.
        let found = Labels::find(&[], Some(&adapter(3)), &base);
        assert_eq!((found.count(), found.new_names()), (3, None));
        assert_eq!(Labels::find(&[], None, &config(json!({}))).count(), 2);
        let numbers = config(json!({"num_labels": 7}));
        assert_eq!(Labels::find(&[], None, &numbers).count(), 7);
    }
}
