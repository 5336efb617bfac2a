use burn::module::{Lora, Module, ModuleMapper, Param};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_ief::Error;
use burn_ief::nn::{ForwardRecorded, embed_shared, unembed};

use super::*;

/// Ids with repeats inside and between samples, below `entries`.
fn ids(entries: i64, positions: usize, device: &Device) -> Tensor<2, Int> {
    let ids: Vec<i64> = (0..(SAMPLES * positions) as i64)
        .map(|i| (i * i + 3 * i) % 7 % entries)
        .collect();
    Tensor::from_data(TensorData::new(ids, [SAMPLES, positions]), device)
}

#[test]
fn look_ups() {
    for device in devices() {
        // The Gram share of a small table is dense, that of a large one sparse.
        for entries in [6, 50] {
            let table = filled(EmbeddingConfig::new(entries, 3).init(&device), 1);
            let ids = ids(entries as i64, 4, &device);
            check(&table, |table, range| {
                score(
                    table.forward_recorded(ids.clone().slice([range.clone()])),
                    range,
                )
            });
        }
    }
}

#[test]
fn look_ups_shared_by_the_batch() {
    for device in devices() {
        let model = filled(Positioned::new(&device), 2);
        let ids = ids(9, 4, &device);
        check(&model, |model, range| {
            score(model.forward(ids.clone().slice([range.clone()])), range)
        });
        let (outside, inside) = outside_and_inside(|| model.forward(ids.clone()));
        close(&values(inside), &values(outside));
    }
}

/// Token and position look-ups of one table each, with a layer between the two uses of tokens.
#[derive(Module, Debug)]
struct Positioned {
    tokens: Embedding,
    positions: Embedding,
    linear: Linear,
}

impl Positioned {
    fn new(device: &Device) -> Self {
        Self {
            tokens: EmbeddingConfig::new(9, 3).init(device),
            positions: EmbeddingConfig::new(6, 3).init(device),
            linear: LinearConfig::new(3, 3).init(device),
        }
    }

    fn hidden(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [batch, positions] = ids.dims();
        let order = Tensor::arange(0..positions as i64, &ids.device()).unsqueeze();
        let x =
            self.tokens.forward_recorded(ids.clone()) + embed_shared(&self.positions, order, batch);
        self.linear.forward_recorded(x).tanh() + self.tokens.forward_recorded(ids)
    }

    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        self.hidden(ids)
    }

    fn tied(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        unembed(&self.tokens, self.hidden(ids))
    }
}

#[test]
fn a_table_that_is_also_the_head() {
    for device in devices() {
        let model = filled(Positioned::new(&device), 3);
        let ids = ids(9, 4, &device);
        check(&model, |model, range| {
            score(model.tied(ids.clone().slice([range.clone()])), range)
        });
        let (outside, inside) = outside_and_inside(|| model.tied(ids.clone()));
        close(&values(inside), &values(outside));
    }
}

#[test]
fn frozen_tables() {
    let device = Device::flex().autodiff();
    let mut model = filled(Positioned::new(&device), 4);
    model.tokens.weight = frozen(model.tokens.weight);
    let ids = ids(9, 4, &device);
    let jacobian = check(&model, |model, range| {
        score(model.tied(ids.clone().slice([range.clone()])), range)
    });
    let paths: Vec<&str> = jacobian.params().iter().map(|p| p.path.as_str()).collect();
    assert_eq!(paths, ["positions.weight", "linear.weight", "linear.bias"]);
}

#[test]
fn burns_lora_adapters_on_tables() {
    for device in devices() {
        let model = Positioned::new(&device).apply_lora(Lora::new(2, 3.0));
        let model = filled(model, 5);
        let ids = ids(9, 4, &device);
        let jacobian = check(&model, |model, range| {
            score(model.tied(ids.clone().slice([range.clone()])), range)
        });
        // A and B of three weights.
        assert_eq!(jacobian.params().len(), 6);
    }
}

/// A table that trains next to its adapter has no rule: it must not be left without an update.
#[test]
fn a_table_that_trains_next_to_burns_adapter_is_an_error() {
    struct Thaw;
    impl ModuleMapper for Thaw {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.set_require_grad(true)
        }
    }
    let device = Device::flex().autodiff();
    let model = Positioned::new(&device)
        .apply_lora(Lora::new(2, 3.0))
        .map(&mut Thaw);
    let tape = Tape::start().with_loss_scale(LossScale::Sum);
    let grads = model.tied(ids(9, 4, &device)).sum().backward();
    let error = Jacobian::from_tape(tape, grads, &model).unwrap_err();
    match error {
        Error::UnrecordedUse { parameters } => assert_eq!(
            parameters,
            ["tokens.weight", "positions.weight", "linear.weight"]
        ),
        other => panic!("{other}"),
    }
}

#[test]
fn outside_a_recording_it_is_burns_forward() {
    let device = Device::flex().autodiff();
    let table = filled(EmbeddingConfig::new(9, 3).init(&device), 6);
    let ids = ids(9, 4, &device);
    same_bits(table.forward_recorded(ids.clone()), table.forward(ids));
}
