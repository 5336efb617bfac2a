//! Copies of the reference folders with other configurations and names of tensors.

// Each test binary uses its own part.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::Value;

/// The folders of transformers and PEFT, kept with the models' own tests.
pub fn fixture(path: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/fixtures");
    fixtures.join(path)
}

/// An empty folder of this name for one test.
pub fn empty(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Copy a model folder, with fields of its configuration set; `rename` gives a tensor its new name, or leaves it
/// out.
pub fn model(
    from: &str,
    to: &Path,
    fields: Value,
    rename: impl Fn(&str) -> Option<String>,
) -> PathBuf {
    copy(
        from,
        to,
        ["config.json", "model.safetensors"],
        fields,
        rename,
    )
}

/// Copy an adapter folder in the same way.
pub fn adapter(
    from: &str,
    to: &Path,
    fields: Value,
    rename: impl Fn(&str) -> Option<String>,
) -> PathBuf {
    let files = ["adapter_config.json", "adapter_model.safetensors"];
    copy(from, to, files, fields, rename)
}

fn copy(
    from: &str,
    to: &Path,
    [config, weights]: [&str; 2],
    fields: Value,
    rename: impl Fn(&str) -> Option<String>,
) -> PathBuf {
    let from = fixture(from);
    fs::create_dir_all(to).unwrap();
    let text = fs::read_to_string(from.join(config)).unwrap();
    let mut changed: Value = serde_json::from_str(&text).unwrap();
    for (field, value) in fields.as_object().unwrap() {
        changed[field] = value.clone();
    }
    fs::write(to.join(config), changed.to_string()).unwrap();
    let bytes = fs::read(from.join(weights)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let views = file.iter().filter_map(|(name, view)| {
        let view = TensorView::new(view.dtype(), view.shape().to_vec(), view.data()).unwrap();
        Some((rename(name)?, view))
    });
    serialize_to_file(views, None, &to.join(weights)).unwrap();
    to.into()
}

/// A file of integer inputs, each a name, a shape and one value for all entries, of which the last is replaced.
pub fn inputs(path: &Path, arguments: &[(&str, [usize; 2], i64, i64)]) -> PathBuf {
    let tensors: Vec<(String, [usize; 2], Vec<u8>)> = arguments
        .iter()
        .map(|&(name, shape, all, last)| {
            let mut values = vec![all; shape[0] * shape[1]];
            if let Some(value) = values.last_mut() {
                *value = last;
            }
            let bytes = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            (format!("input.{name}"), shape, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (
            name,
            TensorView::new(Dtype::I64, shape.to_vec(), bytes).unwrap(),
        )
    });
    serialize_to_file(views, None, path).unwrap();
    path.into()
}
