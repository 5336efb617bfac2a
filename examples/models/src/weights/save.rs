//! A model as the weight file of a `transformers` folder.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::store::{BurnToPyTorchAdapter, ModuleSnapshot, burn_pack};
use burn::tensor::DType;
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
    let refuse = |reason: String| Error::Weights {
        path: path.into(),
        reason,
    };
    // Parameters come into being when they are looked at: before their types are asked for.
    let tensors = model.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
    let tensors: BTreeMap<String, burn_pack::Tensor> = tensors
        .into_iter()
        .map(|tensor| (tensor.name.clone(), tensor))
        .collect();
    let mut values = Vec::new();
    for parameter in parameters(model, names) {
        let name = parameter.name();
        let found = paths(&parameter).into_iter().find_map(|p| tensors.get(&p));
        let Some(tensor) = found else {
            return Err(refuse(format!(
                "`{name}`: the model does not show its values"
            )));
        };
        let Some(dtype) = float(tensor.dtype) else {
            return Err(refuse(format!(
                "`{name}` is of the type {:?}, expected floats",
                tensor.dtype
            )));
        };
        let bytes = tensor.to_bytes();
        let bytes = bytes.map_err(|error| refuse(format!("`{name}`: {error}")))?;
        values.push((name.to_string(), dtype, tensor.shape.to_vec(), bytes));
    }
    for (name, shape) in unused {
        let zeros = vec![0; shape.iter().product::<usize>() * size_of::<f32>()];
        let zeros = burn_pack::Bytes::from_bytes_vec(zeros);
        values.push((name.to_string(), Dtype::F32, shape.clone(), zeros));
    }
    let mut views = Vec::new();
    for (name, dtype, shape, bytes) in &values {
        let view = TensorView::new(*dtype, shape.clone(), bytes);
        let view = view.map_err(|error| refuse(format!("`{name}`: {error}")))?;
        views.push((name.as_str(), view));
    }
    // Older versions of `transformers` refuse a file that does not say what it was written for.
    let format = [("format".to_string(), "pt".to_string())].into();
    safetensors::serialize_to_file(views, Some(format), path)
        .map_err(|error| refuse(error.to_string()))
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
