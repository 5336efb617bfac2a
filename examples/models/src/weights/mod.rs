//! Configuration and weights of a Hugging Face folder.

mod checkpoint;
mod content;
mod json;
mod layers;
mod options;
mod parameters;
mod save;
mod save_folder;

use std::collections::BTreeSet;
use std::path::Path;

use burn::module::Module;
use burn::store::{
    ApplyError, FloatCastAdapter, ModuleAdapter, ModuleSnapshot, PyTorchToBurnAdapter,
};
use burn_peft::NameMap;

pub use json::read_config;
pub use options::LoadOptions;
pub use save::save;
pub use save_folder::{SaveOptions, save_folder};

use crate::error::Error;
use crate::message::bytes;
use checkpoint::Checkpoint;
pub(crate) use json::{parse, read_json as parse_file};
pub(crate) use layers::{Stack, check_stacks};
use parameters::{NotFinite, Parameter, parameters};
pub(crate) use save::values;

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
/// - [`Error::Shape`] for a tensor that does not fit the configuration;
/// - [`Error::Different`] if the files hold a parameter under two names with different values;
/// - [`Error::NotFinite`] for a tensor with NaN or infinity;
/// - [`Error::TooLarge`] for a parameter that `options` let keep its initial value, if that takes more memory than
///   any head.
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
        let absent = |p: &&Parameter| held(p, &checkpoint, options).is_empty();
        parameters.iter().filter(absent).count()
    };
    let names = namings.iter().min_by_key(lacking).cloned();
    apply(model, &names.unwrap_or_default(), checkpoint, options)
}

/// The names under which the files hold a parameter, the preferred one first.
fn held(parameter: &Parameter, checkpoint: &Checkpoint, options: &LoadOptions) -> Vec<String> {
    let names = parameter.names.iter();
    let mut held: Vec<String> = Vec::new();
    for name in names.flat_map(|name| options.candidates(name)) {
        if checkpoint.contains(&name) && !held.contains(&name) {
            held.push(name);
        }
    }
    held
}

/// Whether the files hold different values for the tensor `name` and one of these copies of it; `false` if they
/// lack one of the two.
pub(crate) fn is_different(folder: &Path, name: &str, copies: &[&str]) -> Result<bool, Error> {
    let checkpoint = Checkpoint::open(folder)?;
    let copy = copies.iter().find(|copy| checkpoint.contains(copy));
    match copy {
        Some(copy) if checkpoint.contains(name) => Ok(!checkpoint.same(name, copy)?),
        _ => Ok(false),
    }
}

/// Whether a folder has weights, and among them this tensor.
pub(crate) fn holds(folder: &Path, name: &str) -> Result<Option<bool>, Error> {
    let names = checkpoint::names(folder)?;
    Ok(names.map(|names| names.iter().any(|found| found == name)))
}

fn apply<M: Module>(
    mut model: M,
    names: &NameMap,
    checkpoint: Checkpoint,
    options: &LoadOptions,
) -> Result<M, Error> {
    let parameters = parameters(&model, names);
    let mut missing = Vec::new();
    let mut initial = Vec::new();
    let mut loaded = Vec::new();
    let mut copies = Vec::new();
    let mut wanted = BTreeSet::new();
    for parameter in parameters {
        wanted.extend(parameter.names.iter().flat_map(|n| options.candidates(n)));
        if options.is_replaced(parameter.name()) {
            initial.push(parameter);
            continue;
        }
        let mut held = held(&parameter, &checkpoint, options).into_iter();
        match held.next() {
            Some(name) => {
                copies.extend(held.map(|copy| (name.clone(), copy)));
                loaded.push((parameter, name));
            }
            None if options.may_be_missing(parameter.name()) => initial.push(parameter),
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
    for (name, copy) in copies {
        if !checkpoint.same(&name, &copy)? {
            return Err(Error::Different {
                path: checkpoint.folder().into(),
                fix: options.fix(&copy),
                name,
                copy,
            });
        }
    }
    check_initial(&initial, &checkpoint)?;
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
        if let Some((parameter, name)) = not_finite(&model, &now) {
            return Err(Error::NotFinite {
                path: checkpoint.file(name).into(),
                name: name.clone(),
                dtype: format!("{:?}", parameter.dtype),
            });
        }
    }
    Ok(model)
}

/// Parameters that no file provides are new heads, which are small next to their model.
fn check_initial(initial: &[Parameter], checkpoint: &Checkpoint) -> Result<(), Error> {
    const LEAST: u128 = 1 << 30;
    let most = checkpoint.bytes().saturating_mul(4).max(LEAST);
    for parameter in initial {
        let shape = parameter.file_shape();
        let entries = shape
            .iter()
            .fold(1u128, |n, &size| n.saturating_mul(size as u128));
        let size = entries.saturating_mul(parameter.dtype.size() as u128);
        if size > most {
            return Err(Error::TooLarge {
                path: checkpoint.folder().into(),
                name: parameter.name().into(),
                shape,
                estimate: bytes(size),
                most: bytes(most),
            });
        }
    }
    Ok(())
}

/// The first of these parameters with NaN or infinity.
fn not_finite<'a, M: Module>(
    model: &M,
    loaded: &'a [(Parameter, String)],
) -> Option<&'a (Parameter, String)> {
    let mut visitor = NotFinite::default();
    model.visit(&mut visitor);
    let mut loaded = loaded.iter();
    loaded.find(|(parameter, _)| visitor.paths.contains(&parameter.path))
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
