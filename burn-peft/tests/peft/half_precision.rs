//! Adapters on a base model in half precision.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{DType, Device, Distribution, Int, Tensor, TensorData};
use burn_peft::{AdapterFolder, ForwardAdapted, Ia3Config, LoraAdapters, LoraConfig, Peft};

#[derive(Module, Debug)]
struct Net {
    fc: Linear,
    table: Embedding,
    conv: Conv2d,
    head: Linear,
}

fn net(dtype: DType, device: &Device) -> Net {
    let half = |weight: Param<Tensor<2>>| weight.map(|w| w.cast(dtype).detach());
    let line = |weight: Param<Tensor<1>>| weight.map(|w| w.cast(dtype).detach());
    let linear = |layer: Linear| Linear {
        weight: half(layer.weight),
        bias: layer.bias.map(line),
    };
    device.seed(7);
    let conv = Conv2dConfig::new([2, 3], [2, 2]).init(device);
    let table: Embedding = EmbeddingConfig::new(5, 6).init(device);
    Net {
        fc: linear(LinearConfig::new(32, 32).init(device)),
        table: Embedding {
            weight: half(table.weight),
        },
        conv: Conv2d {
            weight: conv.weight.clone().map(|w| w.cast(dtype).detach()),
            bias: conv.bias.clone().map(line),
            ..conv
        },
        head: linear(LinearConfig::new(6, 3).init(device)),
    }
}

fn config() -> LoraConfig {
    LoraConfig::new()
        .with_r(4)
        .with_lora_alpha(8.0)
        .with_target_modules(["fc", "table", "conv"])
        .with_modules_to_save(["head"])
}

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let number = |at: usize| {
        let mixed = (at as u32 + 1)
            .wrapping_mul(2_654_435_761)
            .wrapping_add(seed * 40_503);
        (mixed >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(number).collect()
}

/// A folder in f32 whose values have no short form in half precision.
fn folder() -> AdapterFolder {
    let tensors = [
        ("fc.lora_A.weight", vec![4, 32]),
        ("fc.lora_B.weight", vec![32, 4]),
        ("table.lora_embedding_A", vec![4, 5]),
        ("table.lora_embedding_B", vec![6, 4]),
        ("conv.lora_A.weight", vec![4, 2, 2, 2]),
        ("conv.lora_B.weight", vec![3, 4, 1, 1]),
        ("head.weight", vec![3, 6]),
        ("head.bias", vec![3]),
    ];
    let tensors = tensors.into_iter().enumerate().map(|(at, (key, shape))| {
        let count = shape.iter().product();
        let data = TensorData::new(numbers(count, at as u32), shape);
        (format!("base_model.model.{key}"), data)
    });
    AdapterFolder::new(config(), tensors)
}

#[test]
fn factors_stay_in_f32_and_are_written_bit_for_bit() {
    let device = Device::flex().autodiff();
    let folder = folder();
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let loaded = net(dtype, &device).load_adapter("a", &folder, &[]).unwrap();
        let factors = LoraAdapters::of(&loaded.fc.weight).unwrap();
        let factors = factors.get("a").unwrap();
        assert_eq!(factors.a.val().dtype(), DType::F32);
        // A head computes with the model, in the model's precision.
        assert_eq!(loaded.head.weight.val().dtype(), dtype);
        assert_eq!(loaded.update_folder("a", &folder, &[]).unwrap(), folder);
        let saved = loaded.save_adapter("a", config(), &[]).unwrap();
        for (key, data) in saved.tensors.iter().filter(|(key, _)| key.contains("lora")) {
            assert_eq!(data, &folder.tensors[key], "{dtype:?} {key}");
        }
        let fresh = net(dtype, &device).adapt("b", config(), &[]).unwrap();
        let factors = LoraAdapters::of(&fresh.table.weight).unwrap();
        assert_eq!(factors.get("b").unwrap().b.val().dtype(), DType::F32);
        let ia3 = Ia3Config::new()
            .with_target_modules(["fc"])
            .with_feedforward_modules(Vec::<String>::new());
        let scaled = net(dtype, &device).adapt("c", &ia3, &[]).unwrap();
        let vectors = scaled.save_adapter("c", &ia3, &[]).unwrap();
        let mut tensors = vectors.tensors.values();
        assert!(tensors.all(|data| data.dtype() == DType::F32));
    }
}

#[test]
fn sums_are_rounded_once() {
    let device = Device::flex();
    let folder = folder();
    for dtype in [DType::BF16, DType::F16] {
        let base = net(dtype, &device);
        let loaded = base.clone().load_adapter("a", &folder, &[]).unwrap();
        let wide = |x: Tensor<2>| x.cast(DType::F32);
        let factors = LoraAdapters::of(&loaded.fc.weight).unwrap();
        let factors = factors.get("a").unwrap();
        let (a, b) = (factors.a.val(), factors.b.val());

        // Merging.
        let sum = wide(base.fc.weight.val()) + a.clone().matmul(b.clone()) * 2.0;
        let merged = loaded.clone().merge_adapters().unwrap();
        let expected = sum.cast(dtype).into_data();
        assert_eq!(merged.fc.weight.val().into_data(), expected);
        let unmerged = merged.unmerge_adapters();
        assert_eq!(
            unmerged.fc.weight.base().into_data(),
            base.fc.weight.val().into_data()
        );

        // The forward pass: the layer in half precision, then the sum in f32.
        let x = TensorData::new(numbers(3 * 32, 99), [3, 32]);
        let x = Tensor::<2>::from_data(x, &device).cast(dtype);
        let update = wide(x.clone()).matmul(a) * 2.0;
        let sum = wide(base.fc.forward(x.clone())) + update.matmul(b);
        let found = loaded.fc.forward_adapted(x);
        assert_eq!(found.into_data(), sum.cast(dtype).into_data());

        let ids = Tensor::<2, Int>::from_data([[0, 4, 2]], &device);
        assert_eq!(loaded.table.forward_adapted(ids).dtype(), dtype);
        let image = Tensor::<4>::random([1, 2, 3, 3], Distribution::Default, &device);
        let convolved = loaded.conv.forward_adapted(image.cast(dtype));
        assert_eq!(convolved.dtype(), dtype);
    }
}

#[test]
fn an_adapter_trains_on_half_precision_as_on_f32() {
    let device = Device::flex().autodiff();
    let folder = folder();
    let mut losses = Vec::new();
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        let teacher = net(dtype, &device).load_adapter("a", &folder, &[]).unwrap();
        let settings = LoraConfig::new()
            .with_r(4)
            .with_lora_alpha(8.0)
            .with_target_modules(["fc"]);
        device.seed(4);
        let mut model = net(dtype, &device).adapt("t", settings, &[]).unwrap();
        let x = TensorData::new(numbers(64 * 32, 5), [64, 32]);
        let x = Tensor::<2>::from_data(x, &device).cast(dtype);
        let target = teacher.fc.forward_adapted(x.clone()).detach();
        let mut optim = AdamWConfig::new().with_weight_decay(0.0).init();
        let mut last = 0.0;
        for _ in 0..100 {
            let off = model.fc.forward_adapted(x.clone()) - target.clone();
            let loss = off.cast(DType::F32).square().mean();
            last = loss.clone().into_scalar::<f32>();
            let grads = GradientsParams::from_grads(loss.backward(), &model);
            model = optim.step(1e-3, model, grads);
        }
        losses.push(last);
    }
    for loss in &losses[1..] {
        let ratio = loss / losses[0];
        assert!((0.95..1.05).contains(&ratio), "{losses:?}");
    }
}
