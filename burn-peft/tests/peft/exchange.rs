//! New adapters by a PEFT configuration, and adapters through folders.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::gelu;
use burn::tensor::{DType, Device, Distribution, Int, Tensor, TensorData};
use burn_peft::InitLoraWeights;
use burn_peft::settings::Bias;
use burn_peft::{AdapterFolder, Error, ForwardAdapted, LoraAdapters, LoraConfig, NameMap, Peft};

#[derive(Module, Debug)]
struct Block {
    query: Linear,
    value: Linear,
    norm: LayerNorm,
}

#[derive(Module, Debug)]
struct Net {
    words: Embedding,
    conv: Conv2d,
    blocks: Vec<Block>,
    classifier: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        let block = |_| Block {
            query: LinearConfig::new(6, 6).init(device),
            value: LinearConfig::new(6, 6).init(device),
            norm: LayerNormConfig::new(6).init(device),
        };
        Self {
            words: EmbeddingConfig::new(9, 6).init(device),
            conv: Conv2dConfig::new([1, 1], [1, 1]).init(device),
            blocks: (0..2).map(block).collect(),
            classifier: LinearConfig::new(6, 3).init(device),
        }
    }

    /// `[M, T]` to `[M, T, 3]`.
    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let x = self.words.forward_adapted(ids).unsqueeze_dim::<4>(1);
        let x = self.conv.forward_adapted(x).squeeze_dim::<3>(1);
        let x = self.blocks.iter().fold(x, |x, block| {
            let y = gelu(block.query.forward_adapted(x.clone()));
            x.clone() + block.norm.forward(y + block.value.forward_adapted(x))
        });
        self.classifier.forward_adapted(x)
    }
}

fn names() -> NameMap {
    NameMap::new()
        .with(r"^blocks\b", "encoder.layer")
        .and_then(|names| names.with(r"\.query$", ".self.query"))
        .unwrap()
}

fn ids(device: &Device) -> Tensor<2, Int> {
    Tensor::from_data([[0, 8, 3, 3], [1, 2, 7, 5]], device)
}

fn largest<const D: usize>(x: Tensor<D>) -> f64 {
    x.abs().max().into_scalar::<f32>() as f64
}

/// Moves everything that trains.
struct Shake;

impl ModuleMapper for Shake {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !param.is_require_grad() {
            return param;
        }
        param.map(|value| {
            let noise = value.random_like(Distribution::Normal(0.0, 0.2));
            (value + noise).detach().require_grad()
        })
    }
}

fn settings() -> LoraConfig {
    LoraConfig::new()
        .with_r(2)
        .with_target_modules(["self.query", "value"])
}

/// Keys without PEFT's prefix.
fn keys(folder: &AdapterFolder) -> Vec<String> {
    let keys = folder.tensors.keys();
    keys.map(|key| key.trim_start_matches("base_model.model.").to_string())
        .collect()
}

#[test]
fn targets_train_and_the_rest_is_frozen() {
    let device = Device::flex().autodiff();
    device.seed(1);
    let plain = Net::new(&device);
    let before = plain.forward(ids(&device));
    let net = plain.adapt("default", settings(), &[names()]).unwrap();
    assert!(largest(net.forward(ids(&device)) - before) < 1e-6);
    // Two layers, query and value, A and B of rank 2.
    let report = net.trainable();
    assert_eq!(report.trainable, 2 * 2 * (6 + 6) * 2);
    assert!(LoraAdapters::of(&net.blocks[1].value.weight).is_some());
    assert!(LoraAdapters::of(&net.classifier.weight).is_none());

    let settings = settings()
        .with_bias(Bias::LoraOnly)
        .with_modules_to_save(["classifier"]);
    let net = Net::new(&device)
        .adapt("default", &settings, &[names()])
        .unwrap();
    let head = 6 * 3 + 3;
    assert_eq!(net.trainable().trainable, 96 + 4 * 6 + head);
    assert!(net.classifier.weight.is_require_grad());

    let settings = settings.with_bias(Bias::All);
    let net = Net::new(&device)
        .adapt("default", &settings, &[names()])
        .unwrap();
    // Biases: conv 1, two norms, and those of the four targets and the head.
    assert_eq!(net.trainable().trainable, 96 + 4 * 6 + head + 1 + 2 * 6);
}

#[test]
fn every_kind_of_layer_goes_through_a_folder() {
    let device = Device::flex().autodiff();
    device.seed(2);
    let settings = LoraConfig::new()
        .with_r(1)
        .with_target_modules(["words", "conv", "self.query"])
        .with_bias(Bias::All)
        .with_modules_to_save(["classifier", "norm"]);
    let base = Net::new(&device);
    let net = base.clone().adapt("mine", &settings, &[names()]).unwrap();
    let net = net.map(&mut Shake);
    let folder = net.save_adapter("mine", &settings, &[names()]).unwrap();
    assert_eq!(
        keys(&folder),
        [
            "classifier.bias",
            "classifier.weight",
            // PEFT keeps an adapted layer one level down.
            "conv.base_layer.bias",
            "conv.lora_A.weight",
            "conv.lora_B.weight",
            "encoder.layer.0.norm.bias",
            "encoder.layer.0.norm.weight",
            "encoder.layer.0.self.query.base_layer.bias",
            "encoder.layer.0.self.query.lora_A.weight",
            "encoder.layer.0.self.query.lora_B.weight",
            "encoder.layer.0.value.bias",
            "encoder.layer.1.norm.bias",
            "encoder.layer.1.norm.weight",
            "encoder.layer.1.self.query.base_layer.bias",
            "encoder.layer.1.self.query.lora_A.weight",
            "encoder.layer.1.self.query.lora_B.weight",
            "encoder.layer.1.value.bias",
            "words.lora_embedding_A",
            "words.lora_embedding_B",
        ]
    );
    let shape = |key: &str| folder.tensors[&format!("base_model.model.{key}")].shape();
    assert_eq!(shape("classifier.weight").as_slice(), [3, 6]);
    assert_eq!(shape("words.lora_embedding_A").as_slice(), [1, 9]);

    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("adapter");
    folder.write(&path).unwrap();
    let read = AdapterFolder::read(&path).unwrap();
    assert_eq!(read.tensors, folder.tensors);
    let loaded = base.load_adapter("other", &read, &[names()]).unwrap();
    assert_eq!(loaded.adapter_names(), ["other"]);
    assert_eq!(loaded.trainable(), net.trainable());
    let expected = net.forward(ids(&device));
    assert!(largest(loaded.forward(ids(&device)) - expected) < 1e-6);
    // And out again.
    let again = loaded.save_adapter("other", &settings, &[names()]).unwrap();
    assert_eq!(again.tensors, folder.tensors);
    let updated = loaded.update_folder("other", &read, &[names()]).unwrap();
    assert_eq!(updated, read);
}

#[test]
fn dora_and_pissa_folders_belong_to_the_same_base() {
    let device = Device::flex().autodiff();
    device.seed(3);
    let base = Net::new(&device);
    let everywhere = ["words", "conv", "self.query", "value"];
    for settings in [
        settings()
            .with_target_modules(everywhere)
            .with_use_dora(true),
        settings().with_init_lora_weights(InitLoraWeights::Pissa),
        settings().with_init_lora_weights(InitLoraWeights::Olora),
    ] {
        let net = base.clone().adapt("mine", &settings, &[names()]).unwrap();
        let net = net.map(&mut Shake);
        let folder = net.save_adapter("mine", &settings, &[names()]).unwrap();
        let loaded = base
            .clone()
            .load_adapter("mine", &folder, &[names()])
            .unwrap();
        let difference = loaded.forward(ids(&device)) - net.forward(ids(&device));
        assert!(largest(difference) < 1e-5);
    }
}

#[test]
fn magnitudes_have_the_shapes_of_peft() {
    let device = Device::flex().autodiff();
    let settings = LoraConfig::new()
        .with_r(1)
        .with_target_modules(["words", "conv", "blocks.0.value"])
        .with_use_dora(true);
    let net = Net::new(&device);
    let net = net.adapt("mine", &settings, &[]).unwrap();
    let folder = net.save_adapter("mine", &settings, &[]);
    let folder = folder.unwrap();
    for (module, expected) in [
        ("words", [6].as_slice()),
        ("conv", &[1, 1, 1, 1]),
        ("blocks.0.value", &[6]),
    ] {
        let key = format!("base_model.model.{module}.lora_magnitude_vector");
        assert_eq!(folder.tensors[&key].shape().as_slice(), expected);
    }
    let mut flat = folder.clone();
    let key = "base_model.model.conv.lora_magnitude_vector";
    let wrong = TensorData::from([1.0f32]);
    flat.tensors.insert(key.into(), wrong);
    let base = Net::new(&device);
    let error = base.load_adapter("mine", &flat, &[]);
    let Error::Shape { key: found, .. } = error.unwrap_err() else {
        panic!("another error");
    };
    assert_eq!(found, key);
}

#[test]
fn a_second_adapter_comes_beside_the_first() {
    let device = Device::flex().autodiff();
    device.seed(4);
    let base = Net::new(&device);
    let one = base.clone().adapt("one", settings(), &[names()]).unwrap();
    let one = one.map(&mut Shake);
    let first = one.forward(ids(&device));
    let folder = one.save_adapter("one", settings(), &[names()]).unwrap();

    let only_value = LoraConfig::new().with_r(3).with_target_modules(["value"]);
    let both = one.adapt("two", &only_value, &[names()]).unwrap();
    assert_eq!(both.adapter_names(), ["one", "two"]);
    // The new one is active alone, in layers that it does not adapt as well.
    let plain = base.forward(ids(&device));
    assert!(largest(both.forward(ids(&device)) - plain) < 1e-6);
    assert_eq!(both.trainable().trainable, 2 * (6 + 6) * 3);
    let back = both.with_active_adapters(&[("one", 1.0)]).unwrap();
    assert!(largest(back.forward(ids(&device)) - first.clone()) < 1e-6);
    // Loading under a name that is there replaces it.
    let again = back.load_adapter("two", &folder, &[names()]).unwrap();
    assert!(largest(again.forward(ids(&device)) - first) < 1e-6);
}

#[test]
fn the_naming_that_knows_every_key_is_used() {
    let device = Device::flex().autodiff();
    let base = Net::new(&device);
    let net = base.clone().adapt("a", settings(), &[names()]).unwrap();
    let folder = net.save_adapter("a", settings(), &[names()]).unwrap();
    let schemes = [NameMap::default(), names()];
    assert!(base.clone().load_adapter("a", &folder, &schemes).is_ok());
    let error = base.load_adapter("a", &folder, &[]).unwrap_err();
    let Error::Key { key, reason } = error else {
        panic!("{error}");
    };
    assert_eq!(
        key,
        "base_model.model.encoder.layer.0.self.query.lora_A.weight"
    );
    assert_eq!(reason, "the model has no such module");
}

#[test]
fn folders_that_do_not_fit_are_refused() {
    let device = Device::flex().autodiff();
    let base = Net::new(&device);
    let settings = settings().with_modules_to_save(["classifier"]);
    let net = base.clone().adapt("a", &settings, &[names()]).unwrap();
    let folder = net.save_adapter("a", &settings, &[names()]).unwrap();
    let load = |folder: &AdapterFolder| {
        let loaded = base.clone().load_adapter("a", folder, &[names()]);
        loaded.unwrap_err().to_string()
    };
    let query = "base_model.model.encoder.layer.1.self.query.";
    let (a, b) = (
        format!("{query}lora_A.weight"),
        format!("{query}lora_B.weight"),
    );

    let mut missing = folder.clone();
    missing.tensors.remove(&a);
    missing.tensors.remove(&b);
    assert_eq!(load(&missing), format!("tensor `{a}` is missing"));

    let mut wide = folder.clone();
    let wider = burn::tensor::TensorData::zeros::<f32, _>([2, 7]);
    wide.tensors.insert(a.clone(), wider);
    assert_eq!(
        load(&wide),
        format!("tensor `{a}` has shape [2, 7]: expected [2, 6]")
    );

    let mut head = folder.clone();
    let key = "base_model.model.classifier.weight";
    let other = burn::tensor::TensorData::zeros::<f32, _>([4, 6]);
    head.tensors.insert(key.into(), other);
    assert_eq!(
        load(&head),
        format!("tensor `{key}` has shape [4, 6]: expected [3, 6]")
    );

    let mut more = folder.clone();
    for (part, shape) in [("A", [2, 6]), ("B", [3, 2])] {
        let key = format!("base_model.model.classifier2.lora_{part}.weight");
        let data = burn::tensor::TensorData::zeros::<f32, _>(shape);
        more.tensors.insert(key, data);
    }
    assert!(load(&more).contains("classifier2"));

    let unknown = net.save_adapter("b", &settings, &[names()]).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "there is no adapter `b`; the model has `a`"
    );
    let nothing = LoraConfig::new().with_target_modules(["quer"]);
    let error = base.adapt("a", &nothing, &[names()]).unwrap_err();
    assert!(error.to_string().ends_with("near names: query"), "{error}");
}

#[test]
fn what_a_configuration_trains_has_to_be_in_its_file() {
    let device = Device::flex().autodiff();
    let base = Net::new(&device);
    let saved = settings().with_modules_to_save(["classifier"]);
    for (settings, left_out) in [
        (saved.clone(), &["classifier.weight", "classifier.bias"][..]),
        (saved, &["classifier.bias"]),
        (settings().with_bias(Bias::All), &["classifier.bias"]),
    ] {
        let net = base.clone().adapt("a", &settings, &[names()]).unwrap();
        let mut folder = net.save_adapter("a", &settings, &[names()]).unwrap();
        for key in left_out {
            let key = format!("base_model.model.{key}");
            assert!(folder.tensors.remove(&key).is_some(), "{key}");
        }
        let error = base.clone().load_adapter("a", &folder, &[names()]);
        let error = error.unwrap_err().to_string();
        let named = left_out.iter().any(|key| error.contains(key));
        assert!(named && error.ends_with("is missing"), "{error}");
    }
}

#[test]
fn loaded_values_take_the_precision_of_their_parameters() {
    let device = Device::flex().autodiff();
    let base = Net::new(&device);
    let settings = settings().with_modules_to_save(["classifier"]);
    let net = base.clone().adapt("a", &settings, &[names()]).unwrap();
    let folder = net.save_adapter("a", &settings, &[names()]).unwrap();
    let mut half = base;
    let cast = |weight: Tensor<2>| weight.detach().cast(DType::BF16);
    half.classifier.weight = half.classifier.weight.map(cast);
    let loaded = half.load_adapter("a", &folder, &[names()]).unwrap();
    assert_eq!(loaded.classifier.weight.val().dtype(), DType::BF16);
    let head = loaded.classifier.weight.val().cast(DType::F32);
    // bf16 keeps 8 bits of weights below 1/2.
    assert!(largest(head - net.classifier.weight.val()) < 2e-3);
}
