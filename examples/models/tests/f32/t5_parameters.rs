//! Parameters of T5: their number at full size, their names, and the files they come from.

use std::fs;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use burn_hf_models::Error;
use burn_hf_models::t5::{T5Config, T5ForConditionalGeneration};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

const BASE: &str = r#"{
    "model_type": "t5", "vocab_size": 32128, "d_model": 768, "d_kv": 64, "d_ff": 3072,
    "num_heads": 12, "num_layers": 12, "feed_forward_proj": "relu"
}"#;

/// Fails where a value was drawn or allocated.
struct Lazy;

impl ModuleVisitor for Lazy {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        assert!(!param.is_initialized());
    }
}

#[test]
fn t5_base_has_223_million_parameters() {
    let t5 = T5Config::from_json(BASE).unwrap();
    let t5 = t5.init(&Device::flex()).unwrap();
    assert_eq!(t5.num_params(), 222_903_552);
    t5.visit(&mut Lazy);
}

#[test]
fn t5_v1_1_base_has_248_million_parameters() {
    let config = T5Config::from_json(&BASE.replace("3072", "2048").replace("relu", "gated-gelu"));
    let config = T5Config {
        tie_word_embeddings: false,
        ..config.unwrap()
    };
    let t5 = config.init(&Device::flex()).unwrap();
    assert_eq!(t5.num_params(), 247_577_856);
}

#[derive(Default)]
struct Paths {
    path: Vec<String>,
    modules: Vec<String>,
}

impl ModuleVisitor for Paths {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
        let (_, module) = self.path.split_last().unwrap();
        self.modules.push(module.join("."));
    }
}

fn fixture(model: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(model)
}

#[test]
fn modules_have_the_names_of_transformers() {
    for model in ["t5_relu", "t5_gated_gelu"] {
        let t5 = T5Config::from_folder(&fixture(model)).unwrap();
        let t5 = t5.init(&Device::flex()).unwrap();
        let mut paths = Paths::default();
        t5.visit(&mut paths);
        let map = &T5ForConditionalGeneration::names()[0];
        let mut names: Vec<String> = paths.modules.iter().map(|path| map.name(path)).collect();
        names.sort();

        let file = fs::read(fixture(model).join("model.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&file).unwrap();
        let mut expected: Vec<&str> = file
            .names()
            .into_iter()
            .map(|name| name.strip_suffix(".weight").unwrap())
            .collect();
        expected.sort();
        assert_eq!(names, expected);
    }
}

/// A folder of a model with other tensors than the fixture's: `edit` gets their names and bytes.
fn edited(model: &str, edit: impl Fn(&str) -> Vec<String>) -> tempfile::TempDir {
    let source = fixture(model);
    let folder = tempfile::tempdir().unwrap();
    fs::copy(
        source.join("config.json"),
        folder.path().join("config.json"),
    )
    .unwrap();
    let file = fs::read(source.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    let tensors = file.tensors();
    let views = tensors.iter().flat_map(|(name, tensor)| {
        edit(name).into_iter().map(move |name| {
            let shape = tensor.shape().to_vec();
            let view = TensorView::new(Dtype::F32, shape, tensor.data()).unwrap();
            (name, view)
        })
    });
    let path = folder.path().join("model.safetensors");
    serialize_to_file(views, None, &path).unwrap();
    folder
}

fn load(folder: &Path) -> Result<T5ForConditionalGeneration, Error> {
    T5ForConditionalGeneration::load(folder, &Device::flex())
}

fn embedding(t5: &T5ForConditionalGeneration) -> Vec<f32> {
    #[derive(Default)]
    struct First(Vec<f32>);
    impl ModuleVisitor for First {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.0.is_empty() {
                self.0 = param.val().into_data().try_to_vec().unwrap();
            }
        }
    }
    let mut first = First::default();
    t5.visit(&mut first);
    first.0
}

#[test]
fn copies_of_the_embedding_are_known() {
    let expected = embedding(&load(&fixture("t5_relu")).unwrap());
    let copies = [
        "encoder.embed_tokens.weight",
        "decoder.embed_tokens.weight",
        "lm_head.weight",
    ];
    let unused = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight";
    let table = "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
    let with_copies = edited("t5_relu", |name| match name {
        "shared.weight" => copies
            .iter()
            .copied()
            .chain([name])
            .map(String::from)
            .collect(),
        name if name == table => vec![name.into(), unused.into()],
        name => vec![name.into()],
    });
    assert_eq!(embedding(&load(with_copies.path()).unwrap()), expected);
    for copy in copies {
        let renamed = edited("t5_relu", |name| {
            vec![match name {
                "shared.weight" => copy.into(),
                name => name.into(),
            }]
        });
        assert_eq!(
            embedding(&load(renamed.path()).unwrap()),
            expected,
            "{copy}"
        );
    }
}

#[test]
fn a_head_of_its_own_must_be_in_the_file() {
    let without = edited("t5_gated_gelu", |name| match name {
        "lm_head.weight" => Vec::new(),
        name => vec![name.into()],
    });
    match load(without.path()).unwrap_err() {
        Error::Missing { names, .. } => assert_eq!(names, ["lm_head.weight"]),
        other => panic!("{other}"),
    }
}

#[test]
fn configurations_are_checked() {
    let field = |json: &str| match T5Config::from_json(json).unwrap_err() {
        Error::Config { field, .. } => field,
        other => panic!("{other}"),
    };
    for (json, expected) in [
        (r#"{"model_type": "umt5"}"#, "model_type"),
        (
            r#"{"feed_forward_proj": "gated-relu-2"}"#,
            "feed_forward_proj",
        ),
        (r#"{"num_heads": 0}"#, "num_heads"),
        (r#"{"num_decoder_layers": 0}"#, "num_decoder_layers"),
        (r#"{"dropout_rate": 1.0}"#, "dropout_rate"),
        (r#"{"layer_norm_epsilon": -1e-6}"#, "layer_norm_epsilon"),
        (
            r#"{"relative_attention_num_buckets": 3}"#,
            "relative_attention_num_buckets",
        ),
        (
            r#"{"relative_attention_max_distance": 16}"#,
            "relative_attention_max_distance",
        ),
        (r#"{"eos_token_id": 40000}"#, "eos_token_id"),
        (
            r#"{"decoder_start_token_id": -1}"#,
            "decoder_start_token_id",
        ),
    ] {
        assert_eq!(field(json), expected);
    }
    let defaults = T5Config::from_json("{}").unwrap();
    assert_eq!(defaults.num_decoder_layers, defaults.num_layers);
    assert_eq!(defaults.decoder_start_token_id, defaults.pad_token_id);
    assert!(matches!(
        T5Config::from_json(r#"{"d_model": "wide"}"#),
        Err(Error::Json { .. })
    ));
}
