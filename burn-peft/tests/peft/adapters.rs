//! Adapters on the weights of a model whose struct does not know of them.

use burn::module::{Lora, Module, ModuleMapper, Param, ParamGroup};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::activation::gelu;
use burn::tensor::quantization::{Calibration, QuantValue};
use burn::tensor::{DType, Device, Distribution, Int, Tensor};
use burn_ief::jacobian::{Jacobian, RecordedBatch};
use burn_ief::nn::ForwardRecorded;
use burn_ief::{Tape, mark_output};
use burn_peft::{Error, ForwardAdapted, InitLoraWeights, LoraAdapters, LoraConfig, Peft};

/// Every kind of layer that can carry an adapter.
#[derive(Module, Debug)]
struct Net {
    table: Embedding,
    conv: Conv2d,
    first: Linear,
    head: Linear,
}

impl Net {
    fn plain(device: &Device) -> Self {
        Self {
            table: EmbeddingConfig::new(9, 6).init(device),
            conv: Conv2dConfig::new([1, 3], [2, 2]).init(device),
            first: LinearConfig::new(3 * 3 * 5, 8).init(device),
            head: LinearConfig::new(8, 3).init(device),
        }
    }

    /// Adapters on everything but the head, which trains.
    fn adapted(self, name: &str, config: &LoraConfig) -> Self {
        let plain = config
            .clone()
            .with_init_lora_weights(InitLoraWeights::Kaiming);
        let net = Self {
            table: plain.embedding(name, self.table).unwrap(),
            conv: plain.conv2d(name, self.conv).unwrap(),
            first: config.linear(name, self.first).unwrap(),
            head: self.head,
        };
        net.map(&mut Shake(name.into(), Vec::new()))
    }

    /// `[M, 4]` ids to `[M, 3]` logits.
    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        let x = self.table.forward_adapted(ids).unsqueeze_dim::<4>(1);
        let x = gelu(self.conv.forward_adapted(x));
        let x = x.flatten::<2>(1, 3);
        self.head
            .forward_adapted(gelu(self.first.forward_adapted(x)))
    }
}

/// Moves the factors of one adapter, so that B is not zero.
struct Shake(String, Vec<String>);

impl ModuleMapper for Shake {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.1.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.1.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !self.1.contains(&self.0) {
            return param;
        }
        let active = param.is_require_grad();
        param.map(|value| {
            let noise = value.random_like(Distribution::Normal(0.0, 0.2));
            (value + noise).detach().set_require_grad(active)
        })
    }
}

/// Adds a half to all parameters.
struct Lift;

impl ModuleMapper for Lift {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| (value + 0.5).detach())
    }
}

fn batch(device: &Device) -> (Tensor<2, Int>, Tensor<1, Int>) {
    let ids = [
        [0, 1, 2, 3],
        [8, 8, 1, 0],
        [5, 4, 4, 7],
        [6, 2, 3, 3],
        [1, 0, 5, 6],
    ];
    let labels = Tensor::from_data([0, 2, 1, 1, 0], device);
    (Tensor::from_data(ids, device), labels)
}

fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    CrossEntropyLossConfig::new()
        .init(&logits.device())
        .forward(logits, labels)
}

fn largest<const D: usize>(x: Tensor<D>) -> f64 {
    x.abs().max().into_scalar::<f32>() as f64
}

fn small() -> LoraConfig {
    LoraConfig::new().with_r(2)
}

/// Recorded rows against one backward pass per sample outside a recording.
fn compare(net: &Net, columns: usize, device: &Device) {
    let (ids, labels) = batch(device);
    let tape = Tape::start();
    let loss = cross_entropy(mark_output(net.forward(ids.clone())), labels.clone());
    let recorded = RecordedBatch::collect(tape, loss.backward(), net, None).unwrap();
    let jacobian = recorded.jacobian();
    let oracle = Jacobian::by_sample(net, 5, |net, n| {
        let logits = net.forward(ids.clone().narrow(0, n, 1));
        cross_entropy(logits, labels.clone().narrow(0, n, 1))
    })
    .unwrap();
    assert_eq!(jacobian.columns(), columns);
    assert_eq!(jacobian.columns(), oracle.columns());
    let longest = oracle.row_norms().into_iter().fold(0.0, f64::max);
    for (row, expected) in jacobian.to_dense().iter().zip(oracle.to_dense()) {
        let squares = row.iter().zip(&expected).map(|(a, b)| (a - b).powi(2));
        let difference = squares.sum::<f64>().sqrt() / longest;
        // Rounding of f32.
        assert!(difference < 1e-5, "{difference}");
    }
}

/// Factors of rank 2 and the head.
const COLUMNS: usize = (9 + 6) * 2 + (4 + 3) * 2 + (45 + 8) * 2 + 8 * 3 + 3;

#[test]
fn rows_match_one_backward_per_sample() {
    let device = Device::flex().autodiff();
    device.seed(1);
    let net = Net::plain(&device).adapted("default", &small());
    compare(&net, COLUMNS, &device);
    let device = Device::flex().autodiff().gradient_checkpointing();
    let net = Net::plain(&device).adapted("default", &small());
    compare(&net, COLUMNS, &device);
}

#[test]
fn rows_match_with_dora_and_rslora() {
    let device = Device::flex().autodiff();
    device.seed(2);
    let config = small().with_use_dora(true).with_use_rslora(true);
    let net = Net::plain(&device).adapted("default", &config);
    // Magnitudes of the table, the convolution and the linear layer.
    let columns = COLUMNS + 6 + 3 + 8;
    compare(&net, columns, &device);
    let device = Device::flex().autodiff().gradient_checkpointing();
    let net = Net::plain(&device).adapted("default", &config);
    compare(&net, columns, &device);
}

#[test]
fn rows_match_with_two_active_adapters() {
    let device = Device::flex().autodiff();
    device.seed(3);
    let net = Net::plain(&device)
        .adapted("one", &small())
        .adapted("two", &small().with_r(3))
        .with_active_adapters(&[("one", 0.3), ("two", -0.7)])
        .unwrap();
    let factors = COLUMNS - (8 * 3 + 3);
    compare(&net, COLUMNS + factors / 2 * 3, &device);
}

#[test]
fn the_layers_own_forward_composes_the_same_weight() {
    let device = Device::flex().autodiff();
    device.seed(4);
    for config in [small(), small().with_use_dora(true)] {
        let net = Net::plain(&device).adapted("default", &config);
        let (ids, _) = batch(&device);
        let table = net.table.forward(ids.clone()) - net.table.forward_adapted(ids);
        assert!(largest(table) < 1e-5);
        let x = Tensor::<4>::random([2, 1, 4, 6], Distribution::Default, &device);
        let conv = net.conv.forward(x.clone()) - net.conv.forward_adapted(x);
        assert!(largest(conv) < 1e-5);
        let x = Tensor::<2>::random([7, 45], Distribution::Default, &device);
        let first = net.first.forward(x.clone()) - net.first.forward_adapted(x);
        assert!(largest(first) < 1e-5);
    }
}

#[test]
fn merging_and_unmerging_keep_the_output_and_the_weights() {
    let device = Device::flex().autodiff();
    device.seed(5);
    for config in [small(), small().with_use_dora(true)] {
        let plain = Net::plain(&device);
        let (ids, _) = batch(&device);
        let base = plain.forward(ids.clone());
        let net = plain
            .adapted("one", &config)
            .adapted("two", &config)
            .with_active_adapters(&[("one", 1.0), ("two", 0.5)])
            .unwrap();
        let adapted = net.forward(ids.clone());
        assert!(largest(adapted.clone() - base.clone()) > 1e-2);

        let merged = net.clone().merge_adapters().unwrap();
        assert!(LoraAdapters::of(&merged.first.weight).unwrap().is_merged());
        assert!(largest(merged.forward(ids.clone()) - adapted.clone()) < 1e-5);
        // Merging twice changes nothing.
        let again = merged.clone().merge_adapters().unwrap();
        assert!(largest(again.forward(ids.clone()) - adapted.clone()) < 1e-5);

        let unmerged = merged.clone().unmerge_adapters();
        assert!(largest(unmerged.forward(ids.clone()) - adapted.clone()) < 1e-5);
        // Exactly, whatever DoRA's ratios are.
        let off = unmerged.first.weight.base() - net.first.weight.base();
        assert_eq!(largest(off), 0.0);
        // What has been added to a merged weight stays.
        let lifted = merged.clone().map(&mut Lift).unmerge_adapters();
        let lift = lifted.first.weight.base() - net.first.weight.base();
        assert!(largest(lift - 0.5) < 1e-6);

        let whole = merged.merge_and_unload().unwrap();
        assert!(whole.adapter_names().is_empty());
        assert!(LoraAdapters::of(&whole.first.weight).is_none());
        assert!(largest(whole.forward(ids.clone()) - adapted.clone()) < 1e-5);
        let first = &whole.first.weight;
        assert!(!first.is_require_grad() && whole.head.weight.is_require_grad());

        let unloaded = net.unload();
        assert!(LoraAdapters::of(&unloaded.conv.weight).is_none());
        assert!(largest(unloaded.forward(ids) - base) < 1e-6);
    }
}

#[test]
fn a_merge_that_leaves_the_range_of_the_weight_is_refused() {
    let device = Device::flex().autodiff();
    device.seed(7);
    let layer = LinearConfig::new(3, 2).init(&device);
    let layer = Linear {
        weight: layer.weight.map(|w| w.cast(DType::F16).detach()),
        ..layer
    };
    let config = LoraConfig::new().with_r(2).with_lora_alpha(1e6);
    // B is 0 at first.
    let layer = config.linear("one", layer).unwrap().map(&mut Lift);
    // f16 ends at 65,504.
    let error = layer.merge_adapters().unwrap_err();
    let Error::Merge {
        parameter, problem, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(parameter, "weight");
    assert!(problem.contains("range of F16"), "{problem}");
}

#[test]
fn adapters_switch_mix_and_leave() {
    let device = Device::flex().autodiff();
    device.seed(6);
    let plain = Net::plain(&device);
    let x = Tensor::<2>::random([7, 45], Distribution::Default, &device);
    let base = plain.first.forward(x.clone());
    let net = plain.adapted("one", &small()).adapted("two", &small());
    assert_eq!(net.adapter_names(), ["one", "two"]);
    let update = |net: &Net| net.first.forward_adapted(x.clone()) - base.clone();
    let only = |name| net.clone().with_active_adapters(&[(name, 1.0)]).unwrap();
    let (one, two) = (update(&only("one")), update(&only("two")));
    assert!(largest(one.clone()) > 1e-2);
    // The one that came last is active, and it alone trains.
    let factors = LoraAdapters::of(&net.first.weight).unwrap();
    let trains = ["one", "two"].map(|name| factors.get(name).unwrap().a.is_require_grad());
    assert_eq!(trains, [false, true]);
    assert!(largest(update(&net) - two.clone()) < 1e-6);

    let mixed = [("one", 0.25), ("two", 2.0)];
    let mixed = net.clone().with_active_adapters(&mixed).unwrap();
    assert!(largest(update(&mixed) - (one.clone() * 0.25 + two * 2.0)) < 1e-5);

    let off = mixed.with_adapters_enabled(false);
    assert!(largest(update(&off)) < 1e-6);
    let on = off.with_adapters_enabled(true);
    assert!(largest(update(&on)) > 1e-2);

    let left = on.without_adapter("two").unwrap();
    assert_eq!(left.adapter_names(), ["one"]);
    assert!(largest(update(&left) - one * 0.25) < 1e-5);
    let none = left.without_adapter("one").unwrap();
    assert!(none.adapter_names().is_empty());
    assert!(largest(update(&none)) < 1e-6);

    let unknown = none.with_active_adapters(&[("three", 1.0)]).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "there is no adapter `three`; the model has none"
    );
    let unknown = net.without_adapter("three").unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "there is no adapter `three`; the model has `one`, `two`"
    );
}

#[test]
fn records_keep_the_adapters_by_name() {
    let device = Device::flex().autodiff();
    device.seed(7);
    let net = Net::plain(&device).adapted("mine", &small());
    let other = Net::plain(&device).adapted("mine", &small());
    let (ids, _) = batch(&device);
    let loaded = other.load_record(net.clone().into_record());
    assert!(largest(loaded.forward(ids.clone()) - net.forward(ids.clone())) < 1e-6);

    let valid = net.valid();
    assert_eq!(valid.adapter_names(), ["mine"]);
    let trained = valid.clone().train();
    assert!(!trained.first.weight.is_require_grad());
    let adapters = LoraAdapters::of(&trained.first.weight).unwrap();
    assert!(adapters.get("mine").unwrap().a.is_require_grad());
    let difference = trained.forward(ids.clone()).inner() - valid.forward(ids.inner());
    assert!(largest(difference) < 1e-6);
}

#[test]
fn every_initialisation_but_the_random_one_keeps_the_output() {
    let device = Device::flex().autodiff();
    device.seed(8);
    let x = Tensor::<2>::random([7, 12], Distribution::Normal(0.0, 1.0), &device);
    for dora in [false, true] {
        for init in [
            InitLoraWeights::Kaiming,
            InitLoraWeights::Gaussian,
            InitLoraWeights::Random,
            InitLoraWeights::Pissa,
            InitLoraWeights::Olora,
            InitLoraWeights::Orthogonal,
        ] {
            let layer = LinearConfig::new(12, 10).init(&device);
            let before = layer.forward(x.clone());
            let config = LoraConfig::new().with_r(4).with_lora_alpha(6.0);
            let config = config
                .with_init_lora_weights(init.clone())
                .with_use_dora(dora);
            let layer = config.linear("default", layer).unwrap();
            let change = largest(layer.forward_adapted(x.clone()) - before);
            match init {
                InitLoraWeights::Random => assert!(change > 1e-2, "{change}"),
                _ => assert!(change < 2e-5, "{init}: {change}"),
            }
            let adapter = LoraAdapters::of(&layer.weight)
                .unwrap()
                .get("default")
                .unwrap();
            assert!(largest(adapter.a.val()) > 1e-3, "{init}");
        }
    }
}

#[test]
fn pissa_takes_the_principal_part_and_olora_an_orthogonal_one() {
    let device = Device::flex().autodiff();
    device.seed(9);
    let layer = || LinearConfig::new(6, 5).init(&device);
    let adapted = |init, layer| {
        let config = LoraConfig::new().with_r(5).with_lora_alpha(5.0);
        config
            .with_init_lora_weights(init)
            .linear("default", layer)
            .unwrap()
    };
    // With the full rank nothing of the weight is left.
    for init in [InitLoraWeights::Pissa, InitLoraWeights::Olora] {
        let all = adapted(init.clone(), layer());
        assert!(largest(all.weight.base()) < 1e-5, "{init}");
    }
    let all = adapted(InitLoraWeights::Olora, layer());
    let b = LoraAdapters::of(&all.weight)
        .unwrap()
        .get("default")
        .unwrap();
    let b = b.b.val();
    let gram = b.clone().matmul(b.transpose());
    assert!(largest(gram - Tensor::<2>::eye(5, &device)) < 1e-5);
}

#[test]
fn a_quantised_base_trains_its_adapter() {
    let device = Device::flex().autodiff();
    device.seed(10);
    let settings = device.settings().quantization.scheme;
    let scheme = settings.with_value(QuantValue::Q8S);
    let mut quantizer = burn::module::Quantizer::new(Calibration::MinMax, scheme);
    let layer = LinearConfig::new(32, 32).with_bias(false).init(&device);
    let packed = layer.clone().no_grad().quantize_weights(&mut quantizer);
    assert!(!packed.weight.base().dtype().is_float());

    for config in [small(), small().with_use_dora(true)] {
        let layer = config.linear("default", packed.clone()).unwrap();
        let x = Tensor::<2>::random([5, 32], Distribution::Default, &device);
        let close = layer.forward_adapted(x.clone()) - packed.forward(x.clone());
        assert!(largest(close) < 1e-2);
        let layer = layer.map(&mut Shake("default".into(), Vec::new()));
        let tape = Tape::start();
        let y = layer.forward_adapted(x.clone());
        let grads = y.sum_dim(1).mean().backward();
        let jacobian = Jacobian::from_tape(tape, grads, &layer).unwrap();
        let oracle = Jacobian::by_sample(&layer, 5, |layer, n| {
            layer.forward_adapted(x.clone().narrow(0, n, 1)).sum()
        })
        .unwrap();
        for (row, expected) in jacobian.to_dense().iter().zip(oracle.to_dense()) {
            for (a, b) in row.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-3, "{a} {b}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let device = Device::flex().autodiff();
    let refused = |error: Error, expected: &str| {
        let Error::Config { field, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(field, expected);
    };
    let linear = || LinearConfig::new(4, 6).init(&device);
    let pissa = LoraConfig::new().with_init_lora_weights(InitLoraWeights::Pissa);
    refused(pissa.linear("a", linear()).unwrap_err(), "r");
    refused(
        pissa.adapter(&linear().weight).unwrap_err(),
        "init_lora_weights",
    );
    let odd = LoraConfig::new().with_r(3);
    let odd = odd.with_init_lora_weights(InitLoraWeights::Orthogonal);
    refused(odd.linear("a", linear()).unwrap_err(), "r");
    let table = EmbeddingConfig::new(9, 6).init(&device);
    refused(
        pissa.embedding("a", table).unwrap_err(),
        "init_lora_weights",
    );
    let grouped = Conv2dConfig::new([2, 2], [1, 1]).with_groups(2);
    refused(
        small().conv2d("a", grouped.init(&device)).unwrap_err(),
        "groups",
    );
}

#[test]
fn the_report_counts_without_giving_values() {
    let device = Device::flex().autodiff();
    let net = Net::plain(&device);
    let text = net.trainable().to_string();
    let all = 9 * 6 + (4 * 3 + 3) + (45 * 8 + 8) + (8 * 3 + 3);
    assert_eq!(
        text,
        format!("trainable params: {all} || all params: {all} || trainable%: 100.0000")
    );
    assert!(!net.first.weight.is_initialized());
}

#[test]
fn burns_own_adapters_come_and_go() {
    let device = Device::flex().autodiff();
    device.seed(11);
    let lora = Lora::new(2, 6.0).set_param_group(ParamGroup::from_path("first.weight"));
    let net = Net::plain(&device).apply_lora(lora);
    let shaken = net.map(&mut Shake("lora".into(), Vec::new()));
    let (ids, _) = batch(&device);
    let expected = shaken.forward(ids.clone());
    let adapter = shaken.first.weight.adapter().unwrap().clone();

    let config = small().with_lora_alpha(6.0);
    let ours = shaken.clone().adopt_burn_lora("mine", &config).unwrap();
    assert_eq!(ours.adapter_names(), ["mine"]);
    assert!(ours.first.weight.adapter().is_none());
    assert!(largest(ours.forward(ids.clone()) - expected.clone()) < 1e-5);
    let a = &LoraAdapters::of(&ours.first.weight)
        .unwrap()
        .get("mine")
        .unwrap()
        .a;
    assert_eq!(a.id, adapter.a.id);
    assert!(a.is_require_grad() && !ours.first.weight.is_require_grad());

    let burns = ours.into_burn_lora().unwrap();
    assert!(LoraAdapters::of(&burns.first.weight).is_none());
    let again = burns.first.weight.adapter().unwrap();
    assert_eq!((again.a.id, again.scale), (adapter.a.id, 3.0));
    assert!(largest(burns.forward(ids) - expected) < 1e-5);

    // Burn's own adapters have no room for others.
    let first = small().with_target_modules(["first"]);
    let error = shaken.clone().adapt("mine", &first, &[]).unwrap_err();
    assert!(
        error.to_string().contains("`lora` on `first.weight`"),
        "{error}"
    );
    let head = small().with_target_modules(["head"]);
    assert!(shaken.clone().adapt("mine", &head, &[]).is_ok());

    let rank = shaken.adopt_burn_lora("mine", &small().with_r(3));
    assert!(matches!(rank, Err(Error::Config { field: "r", .. })));
    let dora = small().with_use_dora(true);
    let dora = Net::plain(&device).adapted("mine", &dora).into_burn_lora();
    assert!(matches!(
        dora,
        Err(Error::Config {
            field: "adapters",
            ..
        })
    ));
}

#[test]
fn a_call_that_misses_the_adapter_is_an_error_in_a_recording() {
    let device = Device::flex().autodiff();
    device.seed(12);
    let net = Net::plain(&device).adapted("default", &small());
    let (ids, _) = batch(&device);
    let x = Tensor::<2>::random([5, 45], Distribution::Default, &device);
    let image = Tensor::<4>::random([5, 1, 4, 6], Distribution::Default, &device);
    let unrecorded = |call: &dyn Fn() -> Tensor<1>, expected: &str| {
        let tape = Tape::start();
        // The head is recorded, as in a model where one call was forgotten.
        let head = net
            .head
            .forward_recorded(Tensor::<2>::ones([5, 8], &device));
        let head = head.sum_dim(1).squeeze_dim::<1>(1);
        let grads = (call() + head).mean().backward();
        let error = Jacobian::from_tape(tape, grads, &net).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    let rows = |x: Tensor<2>| x.sum_dim(1).squeeze_dim::<1>(1);
    unrecorded(
        &|| rows(net.first.forward_recorded(x.clone())),
        "first.weight.peft.default",
    );
    let table = || rows(net.table.forward_recorded(ids.clone()).flatten(1, 2));
    unrecorded(&table, "table.weight.peft.default");
    let conv = || rows(net.conv.forward_recorded(image.clone()).flatten(1, 3));
    unrecorded(&conv, "conv.weight.peft.default");
}

#[test]
fn a_merged_model_is_unmerged_before_its_adapters_change() {
    let device = Device::flex().autodiff();
    device.seed(13);
    let net = Net::plain(&device);
    let (ids, _) = batch(&device);
    let base = net.forward(ids.clone());
    let net = net.adapted("one", &small()).adapted("two", &small());
    let out = |net: &Net| net.forward(ids.clone());
    let only = |net: Net, name| net.with_active_adapters(&[(name, 1.0)]).unwrap();
    let (one, two) = (only(net.clone(), "one"), only(net.clone(), "two"));
    assert!(largest(out(&one) - out(&two)) > 1e-3);

    let merged = one.clone().merge_adapters().unwrap();
    let switched = only(merged.clone(), "two");
    assert!(largest(out(&switched) - out(&two)) < 1e-5);
    // As in PEFT, the other one takes over.
    let removed = merged.clone().without_adapter("one").unwrap();
    assert!(largest(out(&removed) - out(&two)) < 1e-5);
    let off = merged.clone().with_adapters_enabled(false);
    assert!(largest(out(&off) - base.clone()) < 1e-5);
    assert!(largest(out(&off.with_adapters_enabled(true)) - out(&one)) < 1e-5);
    // A new adapter starts from the base weights, by layer as by model.
    let config = small();
    let started = Net {
        table: config.embedding("new", merged.table.clone()).unwrap(),
        conv: config.conv2d("new", merged.conv.clone()).unwrap(),
        first: config.linear("new", merged.first.clone()).unwrap(),
        head: merged.head.clone(),
    };
    assert!(largest(out(&started) - base) < 1e-5);
    // What undoes the merge moves with the model.
    let forked = merged.fork(&device.clone().inner()).unmerge_adapters();
    assert!(largest(out(&forked) - out(&one)) < 1e-5);
}

#[test]
fn a_field_may_be_named_like_the_slot() {
    #[derive(Module, Debug)]
    struct Outer {
        weight: Inner,
    }
    #[derive(Module, Debug)]
    struct Inner {
        peft: Linear,
        lora: Linear,
    }
    let device = Device::flex().autodiff();
    let linear = || LinearConfig::new(3, 3).init(&device);
    let (peft, lora) = (linear(), linear());
    let net = Outer {
        weight: Inner { peft, lora },
    };
    let settings = LoraConfig::new().with_r(1).with_target_modules(["peft"]);
    let net = net.adapt("default", &settings, &[]).unwrap();
    assert_eq!(net.adapter_names(), ["default"]);
    // A and B of rank 1; the layers themselves are frozen.
    assert_eq!(net.trainable().trainable, 3 + 3);
    let folder = net.save_adapter("default", &settings, &[]).unwrap();
    let keys: Vec<&str> = folder.tensors.keys().map(String::as_str).collect();
    let module = "base_model.model.weight.peft";
    let expected = ["lora_A", "lora_B"].map(|part| format!("{module}.{part}.weight"));
    assert_eq!(keys, expected);
}

#[test]
fn a_grouped_convolution_never_computes_something_else() {
    let device = Device::flex().autodiff();
    device.seed(14);
    // A walk over a model does not see groups.
    let config = Conv2dConfig::new([4, 4], [2, 2]).with_groups(2);
    let settings = LoraConfig::new().with_r(2).with_target_modules(["conv"]);
    #[derive(Module, Debug)]
    struct Grouped {
        conv: Conv2d,
        head: Linear,
    }
    let net = Grouped {
        conv: config.init(&device),
        head: LinearConfig::new(2, 1).init(&device),
    };
    let settings = settings.with_modules_to_save(["head"]);
    let net = net.adapt("default", &settings, &[]).unwrap();
    let net = net.map(&mut Shake("default".into(), Vec::new()));
    let x = Tensor::<4>::random([5, 4, 3, 3], Distribution::Default, &device);
    let adapted = net.conv.forward_adapted(x.clone());
    assert!(largest(adapted - net.conv.forward(x.clone())) < 1e-6);
    let tape = Tape::start();
    let y = net.conv.forward_adapted(x).flatten::<2>(1, 3).sum_dim(1);
    let head = net
        .head
        .forward_recorded(Tensor::<2>::ones([5, 2], &device));
    let grads = (y + head).mean().backward();
    let error = Jacobian::from_tape(tape, grads, &net).unwrap_err();
    assert!(
        error.to_string().contains("conv.weight.peft.default"),
        "{error}"
    );
}
