//! Steps over servers on this machine, with a proxy in front of each.

use std::net::TcpListener;
use std::thread;

use burn::remote::RemoteHost;
use burn::server::{RemoteServer, WebSocketTransport};
use burn::tensor::Device;
use burn_ief::devices::Replicas;
use burn_ief::exchange::{Exchange, ExchangeForm};
use burn_ief::prelude::*;
use burn_ief::{DeviceMoves, HostReads};
use programs::proxy::Proxy;

use super::counted::{Exchanged, config};
use super::formula::{sent, trained_layers};
use crate::call::Call;
use crate::operations::Operations;
use crate::settings::{Classified, Classifier, Mlp, Net, Sequences, Setting, Tiny, Transformer};

/// Steps before the first that is counted: the first of all has no previous update.
const WARM_UP: usize = 2;
/// Steps that are counted.
const STEPS: usize = 3;
const STEP_SIZE: f64 = 1e-3;

/// Count one setting on `devices` servers.
///
/// # Errors
///
/// Says what failed.
pub fn count(setting: Setting, batch: usize, devices: usize) -> Result<Exchanged, String> {
    if batch < devices {
        return Err(format!(
            "--batch {batch}: expected at least {devices}, a sample for each device"
        ));
    }
    match setting {
        Setting::Mlp => counted::<Mlp>(setting, batch, devices),
        Setting::Tiny => counted::<Tiny>(setting, batch, devices),
        _ => counted::<Transformer>(setting, batch, devices),
    }
}

/// A server with a Flex device, in threads of this process; it ends with the process.
fn serve() -> Result<Proxy, String> {
    let failed = |error: std::io::Error| format!("cannot start a server: {error}");
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let url = format!("ws://{}", listener.local_addr().map_err(failed)?);
    thread::spawn(move || {
        let server = RemoteServer::new([Device::flex()]);
        if let Err(error) = server.serve(WebSocketTransport::from_listener(listener)) {
            eprintln!("error: a server failed: {error}");
        }
    });
    Proxy::start(&url).map_err(failed)
}

fn open(proxy: &Proxy) -> Result<Device, String> {
    let opened = Device::remote_options(&RemoteHost::websocket(proxy.url())).init();
    let opened = opened.map_err(|error| format!("{}: {error}", proxy.url()))?;
    Ok(opened.autodiff())
}

/// Parts of a batch on their devices, whose sizes differ by one at most.
fn parts(batch: &Sequences, devices: &[Device]) -> Vec<(usize, Sequences)> {
    let samples = batch.labels.dims()[0];
    let at = |part: usize| samples * part / devices.len();
    let parts = devices.iter().enumerate().map(|(part, device)| {
        let (start, count) = (at(part), at(part + 1) - at(part));
        let own = Sequences {
            inputs: batch
                .inputs
                .clone()
                .narrow(0, start, count)
                .to_device(device),
            labels: batch
                .labels
                .clone()
                .narrow(0, start, count)
                .to_device(device),
        };
        (count, own)
    });
    parts.collect()
}

fn counted<C: Classifier + 'static>(
    setting: Setting,
    batch: usize,
    count: usize,
) -> Result<Exchanged, String> {
    let failed = |error: burn_ief::Error| error.to_string();
    let proxies: Vec<Proxy> = (0..count).map(|_| serve()).collect::<Result<_, _>>()?;
    let devices: Vec<Device> = proxies.iter().map(open).collect::<Result<_, _>>()?;
    let idle = || -> Result<(), String> {
        for device in &devices {
            device.sync().map_err(|error| format!("{error:?}"))?;
        }
        Ok(())
    };
    let here = Device::flex().autodiff();
    here.seed(1);
    let inputs = Classified::<C>::batch(batch, &here);
    let mut model = C::new(&here, Operations::Burn).fork(&devices[0]);
    let layers = trained_layers(&model);
    let loss = |model: &C, batch| Classified::<C>::loss(model, batch, &Call::Recorded);
    let mut replicas = Replicas::new(&model, &devices, loss).map_err(failed)?;
    let exchange = Exchange::new().with_form(ExchangeForm::Layers);
    let mut optim = config().init(&model).with_exchange(exchange);

    let formula = sent(&layers, batch, C::INPUT[0], count);
    let mut row = Exchanged {
        setting,
        devices: count,
        batch,
        layers: layers.len(),
        formula,
        formula_bytes: formula.total(),
        messages: 0,
        moved_bytes: 0,
        moved_by_first: 0,
        counted_bytes: 0.0,
        reads: 0.0,
        round_trips: 0.0,
    };
    let (mut bytes, mut reads, mut round_trips) = (0, 0, 0);
    for step in 0..WARM_UP + STEPS {
        let parts = parts(&inputs, &devices);
        // What the step before this one sent has arrived.
        idle()?;
        let between = || {
            proxies
                .iter()
                .map(Proxy::bytes_between_servers)
                .sum::<u64>()
        };
        let trips = || proxies.iter().map(Proxy::round_trips).sum::<u64>();
        let (bytes_before, trips_before) = (between(), trips());
        let (watch, moves) = (HostReads::watch(), DeviceMoves::watch());
        let stepped = replicas.step(&mut optim, STEP_SIZE, model, parts);
        model = stepped.map_err(failed)?;
        let (own_reads, moves) = (watch.finish().len(), moves.finish());
        let own_trips = trips() - trips_before;
        idle()?;
        if step < WARM_UP {
            continue;
        }
        bytes += between() - bytes_before;
        reads += own_reads;
        round_trips += own_trips;
        let first = devices[0].clone().inner();
        let by_first = moves
            .iter()
            .filter(|moved| moved.from.clone().inner() == first);
        row.messages = moves.len();
        row.moved_bytes = moves.iter().map(|moved| moved.bytes).sum();
        row.moved_by_first = by_first.map(|moved| moved.bytes).sum();
    }
    let steps = STEPS as f64;
    row.counted_bytes = bytes as f64 / steps;
    row.reads = reads as f64 / steps / count as f64;
    row.round_trips = round_trips as f64 / steps / count as f64;
    Ok(row)
}
