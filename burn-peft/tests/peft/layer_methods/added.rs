//! VeRA, LoHa and LoKr on the layers of a model: rows per sample, merging, mixtures, folders, errors.

use burn::module::{Module, Quantizer};
use burn::tensor::quantization::{Calibration, QuantValue};
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use burn_peft::settings::TaskType;
use burn_peft::{
    AdapterFolder, Error, ForwardAdapted, InitLokrWeights, LohaConfig, LokrConfig, Peft,
    PeftConfig, VeraConfig,
};

use super::net::{Net, Shake, check_rows, images, largest};

fn vera() -> VeraConfig {
    VeraConfig::new()
        .with_r(4)
        .with_target_modules(["up", "down"])
}

/// `up` is 27 → 8 and `down` 8 → 5: a rank of 2 has fewer products of rows and columns than `up` has entries,
/// and a rank of 3 more than `down` has.
fn loha() -> LohaConfig {
    LohaConfig::new()
        .with_r(2)
        .with_rank_pattern([("down", 3)])
        .with_target_modules(["up", "down"])
}

/// `up` splits into 3 × 9 and 2 × 4, `down` into 2 × 4 and 1 × 5.
fn lokr() -> LokrConfig {
    LokrConfig::new()
        .with_r(1)
        .with_decompose_both(true)
        .with_rank_pattern([("down", 3)])
        .with_target_modules(["up", "down"])
}

fn all() -> [(PeftConfig, usize); 3] {
    const HEAD: usize = 5 * 3 + 3;
    [
        (
            vera().with_modules_to_save(["head"]).into(),
            HEAD + 2 * 4 + 8 + 5,
        ),
        (
            loha().with_modules_to_save(["head"]).into(),
            HEAD + 2 * 2 * (27 + 8) + 2 * 3 * (8 + 5),
        ),
        // W1 of `up` is [2, 3], a product of rank 1, and W2 [4, 9]; `down` has matrices [1, 2] and [5, 4].
        (
            lokr().with_modules_to_save(["head"]).into(),
            HEAD + (2 + 3) + (4 + 9) + 2 + 20,
        ),
    ]
}

#[test]
fn rows_match_one_backward_per_sample() {
    for (config, columns) in all() {
        check_rows(&config, columns);
    }
}

#[test]
fn a_new_adapter_changes_nothing_and_a_random_one_does() {
    let device = Device::flex().autodiff();
    device.seed(2);
    let (net, x) = (Net::new(&device), images(&device));
    let before = net.forward(x.clone());
    let difference = |config: PeftConfig| {
        let adapted = net.clone().adapt("default", &config, &[]).unwrap();
        largest(adapted.forward(x.clone()) - before.clone())
    };
    for (config, _) in all() {
        assert!(difference(config) < 1e-6);
    }
    let lycoris = lokr().with_init_weights(InitLokrWeights::Lycoris);
    assert!(difference(lycoris.into()) < 1e-6);
    for random in [
        PeftConfig::from(vera().with_init_weights(false)),
        loha().with_init_weights(false).into(),
        lokr().with_init_weights(InitLokrWeights::Random).into(),
    ] {
        assert!(difference(random) > 1e-4);
    }
}

#[test]
fn merged_is_the_same_and_unmerged_the_base() {
    let device = Device::flex().autodiff();
    device.seed(3);
    let x = images(&device);
    for (config, _) in all() {
        let base = Net::new(&device);
        let net = base.clone().adapt("default", &config, &[]).unwrap();
        let net = net.map(&mut Shake);
        let expected = net.forward(x.clone());
        assert!(largest(expected.clone() - base.forward(x.clone())) > 1e-3);
        let whole = net.clone().merge_and_unload().unwrap();
        assert!(whole.adapter_names().is_empty());
        assert!(largest(whole.forward(x.clone()) - expected.clone()) < 1e-5);
        // Burn's own `forward` composes the weight.
        let hidden = Tensor::<2>::random([4, 27], Distribution::Normal(0.0, 1.0), &device);
        let own = net.up.forward(hidden.clone());
        assert!(largest(own - net.up.forward_adapted(hidden)) < 1e-5);

        let again = net.merge_adapters().unwrap().unmerge_adapters();
        assert!(largest(again.forward(x.clone()) - expected) < 1e-5);
        let weight = |net: &Net| net.up.weight.base().into_data();
        weight(&again).assert_eq(&weight(&base), true);
    }
}

#[test]
fn several_adapters_add_up_with_their_factors() {
    let device = Device::flex().autodiff();
    device.seed(4);
    let x = Tensor::<2>::random([4, 27], Distribution::Normal(0.0, 1.0), &device);
    let configs: [PeftConfig; 3] = [vera().into(), loha().into(), lokr().into()];
    for config in configs {
        let net = Net::new(&device).adapt("one", &config, &[]).unwrap();
        let net = net.map(&mut Shake).adapt("two", &config, &[]).unwrap();
        let net = net.map(&mut Shake);
        let base = net.clone().unload().up.forward(x.clone());
        let with = |active: &[(&str, f64)]| {
            let net = net.clone().with_active_adapters(active).unwrap();
            net.up.forward_adapted(x.clone()) - base.clone()
        };
        let sum = with(&[("one", 1.0)]) * 0.5 - with(&[("two", 1.0)]) * 2.0;
        assert!(largest(with(&[("one", 0.5), ("two", -2.0)]) - sum) < 1e-4);
    }
}

#[test]
fn folders_go_both_ways() {
    let device = Device::flex().autodiff();
    device.seed(6);
    let (base, x) = (Net::new(&device), images(&device));
    let shapes = |folder: &AdapterFolder| {
        let tensors = folder.tensors.iter();
        let tensors = tensors.filter(|(key, _)| !key.contains("head"));
        let named = tensors.map(|(key, data)| {
            let key = key.strip_prefix("base_model.").unwrap();
            (key.replace("model.", ""), data.shape().to_vec())
        });
        named.collect::<Vec<_>>()
    };
    let expected: [&[(&str, &[usize])]; 3] = [
        &[
            ("down.vera_lambda_b", &[5]),
            ("down.vera_lambda_d", &[4]),
            ("up.vera_lambda_b", &[8]),
            ("up.vera_lambda_d", &[4]),
            ("vera_A", &[4, 27]),
            ("vera_B", &[8, 4]),
        ],
        &[
            ("down.hada_w1_a", &[5, 3]),
            ("down.hada_w1_b", &[3, 8]),
            ("down.hada_w2_a", &[5, 3]),
            ("down.hada_w2_b", &[3, 8]),
            ("up.hada_w1_a", &[8, 2]),
            ("up.hada_w1_b", &[2, 27]),
            ("up.hada_w2_a", &[8, 2]),
            ("up.hada_w2_b", &[2, 27]),
        ],
        &[
            ("down.lokr_w1", &[1, 2]),
            ("down.lokr_w2", &[5, 4]),
            ("up.lokr_w1_a", &[2, 1]),
            ("up.lokr_w1_b", &[1, 3]),
            ("up.lokr_w2_a", &[4, 1]),
            ("up.lokr_w2_b", &[1, 9]),
        ],
    ];
    for ((config, _), expected) in all().into_iter().zip(expected) {
        let net = base.clone().adapt("default", &config, &[]).unwrap();
        let net = net.map(&mut Shake);
        let folder = net.save_adapter("default", &config, &[]).unwrap();
        let expected = expected
            .iter()
            .map(|(key, shape)| (key.to_string(), shape.to_vec()));
        assert_eq!(shapes(&folder), expected.collect::<Vec<_>>());
        let (config, weights) = folder.to_bytes().unwrap();
        let read = AdapterFolder::parse(config.as_bytes(), &weights).unwrap();
        assert_eq!(read, folder);
        let loaded = base.clone().load_adapter("mine", &read, &[]).unwrap();
        assert!(largest(loaded.forward(x.clone()) - net.forward(x.clone())) < 1e-6);
        assert_eq!(loaded.trainable(), net.trainable());
        assert_eq!(loaded.update_folder("mine", &folder, &[]).unwrap(), folder);
        let plain = Device::flex();
        let moved = loaded.valid().to_device(&plain);
        let there = moved.forward(x.clone().inner());
        assert!(largest(there - net.forward(x.clone()).inner()) < 1e-6);
    }
}

#[test]
fn shared_matrices_are_drawn_again_where_a_folder_has_none() {
    let device = Device::flex().autodiff();
    device.seed(7);
    let (base, x) = (Net::new(&device), images(&device));
    let config = vera()
        .with_save_projection(false)
        .with_projection_prng_key(5);
    let net = base.clone().adapt("default", &config, &[]).unwrap();
    let net = net.map(&mut Shake);
    let folder = net.save_adapter("default", &config, &[]).unwrap();
    assert!(!folder.tensors.keys().any(|key| key.contains("vera_A")));
    let loaded = base.clone().load_adapter("default", &folder, &[]).unwrap();
    assert_eq!(
        largest(loaded.forward(x.clone()) - net.forward(x.clone())),
        0.0
    );
    let mut other = folder.clone();
    other.config = config.with_projection_prng_key(6).into();
    let loaded = base.load_adapter("default", &other, &[]).unwrap();
    assert!(largest(loaded.forward(x.clone()) - net.forward(x)) > 1e-3);
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let device = Device::flex().autodiff();
    let base = Net::new(&device);
    let folder = |config: &PeftConfig| {
        let net = base.clone().adapt("default", config, &[]).unwrap();
        net.save_adapter("default", config.clone(), &[]).unwrap()
    };
    let zeros = |shape: &[usize]| TensorData::zeros::<f32, _>(shape.to_vec());
    let [vera, loha, lokr] = all().map(|(config, _)| folder(&config));
    for (folder, key, shape) in [
        (&vera, "base_model.vera_A", &[3, 27][..]),
        (&vera, "base_model.vera_A", &[4, 26]),
        (&vera, "base_model.vera_B", &[7, 4]),
        (&vera, "base_model.model.up.vera_lambda_d", &[5]),
        (&vera, "base_model.model.up.vera_lambda_b", &[9]),
        (&loha, "base_model.model.up.hada_w1_a", &[8, 3]),
        (&loha, "base_model.model.up.hada_w2_b", &[2, 26]),
        (&lokr, "base_model.model.up.lokr_w2_a", &[4, 2]),
        (&lokr, "base_model.model.up.lokr_w1_b", &[1, 4]),
        (&lokr, "base_model.model.down.lokr_w1", &[2, 1]),
    ] {
        let mut wrong = folder.clone();
        assert!(wrong.tensors.contains_key(key));
        wrong.tensors.insert(key.into(), zeros(shape));
        let error = base
            .clone()
            .load_adapter("default", &wrong, &[])
            .unwrap_err();
        let Error::Shape { key: found, .. } = &error else {
            panic!("{key}: {error}");
        };
        assert_eq!(found, key);
        let mut missing = folder.clone();
        missing.tensors.remove(key);
        let error = base
            .clone()
            .load_adapter("default", &missing, &[])
            .unwrap_err();
        assert!(matches!(error, Error::MissingKey { .. }), "{key}: {error}");
    }
    let mut both = lokr.clone();
    let key = "base_model.model.up.lokr_w1".to_string();
    both.tensors.insert(key, zeros(&[2, 3]));
    let error = both.check().unwrap_err();
    assert!(matches!(error, Error::Key { .. }), "{error}");
    // Convolutions.
    let config = LohaConfig::new().with_target_modules(["conv"]);
    let error = base.clone().adapt("default", &config, &[]).unwrap_err();
    assert!(matches!(error, Error::TargetKind { .. }), "{error}");
}

#[test]
fn fields_out_of_range_are_named() {
    let field = |text: &str| match PeftConfig::parse(text.as_bytes()) {
        Err(Error::Config { field, .. }) => field,
        other => panic!("{text}: {other:?}"),
    };
    for (method, fields) in [
        (
            "VERA",
            &[
                ("r", "0"),
                ("vera_dropout", "1.0"),
                ("bias", "\"lora_only\""),
            ][..],
        ),
        (
            "VERA",
            &[("projection_prng_key", "-1"), ("d_initial", "\"x\"")],
        ),
        (
            "VERA",
            &[("layers_pattern", "\"h\""), ("save_projection", "2")],
        ),
        (
            "LOHA",
            &[
                ("r", "0"),
                ("alpha", "0"),
                ("rank_dropout", "1"),
                ("module_dropout", "-1"),
            ],
        ),
        (
            "LOHA",
            &[
                ("rank_pattern", "{\"a\": 0}"),
                ("init_weights", "\"lycoris\""),
            ],
        ),
        (
            "LOKR",
            &[
                ("decompose_factor", "0"),
                ("decompose_factor", "-2"),
                ("r", "1.5"),
            ],
        ),
        (
            "LOKR",
            &[
                ("init_weights", "\"zero\""),
                ("decompose_both", "1"),
                ("alpha", "-1"),
            ],
        ),
    ] {
        for (name, value) in fields {
            let text = format!(r#"{{"peft_type": "{method}", "{name}": {value}}}"#);
            assert_eq!(field(&text), *name, "{text}");
        }
    }
}

#[test]
fn new_configurations_have_the_fields_of_peft() {
    for (config, _) in all() {
        let again = PeftConfig::parse(config.to_json().unwrap().as_bytes()).unwrap();
        assert_eq!(again, config);
        assert!(again.unknown_fields().is_empty());
    }
    // The fields of a file that PEFT 0.21.2 wrote.
    let fields = |text: &str| -> Vec<String> {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        value.as_object().unwrap().keys().cloned().collect()
    };
    let golden = [
        include_str!("../../fixtures/bert/vera/adapter_config.json"),
        include_str!("../../fixtures/bert/loha/adapter_config.json"),
        include_str!("../../fixtures/bert/lokr/adapter_config.json"),
    ];
    for ((config, _), golden) in all().iter().zip(golden) {
        assert_eq!(fields(&config.to_json().unwrap()), fields(golden));
    }
    let config = vera().with_task_type(TaskType::SequenceClassification);
    let saved = config.modules_to_save.unwrap();
    assert_eq!(saved, ["classifier", "score"]);
}

/// Columns and the whole matrix are dropped in training only; what stays of a column is scaled by the share
/// that stays, if it is.
#[test]
fn dropouts_act_in_training() {
    let device = Device::flex().autodiff();
    device.seed(8);
    let x = Tensor::<2>::random([6, 27], Distribution::Normal(0.0, 1.0), &device);
    let added = |net: &Net| {
        let base = net.clone().unload().up.forward(x.clone());
        net.up.forward_adapted(x.clone()) - base
    };
    let net = |config: &PeftConfig| {
        let net = Net::new(&device).adapt("default", config, &[]).unwrap();
        net.map(&mut Shake)
    };
    let columns = net(&loha().with_rank_dropout(0.5).into());
    let whole = added(&columns.valid());
    let mut seen = [false; 2];
    for _ in 0..20 {
        let ratios = added(&columns).inner() / whole.clone();
        let ratios: Vec<f32> = ratios.slice([0..1, 0..8]).into_data().iter().collect();
        let kept = ratios.iter().filter(|ratio| ratio.abs() > 1e-2).count();
        for ratio in &ratios {
            let scale = if ratio.abs() > 1e-2 {
                8.0 / kept as f32
            } else {
                0.0
            };
            assert!((ratio - scale).abs() < 1e-2, "{ratios:?}");
        }
        seen[usize::from(kept < 8)] = true;
    }
    assert!(seen[1]);
    let matrix = net(&lokr().with_module_dropout(0.5).into());
    let whole = added(&matrix.valid());
    let mut seen = [0; 2];
    for _ in 0..20 {
        let found = added(&matrix).inner();
        let dropped = largest(found.clone()) < 1e-5;
        assert!(dropped || largest(found - whole.clone()) < 1e-5);
        seen[usize::from(dropped)] += 1;
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

/// A packed base weight stays packed.
#[test]
fn quantised_base_weights_are_adapted() {
    let device = Device::flex().autodiff();
    device.seed(9);
    let x = Tensor::<2>::random([4, 27], Distribution::Normal(0.0, 1.0), &device);
    for (config, _) in all() {
        let scheme = device.settings().quantization.scheme;
        let scheme = scheme.with_value(QuantValue::Q8S);
        let mut quantizer = Quantizer::new(Calibration::MinMax, scheme);
        let mut net = Net::new(&device);
        net.up = net.up.no_grad().quantize_weights(&mut quantizer);
        let net = net.adapt("default", &config, &[]).unwrap().map(&mut Shake);
        let whole = net.clone().merge_and_unload().unwrap();
        let difference = net.up.forward_adapted(x.clone()) - whole.up.forward(x.clone());
        assert!(largest(difference) < 1e-4);
    }
}
