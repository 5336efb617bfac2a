//! Structs of the user's own that have the name of a layer of Burn's.

use burn::module::{Module, Param};
use burn::nn::LinearConfig;
use burn::tensor::{Device, Tensor};
use burn_peft::{Error, LoraConfig, ModuleKind, NameMap, Peft};

/// A layer with a weight `[out, in]`.
#[derive(Module, Debug)]
struct Linear {
    weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    fn new(inputs: usize, outputs: usize, device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::ones([outputs, inputs], device)),
            bias: Some(Param::from_tensor(Tensor::zeros([outputs], device))),
        }
    }
}

#[derive(Module, Debug)]
struct Net {
    own: Linear,
    burns: burn::nn::Linear,
}

fn net(device: &Device) -> Net {
    Net {
        own: Linear::new(4, 6, device),
        burns: LinearConfig::new(4, 6).init(device),
    }
}

fn config(targets: &[&str]) -> LoraConfig {
    LoraConfig::new()
        .with_r(2)
        .with_target_modules(targets.iter().copied())
}

fn assert_ambiguous(error: Error) {
    let text = error.to_string();
    let Error::AmbiguousModule {
        path,
        holder,
        problem,
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((path.as_str(), holder.as_str()), ("own", "Linear"));
    assert!(problem.contains("[6, 4]"), "{problem}");
    assert!(text.contains("with_kind(\"own\""), "{text}");
}

#[test]
fn a_layer_of_another_layout_is_not_adapted() {
    let device = Device::flex().autodiff();
    let error = net(&device).adapt("a", config(&["own"]), &[]).unwrap_err();
    assert_ambiguous(error);
    // It is in no one's way as long as it is not touched.
    net(&device).adapt("a", config(&["burns"]), &[]).unwrap();
}

#[test]
fn its_weight_is_not_saved_in_a_guessed_layout() {
    let device = Device::flex().autodiff();
    let config = config(&["burns"]).with_modules_to_save(["own"]);
    let adapted = net(&device).adapt("a", &config, &[]).unwrap();
    let error = adapted.save_adapter("a", &config, &[]).unwrap_err();
    assert_ambiguous(error);

    // Declared, it is saved as it is, and loaded again.
    let names = [NameMap::new().with_kind("own", ModuleKind::Other)];
    let folder = adapted.save_adapter("a", &config, &names).unwrap();
    let weight = &folder.tensors["base_model.model.own.weight"];
    assert_eq!(weight.shape().as_slice(), [6, 4]);
    net(&device).load_adapter("a", &folder, &names).unwrap();
    let error = net(&device).load_adapter("a", &folder, &[]).unwrap_err();
    assert_ambiguous(error);
}

#[test]
fn a_layer_that_is_declared_as_something_else_is_no_target() {
    let device = Device::flex().autodiff();
    let names = [NameMap::new().with_kind("own", ModuleKind::Other)];
    let error = net(&device).adapt("a", config(&["own"]), &names);
    assert!(matches!(error, Err(Error::TargetKind { .. })), "{error:?}");
}

#[test]
fn other_fields_and_axes_are_noticed() {
    #[derive(Module, Debug)]
    struct Embedding {
        weight: Param<Tensor<2>>,
        scale: Param<Tensor<1>>,
    }
    #[derive(Module, Debug)]
    struct Conv2d {
        weight: Param<Tensor<3>>,
    }
    #[derive(Module, Debug)]
    struct Dense {
        weight: Param<Tensor<2>>,
        scale: Param<Tensor<1>>,
    }
    #[derive(Module, Debug)]
    struct Odd {
        table: Embedding,
        conv: Conv2d,
        dense: Dense,
    }
    let device = Device::flex().autodiff();
    let ones = || Param::from_tensor(Tensor::ones([1], &device));
    let table = || Param::from_tensor(Tensor::ones([5, 4], &device));
    let odd = || Odd {
        table: Embedding {
            weight: table(),
            scale: ones(),
        },
        conv: Conv2d {
            weight: Param::from_tensor(Tensor::ones([3, 2, 2], &device)),
        },
        dense: Dense {
            weight: table(),
            scale: ones(),
        },
    };
    for (target, expected) in [("table", "`scale`"), ("conv", "3 axes")] {
        let error = odd().adapt("a", config(&[target]), &[]).unwrap_err();
        let Error::AmbiguousModule { problem, .. } = &error else {
            panic!("{error}");
        };
        assert!(problem.contains(expected), "{problem}");
    }
    // Another name is another layer, until it is declared.
    let error = odd().adapt("a", config(&["dense"]), &[]).unwrap_err();
    assert!(matches!(error, Error::TargetKind { .. }), "{error}");
    let names = [NameMap::new().with_kind("dense", ModuleKind::Linear)];
    let adapted = odd().adapt("a", config(&["dense"]), &names).unwrap();
    assert_eq!(adapted.trainable().trainable, (5 + 4) * 2);
    // A declaration that cannot be is an error.
    let names = [NameMap::new().with_kind("conv", ModuleKind::Conv2d)];
    let error = odd().adapt("a", config(&["conv"]), &names).unwrap_err();
    assert!(matches!(error, Error::AmbiguousModule { .. }), "{error}");
}
