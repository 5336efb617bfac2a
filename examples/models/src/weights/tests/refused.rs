//! Files that do not fit, and what is said of them.

use super::*;

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
