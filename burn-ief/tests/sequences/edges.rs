//! What the random networks do not reach: padding, empty batches, adapters, uses
//! outside of a recording, drawn labels, groups.

use burn::module::{Lora, Module, ModuleMapper, Param, ParamGroup};
use burn::nn::attention::{CrossAttention, CrossAttentionConfig};
use burn::nn::gru::{BiGru, BiGruConfig, Gru, GruConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::transformer::{TransformerDecoder, TransformerDecoderConfig};
use burn::nn::{
    BiLstm, BiLstmConfig, BiRnn, BiRnnConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig,
    Lstm, LstmConfig, LstmState, PReluConfig, Rnn, RnnConfig,
};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use burn_ief::jacobian::{Jacobian, RecordedBatch};
use burn_ief::nn::{DecoderInput, ForwardRecorded};
use burn_ief::{Error, LabelDraw, LossScale, Tape, mark_loss, mark_output};

use super::check::{check, close, filled, noise, same_outputs, score, values};
use super::devices;

pub(super) const SAMPLES: usize = 5;
const STEPS: usize = 4;
pub(super) const CLASSES: usize = 3;

/// Every layer of this test binary, with outputs `[M, CLASSES]` from inputs `[M, T, 3]`.
#[derive(Module, Debug)]
pub(super) struct Classifier {
    pub(super) lstm: Lstm,
    pub(super) both_lstm: BiLstm,
    pub(super) gru: Gru,
    pub(super) both_gru: BiGru,
    pub(super) rnn: Rnn,
    pub(super) both_rnn: BiRnn,
    pub(super) decoder: TransformerDecoder,
    pub(super) cross: CrossAttention,
    pub(super) head: Linear,
}

impl Classifier {
    pub(super) fn new(device: &Device) -> Self {
        let model = Self {
            lstm: LstmConfig::new(3, 4, true).init(device),
            both_lstm: BiLstmConfig::new(4, 2, false)
                .with_batch_first(false)
                .init(device),
            gru: GruConfig::new(4, 3, true).init(device),
            both_gru: BiGruConfig::new(3, 2, true)
                .with_reset_after(false)
                .init(device),
            rnn: RnnConfig::new(4, 4, true).with_reverse(true).init(device),
            both_rnn: BiRnnConfig::new(4, 2, true).init(device),
            decoder: TransformerDecoderConfig::new(4, 5, 2, 1)
                .with_dropout(0.0)
                .init(device),
            cross: CrossAttentionConfig::new(4, 4, 2, 1, 3)
                .with_dropout(0.0)
                .init(device),
            head: LinearConfig::new(4, CLASSES).init(device),
        };
        filled(model, 60, u64::MAX)
    }

    pub(super) fn forward(&self, x: Tensor<3>, pad: Tensor<2, Bool>) -> Tensor<2> {
        let samples = x.dims()[0];
        // The second use begins with the state of the first, which has the copies already.
        let (_, state) = self.lstm.forward_recorded((x.clone(), None));
        let (y, _) = self.lstm.forward_recorded((x, Some(state)));
        // Given states have one row per sample.
        let state = LstmState::new(given([2, samples, 2], &y), given([2, samples, 2], &y));
        let y = y.swap_dims(0, 1);
        let (y, _) = self.both_lstm.forward_recorded((y, Some(state)));
        let state = given([samples, 3], &y);
        let y = self.gru.forward_recorded((y.swap_dims(0, 1), Some(state)));
        let (y, _) = self.both_gru.forward_recorded((y, None));
        let (y, _) = self.rnn.forward_recorded((y, None));
        let (memory, _) = self.both_rnn.forward_recorded((y.clone(), None));
        let input = DecoderInput::new(y, memory.clone()).memory_mask_pad(pad.clone());
        let y = self.decoder.forward_recorded(input);
        let y = self.cross.forward_recorded((y, memory, Some(pad)));
        self.head
            .forward_recorded(y.mean_dim(1).squeeze_dim::<2>(1))
    }
}

/// The same state for every sample, of the type of `like`.
pub(super) fn given<const D: usize>(dims: [usize; D], like: &Tensor<3>) -> Tensor<D> {
    Tensor::full(dims, 0.3, (&like.device(), like.dtype()))
}

pub(super) struct Batch {
    pub(super) x: Tensor<3>,
    pub(super) pad: Tensor<2, Bool>,
    pub(super) labels: Vec<i64>,
}

impl Batch {
    pub(super) fn new(device: &Device) -> Self {
        let pad: Vec<bool> = (0..SAMPLES * STEPS)
            .map(|i| i % STEPS >= STEPS - (i / STEPS) % 3)
            .collect();
        Self {
            x: noise([SAMPLES, STEPS, 3], 61, device),
            pad: Tensor::from_data(TensorData::new(pad, [SAMPLES, STEPS]), device),
            labels: vec![0, 2, 1, 1, 0],
        }
    }

    pub(super) fn logits(&self, model: &Classifier) -> Tensor<2> {
        model.forward(self.x.clone(), self.pad.clone())
    }
}

pub(super) fn cross_entropy(logits: Tensor<2>, labels: &[i64]) -> Tensor<1> {
    let labels = Tensor::<1, Int>::from_data(labels, &logits.device());
    let loss = CrossEntropyLossConfig::new().init(&logits.device());
    loss.forward(logits, labels)
}

#[test]
fn copies_for_every_class_carry_their_probability() {
    for device in devices() {
        let (model, batch) = (Classifier::new(&device), Batch::new(&device));
        let tape = Tape::with_drawn_labels(LabelDraw::Enumerate { classes: CLASSES });
        let logits = mark_output(batch.logits(&model));
        assert_eq!(logits.dims(), [SAMPLES, CLASSES]);
        let grads = mark_loss(cross_entropy(logits, &batch.labels)).backward();
        let recorded = RecordedBatch::collect(tape, grads, &model, None).unwrap();
        let rows = recorded.all_rows().to_dense();

        let oracle = |labels: &[i64]| {
            let rows = Jacobian::by_sample(&model, SAMPLES, |model, n| {
                let x = batch.x.clone().narrow(0, n, 1);
                let pad = batch.pad.clone().narrow(0, n, 1);
                cross_entropy(model.forward(x, pad), &labels[n..n + 1])
            });
            rows.unwrap().to_dense()
        };
        close(&rows[..SAMPLES].concat(), &oracle(&batch.labels).concat());
        let p = values(softmax(batch.logits(&model), 1));
        for class in 0..CLASSES {
            let expected = oracle(&[class as i64; SAMPLES]);
            let weighted = expected.iter().enumerate().flat_map(|(n, row)| {
                let weight = p[n * CLASSES + class].sqrt();
                row.iter().map(move |x| x * weight)
            });
            let start = SAMPLES * (1 + class);
            let found = rows[start..start + SAMPLES].concat();
            close(&found, &weighted.collect::<Vec<_>>());
        }
    }
}

/// The rows of a group, and the plain gradient of all other parameters.
#[test]
fn groups_take_a_part_of_a_layer() {
    for device in devices() {
        let (model, batch) = (Classifier::new(&device), Batch::new(&device));
        let loss = |logits: Tensor<2>| score(logits, noise([SAMPLES, CLASSES], 3, &device));
        let all = {
            let tape = Tape::start().with_loss_scale(LossScale::Sum);
            let grads = loss(batch.logits(&model)).backward();
            Jacobian::from_tape(tape, grads, &model).unwrap()
        };
        let group = ParamGroup::from_predicate("hidden_transform");
        let tape = Tape::start().with_loss_scale(LossScale::Sum);
        let grads = loss(batch.logits(&model)).backward();
        let mut recorded = RecordedBatch::collect(tape, grads, &model, Some(&group)).unwrap();
        let gradients = recorded.take_rest();

        let own: Vec<_> = recorded.all_rows().params().iter().map(|p| p.id).collect();
        let rows = recorded.all_rows().to_dense();
        let (mut start, mut column) = (0, 0);
        let expected = all.to_dense();
        for param in all.params() {
            let width = param.shape.num_elements();
            let whole = |row: &Vec<f64>| row[start..start + width].to_vec();
            if own.contains(&param.id) {
                for (row, expected) in rows.iter().zip(&expected) {
                    close(&row[column..column + width], &whole(expected));
                }
                column += width;
            } else {
                let found = match param.shape.num_dims() {
                    1 => values(gradients.get::<1>(param.id).unwrap()),
                    _ => values(gradients.get::<2>(param.id).unwrap()),
                };
                let sum = expected.iter().map(whole).reduce(|a, b| {
                    let pairs = a.iter().zip(&b);
                    pairs.map(|(a, b)| a + b).collect()
                });
                let sum = sum.unwrap();
                // The gradient of a key's bias is zero but for rounding.
                if sum.iter().any(|x| x.abs() > 1e-5) {
                    close(&found, &sum);
                }
            }
            start += width;
        }
        assert_eq!(column, recorded.all_rows().columns());
        assert!(column > 0 && column < start);
    }
}

/// Sequences of the given lengths, padded behind their ends with values of other samples.
const LENGTHS: [usize; SAMPLES] = [4, 2, 1, 3, 2];

/// Each sample's steps backwards within its length; padding stays where it is.
fn reversed_within(x: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
    let [samples, steps, width] = x.dims();
    let order: Vec<i64> = lengths
        .iter()
        .flat_map(|&length| {
            (0..steps).map(move |t| if t < length { length - 1 - t } else { t } as i64)
        })
        .collect();
    let order = Tensor::<1, Int>::from_data(order.as_slice(), &x.device());
    let order = order.reshape([samples, steps, 1]);
    x.gather(1, order.expand([samples, steps, width]))
}

#[derive(Module, Debug)]
struct TwoWays {
    forward: Lstm,
    backward: Lstm,
}

impl TwoWays {
    fn forward(&self, x: Tensor<3>, lengths: &[usize]) -> Tensor<3> {
        let (there, _) = self.forward.forward_recorded((x.clone(), None));
        let x = reversed_within(x, lengths);
        let (back, _) = self.backward.forward_recorded((x, None));
        Tensor::cat(vec![there, reversed_within(back, lengths)], 2)
    }
}

/// The summed loss of real steps, with weights that depend on sample and step.
fn real_steps(y: Tensor<3>, samples: std::ops::Range<usize>) -> Tensor<1> {
    let [_, steps, width] = y.dims();
    let weights = noise([SAMPLES, STEPS, width], 5, &y.device());
    let real: Vec<f32> = (0..SAMPLES * STEPS)
        .map(|i| f32::from(i % STEPS < LENGTHS[i / STEPS]))
        .collect();
    let real = TensorData::new(real, [SAMPLES, STEPS, 1]);
    let weights = weights * Tensor::<3>::from_data(real, &y.device());
    score(y, weights.slice([samples, 0..steps]))
}

/// The rows of a padded batch, and those of each sample alone without its padding.
fn padded_against_alone<M: Module>(
    model: &M,
    x: &Tensor<3>,
    forward: impl Fn(&M, Tensor<3>, &[usize]) -> Tensor<3>,
) -> [Vec<Vec<f64>>; 2] {
    let tape = Tape::start().with_loss_scale(LossScale::Sum);
    let y = forward(model, x.clone(), &LENGTHS);
    let grads = real_steps(y, 0..SAMPLES).backward();
    let padded = Jacobian::from_tape(tape, grads, model).unwrap();
    let alone = Jacobian::by_sample(model, SAMPLES, |model, n| {
        let x = x.clone().slice([n..n + 1, 0..LENGTHS[n]]);
        real_steps(forward(model, x, &LENGTHS[n..n + 1]), n..n + 1)
    });
    [padded.to_dense(), alone.unwrap().to_dense()]
}

#[test]
fn padding_behind_a_sample_does_not_reach_its_row() {
    for device in devices() {
        let x = noise([SAMPLES, STEPS, 3], 62, &device);
        let lstm = |seed| filled(LstmConfig::new(3, 4, true).init(&device), seed, u64::MAX);
        let rows_agree = |[padded, alone]: [Vec<Vec<f64>>; 2]| {
            for (row, expected) in padded.iter().zip(&alone) {
                close(row, expected);
            }
        };
        rows_agree(padded_against_alone(&lstm(1), &x, |lstm, x, _| {
            lstm.forward_recorded((x, None)).0
        }));
        let gru = filled(GruConfig::new(3, 4, true).init(&device), 2, u64::MAX);
        rows_agree(padded_against_alone(&gru, &x, |gru, x, _| {
            gru.forward_recorded((x, None))
        }));
        let rnn = filled(RnnConfig::new(3, 4, true).init(&device), 3, u64::MAX);
        rows_agree(padded_against_alone(&rnn, &x, |rnn, x, _| {
            rnn.forward_recorded((x, None)).0
        }));
        let both = TwoWays {
            forward: lstm(4),
            backward: lstm(5),
        };
        rows_agree(padded_against_alone(&both, &x, TwoWays::forward));

        // Burn's own two directions read the padding first.
        let both = filled(BiLstmConfig::new(3, 4, true).init(&device), 6, u64::MAX);
        let [padded, alone] =
            padded_against_alone(&both, &x, |both, x, _| both.forward_recorded((x, None)).0);
        let far = |n: usize| {
            let pairs = padded[n].iter().zip(&alone[n]);
            pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) > 1e-3
        };
        assert!(!far(0) && far(1) && far(2));
    }
}

#[test]
fn empty_batches_and_sequences() {
    for device in devices() {
        let model = Classifier::new(&device);
        let x = Tensor::<3>::zeros([0, STEPS, 3], &device);
        // Not by a comparison, which panics on WGPU where a tensor is empty (Burn 0.22.1, debug builds).
        let pad = TensorData::new(Vec::<bool>::new(), [0, STEPS]);
        let pad = Tensor::<2, Bool>::from_data(pad, &device);
        let tape = Tape::start();
        let logits = model.forward(x, pad);
        assert_eq!(logits.dims(), [0, CLASSES]);
        let error = Jacobian::from_tape(tape, logits.sum().backward(), &model).unwrap_err();
        assert_eq!(error, Error::EmptyBatch);

        // No steps: the state is what it was.
        let x = Tensor::<3>::zeros([2, 0, 3], &device);
        let state = LstmState::new(noise([2, 4], 1, &device), noise([2, 4], 2, &device));
        let expected = values(state.hidden.clone());
        let tape = Tape::start();
        let (y, last) = model.lstm.forward_recorded((x, Some(state)));
        drop(tape);
        assert_eq!(y.dims(), [2, 0, 4]);
        assert_eq!(values(last.hidden), expected);
    }
}

#[test]
fn a_use_outside_of_the_recording_is_named() {
    for device in devices() {
        let (model, batch) = (Classifier::new(&device), Batch::new(&device));
        let refused = |extra: Tensor<1>| {
            let loss = batch.logits(&model).sum() + extra;
            loss.backward()
        };
        let unrecorded = |error: Error| match error {
            Error::UnrecordedUse { parameters } => parameters,
            other => panic!("{other}"),
        };

        let tape = Tape::start();
        let (y, _) = model.lstm.forward(batch.x.clone(), None);
        let error = Jacobian::from_tape(tape, refused(y.sum()), &model).unwrap_err();
        let paths = unrecorded(error);
        assert_eq!(paths.len(), 16);
        assert!(paths.contains(&"lstm.forget_gate.hidden_transform.bias".to_string()));

        // The decoder uses one of its norms once more, plainly.
        let tape = Tape::start();
        let norm = &model.decoder.layers[0].norm_2;
        let y = norm.forward(noise([SAMPLES, 2, 4], 1, &device)).square();
        let error = Jacobian::from_tape(tape, refused(y.sum()), &model).unwrap_err();
        let paths = unrecorded(error);
        assert_eq!(
            paths,
            [
                "decoder.layers.0.norm_2.gamma",
                "decoder.layers.0.norm_2.beta"
            ]
        );
    }
}

#[test]
fn burns_adapters() {
    for device in devices() {
        let model = Classifier::new(&device);
        let adapted = |lstm: Lstm| filled(lstm.apply_lora(Lora::new(2, 3.0)), 8, u64::MAX);
        let lstm = adapted(model.lstm.clone());
        let frozen = Freeze::bases(lstm.clone());
        let x = noise([SAMPLES, STEPS, 3], 9, &device);
        // Two factors next to every weight, with the weights trained and frozen.
        for (lstm, parameters) in [(lstm, 32), (frozen, 24)] {
            let jacobian = check(&lstm, SAMPLES, |lstm, range| {
                let (y, state) = lstm.forward_recorded((x.clone().slice([range.clone()]), None));
                let rows = |seed| noise([SAMPLES, STEPS, 4], seed, &device);
                let cell = state.cell.unsqueeze_dim(1);
                score(y, rows(10).slice([range.clone()]))
                    + score(cell, rows(11).slice([range, 0..1]))
            });
            assert_eq!(jacobian.params().len(), parameters);
        }

        // Burn hides the weights of this layer, so adapters inside are refused by name.
        let cross = model.cross.clone().apply_lora(Lora::new(2, 3.0));
        let memory = || noise([SAMPLES, STEPS, 4], 12, &device);
        let tape = Tape::start();
        let y = cross.forward_recorded((memory(), memory(), None));
        let head = model.head.forward_recorded(y).sum();
        let error = Jacobian::from_tape(tape, head.backward(), &cross).unwrap_err();
        assert!(matches!(error, Error::UnrecordedUse { .. }), "{error}");
    }
}

#[test]
fn one_state_for_every_sample() {
    for device in devices() {
        let lstm = filled(LstmConfig::new(3, 4, true).init(&device), 17, u64::MAX);
        let x = noise([SAMPLES, STEPS, 3], 18, &device);
        let weights = noise([SAMPLES, STEPS, 4], 19, &device);
        check(&lstm, SAMPLES, |lstm, range| {
            let state = LstmState::new(given([1, 4], &x), given([1, 4], &x));
            let x = x.clone().slice([range.clone()]);
            let (y, _) = lstm.forward_recorded((x, Some(state)));
            score(y, weights.clone().slice([range]))
        });
    }
}

#[test]
fn activations_with_parameters_are_refused_by_name_and_fine_if_frozen() {
    for device in devices() {
        let config = RnnConfig::new(3, 4, true)
            .with_hidden_activation(PReluConfig::new().with_num_parameters(4).into());
        let mut rnn = filled(config.init(&device), 20, u64::MAX);
        let x = noise([SAMPLES, STEPS, 3], 21, &device);
        let loss = |rnn: &Rnn, range: std::ops::Range<usize>| {
            let rows = |seed, width| noise([SAMPLES, STEPS, width], seed, &device);
            let (y, _) = rnn.forward_recorded((x.clone().slice([range.clone()]), None));
            score(y, rows(22, 4).slice([range]))
        };
        let tape = Tape::start().with_loss_scale(LossScale::Sum);
        let grads = loss(&rnn, 0..SAMPLES).backward();
        let error = Jacobian::from_tape(tape, grads, &rnn).unwrap_err();
        let parameters = vec!["hidden_activation.PRelu.alpha".to_string()];
        assert_eq!(error, Error::UnrecordedUse { parameters });
        rnn.hidden_activation = rnn.hidden_activation.no_grad();
        check(&rnn, SAMPLES, loss);
    }
}

#[test]
fn a_model_for_validation_records_nothing() {
    for device in devices() {
        let (model, batch) = (Classifier::new(&device).valid(), Batch::new(&device));
        let (x, pad) = (batch.x.inner(), batch.pad.inner());
        same_outputs(|| model.forward(x.clone(), pad.clone()));
    }
}

/// A cell of its own, as in Burn's example `modern-lstm`: recorded linear layers and norms, called
/// step by step.
#[derive(Module, Debug)]
struct Cell {
    input: Linear,
    hidden: Linear,
    norm: LayerNorm,
}

impl Cell {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [samples, steps, _] = x.dims();
        let mut state = Tensor::<2>::zeros([samples, 4], &x.device());
        let mut outputs = Vec::new();
        for t in 0..steps {
            let x = x.clone().narrow(1, t, 1).squeeze_dim::<2>(1);
            let sum = self.input.forward_recorded(x) + self.hidden.forward_recorded(state);
            state = self.norm.forward_recorded(sum.tanh());
            outputs.push(state.clone());
        }
        Tensor::stack(outputs, 1)
    }
}

#[test]
fn cells_that_are_called_step_by_step() {
    for device in devices() {
        for steps in [2, 3, 9] {
            let cell = Cell {
                input: LinearConfig::new(3, 4).init(&device),
                hidden: LinearConfig::new(4, 4).with_bias(false).init(&device),
                norm: LayerNormConfig::new(4).with_epsilon(0.1).init(&device),
            };
            let cell = filled(cell, 14, u64::MAX);
            let x = noise([SAMPLES, steps, 3], 15, &device);
            let weights = noise([SAMPLES, steps, 4], 16, &device);
            check(&cell, SAMPLES, |cell, range| {
                let y = cell.forward(x.clone().slice([range.clone()]));
                score(y, weights.clone().slice([range]))
            });
        }
    }
}

/// Freeze every weight that has an adapter.
struct Freeze {
    path: Vec<String>,
}

impl Freeze {
    fn bases<M: Module>(module: M) -> M {
        module.map(&mut Self { path: Vec::new() })
    }
}

impl ModuleMapper for Freeze {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let base = self.path.last().is_some_and(|name| name == "weight");
        if base {
            param.set_require_grad(false)
        } else {
            param
        }
    }
}
