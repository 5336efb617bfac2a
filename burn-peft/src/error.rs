//! The errors a caller of this crate can meet.

use std::path::PathBuf;

/// What can go wrong when adapters are made, read or written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration field is out of its range.
    #[error("configuration field `{field}` is {value}: {expected}")]
    Config {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A configuration field asks for something that this crate does not do.
    #[error("configuration field `{field}` is {value}, which is not supported")]
    Unsupported {
        /// Name of the field.
        field: &'static str,
        /// Its value, as JSON.
        value: String,
    },
    /// The folder holds an adapter of another method.
    #[error("peft_type is {peft_type}: only LORA and PROMPT_TUNING are supported")]
    PeftType {
        /// The method that the file names, as JSON.
        peft_type: String,
    },
    /// A pattern of the configuration is not a regular expression that can be matched here.
    #[error("configuration field `{field}`: pattern `{pattern}` cannot be used: {message}")]
    Pattern {
        /// Name of the field.
        field: &'static str,
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        message: String,
    },
    /// No module of the model is a target.
    #[error("target_modules {targets} matches no module{}", near_text(near))]
    NoTarget {
        /// The field's value.
        targets: String,
        /// Names in the model that are close to it.
        near: Vec<String>,
    },
    /// Every module that `target_modules` matches is excluded again.
    #[error(
        "every module that target_modules {targets} matches is taken out by exclude_modules, \
         modules_to_save or layers_to_transform"
    )]
    AllExcluded {
        /// The field's value.
        targets: String,
    },
    /// A target is a module that LoRA cannot adapt.
    #[error(
        "target_modules matches `{module}`, which is no linear, embedding or convolution layer"
    )]
    TargetKind {
        /// Name of the module.
        module: String,
    },
    /// The operating system refused.
    #[error("{}: {message}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        message: String,
    },
    /// A folder without `adapter_config.json`.
    #[error("{} has no adapter_config.json: it is no PEFT adapter folder", folder.display())]
    NoConfig {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder without weights.
    #[error("{} has no adapter_model.safetensors", folder.display())]
    NoWeights {
        /// The folder.
        folder: PathBuf,
    },
    /// The weights are a Python pickle, which can hold code and is not read.
    #[error(
        "{} has its weights in adapter_model.bin only, a Python pickle. Convert it in that folder: \
         python -c \"import torch, safetensors.torch as s; s.save_file({{k: v.contiguous().clone() \
         for k, v in torch.load('adapter_model.bin', map_location='cpu', \
         weights_only=True).items()}}, 'adapter_model.safetensors', metadata={{'format': 'pt'}})\"",
        folder.display()
    )]
    Pickled {
        /// The folder.
        folder: PathBuf,
    },
    /// A JSON text cannot be read.
    #[error("{file}: {message}")]
    Json {
        /// Which text.
        file: &'static str,
        /// What is wrong, and where.
        message: String,
    },
    /// The tensors cannot be read or written.
    #[error("adapter_model.safetensors: {message}")]
    Weights {
        /// What is wrong.
        message: String,
    },
    /// A tensor is not of floating point numbers.
    #[error("tensor `{key}` is {dtype}: F16, BF16, F32 and F64 are supported")]
    Dtype {
        /// Key of the tensor.
        key: String,
        /// Its type.
        dtype: String,
    },
    /// A tensor has no place in an adapter of this configuration.
    #[error("tensor `{key}` is unknown: {reason}")]
    Key {
        /// Key of the tensor.
        key: String,
        /// Why it has no place.
        reason: &'static str,
    },
    /// A tensor is missing.
    #[error("tensor `{key}` is missing")]
    MissingKey {
        /// Key of the tensor.
        key: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor `{key}` has shape {shape:?}: expected {expected}")]
    Shape {
        /// Key of the tensor.
        key: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The shape it should have.
        expected: String,
    },
    /// No weight of the model carries an adapter of that name.
    #[error("there is no adapter `{name}`; the model carries {}", listed(known))]
    UnknownAdapter {
        /// The name asked for.
        name: String,
        /// Those that are there.
        known: Vec<String>,
    },
}

fn near_text(near: &[String]) -> String {
    match near {
        [] => String::new(),
        near => format!("; near names: {}", near.join(", ")),
    }
}

/// Names in a message.
fn listed(names: &[String]) -> String {
    match names {
        [] => "none".into(),
        names => format!("`{}`", names.join("`, `")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_listed() {
        let error = |near: &[&str]| Error::NoTarget {
            targets: "[\"quer\"]".into(),
            near: near.iter().map(|name| name.to_string()).collect(),
        };
        let plain = "target_modules [\"quer\"] matches no module";
        assert_eq!(error(&[]).to_string(), plain);
        assert_eq!(
            error(&["query", "key"]).to_string(),
            format!("{plain}; near names: query, key")
        );
    }

    #[test]
    fn a_pickle_is_told_how_to_become_safetensors() {
        let error = Error::Pickled { folder: "a".into() };
        assert!(error.to_string().contains("metadata={'format': 'pt'})"));
    }
}
