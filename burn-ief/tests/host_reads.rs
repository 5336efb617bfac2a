//! What a step reads from the device to the host: few tensors, and small ones.
//!
//! The sizes are so chosen that each bound tells the tensors apart: a sample has many more positions and
//! parameters than the batch has samples.

mod all;

use all::all;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{
    Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig, Lstm, LstmConfig,
};
use burn::tensor::{Device, Int, Tensor};
use burn_ief::methods::AnyConfig;
use burn_ief::prelude::*;
use burn_ief::{HostRead, HostReads};

const SAMPLES: usize = 4;
const POSITIONS: usize = 100;
const WORDS: usize = 30;
const WIDTH: usize = 12;
const HIDDEN: usize = 20;
const CLASSES: usize = 3;

#[derive(Module, Debug)]
struct Net {
    table: Embedding,
    norm: LayerNorm,
    linear: Linear,
    lstm: Lstm,
    head: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        Self {
            table: EmbeddingConfig::new(WORDS, WIDTH).init(device),
            norm: LayerNormConfig::new(WIDTH).init(device),
            linear: LinearConfig::new(WIDTH, HIDDEN).init(device),
            lstm: LstmConfig::new(HIDDEN, HIDDEN, true).init(device),
            head: LinearConfig::new(HIDDEN, CLASSES).init(device),
        }
    }

    fn logits(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        let x = self.table.forward_recorded(ids);
        let x = self.norm.forward_recorded(x);
        let x = self.linear.forward_recorded(x);
        let (x, _) = self.lstm.forward_recorded((x, None));
        let [samples, positions, width] = x.dims();
        let last = x.narrow(1, positions - 1, 1).reshape([samples, width]);
        self.head.forward_recorded(last)
    }
}

/// The reads of the third step; the first ones refresh the factors of the K-FAC family.
fn reads(mut config: AnyConfig, momentum: bool) -> Vec<HostRead> {
    if let Some(solve) = config.solve_mut()
        && !momentum
    {
        solve.momentum = Some(0.0);
    }
    let device = Device::flex().autodiff();
    device.seed(1);
    let mut model = Net::new(&device);
    let ids = Tensor::<1, Int>::arange(0..(SAMPLES * POSITIONS) as i64, &device);
    let ids = ids
        .remainder_scalar(WORDS as i64)
        .reshape([SAMPLES, POSITIONS]);
    let labels =
        Tensor::<1, Int>::arange(0..SAMPLES as i64, &device).remainder_scalar(CLASSES as i64);
    let cross_entropy = CrossEntropyLossConfig::new().init(&device);
    let mut optim = config.init(&model);
    let mut reads = Vec::new();
    for _ in 0..3 {
        let watch = HostReads::watch();
        model = optim
            .step_closure(1e-3, model, |model| {
                let logits = mark_output(model.logits(ids.clone()));
                mark_loss(cross_entropy.forward(logits, labels.clone()))
            })
            .unwrap();
        reads = watch.finish();
    }
    reads
}

/// Entries of the largest tensor.
fn largest(reads: &[HostRead]) -> usize {
    let entries = reads.iter().flat_map(|read| &read.entries);
    entries.copied().max().unwrap()
}

#[test]
fn exact_methods_read_nothing_larger_than_their_gram_matrix() {
    for (name, copies) in [("ef", 0), ("ief", 0), ("sf", 1), ("ngd", CLASSES)] {
        let all = all();
        let config = all.iter().find(|config| config.name() == name).unwrap();
        for momentum in [true, false] {
            let reads = reads(config.clone(), momentum);
            let rows = SAMPLES * (1 + copies);
            assert_eq!(largest(&reads), rows * rows, "{name}: {reads:?}");
            // EF and SF are normalised by default and read the norm of the update.
            let count = if ["ef", "sf"].contains(&name) { 3 } else { 2 };
            assert_eq!(reads.len(), count, "{name}: {reads:?}");
        }
    }
}

/// Kronecker factors are inverted on the host.
#[test]
fn the_kfac_family_reads_nothing_larger_than_its_factors() {
    let gates = 4 * HIDDEN;
    // Neither the rows of a layer over its positions nor per-sample gradients fit into that.
    assert!(gates * gates < SAMPLES * POSITIONS * (WIDTH + HIDDEN));
    for config in all() {
        if !["kfac", "ekfac", "iekfac"].contains(&config.name()) {
            continue;
        }
        let reads = reads(config.clone(), true);
        assert!(
            largest(&reads) <= gates * gates,
            "{}: {reads:?}",
            config.name()
        );
    }
}
