//! What is refused, and what the message says.

use std::fs;
use std::time::{Duration, Instant};

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use burn_peft::folder::Placeholder;
use burn_peft::settings::Modules;
use burn_peft::{
    AdapterFolder, Error, ForwardAdapted, InitLoraWeights, LoraConfig, Peft, PeftConfig,
};

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    second: Linear,
}

fn net(device: &Device) -> Net {
    Net {
        first: LinearConfig::new(4, 6).init(device),
        second: LinearConfig::new(6, 4).init(device),
    }
}

fn config() -> LoraConfig {
    LoraConfig::new().with_r(2).with_target_modules(["first"])
}

/// Makes factors of an adapter NaN.
struct Diverge;

impl ModuleMapper for Diverge {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !param.is_require_grad() {
            return param;
        }
        param.map(|value| (value * f32::NAN).detach().require_grad())
    }
}

#[test]
fn factors_that_are_not_finite_are_not_merged() {
    let device = Device::flex().autodiff();
    let base = net(&device);
    let good = base.clone().adapt("good", config(), &[]).unwrap();
    let both = good.adapt("bad", config(), &[]).unwrap().map(&mut Diverge);
    for merged in [
        both.clone().merge_adapters(),
        both.clone().merge_and_unload(),
        both.clone()
            .with_active_adapters(&[("good", 1.0), ("bad", 0.5)])
            .unwrap()
            .merge_adapters(),
    ] {
        let error = merged.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("`bad`") && text.contains("`first.weight`"),
            "{text}"
        );
        assert!(text.contains("factors hold NaN"), "{text}");
    }
    // It can be switched off, and others can be merged.
    let good = both.with_active_adapters(&[("good", 1.0)]).unwrap();
    let merged = good.merge_and_unload().unwrap();
    let off = merged.first.weight.val() - base.first.weight.val();
    assert_eq!(off.abs().max().into_scalar::<f32>(), 0.0);
    let mut broken = net(&device);
    broken.first.weight = broken.first.weight.map(|w| (w / 0.0).detach());
    let broken = broken.adapt("a", config(), &[]).unwrap();
    let text = broken.merge_adapters().unwrap_err().to_string();
    assert!(text.contains("base model's own values"), "{text}");
}

#[test]
fn saving_reports_a_pattern_that_cannot_be_used() {
    let device = Device::flex().autodiff();
    let adapted = net(&device).adapt("a", config(), &[]).unwrap();
    for pattern in ["(", "first|*", r"((a|a)*)\1(?<=b"] {
        let wrong = config().with_target_modules(Modules::pattern(pattern));
        let error = adapted.save_adapter("a", &wrong, &[]).unwrap_err();
        assert!(matches!(error, Error::Pattern { .. }), "{error}");
    }
    // A layer that was adapted by itself is saved whatever the configuration would choose.
    let mut by_layer = net(&device);
    by_layer.first = config().linear("a", by_layer.first).unwrap();
    for targets in [["first"], ["other"]] {
        let config = config().with_target_modules(targets);
        let saved = by_layer.save_adapter("a", &config, &[]).unwrap();
        assert_eq!(saved.tensors.len(), 2);
    }
    let no_targets = LoraConfig::new().with_r(2);
    assert!(by_layer.save_adapter("a", &no_targets, &[]).is_ok());
}

#[test]
fn pissa_is_a_change_of_the_adapter_for_single_layers_too() {
    let device = Device::flex().autodiff();
    device.seed(3);
    for init in [InitLoraWeights::Pissa, InitLoraWeights::Olora] {
        let layer = net(&device).first;
        let base = layer.weight.val().into_data();
        let pissa = config().with_init_lora_weights(init);
        let adapted = pissa.linear("one", layer.clone()).unwrap();
        assert_ne!(adapted.weight.base().into_data(), base);
        let off = adapted.clone().with_adapters_enabled(false);
        assert_eq!(off.weight.val().into_data(), base);
        assert_eq!(adapted.clone().unload().weight.val().into_data(), base);
        // A second adapter starts from the base.
        let both = pissa.linear("two", adapted.clone()).unwrap();
        let rest = both.weight.base().into_data();
        assert_eq!(rest, adapted.weight.base().into_data());
        let one = both.without_adapter("two").unwrap();
        assert_eq!(one.weight.base().into_data(), rest);
        let none = one.without_adapter("one").unwrap();
        assert_eq!(none.weight.val().into_data(), base);

        let x = Tensor::<2>::ones([2, 4], &device);
        let field = pissa.init(layer.clone());
        let off = field.clone().with_enabled(false);
        let expected = layer.forward(x.clone()).into_data();
        assert_eq!(off.forward(x.clone()).into_data(), expected);
        assert_eq!(off.merge().unwrap().weight.val().into_data(), base);
        let merged = field.clone().merge().unwrap();
        let difference = merged.forward(x.clone()) - field.forward(x.clone());
        assert!(difference.abs().max().into_scalar::<f32>() < 1e-5);
        assert_eq!(merged.weight.id, layer.weight.id);
        assert_eq!(adapted.forward_adapted(x).dims(), [2, 6]);
    }
}

#[test]
fn an_adapter_of_the_same_name_is_replaced_as_a_whole() {
    let device = Device::flex().autodiff();
    let base = net(&device);
    let more = LoraConfig::new()
        .with_r(2)
        .with_target_modules(["first"])
        .with_modules_to_save(["second"]);
    let adapted = base.clone().adapt("a", &more, &[]).unwrap();
    let less = LoraConfig::new().with_r(2).with_target_modules(["second"]);
    // What was saved in full is adapted now.
    let again = adapted.adapt("a", &less, &[]).unwrap();
    assert_eq!(again.trainable().trainable, 2 * (6 + 4));
    let folder = again.save_adapter("a", &less, &[]).unwrap();
    assert_eq!(folder.tensors.len(), 2);
    // And the other way round, with both in one model.
    let both = again.adapt("b", &more, &[]).unwrap();
    assert_eq!(both.adapter_names(), ["a", "b"]);
    let mixed = [("a", 1.0), ("b", 1.0)];
    assert!(both.clone().with_active_adapters(&mixed).is_ok());
    let pissa = less.clone().with_init_lora_weights(InitLoraWeights::Pissa);
    let three = both.clone().adapt("pissa", &pissa, &[]).unwrap();
    let mixed = [("pissa", 1.0), ("b", 1.0)];
    let error = three.with_active_adapters(&mixed).unwrap_err();
    assert!(matches!(error, Error::SeveralOwners { .. }), "{error}");
    let back = both.clone().with_active_adapters(&[("a", 1.0)]).unwrap();
    assert_eq!(back.save_adapter("a", &less, &[]).unwrap(), folder);
    // Copies move with the model, through training and validation.
    let moved = both.clone().fork(&device.clone().inner());
    for unloaded in [moved.clone().train().valid().unload(), moved.unload()] {
        let expected = base.second.weight.val().into_data();
        assert_eq!(unloaded.second.weight.val().into_data(), expected);
    }
    let unloaded = both.unload();
    let [found, expected] = [unloaded, base].map(|net| net.second.weight.val().into_data());
    assert_eq!(found, expected);
}

#[test]
fn files_that_are_something_else_are_named() {
    let root = tempfile::tempdir().unwrap();
    let good = br#"{"peft_type": "LORA", "target_modules": ["q"]}"#;
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 99\n";
    let page = b"<!DOCTYPE html>\n<html><body>Not found</body></html>";
    let contents: [(&[u8], Placeholder, &str); 3] = [
        (
            pointer,
            Placeholder::LfsPointer { size: Some(99) },
            "git lfs pull",
        ),
        (page, Placeholder::Html, "web page"),
        (b"", Placeholder::Empty, "is empty"),
    ];
    for (contents, expected, words) in contents {
        for (config, weights, file) in [
            (good.as_slice(), contents, "adapter_model.safetensors"),
            (contents, b"", "adapter_config.json"),
        ] {
            fs::write(root.path().join("adapter_config.json"), config).unwrap();
            fs::write(root.path().join("adapter_model.safetensors"), weights).unwrap();
            let error = AdapterFolder::read(root.path()).unwrap_err();
            let text = error.to_string();
            let Error::InFile {
                file: found,
                source,
            } = error
            else {
                panic!("{error}");
            };
            assert!(found.ends_with(file), "{}", found.display());
            let Error::Placeholder { placeholder } = *source else {
                panic!("{source}");
            };
            assert_eq!(placeholder, expected);
            assert!(text.contains(words), "{text}");
        }
    }
}

#[test]
fn keys_with_the_adapters_name_are_read() {
    let device = Device::flex().autodiff();
    let config = config().with_modules_to_save(["second"]);
    let base = net(&device);
    let net = base.clone().adapt("a", &config, &[]).unwrap();
    let plain = net.save_adapter("a", &config, &[]).unwrap();
    for name in ["default", "my-adapter"] {
        let named = plain.tensors.iter().map(|(key, data)| {
            let key = key
                .replace("lora_A.", &format!("lora_A.{name}."))
                .replace("lora_B.", &format!("lora_B.{name}."))
                .replace("second.", &format!("second.modules_to_save.{name}."));
            (key, data.clone())
        });
        let named = AdapterFolder::new(plain.config.clone(), named);
        let loaded = base.clone().load_adapter("b", &named, &[]).unwrap();
        assert_eq!(loaded.save_adapter("b", &config, &[]).unwrap(), plain);
        assert_eq!(loaded.update_folder("b", &named, &[]).unwrap(), named);
        let mut two = named.clone();
        let key = "base_model.model.first.lora_B.other.weight";
        let data = two
            .tensors
            .remove(&format!("base_model.model.first.lora_B.{name}.weight"));
        two.tensors.insert(key.into(), data.unwrap());
        let error = base.clone().load_adapter("b", &two, &[]).unwrap_err();
        assert!(error.to_string().contains("another adapter"), "{error}");
    }
}

#[test]
fn long_lists_of_patterns_are_quick_or_refused() {
    let started = Instant::now();
    let list = |field: &str, count: usize, entry: fn(usize) -> String| {
        let mapping = field.ends_with("_pattern");
        let entries = (0..count).map(|at| {
            if mapping {
                format!("\"{}\": 4", entry(at))
            } else {
                format!("\"{}\"", entry(at))
            }
        });
        let entries = entries.collect::<Vec<_>>().join(",");
        let (open, close) = if mapping { ("{", "}") } else { ("[", "]") };
        let text = format!(
            r#"{{"peft_type": "LORA", "target_modules": ["q"], "{field}": {open}{entries}{close}}}"#
        );
        let config = PeftConfig::parse(text.as_bytes())?;
        let modules = [("layers.7.q".to_string(), burn_peft::ModuleKind::Linear)];
        config.targets(&modules)?;
        match &config {
            PeftConfig::Lora(lora) => lora.scales()?.rank_of("layers.7.q"),
            _ => unreachable!("it is LoRA"),
        }
    };
    let plain = |at| format!("layers.{at}.q");
    let expression = |at| format!("layers\\\\.{at}\\\\.q");
    for field in ["rank_pattern", "alpha_pattern", "modules_to_save"] {
        let refused = |result: Result<usize, Error>| {
            let error = result.unwrap_err();
            let text = error.to_string();
            assert!(text.contains(field) && text.contains("at most"), "{text}");
        };
        refused(list(field, 100_000, plain));
        refused(list(field, 20_000, expression));
    }
    assert_eq!(list("rank_pattern", 20_000, plain), Ok(4));
    assert_eq!(list("rank_pattern", 500, expression), Ok(4));
    assert_eq!(
        list("modules_to_save", 20_000, |at| format!("m{at}")),
        Ok(8)
    );
    // In a build with checks; each of the 100,000 took 0.6 ms before.
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn messages_are_short() {
    let long = "x".repeat(100_000);
    let text = format!(r#"{{"peft_type": "LORA", "target_modules": ["{long}"]}}"#);
    let config = PeftConfig::parse(text.as_bytes()).unwrap();
    let device = Device::flex();
    let mut errors = vec![net(&device).adapt(&long, &config, &[]).unwrap_err()];
    errors.push(net(&device).without_adapter(&long).unwrap_err());
    let names: Vec<String> = (0..100)
        .map(|at| format!("{at}{}", "y".repeat(500)))
        .collect();
    let mut layer = net(&device).first;
    for name in &names {
        layer = LoraConfig::new().with_r(1).linear(name, layer).unwrap();
    }
    errors.push(layer.without_adapter("z").unwrap_err());
    let mut folder = AdapterFolder::new(LoraConfig::new().with_target_modules(["q"]), []);
    let data = burn::tensor::TensorData::zeros::<f32, _>([1]);
    folder
        .tensors
        .insert(format!("base_model.model.{long}.lora_A.weight"), data);
    errors.push(folder.check().unwrap_err());
    for error in errors {
        let text = error.to_string();
        assert!(text.chars().count() <= 2_000, "{} characters", text.len());
    }
}
