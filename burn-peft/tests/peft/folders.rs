//! Adapter folders that PEFT wrote: reading, writing again, and what is wrong with broken ones.
//!
//! `fixtures/README.md` says how the folders were made.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};
use burn_peft::folder::AdapterKey;
use burn_peft::settings::{Bias, Modules, TaskType};
use burn_peft::{
    AdapterFolder, AdapterPart, Error, LoraConfig, ModuleKind, PeftConfig, PromptConfig,
};
use serde_json::Value;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Every adapter folder, as `model/adapter`.
fn folders() -> Vec<PathBuf> {
    let children = |path: &Path| {
        let entries = fs::read_dir(path).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    let models = children(&fixtures()).into_iter();
    let mut folders: Vec<_> = models.flat_map(|model| children(&model)).collect();
    folders.sort();
    assert_eq!(folders.len(), 31);
    folders
}

fn open(name: &str) -> AdapterFolder {
    AdapterFolder::read(fixtures().join(name)).unwrap()
}

fn value_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn lora(config: &PeftConfig) -> &LoraConfig {
    match config {
        PeftConfig::Lora(settings) => settings,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_folder_survives_reading_and_writing() {
    for path in folders() {
        let folder = AdapterFolder::read(&path).unwrap();
        assert!(folder.config.unknown_fields().is_empty());
        let root = tempfile::tempdir().unwrap();
        let copy = root.path().join("copy");
        folder.write(&copy).unwrap();
        assert_eq!(AdapterFolder::read(&copy).unwrap(), folder);
        // The configuration byte for byte, the weights as far as they mean something.
        assert_eq!(
            fs::read_to_string(copy.join(CONFIG)).unwrap(),
            fs::read_to_string(path.join(CONFIG)).unwrap()
        );
        let bytes = |path: &Path| fs::read(path.join(WEIGHTS)).unwrap();
        let (ours, theirs) = (bytes(&copy), bytes(&path));
        let tensors = |bytes: &[u8]| {
            let file = safetensors::SafeTensors::deserialize(bytes).unwrap();
            let tensors = file.iter();
            let tensors = tensors.map(|(key, view)| {
                let contents = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
                (key.to_string(), contents)
            });
            tensors.collect::<BTreeMap<_, _>>()
        };
        assert_eq!(tensors(&ours), tensors(&theirs), "{}", path.display());
    }
}

#[test]
fn every_key_is_understood_and_can_be_named_again() {
    for path in folders() {
        let folder = AdapterFolder::read(&path).unwrap();
        let adapted = folder.adapted_modules().unwrap();
        let names = folder.tensors.keys();
        for ((key, _), name) in folder.entries().unwrap().iter().zip(names) {
            if matches!(key, AdapterKey::Original { .. }) {
                assert!(name.contains(".original_module."));
                continue;
            }
            // PEFT has some parameters twice, by their place in its wrapper too.
            let name = name.replace(".modules_to_save.default", "");
            let name = name.replace(".modules_to_save", "");
            assert_eq!(key.name_in(&folder.config, &adapted), name);
        }
    }
}

/// How many tensors of each kind there are.
fn census(name: &str) -> BTreeMap<&'static str, usize> {
    let folder = open(name);
    let mut census = BTreeMap::new();
    for (key, _) in folder.entries().unwrap() {
        let kind = match key {
            AdapterKey::Adapter { part, .. } => part.suffix(),
            AdapterKey::Saved { .. } => "saved",
            AdapterKey::Bias { .. } => "bias",
            AdapterKey::Base { .. } => "base",
            AdapterKey::Original { .. } => "original",
            AdapterKey::Model { .. } => "prompt",
            _ => "other",
        };
        *census.entry(kind).or_default() += 1;
    }
    census
}

#[test]
fn keys_of_every_kind_are_in_the_folders() {
    let bias_all = [
        ("lora_A.weight", 2),
        ("lora_B.weight", 2),
        ("bias", 17),
        // Two parameters of two modules, and their biases once more.
        ("saved", 6),
        ("original", 2),
    ];
    assert_eq!(census("bert/lora_bias_all"), BTreeMap::from(bias_all));
    let embedding = [
        ("lora_A.weight", 3),
        ("lora_B.weight", 3),
        ("lora_embedding_A", 1),
        ("lora_embedding_B", 1),
        ("base", 2),
    ];
    assert_eq!(census("llama/lora_embedding"), BTreeMap::from(embedding));
    let convolution = [
        ("lora_A.weight", 2),
        ("lora_B.weight", 2),
        ("lora_magnitude_vector", 2),
    ];
    assert_eq!(census("vit/dora_conv"), BTreeMap::from(convolution));
}

#[test]
fn fractions_survive_to_the_last_bit() {
    let folder = open("llama/lora_embedding");
    let scales = lora(&folder.config).scales().unwrap();
    let query = "model.layers.0.self_attn.q_proj";
    assert_eq!(scales.alpha_of(query).unwrap(), 11.313708498984761);
    assert_eq!(scales.rank_of("model.embed_tokens").unwrap(), 2);
    assert_eq!(scales.scale_of("model.embed_tokens").unwrap(), 4.0);
}

#[test]
fn what_the_folders_hold() {
    let folder = open("bert/lora_seqcls");
    let settings = lora(&folder.config);
    assert_eq!((settings.r, settings.lora_alpha), (4, 8.0));
    assert_eq!(settings.task_type, Some(TaskType::SequenceClassification));
    let saved: Vec<_> = folder
        .entries()
        .unwrap()
        .into_iter()
        .filter_map(|(key, data)| match key {
            AdapterKey::Saved { module, parameter } => {
                Some((module, parameter, data.shape().to_vec()))
            }
            _ => None,
        })
        .collect();
    let parameter = |name: &str, shape: &[usize]| {
        let module = "classifier".to_string();
        (module, name.to_string(), shape.to_vec())
    };
    assert_eq!(
        saved,
        [parameter("bias", &[3]), parameter("weight", &[3, 32])]
    );

    let dora = open("bert/dora");
    let magnitudes = dora.entries().unwrap();
    let magnitudes = magnitudes.iter().filter(|(key, _)| {
        matches!(
            key,
            AdapterKey::Adapter {
                part: AdapterPart::LORA_MAGNITUDE,
                ..
            }
        )
    });
    assert_eq!(magnitudes.count(), 4);
    let rslora = open("bert/rslora");
    assert_eq!(lora(&rslora.config).scale_of("query").unwrap(), 4.0);

    let PeftConfig::PromptTuning(prompt) = open("t5_relu/prompt_tuning_2sub").config else {
        panic!("no prompt");
    };
    assert_eq!((prompt.num_virtual_tokens, prompt.rows().unwrap()), (4, 8));
}

/// The tensors name what was adapted; so does the configuration, by its rules.
#[test]
fn targets_agree_with_the_tensors() {
    for path in folders() {
        let folder = AdapterFolder::read(&path).unwrap();
        if folder.config.virtual_tokens().is_some() {
            continue;
        }
        let adapted = folder.adapted_modules().unwrap();
        let others = ["classifier", "norm", "pooler.dense"].map(str::to_string);
        let modules: Vec<_> = adapted
            .iter()
            .chain(&others)
            .map(|name| (name.clone(), ModuleKind::Linear))
            .collect();
        let targets = folder.config.targets(&modules).unwrap();
        let targets: BTreeSet<_> = targets.into_iter().map(|target| target.module).collect();
        assert_eq!(targets, adapted, "{}", path.display());
    }
}

#[test]
fn a_changed_configuration_is_written_over_the_old_one() {
    let mut folder = open("bert/lora");
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("adapter");
    folder.write(&path).unwrap();
    fs::write(path.join("README.md"), "mine").unwrap();
    let PeftConfig::Lora(settings) = &mut folder.config else {
        panic!("no LoRA");
    };
    settings.lora_alpha = 4.5;
    settings.base_model_name_or_path = Some("größer".into());
    for data in folder.tensors.values_mut() {
        *data = data.clone().convert_dtype(DType::BF16);
    }
    folder.write(&path).unwrap();
    assert_eq!(AdapterFolder::read(&path).unwrap(), folder);
    assert_eq!(fs::read_to_string(path.join("README.md")).unwrap(), "mine");
    assert_eq!(fs::read_dir(&path).unwrap().count(), 3);
    let mut expected = value_of(&fixtures().join("bert/lora").join(CONFIG));
    expected["lora_alpha"] = 4.5.into();
    expected["base_model_name_or_path"] = "größer".into();
    assert_eq!(value_of(&path.join(CONFIG)), expected);
}

/// Values that Burn's layers cannot run with are found when a folder is read, with their place.
#[test]
fn values_out_of_range_are_refused_with_field_and_file() {
    for (folder, field, value) in [
        ("vit/lora", "lora_dropout", 1.0),
        ("bert/dora", "lora_dropout", 1.0),
        ("llama/lora", "lora_dropout", -0.5),
        ("bert/rslora", "lora_alpha", 0.0),
        ("llama/lora", "lora_alpha", -8.0),
    ] {
        let mut config = value_of(&fixtures().join(folder).join(CONFIG));
        config[field] = value.into();
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        fs::write(path.join(CONFIG), config.to_string()).unwrap();
        let weights = fixtures().join(folder).join(WEIGHTS);
        fs::copy(weights, path.join(WEIGHTS)).unwrap();
        let error = AdapterFolder::read(path).unwrap_err();
        let text = error.to_string();
        for part in [CONFIG, field, "expected"] {
            assert!(text.contains(part), "{text}");
        }
        let Error::InFile { file, source } = error else {
            panic!("{text}");
        };
        assert_eq!(file, path.join(CONFIG));
        assert!(matches!(*source, Error::Config { field: named, .. } if named == field));
        // The same range holds for a configuration that is made here.
        let mut folder = open(folder);
        let PeftConfig::Lora(config) = &mut folder.config else {
            panic!("no LoRA");
        };
        if field == "lora_dropout" {
            config.lora_dropout = value;
        } else {
            config.lora_alpha = value;
        }
        assert!(
            matches!(folder.check(), Err(Error::Config { field: named, .. }) if named == field)
        );
    }
}

#[test]
fn missing_files_are_told_apart() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path();
    let folder = path.to_path_buf();
    let read = || AdapterFolder::read(path).unwrap_err();
    assert_eq!(
        read(),
        Error::NoConfig {
            folder: folder.clone()
        }
    );
    let config = fs::read(fixtures().join("bert/lora").join(CONFIG)).unwrap();
    fs::write(path.join(CONFIG), config).unwrap();
    assert_eq!(
        read(),
        Error::NoWeights {
            folder: folder.clone()
        }
    );
    fs::write(path.join("adapter_model.bin"), "").unwrap();
    assert_eq!(read(), Error::Pickled { folder });
    fs::create_dir(path.join(WEIGHTS)).unwrap();
    assert!(matches!(read(), Error::File { .. }), "{}", read());
    let nowhere = AdapterFolder::read(path.join("nowhere"));
    assert!(matches!(nowhere, Err(Error::NoConfig { .. })));
}

#[test]
fn broken_tensors_are_named() {
    let key =
        |part: &str| format!("base_model.model.bert.encoder.layer.0.attention.self.query.{part}");
    let (a, b) = (key("lora_A.weight"), key("lora_B.weight"));
    let magnitude = key("lora_magnitude_vector");
    let error = |name: &str, change: &dyn Fn(&mut AdapterFolder)| {
        let mut folder = open(name);
        change(&mut folder);
        let error = folder.check().unwrap_err();
        // Nothing is written that could not be read.
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("adapter");
        assert_eq!(folder.write(&path), Err(error.clone()));
        assert!(!path.exists());
        error
    };
    let zeros = |shape: &[usize]| TensorData::zeros::<f32, _>(shape.to_vec());
    let set = |folder: &mut AdapterFolder, key: &str, shape: &[usize]| {
        folder.tensors.insert(key.into(), zeros(shape));
    };

    let missing = error("bert/lora", &|folder| drop(folder.tensors.remove(&b)));
    assert_eq!(missing, Error::MissingKey { key: b.clone() });
    let missing = error("bert/lora", &|folder| drop(folder.tensors.remove(&a)));
    assert_eq!(missing, Error::MissingKey { key: a.clone() });
    let missing = error("bert/dora", &|folder| {
        drop(folder.tensors.remove(&magnitude))
    });
    assert_eq!(
        missing,
        Error::MissingKey {
            key: magnitude.clone()
        }
    );
    let missing = error("bert/lora", &|folder| folder.tensors.clear());
    assert!(matches!(missing, Error::MissingKey { .. }));
    let missing = error("llama/prompt_tuning", &|folder| folder.tensors.clear());
    let table = "prompt_embeddings".to_string();
    assert_eq!(missing, Error::MissingKey { key: table.clone() });

    for (key, shape) in [
        (&a, &[3, 32][..]),
        (&a, &[4]),
        (&a, &[]),
        (&a, &[0, 32]),
        (&a, &[4, 32, 1]),
        (&b, &[32, 3]),
        (&b, &[32]),
        (&b, &[32, 4, 1]),
    ] {
        let wrong = error("bert/lora", &|folder| set(folder, key, shape));
        let Error::Shape {
            key: named,
            shape: found,
            ..
        } = wrong
        else {
            panic!("{wrong}");
        };
        // A factor of another kind puts the blame on the other one.
        assert!([&a, &b].contains(&&named), "{named}");
        assert!(found == shape || shape.len() == 3, "{found:?}");
    }
    let wrong = error("bert/dora", &|folder| set(folder, &magnitude, &[31]));
    assert!(matches!(wrong, Error::Shape { key, .. } if key == magnitude));
    for shape in [&[4, 32][..], &[5, 31], &[5], &[5, 32, 1]] {
        let wrong = error("llama/prompt_tuning", &|folder| set(folder, &table, shape));
        assert!(matches!(wrong, Error::Shape { key, .. } if key == table));
    }

    for (name, key) in [
        ("bert/lora", magnitude.clone()),
        ("bert/lora", key("lora_embedding_A")),
        ("bert/lora", key("lora_C.weight")),
        ("bert/lora", table.clone()),
        ("llama/prompt_tuning", a.clone()),
        ("bert/dora", format!("{magnitude}.weight")),
    ] {
        let unknown = error(name, &|folder| set(folder, &key, &[32]));
        assert!(
            matches!(&unknown, Error::Key { key: named, .. } if *named == key),
            "{unknown}"
        );
    }
    let integers = error("bert/lora", &|folder| {
        let data = TensorData::from([[1i64]]);
        folder.tensors.insert(a.clone(), data);
    });
    assert!(matches!(integers, Error::Dtype { key, .. } if key == a));
}

#[test]
fn older_and_wider_keys_are_read() {
    let mut dora = open("bert/dora");
    let renamed = dora.tensors.into_iter().map(|(key, data)| {
        let old = key.ends_with("lora_magnitude_vector");
        let key = if old { format!("{key}.weight") } else { key };
        (key, data)
    });
    dora.tensors = renamed.collect();
    assert_eq!(dora.check(), Ok(()));

    let mut folder = open("bert/lora");
    let PeftConfig::Lora(settings) = &mut folder.config else {
        panic!("no LoRA");
    };
    settings.bias = Bias::All;
    let zeros = |shape: &[usize]| TensorData::zeros::<f64, _>(shape.to_vec());
    for (name, shape) in [
        ("bert.pooler.dense.bias", &[32][..]),
        (
            "bert.encoder.layer.0.attention.self.query.base_layer.bias",
            &[32],
        ),
        ("bert.embeddings.word_embeddings.lora_embedding_A", &[4, 99]),
        ("bert.embeddings.word_embeddings.lora_embedding_B", &[32, 4]),
        ("conv.lora_A.weight", &[4, 3, 2, 2]),
        ("conv.lora_B.weight", &[8, 4, 1, 1]),
    ] {
        let key = format!("base_model.model.{name}");
        folder.tensors.insert(key, zeros(shape));
    }
    let (config, weights) = folder.to_bytes().unwrap();
    let read = AdapterFolder::parse(config.as_bytes(), &weights).unwrap();
    assert_eq!(read.tensors, folder.tensors);
    assert_eq!(read.adapted_modules().unwrap().len(), 6);
    let biases = read.entries().unwrap().into_iter();
    let biases = biases.filter(|(key, _)| matches!(key, AdapterKey::Bias { .. }));
    assert_eq!(biases.count(), 2);
}

#[test]
fn ranks_by_pattern_are_checked_by_module() {
    let mut folder = open("bert/lora");
    let PeftConfig::Lora(settings) = &mut folder.config else {
        panic!("no LoRA");
    };
    settings.rank_pattern = vec![("layer.1.attention.self.value".into(), 2)];
    let error = folder.check().unwrap_err();
    let key = "base_model.model.bert.encoder.layer.1.attention.self.value.lora_A.weight";
    assert!(
        matches!(&error, Error::Shape { key: named, .. } if named == key),
        "{error}"
    );
    let expected = "[2, …]";
    assert!(error.to_string().contains(expected), "{error}");
    for (part, shape) in [("lora_A", [2, 32]), ("lora_B", [32, 2])] {
        let key = key.replace("lora_A", part);
        folder
            .tensors
            .insert(key, TensorData::zeros::<f32, _>(shape));
    }
    assert_eq!(folder.check(), Ok(()));
}

#[test]
fn half_precision_survives() {
    for dtype in [DType::F16, DType::BF16, DType::F64] {
        let mut folder = open("vit/lora");
        for data in folder.tensors.values_mut() {
            *data = data.clone().convert_dtype(dtype);
        }
        let (config, weights) = folder.to_bytes().unwrap();
        let read = AdapterFolder::parse(config.as_bytes(), &weights).unwrap();
        assert_eq!(read, folder);
        assert!(read.tensors.values().all(|data| data.dtype() == dtype));
    }
}

#[test]
fn adapters_made_here_are_read_again() {
    let settings = LoraConfig::new()
        .with_r(2)
        .with_lora_alpha(3.0)
        .with_target_modules(Modules::pattern(r".*\.q"))
        .with_alpha_pattern([("a.q", 1.0)])
        .with_base_model("mine");
    let factors = [("lora_A", [2, 5]), ("lora_B", [7, 2])];
    let factors = factors.map(|(part, shape)| {
        let key = format!("base_model.model.a.q.{part}.weight");
        (key, TensorData::ones::<f32, _>(shape))
    });
    let lora = AdapterFolder::new(settings, factors);
    let table = TensorData::ones::<f32, _>([3, 6]);
    let prompt = AdapterFolder::new(
        PromptConfig::new(3).with_token_dim(6),
        [("prompt_embeddings".to_string(), table)],
    );
    for folder in [lora, prompt] {
        let (config, weights) = folder.to_bytes().unwrap();
        let read = AdapterFolder::parse(config.as_bytes(), &weights).unwrap();
        assert_eq!(read.tensors, folder.tensors);
        assert_eq!(read.config.to_json().unwrap(), config);
    }
}
