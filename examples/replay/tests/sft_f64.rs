//! Supervised fine-tuning in f64 against PyTorch: `tests/sft/reference.py` writes the references. A process of its own:
//! the precision of a device is set once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ::replay::{AdapterCase, DeviceKind, Head, Output, Place, Precision, SftCase, Shards, sft};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

/// Relative to the norm of a group of results.
const TOLERANCE: f64 = 1e-9;

/// A reference, its model, and its adapter: that of the model, or one next to the reference.
const CASES: [(&str, &str, Option<&str>); 5] = [
    ("llama", "llama", None),
    ("qwen2", "qwen2", None),
    // LoRA on the head and on the embeddings.
    ("llama_head", "llama", Some("llama_head_adapter")),
    // One sample, and a head that trains in full.
    (
        "llama_saved_head",
        "llama",
        Some("llama_saved_head_adapter"),
    ),
    // LoRA on the embeddings alone, where the table is the head as well.
    ("qwen2_tied", "qwen2", Some("qwen2_tied_adapter")),
];

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/sft")
        .join(path)
}

fn folders(model: &str, adapter: Option<&str>) -> AdapterCase {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/fixtures");
    let model = fixtures.join(model);
    let adapter = adapter.map_or_else(|| model.join("lora"), here);
    AdapterCase::new(model, adapter)
}

fn place() -> Place {
    Place::open(DeviceKind::Flex, Precision::F64).unwrap()
}

fn values(view: &TensorView<'_>) -> Vec<f64> {
    let (chunks, _) = view.data().as_chunks::<8>();
    let values = chunks.iter();
    match view.dtype() {
        Dtype::F64 => values.map(|bytes| f64::from_le_bytes(*bytes)).collect(),
        Dtype::I64 => values
            .map(|bytes| i64::from_le_bytes(*bytes) as f64)
            .collect(),
        other => panic!("{other:?}"),
    }
}

/// Results are compared by name, those of one direction together.
fn compare(name: &str, found: &BTreeMap<String, Output>, tolerance: f64) {
    let bytes = std::fs::read(here(&format!("{name}.safetensors"))).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut groups: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    let is_input = |name: &str| name.starts_with("input.") || name.starts_with("labels");
    let mut compared = 0;
    for (key, view) in file.iter().filter(|(key, _)| !is_input(key)) {
        let output = &found[key];
        assert_eq!(output.shape, view.shape(), "{key}");
        let group = key.split(".base_model").next().unwrap_or(key);
        let (distance, size) = groups.entry(group.to_string()).or_default();
        for (a, b) in output.values.iter().zip(values(&view)) {
            *distance += (a - b).powi(2);
            *size += b * b;
        }
        compared += 1;
    }
    // Nothing else is written but the logits, which the references do not have.
    let others = found.keys().filter(|key| *key != "logits").count();
    assert_eq!(compared, others, "{name}");
    for (group, (distance, size)) in groups {
        let error = (distance / size.max(1e-300)).sqrt();
        assert!(error < tolerance, "{name}: {group} {error:e}");
    }
}

/// NdArray takes Burn's default sigmoid, in SiLU, which is computed in f32 whatever the type is
/// (burn-backend 0.22.1, `ops/activation.rs`): errors of 3e-8 were seen.
#[cfg(feature = "ndarray")]
const IN_F32: f64 = 1e-6;

/// A batch with all but the last sample on Flex, and the last on NdArray.
#[cfg(feature = "ndarray")]
#[test]
fn shards_on_two_devices_have_the_losses_and_updates_of_pytorch() {
    use burn_ief::exchange::{Exchange, ExchangeForm};
    let other = Place::open(DeviceKind::Ndarray, Precision::F64).unwrap();
    for (name, model, adapter) in CASES {
        let case = folders(model, adapter);
        let batch = SftCase::read(&here(&format!("{name}.safetensors"))).unwrap();
        let last = batch.samples() - 1;
        if last == 0 {
            continue;
        }
        for (head, form) in [
            (Head::Plain, ExchangeForm::Layers),
            (Head::Chunked(None), ExchangeForm::Layers),
            (Head::Chunked(Some(3)), ExchangeForm::Gather),
        ] {
            let shards = Shards::parse(&format!("{last},1")).unwrap();
            let shards = shards.at(vec![place(), other.clone()]);
            let shards = shards.with_exchange(Exchange::new().with_form(form));
            let found = sft(&case, &batch, head, &shards, &place()).unwrap();
            compare(name, &found, IN_F32);
        }
    }
}

#[test]
fn losses_and_updates_are_those_of_pytorch() {
    for (name, model, adapter) in CASES {
        let case = folders(model, adapter);
        let batch = SftCase::read(&here(&format!("{name}.safetensors"))).unwrap();
        let last = batch.samples() - 1;
        let shards = match last {
            0 => "1".to_string(),
            last => format!("{last},1"),
        };
        for (head, shards) in [
            (Head::Plain, None),
            (Head::Chunked(Some(3)), None),
            (Head::Chunked(None), Some(&shards)),
        ] {
            let shards = shards.map_or_else(Shards::default, |text| Shards::parse(text).unwrap());
            let found = sft(&case, &batch, head, &shards, &place()).unwrap();
            compare(name, &found, TOLERANCE);
            // All logits are there only where they were formed.
            assert_eq!(found.contains_key("logits"), head == Head::Plain);
        }
    }
}
