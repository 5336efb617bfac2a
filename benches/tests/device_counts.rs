//! Kernel launches and blocking reads of whole steps on WGPU.
//!
//! Launches are counted by CubeCL, reads at WGPU itself: its log names every call of its interface. So
//! reads by Burn count too.
#![cfg(feature = "wgpu")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use benches::count::count;
use benches::method::{Method, prepare};
use benches::operations::Operations;
use benches::settings::Setting;
use log::{LevelFilter, Log, Metadata, Record};
use programs::DeviceKind;

/// Counts reads: each submits its copies to the queue and then maps their buffers.
struct Reads {
    submitted: AtomicBool,
    count: AtomicUsize,
}

static READS: Reads = Reads {
    submitted: AtomicBool::new(false),
    count: AtomicUsize::new(0),
};

impl Log for Reads {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("wgpu_core")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        if text == "Queue::submit" {
            self.submitted.store(true, Ordering::SeqCst);
        } else if text.starts_with("Buffer::map_async")
            && self.submitted.swap(false, Ordering::SeqCst)
        {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn flush(&self) {}
}

/// Launches, reads by burn-ief, and reads of the device, in a step after the first ones.
fn counts(setting: Setting, method: &str, batch: usize) -> (usize, usize, usize) {
    let _ = log::set_logger(&READS);
    let device = DeviceKind::Wgpu.device().unwrap();
    let method: Method = method.parse().unwrap();
    let mut step = prepare(setting, method, batch, Operations::Fused, &device);
    (0..2).for_each(|_| step.step());
    READS.count.store(0, Ordering::SeqCst);
    log::set_max_level(LevelFilter::Trace);
    let counts = count(DeviceKind::Wgpu, || step.step());
    log::set_max_level(LevelFilter::Off);
    let read = READS.count.load(Ordering::SeqCst);
    println!("{setting} {method}: {counts:?}, {read} reads of the device");
    (counts.launches.unwrap(), counts.reads, read)
}

/// The bar of the project: an iEF step launches at most 1.5 times the kernels of an SGD step and 30 more.
fn check(setting: Setting, batch: usize) {
    let (sgd, _, read) = counts(setting, "sgd", batch);
    assert!(sgd > 0);
    assert_eq!(read, 0, "SGD reads nothing");
    // EF and SF are normalised by default, but not here: the norm is a read of its own.
    for (method, allowed) in [("ief", 2), ("ief_momentum", 2), ("ef", 2), ("sf", 2)] {
        let (launches, reads, read) = counts(setting, method, batch);
        assert_eq!(reads, read, "{setting} {method}: reads that nobody counts");
        assert!(reads <= allowed, "{setting} {method}: {reads} reads");
        // SF records the batch twice.
        let passes = if method == "sf" { 2 } else { 1 };
        let bar = passes * sgd * 3 / 2 + 30;
        assert!(
            launches <= bar,
            "{setting} {method}: {launches} launches, SGD {sgd}"
        );
    }
}

#[test]
fn a_reading_program_is_counted() {
    let _ = log::set_logger(&READS);
    let device = DeviceKind::Wgpu.device().unwrap();
    let x = burn::tensor::Tensor::<1>::ones([3], &device);
    READS.count.store(0, Ordering::SeqCst);
    log::set_max_level(LevelFilter::Trace);
    for _ in 0..3 {
        (x.clone() * 2.0).into_data().try_to_vec::<f32>().unwrap();
    }
    log::set_max_level(LevelFilter::Off);
    assert_eq!(READS.count.load(Ordering::SeqCst), 3);
}

#[test]
fn a_small_mlp() {
    check(Setting::Tiny, 8);
}

#[test]
fn a_large_mlp() {
    check(Setting::Mlp, 64);
}

#[test]
fn a_transformer_with_lora() {
    check(Setting::Lora, 2);
}

#[test]
fn recurrent_layers() {
    check(Setting::Lstm, 4);
}
