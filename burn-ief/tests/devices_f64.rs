//! Several devices against one with the whole batch, in f64: what is left is rounding.
//!
//! With feature `ndarray` the devices are Flex and NdArray, so that rows move. Without it, they are
//! Flex several times, each with a thread of its own.
//!
//! A device takes its precision once per process, so this is a test binary of its own.

mod all;
mod double;
#[allow(dead_code)]
mod two_layers;

use std::thread::sleep;
use std::time::Duration;

use burn::module::ParamGroup;
use burn::optim::momentum::MomentumConfig;
use burn::tensor::Device;
use burn_ief::devices::Replicas;
use burn_ief::exchange::{Exchange, ExchangeForm};
use burn_ief::methods::{AnyConfig, AnyMethod};
use burn_ief::optim::NaturalRecord;
use burn_ief::prelude::*;
use burn_ief::{DeviceMoves, Error, HostReads};

use double::device;
use two_layers::{Batch, INPUTS, Net, batch, distance, weights};

/// Another device, if there is one.
fn other() -> Device {
    #[cfg(feature = "ndarray")]
    {
        use std::sync::Once;

        use burn::tensor::FloatDType;
        static PRECISION: Once = Once::new();
        #[allow(deprecated)] // deprecated upstream, still supported here
        let mut device = Device::ndarray();
        PRECISION.call_once(|| {
            let set = device.configure(FloatDType::F64);
            set.expect("before the first tensor");
        });
        device.autodiff()
    }
    #[cfg(not(feature = "ndarray"))]
    device()
}

/// Flex and the other device in turn.
fn devices(count: usize) -> Vec<Device> {
    let pair = [device(), other()];
    (0..count).map(|k| pair[k % 2].clone()).collect()
}

fn replicas(net: &Net, devices: &[Device]) -> Replicas<Net, Batch> {
    Replicas::new(net, devices, |net: &Net, part| net.loss(part)).unwrap()
}

/// A batch, cut into parts of these sizes, each on its device.
fn parts(all: &Batch, sizes: &[usize], devices: &[Device]) -> Vec<(usize, Batch)> {
    let mut at = 0;
    let parts = sizes.iter().zip(devices).map(|(&size, device)| {
        let x = all
            .0
            .clone()
            .narrow(0, at.min(all.0.dims()[0] - 1), size.max(1));
        let y = all
            .1
            .clone()
            .narrow(0, at.min(all.0.dims()[0] - 1), size.max(1));
        at += size;
        (size, (x.to_device(device), y.to_device(device)))
    });
    parts.collect()
}

/// Train on one device and on several, and compare the weights after each step.
fn same_steps(config: &AnyConfig, sizes: &[usize], exchange: &Exchange, steps: usize) {
    let samples = sizes.iter().sum();
    let devices = devices(sizes.len());
    let start = Net::new(3, &device());
    let (mut whole, mut shared) = (start.clone(), start.clone());
    let mut one = config.init(&whole);
    let mut several = config.init(&shared).with_exchange(exchange.clone());
    let mut replicas = replicas(&shared, &devices);
    for step in 0..steps {
        let all = batch(samples, step, &device());
        whole = one
            .step_closure(0.1, whole, |net| net.loss(all.clone()))
            .unwrap();
        let parts = parts(&all, sizes, &devices);
        shared = replicas
            .step(&mut several, 0.1, shared, parts)
            .unwrap_or_else(|error| panic!("{config}, {sizes:?}, {exchange:?}: {error}"));
    }
    let moved = |net: &Net| -> Vec<f64> {
        let pairs = weights(net).into_iter().zip(weights(&start));
        pairs.map(|(after, before)| after - before).collect()
    };
    let error = distance(&moved(&shared), &moved(&whole));
    println!("{config}, {sizes:?}, {}: {error:e}", exchange.form);
    assert!(
        error < 1e-12,
        "{config}, {sizes:?}, {exchange:?}: {error:e}"
    );
    assert_eq!(several.steps(), steps as u64);
}

fn forms() -> [Exchange; 2] {
    [ExchangeForm::Gather, ExchangeForm::Layers].map(|form| Exchange::new().with_form(form))
}

#[test]
fn every_method_takes_the_steps_of_one_device() {
    for config in all::all() {
        for exchange in forms() {
            same_steps(&config, &[5, 4], &exchange, 20);
        }
    }
}

#[test]
fn however_the_batch_is_cut() {
    for config in [AnyConfig::from(IefConfig::new()), SfConfig::new().into()] {
        for exchange in forms() {
            for sizes in [
                &[9][..],
                &[1, 7, 3],
                &[4, 0, 5],
                &[0, 6, 2],
                &[2, 1, 3, 1, 1, 2, 4, 3],
            ] {
                same_steps(&config, sizes, &exchange, 4);
            }
        }
    }
}

#[test]
fn with_every_option_of_a_step() {
    let base = AnyConfig::from(IefConfig::new());
    let mut options = vec![("all", base.clone())];
    let mut add = |name, change: &dyn Fn(&mut AnyConfig)| {
        let mut config = base.clone();
        change(&mut config);
        options.push((name, config));
    };
    add("no momentum in the solve", &|config| {
        config.solve_mut().unwrap().momentum = Some(0.0)
    });
    add("trust region", &|config| {
        config.solve_mut().unwrap().trust_region = Some(TrustRegion::per_sample(1e-4))
    });
    add("momentum", &|config| {
        config.step_mut().momentum = Some(MomentumConfig::new())
    });
    add("weight decay", &|config| {
        config.step_mut().weight_decay = 0.1
    });
    add("normalised", &|config| {
        config.step_mut().normalize = Some(1.0)
    });
    for group in ["first", "weight", "last.bias"] {
        add(group, &|config| {
            config.step_mut().group = Some(ParamGroup::from_predicate(group));
        });
    }
    add("filter", &|config| {
        if let AnyConfig::Ief(config) = config {
            config.cosine_filter = Some(0.9);
        }
    });
    for (name, config) in options {
        println!("{name}");
        for exchange in forms() {
            same_steps(&config, &[2, 5, 4], &exchange, 5);
        }
    }
}

#[test]
fn a_step_reads_twice_from_each_device_and_moves_what_was_planned() {
    let devices = devices(2);
    let mut net = Net::new(3, &device());
    let mut replicas = replicas(&net, &devices);
    for exchange in forms() {
        let config = IefConfig::new();
        let mut optim = config.init(&net).with_exchange(exchange.clone());
        for step in 0..2 {
            let all = batch(9, step, &device());
            let parts = parts(&all, &[5, 4], &devices);
            let (reads, moves) = (HostReads::watch(), DeviceMoves::watch());
            net = replicas.step(&mut optim, 0.1, net, parts).unwrap();
            let (reads, moves) = (reads.finish(), moves.finish());
            let distinct = if devices[0] == devices[1] { 1 } else { 2 };
            // What the outputs of each part show; then K and the image of the previous update.
            let second = match exchange.form {
                ExchangeForm::Layers => distinct,
                _ => 1,
            };
            assert_eq!(reads.len(), 2 + second, "{exchange:?}: {reads:?}");
            if distinct == 1 {
                assert!(moves.is_empty());
                continue;
            }
            // Dense rows and factors of the two layers, one number of eight bytes for each entry.
            let sent = |samples: usize, [i, o]: [usize; 2]| 8 * samples * (i + o).min(i * o + o);
            let (first, last) = ([INPUTS, 4], [4, 3]);
            let size = |[i, o]: [usize; 2]| 8 * (i * o + o);
            // The costlier layer stays on the first device.
            let bytes = match exchange.form {
                ExchangeForm::Layers => {
                    // Rows; the previous update to its layers, and the update back; all new weights.
                    let rows = sent(4, first) + sent(5, last);
                    rows + 2 * size(last) + size(first) + size(last)
                }
                _ => sent(4, first) + sent(4, last) + size(first) + size(last),
            };
            let found: usize = moves.iter().map(|moved| moved.bytes).sum();
            assert_eq!(found, bytes, "{exchange:?}: {moves:?}");
        }
    }
}

/// The optimizer and its model, after one good step.
fn trained() -> (
    Net,
    NaturalOptimizer<AnyMethod>,
    Replicas<Net, Batch>,
    Vec<Device>,
) {
    let devices = devices(2);
    let net = Net::new(3, &device());
    let mut optim = AnyConfig::from(IefConfig::new()).init(&net);
    let mut replicas = replicas(&net, &devices);
    let parts = parts(&batch(9, 0, &device()), &[5, 4], &devices);
    let net = replicas.step(&mut optim, 0.1, net, parts).unwrap();
    (net, optim, replicas, devices)
}

#[test]
fn a_sample_that_is_not_finite_is_named_and_nothing_changes() {
    let (net, mut optim, mut replicas, devices) = trained();
    let all = batch(9, 1, &device());
    let clean = parts(&all, &[5, 4], &devices);
    let mut spoilt = clean.clone();
    // Sample 5 + 2 of the batch.
    let (x, y) = spoilt[1].1.clone();
    let nan = x.clone().narrow(0, 2, 1) * f64::NAN;
    spoilt[1].1 = (x.slice_assign([2..3, 0..INPUTS], nan), y);
    let error = replicas
        .step(&mut optim, 0.1, net.clone(), spoilt)
        .unwrap_err();
    let Error::Shard { shard, source, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*shard, 1);
    let Error::NonFinite { samples, .. } = &**source else {
        panic!("{error}")
    };
    assert_eq!(samples, &[7]);
    assert!(
        error.to_string().starts_with("shard 1 of the step, on "),
        "{error}"
    );
    assert_eq!(optim.steps(), 1);
    // The next step is that of an optimizer that never saw the bad batch.
    let (fresh, mut reference, mut others, _) = trained();
    let expected = others
        .step(&mut reference, 0.1, fresh, clean.clone())
        .unwrap();
    let found = replicas.step(&mut optim, 0.1, net, clean).unwrap();
    assert_eq!(weights(&found), weights(&expected));
}

/// WGPU has no f64. In f32, two devices err no more than parts of a batch on one do; here both are one software
/// adapter, or an adapter and the processor.
#[cfg(feature = "wgpu")]
#[test]
fn two_wgpu_devices_take_the_steps_of_one_in_f32() {
    use burn::tensor::DeviceKind;
    let [first, second] =
        [DeviceKind::DefaultDevice, DeviceKind::Cpu].map(|kind| Device::wgpu(kind).autodiff());
    assert_ne!(first, second);
    let sizes = [5, 4];
    let start = Net::new(3, &first);
    let moved = |net: &Net| -> Vec<f64> {
        let pairs = weights(net).into_iter().zip(weights(&start));
        pairs.map(|(after, before)| after - before).collect()
    };
    for config in [AnyConfig::from(IefConfig::new()), SfConfig::new().into()] {
        let mut whole = start.clone();
        let mut one = config.init(&whole);
        for step in 0..5 {
            let all = batch(9, step, &first);
            whole = one.step_closure(0.1, whole, |net| net.loss(all)).unwrap();
        }
        let whole = moved(&whole);
        let error = |devices: [&Device; 2], exchange: Exchange| {
            let devices = devices.map(Device::clone);
            let mut net = start.clone();
            let mut optim = config.init(&net).with_exchange(exchange);
            let mut replicas = replicas(&net, &devices);
            let mut count = 0;
            for step in 0..5 {
                let parts = parts(&batch(9, step, &first), &sizes, &devices);
                let moves = DeviceMoves::watch();
                net = replicas.step(&mut optim, 0.1, net, parts).unwrap();
                count += moves.finish().len();
            }
            assert_eq!(count > 0, devices[0] != devices[1]);
            distance(&moved(&net), &whole)
        };
        for exchange in forms() {
            let apart = error([&first, &first], exchange.clone());
            let two = error([&first, &second], exchange.clone());
            println!(
                "{config}, {}: {two:e}, on one device {apart:e}",
                exchange.form
            );
            assert!(two <= 3.0 * apart.max(1e-5), "{config}: {two:e} {apart:e}");
        }
    }
}

/// A record says nothing of devices: training continues on another number of them, and with another exchange.
#[test]
fn a_record_continues_on_another_number_of_devices() {
    for config in all::all() {
        let start = Net::new(3, &device());
        let mut whole = start.clone();
        let mut one = config.init(&whole);
        for step in 0..6 {
            let all = batch(9, step, &device());
            whole = one.step_closure(0.1, whole, |net| net.loss(all)).unwrap();
        }
        let mut net = start.clone();
        let mut record: Option<Vec<u8>> = None;
        let [gather, layers] = forms();
        for (sizes, exchange, steps) in [
            (&[5, 4][..], gather, 0..2),
            (&[2, 4, 3], layers.clone(), 2..4),
            (&[9], layers, 4..6),
        ] {
            let mut optim = config.init(&net).with_exchange(exchange);
            if let Some(bytes) = record {
                optim = optim
                    .load_record(NaturalRecord::from_bytes(&bytes).unwrap())
                    .unwrap();
            }
            let devices = devices(sizes.len());
            let mut replicas = replicas(&net, &devices);
            for step in steps {
                let all = batch(9, step, &device());
                let parts = parts(&all, sizes, &devices);
                net = replicas.step(&mut optim, 0.1, net, parts).unwrap();
            }
            record = Some(optim.to_record().into_bytes().unwrap());
        }
        let moved = |net: &Net| -> Vec<f64> {
            let pairs = weights(net).into_iter().zip(weights(&start));
            pairs.map(|(after, before)| after - before).collect()
        };
        let error = distance(&moved(&net), &moved(&whole));
        assert!(error < 1e-12, "{config}: {error:e}");
    }
}

#[test]
fn wrong_parts_and_models_are_refused() {
    let (net, mut optim, mut replicas, devices) = trained();
    let all = batch(9, 1, &device());
    let good = parts(&all, &[5, 4], &devices);

    let mut many = good.clone();
    many.push(good[0].clone());
    let error = replicas.each(&optim, many).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Size {
                expected: 2,
                found: 3,
                ..
            }
        ),
        "{error}"
    );

    let empty = vec![(0, good[0].1.clone()), (0, good[1].1.clone())];
    assert_eq!(replicas.each(&optim, empty).unwrap_err(), Error::EmptyBatch);

    let mut wrong = good.clone();
    wrong[1].0 = 3;
    let error = replicas.each(&optim, wrong).unwrap_err().to_string();
    assert!(
        error.contains("samples of a part of the batch: expected 3, found 4"),
        "{error}"
    );

    let error = replicas.update(&Net::new(2, &device())).unwrap_err();
    assert!(matches!(error, Error::ForeignState { .. }), "{error}");

    let stale = replicas.each(&optim, good.clone()).unwrap();
    let net = replicas.step(&mut optim, 0.1, net, good).unwrap();
    let error = optim.step_shards(0.1, net.clone(), stale).unwrap_err();
    assert_eq!(
        error,
        Error::StaleShard {
            step: 2,
            measured: 1
        }
    );

    let error = optim.step_shards(0.1, net.clone(), Vec::new()).unwrap_err();
    assert!(matches!(error, Error::Size { .. }), "{error}");
    let none = Replicas::new(&net, &[], |net: &Net, part: Batch| net.loss(part));
    assert!(matches!(
        none.err(),
        Some(Error::Config {
            field: "devices",
            ..
        })
    ));
}

#[test]
fn a_device_that_hangs_or_panics_ends_the_step() {
    let devices = devices(2);
    let net = Net::new(3, &device());
    let mut optim = AnyConfig::from(IefConfig::new()).init(&net);
    type Part = (Batch, &'static str);
    let mut replicas = Replicas::new(&net, &devices, |net: &Net, (part, what): Part| {
        match what {
            "hang" => sleep(Duration::from_secs(5)),
            "panic" => panic!("out of memory, say"),
            _ => {}
        }
        net.loss(part)
    })
    .unwrap();
    let all = batch(9, 1, &device());
    let parts = |what: [&'static str; 2]| {
        let parts = parts(&all, &[5, 4], &devices).into_iter().zip(what);
        parts
            .map(|((samples, part), what)| (samples, (part, what)))
            .collect::<Vec<_>>()
    };
    let net = replicas
        .step(&mut optim, 0.1, net, parts(["", ""]))
        .unwrap();
    let error = replicas
        .step(&mut optim, 0.1, net.clone(), parts(["", "panic"]))
        .unwrap_err();
    assert!(
        error.to_string().contains("failed: out of memory, say"),
        "{error}"
    );
    let net = replicas
        .step(&mut optim, 0.1, net, parts(["", ""]))
        .unwrap();
    // Not before: to print the backtrace of a panic may take longer.
    let exchange = Exchange::new().with_deadline(Some(Duration::from_millis(500)));
    let mut optim = optim.with_exchange(exchange);
    let error = replicas
        .step(&mut optim, 0.1, net, parts(["hang", ""]))
        .unwrap_err();
    let Error::Shard {
        shard: 0, source, ..
    } = error
    else {
        panic!("{error}")
    };
    assert!(
        matches!(*source, Error::Deadline { seconds: 0.5, .. }),
        "{source}"
    );
    assert_eq!(optim.steps(), 2);
}
