//! EVA: adapters that begin with the principal components of the inputs.

use burn::tensor::{Device, Distribution, Tensor};
use burn_peft::{Error, EvaConfig, LoraAdapters, LoraConfig, Peft};

use super::net::{Net, images, largest};

fn config() -> LoraConfig {
    LoraConfig::new()
        .with_r(2)
        .with_lora_alpha(6.0)
        .with_target_modules(["up", "down"])
}

/// Images of which two directions vary most.
fn narrow(device: &Device) -> Tensor<4> {
    let plain = device.clone().inner();
    let strengths = Tensor::<2>::random([40, 2], Distribution::Normal(0.0, 5.0), &plain);
    let directions = Tensor::<2>::random([2, 32], Distribution::Normal(0.0, 1.0), &plain);
    let noise = Tensor::<2>::random([40, 32], Distribution::Normal(0.0, 0.01), &plain);
    (strengths.matmul(directions) + noise).reshape([40, 2, 4, 4])
}

#[test]
fn ranks_go_to_the_layers_that_explain_most() {
    let device = Device::flex().autodiff();
    device.seed(1);
    let (net, x) = (Net::new(&device), narrow(&device));
    let start = |eva: &EvaConfig| {
        let adapted = net
            .clone()
            .adapt_to_inputs("default", &config(), eva, &[], |net| {
                net.forward(x.clone());
            });
        adapted.unwrap()
    };
    let (fixed, settings) = start(&EvaConfig::new().with_rho(1.0));
    for module in ["up", "down"] {
        assert_eq!(settings.scales().unwrap().rank_of(module).unwrap(), 2);
        assert_eq!(settings.scale_of(module).unwrap(), 3.0);
    }
    // B is zero: nothing changes, and the same images in any batches give the same components.
    let there = images(&device);
    let difference = fixed.forward(there.clone()) - net.forward(there);
    assert_eq!(largest(difference), 0.0);
    let a = |net: &Net| {
        LoraAdapters::of(&net.up.weight)
            .unwrap()
            .get("default")
            .unwrap()
            .a
            .val()
    };
    let halves = net.clone().adapt_to_inputs(
        "default",
        &config(),
        &EvaConfig::new().with_rho(1.0),
        &[],
        |net| {
            for half in [0..15, 15..40] {
                net.forward(x.clone().slice([half, 0..2, 0..4, 0..4]));
            }
        },
    );
    let (halves, _) = halves.unwrap();
    assert!(largest(a(&halves) - a(&fixed)) < 1e-3);
    // Unit vectors at right angles.
    let gram = a(&fixed).transpose().matmul(a(&fixed));
    assert!(largest(gram - Tensor::eye(2, &device)) < 1e-4);
    let (_, settings) = start(&EvaConfig::new());
    let scales = settings.scales().unwrap();
    let ranks = ["up", "down"].map(|module| scales.rank_of(module).unwrap());
    assert_eq!(ranks.iter().sum::<usize>(), 4, "{ranks:?}");
    // A folder of it loads as every other.
    let (net, settings) = start(&EvaConfig::new().with_whiten(true));
    let folder = net.save_adapter("default", &settings, &[]).unwrap();
    let again = net.clone().unload().load_adapter("default", &folder, &[]);
    assert_eq!(again.unwrap().trainable(), net.trainable());
}

#[test]
fn what_is_missing_is_named() {
    let device = Device::flex().autodiff();
    device.seed(2);
    let (net, x) = (Net::new(&device), narrow(&device));
    let refused = |config: &LoraConfig, eva: &EvaConfig, count: usize| {
        let x = x.clone().slice([0..count, 0..2, 0..4, 0..4]);
        let adapted = net
            .clone()
            .adapt_to_inputs("default", config, eva, &[], |net| {
                if count > 0 {
                    net.forward(x);
                }
            });
        adapted.unwrap_err()
    };
    let error = refused(&config(), &EvaConfig::new().with_rho(0.5), 40);
    assert!(
        matches!(error, Error::Config { field: "rho", .. }),
        "{error}"
    );
    for (config, count, problem) in [
        (config(), 3, "3 inputs of width"),
        (
            config().with_r(5),
            40,
            "do not have 10 principal components",
        ),
        (config(), 0, "none were seen"),
        (config().with_target_modules(["conv"]), 40, "none were seen"),
    ] {
        let error = refused(&config, &EvaConfig::new(), count);
        let Error::Inputs { problem: found, .. } = &error else {
            panic!("{error}");
        };
        assert!(found.contains(problem), "{found}");
    }
    let same = Tensor::<4>::ones([9, 2, 4, 4], &device.clone().inner());
    let adapted = net.adapt_to_inputs("default", &config(), &EvaConfig::new(), &[], |net| {
        net.forward(same);
    });
    let error = adapted.unwrap_err();
    assert!(error.to_string().contains("all the same"), "{error}");
}
