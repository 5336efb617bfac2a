//! JSON files of a folder.

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::content::{self, Kind};
use crate::error::Error;
use crate::fields::refuse;
use crate::gguf::GgufFile;

/// Read `config.json` of a folder.
///
/// The path of a GGUF file takes the place of a folder: its configuration follows from its metadata.
///
/// Fields that change a model of every family in ways that this crate does not know are refused here: quantized
/// weights, pruned heads, and sizes that differ from layer to layer (`per_layer_config` of `transformers` 5).
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
/// [`Error::Read`] if there is no such file, [`Error::Content`] if it is a Git LFS pointer or another file,
/// [`Error::Json`] if a field is missing or of another type, [`Error::Config`] for the fields above.
pub fn read_config<T: DeserializeOwned>(folder: &Path) -> Result<T, Error> {
    let (path, text) = if GgufFile::is_named(folder) {
        let config = GgufFile::open(folder)?.config()?;
        (folder.to_path_buf(), Value::Object(config).to_string())
    } else {
        let path = folder.join("config.json");
        let text = read_text(&path)?;
        (path, text)
    };
    let all: Map<String, Value> = parse(&path, &text)?;
    check_common(&all).map_err(|error| error.in_config(folder))?;
    parse(&path, &text)
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    parse(path, &read_text(path)?)
}

fn read_text(path: &Path) -> Result<String, Error> {
    content::check(path, Kind::Json)?;
    fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.into(),
        source,
    })
}

/// Read the text of a JSON file; an error names the field.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, Error> {
    let failed = |reason| Error::Json {
        path: path.into(),
        reason,
    };
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        failed(match field.as_str() {
            "." => error.into_inner().to_string(),
            field => format!("field `{field}`: {}", error.into_inner()),
        })
    })?;
    json.end().map_err(|error| failed(error.to_string()))?;
    Ok(value)
}

/// Refuse what changes a model of any family.
fn check_common(config: &Map<String, Value>) -> Result<(), Error> {
    for (field, expected) in [
        (
            "quantization_config",
            "none: quantized weights are not read, load the model in Python with `dequantize()` and save it again",
        ),
        ("pruned_heads", "none: pruned heads are not supported"),
        (
            "per_layer_config",
            "none: layers of different sizes are not supported",
        ),
    ] {
        let found = config.get(field).filter(|value| match value {
            Value::Null => false,
            Value::Object(entries) => !entries.is_empty(),
            _ => true,
        });
        if let Some(found) = found {
            return refuse(field, found, expected);
        }
    }
    Ok(())
}
