//! The errors that this crate returns.

mod cause;
mod text;

use std::path::PathBuf;

pub use cause::Cause;
use text::{listed, near_text, short};

use crate::adapters::NotFinite;
use crate::folder::Placeholder;

/// What can go wrong when adapters are made, read or written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration field is out of its range.
    #[error("configuration field `{field}` is {}: {expected}", short(value))]
    Config {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A configuration field asks for something that this crate does not do.
    #[error(
        "configuration field `{field}` is {}, which is not supported",
        short(value)
    )]
    Unsupported {
        /// Name of the field.
        field: &'static str,
        /// Its value, as JSON.
        value: String,
    },
    /// The folder holds an adapter of another method.
    #[error("peft_type is {}: expected {expected}", short(peft_type))]
    PeftType {
        /// The method that the file names, as JSON.
        peft_type: String,
        /// The methods that can be used here.
        expected: String,
    },
    /// A pattern is not a regular expression that can be matched here.
    #[error(
        "`{field}`: pattern `{}` cannot be used: {}",
        short(pattern),
        short(source)
    )]
    Pattern {
        /// Name of the configuration field, or `names` for a pattern of a
        /// [`NameMap`](crate::NameMap).
        field: &'static str,
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: Cause,
    },
    /// The model has adapters of another method. As in PEFT, all adapters of a model are of one
    /// method.
    #[error(
        "the model has adapters of {} and `{}` is of {peft_type}: all adapters of a model \
         are of one method; merge or unload the others first",
        short(found),
        short(name)
    )]
    OtherMethod {
        /// Name of the new adapter.
        name: String,
        /// Its method.
        peft_type: &'static str,
        /// The method of those on the model.
        found: String,
    },
    /// A module has the name of a layer of Burn's and not its parameters, so that the layout of its
    /// weight is unknown.
    #[error(
        "`{0}` is a struct named `{1}`, but {2}: it is not Burn's layer. Declare what it is, with \
         `NameMap::with_kind(\"{0}\", ModuleKind::Other)` for a layer of your own that is not adapted",
        short(path),
        short(holder),
        short(problem)
    )]
    AmbiguousModule {
        /// Path of the module in the Burn model.
        path: String,
        /// Name of its struct.
        holder: String,
        /// What is different from Burn's layer.
        problem: String,
    },
    /// An error in a file of an adapter folder.
    #[error("{}: {source}", short(file.display()))]
    InFile {
        /// The file or folder.
        file: PathBuf,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// No module of the model is a target.
    #[error(
        "target_modules {} matches no module{}",
        short(targets),
        near_text(near)
    )]
    NoTarget {
        /// The field's value.
        targets: String,
        /// Names in the model that are close to it.
        near: Vec<String>,
    },
    /// Every module that `target_modules` matches is excluded again.
    #[error(
        "every module that target_modules {} matches is taken out by exclude_modules, \
         modules_to_save or layers_to_transform",
        short(targets)
    )]
    AllExcluded {
        /// The field's value.
        targets: String,
    },
    /// A target is a module that the method cannot adapt.
    #[error(
        "target_modules matches `{}`: expected {expected}; exclude it with exclude_modules",
        short(module)
    )]
    TargetKind {
        /// Name of the module.
        module: String,
        /// The kinds of modules that the method can adapt.
        expected: &'static str,
    },
    /// The inputs of a layer do not say how its adapter begins.
    #[error("inputs of `{}`: {}", short(module), short(problem))]
    Inputs {
        /// Name of the module.
        module: String,
        /// What is wrong with them.
        problem: String,
    },
    /// The operating system could not read or write a file.
    #[error("{}: {}", short(path.display()), short(source))]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: Cause,
    },
    /// A folder without `adapter_config.json`.
    #[error("{} has no adapter_config.json: it is not a PEFT adapter folder", short(folder.display()))]
    NoConfig {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder without weights.
    #[error("{} has no adapter_model.safetensors", short(folder.display()))]
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
        short(folder.display())
    )]
    Pickled {
        /// The folder.
        folder: PathBuf,
    },
    /// A JSON text cannot be read.
    #[error("{file}: {}", short(message))]
    Json {
        /// Which text.
        file: &'static str,
        /// What is wrong, and where.
        message: String,
        /// The error of the JSON reader, if it comes from there.
        source: Option<Cause>,
    },
    /// The tensors cannot be read or written.
    #[error("adapter_model.safetensors: {}", short(message))]
    Weights {
        /// What is wrong.
        message: String,
        /// The error of the safetensors reader, if it comes from there.
        source: Option<Cause>,
    },
    /// A tensor is not of floating point numbers.
    #[error(
        "tensor `{}` is {dtype}: F16, BF16, F32 and F64 are supported",
        short(key)
    )]
    Dtype {
        /// Key of the tensor.
        key: String,
        /// Its type.
        dtype: String,
    },
    /// A tensor does not belong to an adapter of this configuration.
    #[error("tensor `{}` is unknown: {reason}", short(key))]
    Key {
        /// Key of the tensor.
        key: String,
        /// Why it does not belong there.
        reason: &'static str,
    },
    /// A tensor is missing.
    #[error("tensor `{}` is missing", short(key))]
    MissingKey {
        /// Key of the tensor.
        key: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor `{}` has shape {}: expected {expected}", short(key), short(format!("{shape:?}")))]
    Shape {
        /// Key of the tensor.
        key: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The shape it should have.
        expected: String,
    },
    /// A factor of an active adapter is not a finite number.
    #[error(
        "adapter `{}` has the factor {factor}: expected a finite number",
        short(name)
    )]
    AdapterFactor {
        /// Name of the adapter.
        name: String,
        /// The factor.
        factor: String,
    },
    /// An adapter is twice among those that are to be active.
    #[error(
        "adapter `{}` is there twice: expected every name once, with one factor",
        short(name)
    )]
    AdapterTwice {
        /// Name of the adapter.
        name: String,
    },
    /// Several adapters that are to be active have their own copy of a parameter.
    #[error(
        "the adapters {} each have their own `{}`, and only one can be in use: make one of them \
         active at a time",
        listed(adapters),
        short(parameter)
    )]
    SeveralOwners {
        /// Path of the parameter in the Burn model.
        parameter: String,
        /// Names of the adapters.
        adapters: Vec<String>,
    },
    /// Adapters cannot be merged into a parameter.
    #[error(
        "merging {} into `{}` is refused: {problem}",
        listed(adapters),
        short(parameter)
    )]
    Merge {
        /// Path of the parameter in the Burn model.
        parameter: String,
        /// Names of the adapters.
        adapters: Vec<String>,
        /// What is wrong, and what helps.
        problem: String,
    },
    /// An output head and an embedding table share their weights, and an adapter changes one of the
    /// two.
    #[error(
        "the output head `{}` is tied to the table `{}`, and {} change one of the two: a model \
         without adapters has one table for both, so that merging would change the other one too. \
         `merge_adapters` merges and keeps the two apart",
        short(head),
        short(table),
        listed(adapters)
    )]
    TiedMerge {
        /// Name of the head.
        head: String,
        /// Path of the table in the Burn model.
        table: String,
        /// Names of the adapters.
        adapters: Vec<String>,
    },
    /// An adapter is for one of several look-ups that are one table in this model.
    #[error(
        "`{}` is tied: in this model `{}` is one table for {}, and an adapter cannot change one of \
         them alone; take it out with exclude_modules, or train the adapter without it",
        short(module),
        short(table),
        listed(look_ups)
    )]
    SharedTable {
        /// Name of the module that the adapter is for.
        module: String,
        /// Name of the table.
        table: String,
        /// Names of the look-ups.
        look_ups: Vec<String>,
    },
    /// A folder holds two tables of the base model where the model has one.
    #[error(
        "the folder holds different tables of the base model for `{}` and `{}`, which are tied in \
         this model: load the base model that the adapter was made for",
        short(head),
        short(table)
    )]
    TiedTables {
        /// Name of the output head.
        head: String,
        /// Name of the table.
        table: String,
    },
    /// A file is something else than its name says.
    #[error("{placeholder}")]
    Placeholder {
        /// What it is.
        placeholder: Placeholder,
    },
    /// The model has no adapter of that name.
    #[error(
        "there is no adapter `{}`; the model has {}",
        short(name),
        listed(known)
    )]
    UnknownAdapter {
        /// The name asked for.
        name: String,
        /// Those that are there.
        known: Vec<String>,
    },
}

impl Error {
    /// Why adapters cannot be merged into the parameter at this path.
    pub(crate) fn merge(parameter: &str, adapters: &[String], reason: NotFinite) -> Self {
        let problem = match reason {
            NotFinite::Base => "the base model's own values hold NaN or infinity".into(),
            NotFinite::Adapters => "their factors hold NaN or infinity, or multiply to it: remove \
                 the adapter, and train it again with a smaller step size"
                .into(),
            NotFinite::Range(dtype) => format!(
                "the sum is beyond the range of {dtype:?}: use the adapters unmerged, or load the \
                 base model in F32"
            ),
        };
        Self::Merge {
            parameter: parameter.into(),
            adapters: adapters.into(),
            problem,
        }
    }

    /// The same error with the file in which it was found.
    pub(crate) fn in_file(self, file: impl Into<PathBuf>) -> Self {
        Self::InFile {
            file: file.into(),
            source: Box::new(self),
        }
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
    fn the_error_about_a_pickle_says_how_to_convert_it() {
        let error = Error::Pickled { folder: "a".into() };
        assert!(error.to_string().contains("metadata={'format': 'pt'})"));
    }
}
