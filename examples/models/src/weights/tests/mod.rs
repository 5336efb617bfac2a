//! Checkpoints of a small model, as a whole, in shards, and under other names.

mod refused;

use std::fs;
use std::path::PathBuf;

use burn::module::Module;
use burn::nn::{
    Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig, RmsNorm,
    RmsNormConfig,
};
use burn::tensor::{DType, Device, FloatDType, Tensor};
use burn_peft::NameMap;
use safetensors::tensor::{Dtype, TensorView, serialize};
use tempfile::TempDir;

use super::*;
use crate::names::renamed;

#[derive(Module, Debug)]
struct Block {
    up: Linear,
    norm: LayerNorm,
}

#[derive(Module, Debug)]
struct Net {
    table: Embedding,
    blocks: Vec<Block>,
    rms: RmsNorm,
    head: Linear,
}

fn net() -> Net {
    let device = Device::flex().autodiff();
    let block = |_| Block {
        up: LinearConfig::new(2, 3).init(&device),
        norm: LayerNormConfig::new(3).init(&device),
    };
    Net {
        table: EmbeddingConfig::new(4, 2).init(&device),
        blocks: (0..2).map(block).collect(),
        rms: RmsNormConfig::new(3).init(&device),
        head: LinearConfig::new(3, 1).init(&device),
    }
}

fn names() -> NameMap {
    renamed(&[
        (r"^blocks\.", "net.layer."),
        (r"^(table|rms)\b", "net.$1"),
        (r"\.up$", ".mlp.up"),
    ])
}

struct Entry {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn entry(name: &str, shape: &[usize]) -> Entry {
    let count = shape.iter().product::<usize>();
    Entry {
        name: name.into(),
        dtype: Dtype::F32,
        shape: shape.into(),
        bytes: (0..count).flat_map(|i| (i as f32).to_le_bytes()).collect(),
    }
}

/// All tensors of [`net`].
fn entries() -> Vec<Entry> {
    let mut entries = vec![
        entry("net.table.weight", &[4, 2]),
        entry("net.rms.weight", &[3]),
        entry("head.weight", &[1, 3]),
        entry("head.bias", &[1]),
    ];
    for layer in 0..2 {
        let name = |rest: &str| format!("net.layer.{layer}.{rest}");
        entries.push(entry(&name("mlp.up.weight"), &[3, 2]));
        entries.push(entry(&name("mlp.up.bias"), &[3]));
        entries.push(entry(&name("norm.weight"), &[3]));
        entries.push(entry(&name("norm.bias"), &[3]));
    }
    entries
}

fn bytes(entries: &[Entry]) -> Vec<u8> {
    let views = entries.iter().map(|entry| {
        let view = TensorView::new(entry.dtype, entry.shape.clone(), &entry.bytes);
        (entry.name.clone(), view.unwrap())
    });
    serialize(views, None).unwrap()
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn single(entries: &[Entry]) -> Self {
        let folder = Self::new();
        folder.write("model.safetensors", &bytes(entries));
        folder
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn write(&self, file: &str, content: &[u8]) {
        fs::write(self.path(file), content).unwrap();
    }

    fn load(&self, options: &LoadOptions) -> Result<Net, Error> {
        load(net(), &names(), self.0.path(), options)
    }

    fn error(&self) -> Error {
        self.load(&LoadOptions::default()).unwrap_err()
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec::<f32>().unwrap()
}

fn find<'a>(entries: &'a mut [Entry], name: &str) -> &'a mut Entry {
    entries.iter_mut().find(|e| e.name == name).unwrap()
}

#[test]
fn every_parameter_takes_its_values() {
    let net = Folder::single(&entries())
        .load(&LoadOptions::default())
        .unwrap();
    let up = &net.blocks[1].up;
    assert_eq!(values(up.weight.val()), [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
    assert!(up.weight.is_require_grad());
    assert_eq!(values(net.blocks[0].norm.gamma.val()), [0.0, 1.0, 2.0]);
    let beta = net.blocks[1].norm.beta.as_ref().unwrap();
    assert_eq!(values(beta.val()), [0.0, 1.0, 2.0]);
    assert_eq!(values(net.rms.gamma.val()), [0.0, 1.0, 2.0]);
    assert_eq!(values(net.table.weight.val())[3..5], [3.0, 4.0]);
}

#[test]
fn frozen_parameters_stay_frozen() {
    let folder = Folder::single(&entries());
    let net = load(
        net().freeze(),
        &names(),
        folder.0.path(),
        &LoadOptions::default(),
    );
    assert!(!net.unwrap().head.weight.is_require_grad());
}

#[test]
fn half_precision_is_widened() {
    let mut entries = entries();
    // 1.5, -2 and 0.25 in f16; in bf16, the upper halves of their f32 forms.
    let f16 = find(&mut entries, "net.rms.weight");
    f16.dtype = Dtype::F16;
    f16.bytes = vec![0x00, 0x3E, 0x00, 0xC0, 0x00, 0x34];
    let bf16 = find(&mut entries, "head.weight");
    bf16.dtype = Dtype::BF16;
    bf16.bytes = vec![0xC0, 0x3F, 0x00, 0xC0, 0x80, 0x3E];
    let net = Folder::single(&entries)
        .load(&LoadOptions::default())
        .unwrap();
    assert_eq!(net.rms.gamma.val().dtype(), DType::F32);
    assert_eq!(values(net.rms.gamma.val()), [1.5, -2.0, 0.25]);
    assert_eq!(values(net.head.weight.val()), [1.5, -2.0, 0.25]);
}

#[test]
fn an_initialised_parameter_keeps_its_float_type() {
    let folder = Folder::single(&entries());
    let mut net = net();
    net.rms.gamma = net.rms.gamma.map(|gamma| gamma.cast(FloatDType::F64));
    let net = load(net, &names(), folder.0.path(), &LoadOptions::default()).unwrap();
    assert_eq!(net.rms.gamma.val().dtype(), DType::F64);
    assert_eq!(net.head.weight.val().dtype(), DType::F32);
}

#[test]
fn shards_come_together() {
    let folder = sharded(&entries());
    let net = folder.load(&LoadOptions::default()).unwrap();
    assert_eq!(values(net.head.weight.val()), [0.0, 1.0, 2.0]);
    assert_eq!(values(net.rms.gamma.val()), [0.0, 1.0, 2.0]);
}

/// Two shards of half the tensors each.
fn sharded(entries: &[Entry]) -> Folder {
    let folder = Folder::new();
    let mut map = serde_json::Map::new();
    for (i, part) in entries.chunks(entries.len() / 2).enumerate() {
        let file = format!("model-{i}.safetensors");
        folder.write(&file, &bytes(part));
        map.extend(part.iter().map(|e| (e.name.clone(), file.clone().into())));
    }
    let index = serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map});
    folder.write("model.safetensors.index.json", index.to_string().as_bytes());
    folder
}

#[test]
fn unexpected_tensors_are_named_or_skipped() {
    let mut entries = entries();
    entries.push(entry("net.layer.2.norm.weight", &[3]));
    entries.push(entry("net.position_ids", &[1, 3]));
    match Folder::single(&entries).error() {
        Error::Unexpected { names, .. } => {
            assert_eq!(names, ["net.layer.2.norm.weight", "net.position_ids"]);
        }
        other => panic!("{other}"),
    }
    let options = LoadOptions::default().skip("position_ids").skip("layer.2");
    assert!(Folder::single(&entries).load(&options).is_ok());
}

#[test]
fn a_prefix_may_be_absent_or_added() {
    let options = LoadOptions::default().with_prefix("net");
    let mut without = entries();
    for entry in &mut without {
        entry.name = entry.name.trim_start_matches("net.").to_string();
    }
    assert!(Folder::single(&without).load(&options).is_ok());
    let error = Folder::single(&without).error();
    assert!(matches!(error, Error::Missing { .. }));

    let folder = Folder::single(&entries());
    let bare = names().with(r"^net\.", "").unwrap();
    assert!(load(net(), &bare, folder.0.path(), &options).is_ok());
}

#[test]
fn a_tied_tensor_comes_under_either_name() {
    let options = LoadOptions::default().tied("net.table.weight", "net.shared.weight");
    let mut renamed = entries();
    find(&mut renamed, "net.table.weight").name = "net.shared.weight".into();
    assert!(Folder::single(&renamed).load(&options).is_ok());
    renamed.push(entry("net.table.weight", &[4, 2]));
    assert!(Folder::single(&renamed).load(&options).is_ok());
}

#[test]
fn norms_may_have_the_names_of_tensorflow() {
    let mut entries = entries();
    find(&mut entries, "net.layer.0.norm.weight").name = "net.layer.0.norm.gamma".into();
    find(&mut entries, "net.layer.0.norm.bias").name = "net.layer.0.norm.beta".into();
    let net = Folder::single(&entries)
        .load(&LoadOptions::default())
        .unwrap();
    assert_eq!(values(net.blocks[0].norm.gamma.val()), [0.0, 1.0, 2.0]);
}

#[test]
fn the_naming_that_fits_is_taken() {
    let folder = Folder::single(&entries());
    let other = renamed(&[(r"^blocks\.", "net.blocks.")]);
    let options = LoadOptions::default();
    let net = load_named(net(), &[other, names()], folder.0.path(), &options);
    assert!(net.is_ok());
}
