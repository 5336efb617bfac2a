//! A model as the weight file of a `transformers` folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::module::Module;
use burn::store::{BurnToPyTorchAdapter, ModuleSnapshot, burn_pack};
use burn::tensor::{DType, TensorData};
use burn_peft::NameMap;
use safetensors::tensor::{Dtype, TensorView};

use super::parameters::{Parameter, parameters};
use crate::error::Error;

/// Write all float parameters of a model into a safetensors file, under the names and in the layouts that
/// [`load`](super::load) reads with the same `names`.
///
/// The model must be without adapters. `unused` are names and shapes of tensors that a class of `transformers` has
/// and this model has no use for: they are zeros in the file. A file of this name is replaced.
///
/// ```
/// use burn::tensor::Device;
/// use burn_hf_models::bert::{BertConfig, BertForSequenceClassification};
/// use burn_hf_models::weights::{LoadOptions, load, save};
///
/// let config = BertConfig {
///     vocab_size: 50,
///     hidden_size: 16,
///     num_hidden_layers: 1,
///     num_attention_heads: 2,
///     intermediate_size: 32,
///     ..BertConfig::default()
/// };
/// let folder = tempfile::tempdir()?;
/// let [model, other] = [0, 1].map(|_| config.init_classifier(&Device::flex()));
/// let (model, other) = (model?, other?);
/// let names = &BertForSequenceClassification::names()[0];
/// save(&model, names, &[], &folder.path().join("model.safetensors"))?;
///
/// let other = load(other, names, folder.path(), &LoadOptions::default())?;
/// let weights = [model, other].map(|model| model.classifier.weight.val().into_data());
/// assert_eq!(weights[0], weights[1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`Error::Weights`] if the file cannot be written, or a parameter is no float of 16 bits or more.
pub fn save<M: Module>(
    model: &M,
    names: &NameMap,
    unused: &[(&str, Vec<usize>)],
    path: &Path,
) -> Result<(), Error> {
    let failed = |reason: String| Error::Weights {
        path: path.into(),
        reason,
    };
    let mut values = values(model, names).map_err(failed)?;
    values.extend(zeros(unused, DType::F32));
    write(&values, None, path).map_err(failed)
}

/// A tensor that will be in a file, not read from the model yet.
pub(crate) struct Value {
    pub name: String,
    pub shape: Vec<usize>,
    tensor: burn_pack::Tensor,
}

impl Value {
    /// Its values in this type, or in their own.
    fn data(&self, dtype: Option<DType>) -> Result<TensorData, String> {
        let name = &self.name;
        let bytes = self.tensor.to_bytes();
        let bytes = bytes.map_err(|error| format!("`{name}`: {error}"))?;
        let data = TensorData::from_bytes(bytes, self.shape.clone(), self.tensor.dtype);
        match dtype {
            Some(dtype) if dtype != data.dtype() => narrowed(name, data, dtype),
            _ => Ok(data),
        }
    }

    /// Its values as floats of 32 bits.
    pub(crate) fn floats(&self) -> Result<Vec<f32>, String> {
        let data = self.data(Some(DType::F32))?;
        data.try_into_vec::<f32>()
            .map_err(|error| format!("`{}`: {error:?}", self.name))
    }

    /// Bytes in this type, or in its own.
    pub(super) fn bytes(&self, dtype: Option<DType>) -> u64 {
        let size = dtype.unwrap_or(self.tensor.dtype).size();
        self.shape.iter().product::<usize>() as u64 * size as u64
    }
}

/// Values in another float type, unless one becomes infinite there.
fn narrowed(name: &str, data: TensorData, dtype: DType) -> Result<TensorData, String> {
    let before = data.clone();
    let after = data.convert_dtype(dtype);
    let beyond = {
        let mut pairs = before.iter::<f64>().zip(after.iter::<f64>());
        pairs.find(|(before, after)| before.is_finite() && !after.is_finite())
    };
    match beyond {
        None => Ok(after),
        Some((before, _)) => Err(format!(
            "`{name}` holds {before:e}, which is beyond the range of {dtype:?}: write another type (f32 or bf16)"
        )),
    }
}

/// All float parameters of a model under the names and in the layouts of `transformers`.
pub(crate) fn values<M: Module>(model: &M, names: &NameMap) -> Result<Vec<Value>, String> {
    // Parameters come into being when they are looked at: before their types are asked for.
    let tensors = model.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
    let mut tensors: BTreeMap<String, burn_pack::Tensor> = tensors
        .into_iter()
        .map(|tensor| (tensor.name.clone(), tensor))
        .collect();
    let mut values = Vec::new();
    for parameter in parameters(model, names) {
        let name = parameter.name();
        let mut paths = paths(&parameter).into_iter();
        let Some(tensor) = paths.find_map(|path| tensors.remove(&path)) else {
            return Err(format!("`{name}`: the model does not show its values"));
        };
        if float(tensor.dtype).is_none() {
            return Err(format!(
                "`{name}` is of the type {:?}, expected floats",
                tensor.dtype
            ));
        }
        values.push(Value {
            name: name.to_string(),
            shape: tensor.shape.to_vec(),
            tensor,
        });
    }
    Ok(values)
}

/// Tensors of zeros with these names and shapes.
pub(super) fn zeros(unused: &[(&str, Vec<usize>)], dtype: DType) -> Vec<Value> {
    let unused = unused.iter();
    let value = |(name, shape): &(&str, Vec<usize>)| {
        let bytes = shape.iter().product::<usize>() * dtype.size();
        let read = move || Ok(burn_pack::Bytes::from_bytes_vec(vec![0; bytes]));
        let (name, shape) = (name.to_string(), shape.clone());
        let tensor =
            burn_pack::Tensor::deferred(name.clone(), dtype, shape.clone(), None, bytes, read);
        Value {
            name,
            shape,
            tensor,
        }
    };
    unused.map(value).collect()
}

/// Write these tensors into one file, in this type or in their own.
pub(super) fn write(values: &[Value], dtype: Option<DType>, path: &Path) -> Result<(), String> {
    let mut read = Vec::new();
    for value in values {
        read.push((value, value.data(dtype)?));
    }
    let mut views = Vec::new();
    for (Value { name, shape, .. }, data) in &read {
        let Some(dtype) = float(data.dtype()) else {
            return Err(format!("`{name}`: {:?} is not a float", data.dtype()));
        };
        let view = TensorView::new(dtype, shape.clone(), data.as_bytes());
        let view = view.map_err(|error| format!("`{name}`: {error}"))?;
        views.push((name.as_str(), view));
    }
    // Older versions of `transformers` refuse a file that does not say what it was written for.
    let format = [("format".to_string(), "pt".to_string())].into();
    let mode = mode(path).map_err(|error| error.to_string())?;
    safetensors::serialize_to_file(views, Some(format), path)
        .map_err(|error| error.to_string())
        .and_then(|()| fs::set_permissions(path, mode).map_err(|error| error.to_string()))
}

/// The permissions of a file that is replaced, or of a new one. The crate's own are those of a temporary file, which
/// nobody else may read.
fn mode(path: &Path) -> std::io::Result<fs::Permissions> {
    if let Ok(there) = fs::metadata(path) {
        return Ok(there.permissions());
    }
    let new = fs::File::create(path)?;
    let mode = new.metadata()?.permissions();
    fs::remove_file(path)?;
    Ok(mode)
}

/// Where a parameter is among tensors in PyTorch's layouts: Burn calls the parts of its own norms as PyTorch does.
fn paths(parameter: &Parameter) -> [String; 2] {
    let (_, leaf) = parameter.name().rsplit_once('.').unwrap_or_default();
    let renamed = match parameter.path.rsplit_once('.') {
        Some((module, _)) => format!("{module}.{leaf}"),
        None => leaf.to_string(),
    };
    [parameter.path.clone(), renamed]
}

fn float(dtype: DType) -> Option<Dtype> {
    match dtype {
        DType::F64 => Some(Dtype::F64),
        DType::F32 | DType::Flex32 => Some(Dtype::F32),
        DType::F16 => Some(Dtype::F16),
        DType::BF16 => Some(Dtype::BF16),
        _ => None,
    }
}
