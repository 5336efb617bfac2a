//! IA³ on the layers of a model: rows per sample, merging, folders.

use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor};
use burn_peft::{Error, ForwardAdapted, Ia3Config, LoraConfig, Peft};

use super::net::{Net, Shake, check_rows, images, largest};

/// Outputs of the convolution and of `up`, inputs of `down`.
fn outputs() -> Ia3Config {
    Ia3Config::new()
        .with_target_modules(["conv", "up", "down"])
        .with_feedforward_modules(["down"])
        .with_modules_to_save(["head"])
}

/// Inputs of the convolution and of `up`, outputs of `down`.
fn inputs() -> Ia3Config {
    outputs().with_feedforward_modules(["conv", "up"])
}

/// The head and the vectors of [`outputs`] and of [`inputs`].
const COLUMNS: [usize; 2] = [5 * 3 + 3 + 3 + 8 + 8, 5 * 3 + 3 + 2 + 27 + 5];

#[test]
fn rows_match_one_backward_per_sample() {
    for (config, columns) in [outputs(), inputs()].into_iter().zip(COLUMNS) {
        check_rows(&config.into(), columns);
    }
}

#[test]
fn a_new_adapter_changes_nothing_and_a_random_one_does() {
    let device = Device::flex().autodiff();
    device.seed(2);
    let (net, x) = (Net::new(&device), images(&device));
    let before = net.forward(x.clone());
    let ones = net.clone().adapt("default", outputs(), &[]).unwrap();
    assert_eq!(largest(ones.forward(x.clone()) - before.clone()), 0.0);
    let config = outputs().with_init_ia3_weights(false);
    let random = net.adapt("default", config, &[]).unwrap();
    assert!(largest(random.forward(x) - before) > 1e-2);
}

#[test]
fn merging_scales_weights_and_biases_and_unmerging_gives_them_back() {
    let device = Device::flex().autodiff();
    device.seed(3);
    let x = images(&device);
    for config in [outputs(), inputs()] {
        let base = Net::new(&device);
        let net = base.clone().adapt("default", &config, &[]).unwrap();
        let net = net.map(&mut Shake);
        let expected = net.forward(x.clone());
        let whole = net.clone().merge_and_unload().unwrap();
        assert!(whole.adapter_names().is_empty());
        assert!(largest(whole.forward(x.clone()) - expected.clone()) < 1e-5);

        let merged = net.merge_adapters().unwrap();
        assert!(largest(merged.forward(x.clone()) - expected.clone()) < 1e-5);
        let again = merged.unmerge_adapters();
        assert!(largest(again.forward(x.clone()) - expected) < 1e-5);
        let values = |net: &Net| {
            let bias = net.up.bias.as_ref().unwrap().val();
            [net.conv.weight.base().flatten::<1>(0, 3), bias]
        };
        for (found, expected) in values(&again).into_iter().zip(values(&base)) {
            found.into_data().assert_eq(&expected.into_data(), true);
        }
    }
}

#[test]
fn several_vectors_multiply_with_their_factors() {
    let device = Device::flex().autodiff();
    device.seed(4);
    let x = Tensor::<2>::random([4, 8], Distribution::Normal(0.0, 1.0), &device);
    let config = Ia3Config::new()
        .with_target_modules(["down"])
        .with_feedforward_modules(["down"]);
    let net = Net::new(&device).adapt("one", &config, &[]).unwrap();
    let net = net.map(&mut Shake).adapt("two", &config, &[]).unwrap();
    let net = net.map(&mut Shake);
    let scales = |name: &str| {
        let adapters = burn_peft::Ia3Adapters::of(&net.down.weight).unwrap();
        adapters.get(name).unwrap().l.val().unsqueeze::<2>()
    };
    let (one, two) = (scales("one"), scales("two"));
    let base = |x: Tensor<2>| net.clone().unload().down.forward(x);
    let both = net
        .clone()
        .with_active_adapters(&[("one", 1.0), ("two", 0.25)]);
    let found = both.unwrap().down.forward_adapted(x.clone());
    let scaled = x * one * ((two - 1.0) * 0.25 + 1.0);
    assert!(largest(found - base(scaled)) < 1e-5);
}

#[test]
fn burns_own_forward_works_unless_the_bias_is_scaled() {
    let device = Device::flex().autodiff();
    device.seed(5);
    let net = Net::new(&device).adapt("default", inputs(), &[]).unwrap();
    let net = net.map(&mut Shake);
    // Inputs of a layer with a bias, outputs of one without.
    let x = Tensor::<2>::random([4, 27], Distribution::Normal(0.0, 1.0), &device);
    let difference = net.up.forward(x.clone()) - net.up.forward_adapted(x);
    assert!(largest(difference) < 1e-5);
    let x = Tensor::<2>::random([4, 8], Distribution::Normal(0.0, 1.0), &device);
    let difference = net.down.forward(x.clone()) - net.down.forward_adapted(x);
    assert!(largest(difference) < 1e-5);
}

#[test]
#[should_panic(expected = "call `forward_adapted`")]
fn burns_own_forward_panics_where_the_bias_is_scaled() {
    let device = Device::flex().autodiff();
    let net = Net::new(&device).adapt("default", outputs(), &[]).unwrap();
    let _ = net.up.forward(Tensor::<2>::ones([1, 27], &device));
}

#[test]
fn folders_go_both_ways() {
    let device = Device::flex().autodiff();
    device.seed(6);
    let (base, x) = (Net::new(&device), images(&device));
    let net = base.clone().adapt("default", outputs(), &[]).unwrap();
    let net = net.map(&mut Shake);
    let folder = net.save_adapter("default", outputs(), &[]).unwrap();
    let shapes: Vec<_> = folder
        .tensors
        .iter()
        .map(|(key, data)| (key.as_str(), data.shape().to_vec()))
        .collect();
    assert_eq!(
        shapes,
        [
            ("base_model.model.conv.ia3_l", vec![1, 3, 1, 1]),
            ("base_model.model.down.ia3_l", vec![1, 8]),
            ("base_model.model.head.bias", vec![3]),
            ("base_model.model.head.weight", vec![3, 5]),
            ("base_model.model.up.ia3_l", vec![8, 1]),
        ]
    );
    let loaded = base.clone().load_adapter("mine", &folder, &[]).unwrap();
    let difference = loaded.forward(x.clone()) - net.forward(x);
    assert!(largest(difference) < 1e-6);
    assert_eq!(loaded.trainable(), net.trainable());
    assert_eq!(loaded.update_folder("mine", &folder, &[]).unwrap(), folder);

    // The other side of the layers: the tensors have other shapes.
    let mut other = folder.clone();
    other.config = inputs().into();
    let error = base.clone().load_adapter("mine", &other, &[]).unwrap_err();
    assert!(matches!(error, Error::Shape { .. }), "{error}");
    let unknown = Ia3Config::new().with_target_modules(["up"]);
    let error = base.adapt("mine", &unknown, &[]).unwrap_err();
    let Error::Config { field, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(field, "feedforward_modules");
}

#[test]
fn all_adapters_of_a_model_are_of_one_method() {
    let device = Device::flex().autodiff();
    let lora = LoraConfig::new().with_r(2).with_target_modules(["up"]);
    let net = Net::new(&device).adapt("lora", &lora, &[]).unwrap();
    let Err(Error::OtherMethod {
        name,
        peft_type,
        found,
    }) = net.clone().adapt("ia3", outputs(), &[])
    else {
        panic!("it was adapted");
    };
    assert_eq!(
        (name.as_str(), peft_type, found.as_str()),
        ("ia3", "IA3", "LORA")
    );
    let folder = Net::new(&device).adapt("ia3", outputs(), &[]).unwrap();
    let folder = folder.save_adapter("ia3", outputs(), &[]).unwrap();
    let error = net.clone().load_adapter("ia3", &folder, &[]).unwrap_err();
    assert!(matches!(error, Error::OtherMethod { .. }), "{error}");
    let error = net.save_adapter("lora", outputs(), &[]).unwrap_err();
    assert!(matches!(error, Error::PeftType { .. }), "{error}");
    // Merged and unloaded, the model takes another method.
    net.merge_and_unload()
        .unwrap()
        .adapt("ia3", outputs(), &[])
        .unwrap();
}
