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
fn an_absent_shard_is_named() {
    let folder = sharded(&entries());
    fs::remove_file(folder.path("model-1.safetensors")).unwrap();
    let error = folder.error();
    assert!(
        matches!(&error, Error::Read { path, .. } if path.ends_with("model-1.safetensors")),
        "{error}"
    );
}

#[test]
fn a_shard_without_a_listed_tensor_is_named() {
    let entries = entries();
    let folder = sharded(&entries);
    folder.write("model-0.safetensors", &bytes(&entries[1..2]));
    match folder.error() {
        Error::Missing { path, names } => {
            assert!(path.ends_with("model-0.safetensors"));
            assert!(names.contains(&"net.table.weight".to_string()));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn an_index_cannot_leave_the_folder() {
    for file in ["../model.safetensors", "/etc/passwd", "a/b", "..", ""] {
        let folder = Folder::new();
        let index = serde_json::json!({"weight_map": {"head.weight": file}});
        folder.write("model.safetensors.index.json", index.to_string().as_bytes());
        assert!(matches!(folder.error(), Error::Json { .. }), "{file}");
    }
}

#[test]
fn all_missing_tensors_are_named() {
    let mut entries = entries();
    entries.retain(|e| e.name != "head.bias" && e.name != "net.layer.1.norm.weight");
    match Folder::single(&entries).error() {
        Error::Missing { names, .. } => assert_eq!(names, ["net.layer.1.norm.weight", "head.bias"]),
        other => panic!("{other}"),
    }
    let folder = Folder::single(&entries);
    let options = LoadOptions::default().keep_initial("head");
    let error = folder.load(&options).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} lacks net.layer.1.norm.weight",
            folder.0.path().display()
        )
    );
    let options = options.keep_initial("layer.1.norm");
    assert!(folder.load(&options).is_ok());
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
fn copies_with_other_values_are_refused() {
    let options = LoadOptions::default().tied("net.table.weight", "net.shared.weight");
    let with = |change: fn(&mut Entry)| {
        let mut entries = entries();
        let mut copy = entry("net.shared.weight", &[4, 2]);
        change(&mut copy);
        entries.push(copy);
        Folder::single(&entries).load(&options)
    };
    assert!(with(|_| ()).is_ok());
    // The same values in a wider type.
    let wider = with(|copy| {
        copy.dtype = Dtype::F64;
        copy.bytes = (0..8).flat_map(|i| f64::from(i).to_le_bytes()).collect();
    });
    assert!(wider.is_ok());
    for change in [
        |copy: &mut Entry| copy.bytes[0] = 1,
        |copy: &mut Entry| *copy = entry("net.shared.weight", &[2, 4]),
        |copy: &mut Entry| *copy = entry("net.shared.weight", &[5, 2]),
    ] {
        match with(change).unwrap_err() {
            Error::Different { name, copy, .. } => {
                assert_eq!(
                    (name.as_str(), copy.as_str()),
                    ("net.table.weight", "net.shared.weight")
                );
            }
            other => panic!("{other}"),
        }
    }
    // With and without a prefix.
    let mut entries = entries();
    let mut twice = entry("rms.weight", &[3]);
    twice.bytes[3] = 0x40;
    entries.push(twice);
    let options = LoadOptions::default().with_prefix("net");
    let error = Folder::single(&entries).load(&options).unwrap_err();
    assert!(matches!(error, Error::Different { .. }), "{error}");
}

#[test]
fn values_that_are_not_finite_are_named() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut entries = entries();
        find(&mut entries, "net.layer.1.norm.bias").bytes[4..8]
            .copy_from_slice(&value.to_le_bytes());
        match Folder::single(&entries).error() {
            Error::NotFinite { name, .. } => assert_eq!(name, "net.layer.1.norm.bias"),
            other => panic!("{other}"),
        }
    }
    // In f32 this is infinity.
    let mut entries = entries();
    let bias = find(&mut entries, "head.bias");
    bias.dtype = Dtype::F64;
    bias.bytes = 1e300f64.to_le_bytes().to_vec();
    let error = Folder::single(&entries).error();
    assert!(matches!(error, Error::NotFinite { .. }), "{error}");
}

#[test]
fn a_new_head_of_absurd_size_is_refused() {
    #[derive(Module, Debug)]
    struct Headed {
        rms: RmsNorm,
        head: Linear,
    }
    let device = Device::flex();
    let model = |outputs| Headed {
        rms: RmsNormConfig::new(3).init(&device),
        head: LinearConfig::new(1 << 20, outputs)
            .with_bias(false)
            .init(&device),
    };
    let folder = Folder::single(&[entry("rms.weight", &[3])]);
    let options = LoadOptions::default().keep_initial("head");
    let load = |outputs| {
        load(
            model(outputs),
            &NameMap::default(),
            folder.0.path(),
            &options,
        )
    };
    assert!(load(2).is_ok());
    match load(1 << 20).unwrap_err() {
        Error::TooLarge { name, estimate, .. } => {
            assert_eq!(
                (name.as_str(), estimate.as_str()),
                ("head.weight", "4.0 TiB")
            );
        }
        other => panic!("{other}"),
    }
}

#[test]
fn messages_stay_short() {
    let mut many = entries();
    many.extend((0..20_000).map(|i| entry(&format!("extra.{i}.weight"), &[1])));
    many.push(entry(&"long".repeat(50_000), &[1]));
    let unexpected = Folder::single(&many).error();
    let Error::Unexpected { names, .. } = &unexpected else {
        panic!("{unexpected}");
    };
    assert_eq!(names.len(), 20_001);
    let config = Folder::new();
    let text = serde_json::json!({"layers": "x".repeat(12 << 20)}).to_string();
    config.write("config.json", text.as_bytes());
    #[derive(Debug, serde::Deserialize)]
    struct Sizes {
        #[expect(dead_code)]
        layers: usize,
    }
    let json = read_config::<Sizes>(config.0.path()).unwrap_err();
    for (error, expected) in [(unexpected, "more"), (json, "field `layers`")] {
        let text = error.to_string();
        assert!(text.chars().count() < 1500 + config.0.path().as_os_str().len());
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn foreign_files_in_the_place_of_a_models_own_are_named() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    let page = b"<!DOCTYPE html><html><head><title>404</title></head></html>";
    for (content, expected) in [
        (&pointer[..], "git lfs pull"),
        (page, "web page"),
        (b"", "empty"),
        (b"PK\x03\x04\x00\x00\x00\x00\x00\x00rest", "PyTorch"),
    ] {
        let folder = Folder::new();
        folder.write("model.safetensors", content);
        let error = folder.error();
        assert!(matches!(error, Error::Content { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let folder = sharded(&entries());
    folder.write("model-1.safetensors", pointer);
    assert!(folder.error().to_string().contains("model-1.safetensors"));
    let folder = Folder::new();
    folder.write("config.json", pointer);
    let error = read_config::<serde_json::Value>(folder.0.path()).unwrap_err();
    assert!(error.to_string().contains("git lfs pull"), "{error}");
}

#[test]
fn weights_in_other_formats_name_the_class_that_reads_them_all() {
    for (config, class) in [
        (
            r#"{"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}"#,
            "T5ForConditionalGeneration",
        ),
        (
            r#"{"model_type": "t5", "architectures": ["T5WithLMHeadModel"]}"#,
            "T5ForConditionalGeneration",
        ),
        (r#"{"model_type": "llama"}"#, "LlamaForCausalLM"),
        (
            r#"{"model_type": "bert", "architectures": ["BertForMaskedLM"]}"#,
            "BertForMaskedLM",
        ),
        (
            r#"{"model_type": "bert", "architectures": ["os; x = "]}"#,
            "BertForPreTraining",
        ),
    ] {
        let folder = Folder::new();
        folder.write("config.json", config.as_bytes());
        folder.write("pytorch_model.bin", b"");
        let text = folder.error().to_string();
        let call = format!("{class}.from_pretrained(folder).save_pretrained(folder)");
        assert!(text.contains(&call), "{text}");
        assert!(!text.contains("AutoModel"), "{text}");
    }
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

#[test]
fn a_wrong_shape_is_told_in_the_layout_of_the_file() {
    let mut entries = entries();
    *find(&mut entries, "net.layer.1.mlp.up.weight") = entry("net.layer.1.mlp.up.weight", &[2, 3]);
    match Folder::single(&entries).error() {
        Error::Shape {
            path,
            name,
            expected,
            found,
        } => {
            assert!(path.ends_with("model.safetensors"));
            assert_eq!(name, "net.layer.1.mlp.up.weight");
            assert_eq!((expected, found), (vec![3, 2], vec![2, 3]));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn integers_are_not_weights() {
    let mut entries = entries();
    find(&mut entries, "head.bias").dtype = Dtype::I32;
    let error = Folder::single(&entries).error();
    assert!(
        matches!(&error, Error::Weights { reason, .. } if reason.contains("`head.bias`: expected floats, found I32")),
        "{error}"
    );
}

#[test]
fn truncated_files_are_damaged() {
    let whole = bytes(&entries());
    let folder = Folder::new();
    for length in [0, 7, 8, 40, whole.len() / 2, whole.len() - 1] {
        folder.write("model.safetensors", &whole[..length]);
        match folder.error() {
            Error::Weights { path, .. } | Error::Content { path, .. } => {
                assert!(path.ends_with("model.safetensors"));
            }
            other => panic!("{other}"),
        }
    }
    let mut header = whole;
    header[20] ^= 0xFF;
    folder.write("model.safetensors", &header);
    assert!(matches!(folder.error(), Error::Weights { .. }));
}

#[test]
fn absent_files_are_named() {
    let folder = Folder::new();
    let error = folder.error();
    assert!(
        matches!(&error, Error::Read { path, .. } if path.ends_with("model.safetensors")),
        "{error}"
    );
    folder.write("pytorch_model.bin", b"");
    let error = folder.error();
    assert!(error.to_string().contains("save_pretrained"), "{error}");
    folder.write("model.safetensors.index.json", b"{\"weight_map\": 3}");
    assert!(matches!(folder.error(), Error::Json { .. }));
}

#[test]
fn configurations_are_read_or_refused() {
    #[derive(Debug, serde::Deserialize)]
    struct Sizes {
        layers: usize,
    }
    let folder = Folder::new();
    let read = || read_config::<Sizes>(folder.0.path());
    assert!(matches!(read(), Err(Error::Read { .. })));
    folder.write("config.json", b"{\"layers\": 3}");
    assert_eq!(read().unwrap().layers, 3);
    folder.write("config.json", b"{\"layers\": -3}");
    let error = read().unwrap_err();
    assert!(error.to_string().contains("line 1"), "{error}");
}
