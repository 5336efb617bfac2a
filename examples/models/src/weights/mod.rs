//! Configuration and weights of a Hugging Face folder.

mod checkpoint;
mod parameters;
mod save;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use burn::module::Module;
use burn::store::{
    ApplyError, FloatCastAdapter, ModuleAdapter, ModuleSnapshot, PyTorchToBurnAdapter,
};
use burn_peft::NameMap;
use serde::de::DeserializeOwned;

use crate::error::Error;
use checkpoint::Checkpoint;
use parameters::{Parameter, parameters};
pub use save::save;

/// Read `config.json` of a folder.
///
/// ```
/// use burn_hf_models::weights::read_config;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Sizes {
///     hidden_size: usize,
/// }
///
/// let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("config.json"), r#"{"hidden_size": 32, "other": 1}"#)?;
/// let sizes: Sizes = read_config(folder.path())?;
/// assert_eq!(sizes.hidden_size, 32);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`Error::Read`] if there is no such file, [`Error::Json`] if a field is missing or of another
/// type.
pub fn read_config<T: DeserializeOwned>(folder: &Path) -> Result<T, Error> {
    read_json(&folder.join("config.json"))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.into(),
        source,
    })?;
    serde_json::from_str(&text).map_err(|error| Error::Json {
        path: path.into(),
        reason: error.to_string(),
    })
}

/// What a folder's tensors may lack, have in addition, or call otherwise.
///
/// `skip` and `keep_initial` take whole parts of a name between dots: `classifier` means
/// `classifier.weight` and `model.classifier.bias`, but not for `classifier2.weight`.
///
/// ```
/// use burn_hf_models::weights::LoadOptions;
///
/// let options = LoadOptions::default()
///     .with_prefix("bert")
///     .skip("embeddings.position_ids")
///     .keep_initial("classifier");
/// assert!(options.may_be_missing("classifier.weight"));
/// assert!(!options.may_be_missing("bert.pooler.dense.weight"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    prefix: Option<String>,
    skipped: Vec<String>,
    initial: Vec<String>,
    tied: Vec<(String, String)>,
}

impl LoadOptions {
    /// A first part of names that the files may have or not, whether the model has it or not.
    ///
    /// `transformers` saves a base model (`BertModel`) without it and the same model below a head
    /// with it (`bert.`).
    pub fn with_prefix(mut self, prefix: &str) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Tensors in the files that the model does not need.
    pub fn skip(mut self, part: &str) -> Self {
        self.skipped.push(part.into());
        self
    }

    /// Parameters that keep their initial values if the files lack them (the new head of a
    /// pretrained encoder).
    pub fn keep_initial(mut self, part: &str) -> Self {
        self.initial.push(part.into());
        self
    }

    /// Another name of a parameter: the files may hold one of them, or both as copies.
    pub fn tied(mut self, name: &str, copy: &str) -> Self {
        self.tied.push((name.into(), copy.into()));
        self
    }

    /// Whether the parameter `name` keeps its initial value if the files lack it.
    pub fn may_be_missing(&self, name: &str) -> bool {
        self.initial.iter().any(|part| contains(name, part))
    }

    fn is_skipped(&self, name: &str) -> bool {
        self.skipped.iter().any(|part| contains(name, part))
    }

    /// All names that `name` can have in a file, its own first.
    fn candidates(&self, name: &str) -> Vec<String> {
        let copies = self.tied.iter().filter(|(tied, _)| tied == name);
        std::iter::once(name)
            .chain(copies.map(|(_, copy)| copy.as_str()))
            .flat_map(|name| self.with_and_without_prefix(name))
            .collect()
    }

    fn with_and_without_prefix(&self, name: &str) -> Vec<String> {
        let other = self.prefix.as_ref().map(|prefix| {
            let rest = name.strip_prefix(prefix.as_str());
            match rest.and_then(|rest| rest.strip_prefix('.')) {
                Some(rest) => rest.to_string(),
                None => format!("{prefix}.{name}"),
            }
        });
        std::iter::once(name.to_string()).chain(other).collect()
    }
}

/// Whether the dotted `part` is somewhere in the dotted `name`.
fn contains(name: &str, part: &str) -> bool {
    format!(".{name}.").contains(&format!(".{part}."))
}

/// Load `model.safetensors`, or the files that `model.safetensors.index.json` lists, into a model.
///
/// A parameter of the model takes the tensor with the name that `names` gives its module, and
/// `transformers`' name for the parameter itself: a layer norm's `gamma` is `weight` there (or
/// `gamma`, in files converted from TensorFlow) and a linear weight is transposed. Values are cast
/// to the float type of the device, or of the parameter where it is initialised already. Enum
/// variants are not part of the paths.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_peft::NameMap;
/// use burn_hf_models::weights::{LoadOptions, load};
/// use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
///
/// let folder = tempfile::tempdir()?;
/// let values: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
/// let weight = TensorView::new(Dtype::F32, vec![2, 3], &values)?;
/// serialize_to_file([("weight", weight)], None, &folder.path().join("model.safetensors"))?;
///
/// let layer = LinearConfig::new(3, 2).with_bias(false).init(&Device::flex());
/// let layer = load(layer, &NameMap::default(), folder.path(), &LoadOptions::default())?;
/// let values = layer.weight.val().into_data().try_to_vec::<f32>()?;
/// assert_eq!(values, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// The model is returned only when every parameter was loaded.
///
/// - [`Error::Read`], [`Error::Json`], [`Error::Weights`] for files that are absent or damaged,
///   or hold something else than floats;
/// - [`Error::Missing`] with all names that the files lack, [`Error::Unexpected`] with all that the
///   model lacks, unless `options` say that they may;
/// - [`Error::Shape`] for a tensor that does not fit the configuration.
pub fn load<M: Module>(
    model: M,
    names: &NameMap,
    folder: &Path,
    options: &LoadOptions,
) -> Result<M, Error> {
    let checkpoint = Checkpoint::open(folder)?;
    apply(model, names, checkpoint, options)
}

/// Like [`load`], with whichever of several namings lacks the fewest tensors.
///
/// # Errors
///
/// As [`load`] with that naming.
pub fn load_named<M: Module>(
    model: M,
    namings: &[NameMap],
    folder: &Path,
    options: &LoadOptions,
) -> Result<M, Error> {
    let checkpoint = Checkpoint::open(folder)?;
    let lacking = |names: &&NameMap| {
        let parameters = parameters(&model, names);
        let absent = |p: &&Parameter| found(p, &checkpoint, options).is_none();
        parameters.iter().filter(absent).count()
    };
    let names = namings.iter().min_by_key(lacking).cloned();
    apply(model, &names.unwrap_or_default(), checkpoint, options)
}

/// The name under which the files hold a parameter.
fn found(parameter: &Parameter, checkpoint: &Checkpoint, options: &LoadOptions) -> Option<String> {
    let names = parameter.names.iter();
    names
        .flat_map(|name| options.candidates(name))
        .find(|name| checkpoint.contains(name))
}

fn apply<M: Module>(
    mut model: M,
    names: &NameMap,
    checkpoint: Checkpoint,
    options: &LoadOptions,
) -> Result<M, Error> {
    let parameters = parameters(&model, names);
    let mut missing = Vec::new();
    let mut loaded = Vec::new();
    let mut wanted = BTreeSet::new();
    for parameter in parameters {
        wanted.extend(parameter.names.iter().flat_map(|n| options.candidates(n)));
        match found(&parameter, &checkpoint, options) {
            Some(name) => loaded.push((parameter, name)),
            None if options.may_be_missing(parameter.name()) => {}
            None => missing.push(parameter.name().to_string()),
        }
    }
    if !missing.is_empty() {
        return Err(Error::Missing {
            path: checkpoint.folder().into(),
            names: missing,
        });
    }
    let unexpected: Vec<String> = checkpoint
        .names()
        .filter(|name| !wanted.contains(*name) && !options.is_skipped(name))
        .map(String::from)
        .collect();
    if !unexpected.is_empty() {
        return Err(Error::Unexpected {
            path: checkpoint.folder().into(),
            names: unexpected,
        });
    }
    for (parameter, name) in &loaded {
        checkpoint.check(name, &parameter.file_shape())?;
    }
    // One pass over the model for each float type that its parameters have (nearly always one).
    while let Some((first, _)) = loaded.first() {
        let dtype = first.dtype;
        let (now, later) = loaded.into_iter().partition(|(p, _)| p.dtype == dtype);
        loaded = later;
        let now: Vec<(Parameter, String)> = now;
        let tensors = now
            .iter()
            .filter_map(|(parameter, name)| checkpoint.take(name, &parameter.path))
            .collect();
        let adapter = PyTorchToBurnAdapter.chain(FloatCastAdapter::to(dtype));
        let result = model.apply(tensors, None, Some(Box::new(adapter)), true);
        if let Some(error) = result.errors.first() {
            return Err(damaged(error, &now, &checkpoint));
        }
    }
    Ok(model)
}

/// An error of burn-store in the words of the file.
fn damaged(error: &ApplyError, loaded: &[(Parameter, String)], checkpoint: &Checkpoint) -> Error {
    let path = match error {
        ApplyError::ShapeMismatch { path, .. }
        | ApplyError::DTypeMismatch { path, .. }
        | ApplyError::AdapterError { path, .. }
        | ApplyError::LoadError { path, .. } => path,
    };
    let name = loaded.iter().find(|(p, _)| p.path == *path);
    let name = name.map_or(path.as_str(), |(_, name)| name.as_str());
    Error::Weights {
        path: checkpoint.file(name).into(),
        reason: format!("`{name}`: {error}"),
    }
}

#[cfg(test)]
mod tests;
