//! The exact step over worker processes on this machine, in f64: equality, bytes, round trips, failures.

#[allow(dead_code)]
#[path = "../../../burn-ief/tests/double/mod.rs"]
mod double;
#[allow(dead_code)]
#[path = "../../../burn-ief/tests/two_layers/mod.rs"]
mod two_layers;
mod workers;

use std::panic::AssertUnwindSafe;
use std::process::Command;
use std::time::{Duration, Instant};

use burn::remote::RemoteHost;
use burn::tensor::Device;
use burn_ief::devices::Replicas;
use burn_ief::exchange::{Exchange, ExchangeForm, RowPrecision};
use burn_ief::methods::AnyConfig;
use burn_ief::optim::NaturalRecord;
use burn_ief::prelude::*;
use burn_ief::{DeviceMoves, Error};

use double::device;
use programs::proxy::Proxy;
use two_layers::{Batch, Net, batch, distance, weights};
use workers::{Worker, remote};

fn replicas(net: &Net, devices: &[Device]) -> Replicas<Net, Batch> {
    Replicas::new(net, devices, |net: &Net, part| net.loss(part)).unwrap()
}

fn parts(all: &Batch, sizes: &[usize], devices: &[Device]) -> Vec<(usize, Batch)> {
    let mut at = 0;
    let parts = sizes.iter().zip(devices).map(|(&size, device)| {
        let (x, y) = (
            all.0.clone().narrow(0, at, size),
            all.1.clone().narrow(0, at, size),
        );
        at += size;
        (size, (x.to_device(device), y.to_device(device)))
    });
    parts.collect()
}

/// How far the weights are from those of one device, relative to what training moved.
fn error(config: &AnyConfig, devices: &[Device], sizes: &[usize], exchange: &Exchange) -> f64 {
    let start = Net::new(3, &device());
    let (mut whole, mut shared) = (start.clone(), start.clone());
    let mut one = config.init(&whole);
    let mut several = config.init(&shared).with_exchange(exchange.clone());
    let mut replicas = replicas(&shared, devices);
    for step in 0..20 {
        let all = batch(sizes.iter().sum(), step, &device());
        let parts = parts(&all, sizes, devices);
        whole = one.step_closure(0.1, whole, |net| net.loss(all)).unwrap();
        shared = replicas.step(&mut several, 0.1, shared, parts).unwrap();
    }
    let moved = |net: &Net| -> Vec<f64> {
        let pairs = weights(net).into_iter().zip(weights(&start));
        pairs.map(|(after, before)| after - before).collect()
    };
    distance(&moved(&shared), &moved(&whole))
}

#[test]
fn two_and_three_workers_take_the_steps_of_one_device() {
    let workers = [(); 3].map(|()| Worker::start());
    let remotes: Vec<Device> = workers.iter().map(|worker| remote(&worker.url)).collect();
    let mixed = [device(), remotes[0].clone()];
    for name in ["ief", "sf", "ef", "iekfac"] {
        let config: AnyConfig = name.parse().unwrap();
        for form in [ExchangeForm::Gather, ExchangeForm::Layers] {
            let exchange = Exchange::new().with_form(form);
            for (devices, sizes) in [
                (&mixed[..], &[5, 4][..]),
                (&remotes[..2], &[5, 4]),
                (&remotes[..], &[2, 5, 3]),
            ] {
                let error = error(&config, devices, sizes, &exchange);
                println!("{name}, {form}, {} devices: {error:e}", devices.len());
                assert!(error < 1e-9, "{name}, {form}, {devices:?}: {error:e}");
            }
        }
    }
    // Rows in half precision are rounded, and no more than that.
    let half = Exchange::new()
        .with_form(ExchangeForm::Layers)
        .with_rows(RowPrecision::Half);
    let error = error(
        &AnyConfig::from(IefConfig::new()),
        &remotes[..2],
        &[5, 4],
        &half,
    );
    println!("half: {error:e}");
    assert!((1e-9..5e-2).contains(&error), "{error:e}");
}

#[test]
fn workers_send_each_other_what_was_planned() {
    let workers = [(); 2].map(|()| Worker::start());
    let proxies = workers
        .each_ref()
        .map(|worker| Proxy::start(&worker.url).unwrap());
    let devices = proxies.each_ref().map(|proxy| remote(proxy.url()));
    // Layers that are large next to the overhead of a message.
    let mut net = wide::Net::new(&device());
    let loss = |net: &wide::Net, part: Batch| net.loss(part);
    let mut replicas = Replicas::new(&net, &devices, loss).unwrap();
    let exchange = Exchange::new().with_form(ExchangeForm::Layers);
    let mut optim = IefConfig::new().init(&net).with_exchange(exchange);
    let mut steps = Vec::new();
    for step in 0..4 {
        let parts = wide::parts(step, &[24, 40], &devices);
        let before: u64 = proxies.iter().map(Proxy::bytes_between_servers).sum();
        let moves = DeviceMoves::watch();
        net = replicas.step(&mut optim, 0.1, net, parts).unwrap();
        let moves = moves.finish();
        for device in &devices {
            device.sync().unwrap();
        }
        let after: u64 = proxies.iter().map(Proxy::bytes_between_servers).sum();
        let remote = |device: &Device| devices.iter().any(|known| known == device);
        let between = moves
            .iter()
            .filter(|moved| remote(&moved.from) && remote(&moved.to));
        let planned: usize = between.map(|moved| moved.bytes).sum();
        steps.push((after - before, planned as u64));
    }
    println!("bytes between workers, found and planned: {steps:?}");
    for (found, planned) in &steps[1..] {
        assert!(*planned > 100_000);
        assert!(found * 100 <= planned * 105, "{found} {planned}");
        assert!(found * 100 >= planned * 95, "{found} {planned}");
    }
}

#[test]
fn a_step_waits_at_most_twice_for_each_device() {
    const DELAY: Duration = Duration::from_millis(40);
    let workers = [(); 2].map(|()| Worker::start());
    let time = |delay: Duration| {
        let proxies = workers
            .each_ref()
            .map(|worker| Proxy::start(&worker.url).unwrap());
        proxies.iter().for_each(|proxy| proxy.set_delay(delay));
        let devices = proxies.each_ref().map(|proxy| remote(proxy.url()));
        let mut net = Net::new(3, &devices[0]);
        let mut replicas = replicas(&net, &devices);
        let exchange = Exchange::new().with_form(ExchangeForm::Layers);
        let mut optim = IefConfig::new().init(&net).with_exchange(exchange);
        let mut fastest = Duration::MAX;
        for step in 0..8 {
            let parts = parts(&batch(9, step, &device()), &[5, 4], &devices);
            for device in &devices {
                device.sync().unwrap();
            }
            let start = Instant::now();
            net = replicas.step(&mut optim, 0.1, net, parts).unwrap();
            fastest = fastest.min(start.elapsed());
        }
        fastest
    };
    let (near, far) = (time(Duration::ZERO), time(DELAY));
    // A round trip takes the delay twice.
    let trips = (far.saturating_sub(near)).as_secs_f64() / (2.0 * DELAY.as_secs_f64());
    println!("{near:?} {far:?}: {trips:.2} round trips");
    assert!(trips < 2.5, "{trips}");
}

#[test]
fn a_worker_that_is_killed_ends_the_step_and_nothing_else() {
    let mut workers = [(); 2].map(|()| Worker::start());
    let devices = [device(), remote(&workers[0].url), remote(&workers[1].url)];
    let mut net = Net::new(3, &devices[0]);
    let mut team = replicas(&net, &devices);
    let mut optim = AnyConfig::from(IefConfig::new()).init(&net);
    for step in 0..3 {
        let parts = parts(&batch(9, step, &device()), &[3, 3, 3], &devices);
        net = team.step(&mut optim, 0.1, net, parts).unwrap();
    }
    workers[1].kill();
    let before = weights(&net);
    let failed = (3..6).find_map(|step| {
        let all = batch(9, step, &device());
        let sizes = [3, 3, 3];
        let parts = std::panic::catch_unwind(|| parts(&all, &sizes, &devices));
        // Burn itself panics where a tensor of our own goes to a dead worker.
        let parts = parts.ok()?;
        team.step(&mut optim, 0.1, net.clone(), parts).err()
    });
    let message = failed.map(|error| error.to_string());
    println!("{message:?}");
    assert!(message.is_some_and(|message| message.contains("failed")));
    assert_eq!((weights(&net), optim.steps()), (before, 3));
    // Without the dead worker it goes on.
    let devices = &devices[..1];
    let mut team = replicas(&net, devices);
    let parts = parts(&batch(9, 7, &device()), &[9], devices);
    team.step(&mut optim, 0.1, net, parts).unwrap();
    assert_eq!(optim.steps(), 4);
}

#[test]
fn a_worker_that_stops_answering_misses_the_deadline() {
    let workers = [(); 2].map(|()| Worker::start());
    let devices = workers.each_ref().map(|worker| remote(&worker.url));
    let net = Net::new(3, &device());
    let mut team = replicas(&net, &devices);
    let exchange = Exchange::new().with_deadline(Some(Duration::from_secs(2)));
    let mut optim = AnyConfig::from(IefConfig::new())
        .init(&net)
        .with_exchange(exchange);
    let first = parts(&batch(9, 0, &device()), &[5, 4], &devices);
    let next = parts(&batch(9, 1, &device()), &[5, 4], &devices);
    let net = team.step(&mut optim, 0.1, net, first).unwrap();
    workers[1].signal("STOP");
    let start = Instant::now();
    let error = team.step(&mut optim, 0.1, net, next).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(10));
    println!("{error}");
    let Error::Shard {
        shard: 1, source, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert!(matches!(**source, Error::Deadline { .. }), "{error}");
    assert_eq!(optim.steps(), 1);
}

#[test]
fn a_slow_link_delays_a_step_until_the_deadline() {
    let workers = [(); 2].map(|()| Worker::start());
    let slow = Proxy::start(&workers[1].url).unwrap();
    let devices = [remote(&workers[0].url), remote(slow.url())];
    let mut net = Net::new(3, &device());
    let mut team = replicas(&net, &devices);
    let exchange = Exchange::new()
        .with_form(ExchangeForm::Layers)
        .with_deadline(Some(Duration::from_secs(3)));
    let mut optim = AnyConfig::from(IefConfig::new())
        .init(&net)
        .with_exchange(exchange);
    let batches = [0, 1, 2].map(|step| parts(&batch(9, step, &device()), &[5, 4], &devices));
    let [first, second, third] = batches;
    net = team.step(&mut optim, 0.1, net, first).unwrap();
    slow.set_delay(Duration::from_millis(200));
    net = team.step(&mut optim, 0.1, net, second).unwrap();
    assert_eq!(optim.steps(), 2);

    slow.set_delay(Duration::from_secs(8));
    let before = weights(&net);
    let start = Instant::now();
    let error = team.step(&mut optim, 0.1, net.clone(), third).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(7));
    println!("{error}");
    assert!(
        matches!(&error, Error::Shard { shard: 1, source, .. } if matches!(**source, Error::Deadline { .. })),
        "{error}"
    );
    assert_eq!((weights(&net), optim.steps()), (before, 2));
}

/// Burn keeps one session for each address, so that a restarted worker has to be reached at another one, or by a
/// program that is started again. Then the training goes on as if nothing had happened.
#[test]
fn a_training_goes_on_with_a_worker_that_was_restarted() {
    let mut workers = [(); 2].map(|()| Worker::start());
    let config = AnyConfig::from(IefConfig::new());
    let start = Net::new(3, &device());
    let mut whole = start.clone();
    let mut one = config.init(&whole);
    for step in 0..6 {
        let all = batch(9, step, &device());
        whole = one.step_closure(0.1, whole, |net| net.loss(all)).unwrap();
    }

    let devices = [device(), remote(&workers[0].url), remote(&workers[1].url)];
    let exchange = Exchange::new()
        .with_form(ExchangeForm::Layers)
        .with_deadline(Some(Duration::from_secs(20)));
    let mut net = start.clone();
    let mut optim = config.init(&net).with_exchange(exchange.clone());
    let mut team = replicas(&net, &devices);
    for step in 0..3 {
        let parts = parts(&batch(9, step, &device()), &[3, 3, 3], &devices);
        net = team.step(&mut optim, 0.1, net, parts).unwrap();
    }
    let record = optim.to_record().into_bytes().unwrap();
    workers[1].kill();
    workers[1] = workers[1].restart();

    // The old session: an error, and no step.
    let dead = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let devices = [device(), remote(&workers[1].url)];
        let loss = |net: &Net, part| net.loss(part);
        let mut team = Replicas::new(&net, &devices, loss)?;
        let mut optim = config.init(&net).with_exchange(exchange.clone());
        let parts = parts(&batch(9, 3, &device()), &[5, 4], &devices);
        team.step(&mut optim, 0.1, net.clone(), parts).map(|_| ())
    }));
    // Burn panics where a tensor of our own goes to a dead worker.
    assert!(!matches!(dead, Ok(Ok(()))), "the session came back");

    // What a program that is started again does: it has no session with the worker at this address.
    let reached = Proxy::start(&workers[1].url).unwrap();
    let devices = [device(), remote(reached.url())];
    let mut optim = config.init(&net).with_exchange(exchange);
    optim = optim
        .load_record(NaturalRecord::from_bytes(&record).unwrap())
        .unwrap();
    let mut team = replicas(&net, &devices);
    for step in 3..6 {
        let parts = parts(&batch(9, step, &device()), &[5, 4], &devices);
        net = team.step(&mut optim, 0.1, net, parts).unwrap();
    }
    let moved = |net: &Net| -> Vec<f64> {
        let pairs = weights(net).into_iter().zip(weights(&start));
        pairs.map(|(after, before)| after - before).collect()
    };
    let error = distance(&moved(&net), &moved(&whole));
    assert!(error < 1e-9, "{error:e}");
}

#[test]
fn strangers_and_open_doors_are_refused() {
    let worker = Worker::start();
    let host = RemoteHost::websocket(&worker.url).with_credential("a guess");
    let error = Device::remote_options(&host)
        .init()
        .unwrap_err()
        .to_string();
    println!("{error}");
    assert!(error.contains("rejected the credential"), "{error}");

    let open = Command::new(env!("CARGO_BIN_EXE_worker"))
        .args(["--bind", "0.0.0.0:0"])
        .env_remove("BURN_WORKER_TOKEN")
        .output()
        .unwrap();
    let message = String::from_utf8(open.stderr).unwrap();
    assert!(
        !open.status.success() && message.contains("BURN_WORKER_TOKEN is not set"),
        "{message}"
    );
}

/// A wider network than that of [`two_layers`].
mod wide {
    use burn::module::Module;
    use burn::nn::Linear;
    use burn::tensor::activation::tanh;
    use burn::tensor::{Device, Int, Tensor, TensorData};
    use burn_ief::prelude::*;

    use super::two_layers::{Batch, cross_entropy, linear, numbers};

    const INPUTS: usize = 96;

    #[derive(Module, Debug)]
    pub struct Net {
        layers: Vec<Linear>,
    }

    impl Net {
        pub fn new(device: &Device) -> Self {
            let widths = [INPUTS, 200, 160, 10];
            let pairs = widths.iter().zip(&widths[1..]).enumerate();
            Self {
                layers: pairs.map(|(n, (&i, &o))| linear(i, o, n, device)).collect(),
            }
        }

        pub fn loss(&self, (x, y): Batch) -> Tensor<1> {
            let layers = self.layers.iter();
            let logits = layers.fold(x, |x, layer| tanh(layer.forward_recorded(x)));
            mark_loss(cross_entropy(mark_output(logits), y))
        }
    }

    pub fn parts(seed: usize, sizes: &[usize], devices: &[Device]) -> Vec<(usize, Batch)> {
        let parts = sizes.iter().zip(devices).enumerate();
        let parts = parts.map(|(n, (&size, device))| {
            let x = TensorData::new(numbers(size * INPUTS, seed + 10 * n), [size, INPUTS]);
            let y: Vec<i64> = (0..size).map(|k| (k % 10) as i64).collect();
            let y = Tensor::<1, Int>::from_data(y.as_slice(), device);
            (size, (Tensor::from_data(x, device), y))
        });
        parts.collect()
    }
}
