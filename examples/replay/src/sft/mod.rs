//! Supervised fine-tuning of a causal language model with an adapter: losses over answer tokens.

mod case;
mod names;

use std::collections::BTreeMap;
use std::ops::Range;

use burn::module::{Flag, Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Bool, Int, Tensor, TensorData};
use burn_hf_models::class::{ModelClass, Task};
use burn_hf_models::llama::{LlamaForCausalLM, LlamaInput};
use burn_ief::exchange::Exchange;
use burn_ief::jacobian::{Jacobian, RecordedBatch};
use burn_ief::{LossScale, Tape, mark_output, token_cross_entropy};
use burn_peft::AdapterFolder;

pub use case::SftCase;

use crate::adapter::{self, AdapterCase};
use crate::array::to_host;
use crate::cross_entropy::cross_entropy;
use crate::error::Error;
use crate::measured::{Measured, Pass};
use crate::place::Place;
use crate::results::Output;
use crate::room;
use crate::shards::{Replica, Shards};
use crate::updates::{self, damping};
use names::AdapterNames;

/// How the loss is formed from the hidden states.
///
/// ```
/// let head = replay::Head::Chunked(Some(64));
/// assert_ne!(head, replay::Head::Plain);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Head {
    /// From all logits.
    #[default]
    Plain,
    /// By `token_cross_entropy`, so many positions at a time, or as many as it chooses.
    Chunked(Option<usize>),
}

/// Recompute the losses, per-sample gradients and updates of a batch of supervised fine-tuning. Each shard is
/// measured on its own, at its place, and the updates are those of all samples together. `place` is for everything
/// that is not divided.
///
/// ```no_run
/// use replay::{AdapterCase, DeviceKind, Head, Place, Precision, SftCase, Shards, sft};
///
/// let case = AdapterCase::new("llama", "llama/lora");
/// let batch = SftCase::read("lora_sft.safetensors".as_ref())?;
/// let place = Place::open(DeviceKind::Flex, Precision::F64)?;
/// let results = sft(&case, &batch, Head::Chunked(Some(3)), &Shards::default(), &place)?;
/// println!("{:?}", results["losses"].values);
/// # Ok::<(), replay::Error>(())
/// ```
///
/// # Errors
///
/// Everything that can be wrong with the folders, as for [`adapter`](crate::adapter()), with the batch and with the
/// shards; [`Error::Compute`].
pub fn sft(
    case: &AdapterCase,
    batch: &SftCase,
    head: Head,
    shards: &Shards,
    place: &Place,
) -> Result<BTreeMap<String, Output>, Error> {
    let folder = AdapterFolder::read(&case.adapter)?;
    let class = ModelClass::choose(&case.model, Some(&folder), Some(Task::CausalLm))?;
    if class != ModelClass::LlamaForCausalLM {
        return Err(Error::Arguments {
            problem: format!(
                "sft: expected a causal language model of one decoder, found {class:?}"
            ),
        });
    }
    if folder.config.virtual_tokens().is_some() {
        return Err(Error::Arguments {
            problem: "sft: expected an adapter of layers, such as LoRA, found a soft prompt".into(),
        });
    }
    let ranges = shards.ranges(batch.samples())?;
    batch.inputs.only(adapter::CAUSAL_ARGUMENTS)?;
    let model: LlamaForCausalLM = adapter::load(case, &folder, place)?;
    // The reference is without dropout, as in `eval()`.
    let model = model.map(&mut WithoutDropout);
    let run = Run {
        replicas: shards.replicas(&model, place),
        home: Replica {
            place: place.clone(),
            model,
        },
        batch,
        head,
        shards: ranges,
        exchange: shards.exchange(),
    };
    room::check(&case.model, &batch.inputs)?;
    run.validate()?;
    run.results(folder)
}

/// Switches dropout off while everything still trains.
struct WithoutDropout;

impl ModuleMapper for WithoutDropout {
    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        flag.with_value(false)
    }
}

struct Run<'a> {
    /// The model for everything that is not divided.
    home: Replica<LlamaForCausalLM>,
    /// The models that shards are measured with, in turn.
    replicas: Vec<Replica<LlamaForCausalLM>>,
    batch: &'a SftCase,
    head: Head,
    shards: Vec<Range<usize>>,
    exchange: &'a Exchange,
}

impl Run<'_> {
    /// Check values before anything is computed.
    fn validate(&self) -> Result<(), Error> {
        let Replica { place, model } = &self.home;
        model.validate(&self.input(place, 0..self.batch.samples())?)?;
        self.batch.check_labels(model.head().vocabulary())
    }

    fn results(&self, folder: AdapterFolder) -> Result<BTreeMap<String, Output>, Error> {
        let samples = self.batch.samples();
        let names = AdapterNames::new(&self.home.model, folder)?;
        let truth = self.measure(&self.batch.labels)?;
        let mut results = BTreeMap::new();
        let mut put = |name: &str, shape: Vec<usize>, values: Vec<f64>| {
            results.insert(name.to_string(), Output { shape, values });
        };
        if self.head == Head::Plain {
            let vocabulary = self.home.model.head().vocabulary();
            put(
                "logits",
                vec![samples, self.batch.positions(), vocabulary],
                truth.logits,
            );
        }
        let tokens = self.batch.answer_tokens();
        let total: f64 = tokens.iter().sum();
        let mean = truth.losses.iter().sum::<f64>() / total.max(1.0);
        put("token_mean_loss", vec![1], vec![mean]);
        put("answer_tokens", vec![samples], tokens);
        put("losses", vec![samples], truth.losses);
        let s = truth.output_norms;
        put("s", vec![samples], s.clone());
        let jacobian = truth.jacobian;
        put("grad_norms", vec![samples], jacobian.row_norms());
        let gram = jacobian.gram().map_err(Error::compute("gram"))?;
        put("gram", vec![samples; 2], gram.values().to_vec());

        let mut put_direction = |name: &str, direction: GradientsParams| {
            for (key, output) in names.read(direction)? {
                results.insert(format!("{name}.{key}"), output);
            }
            Ok::<(), Error>(())
        };
        let combined = |rows: &Jacobian, name: &str, c: &[f64]| {
            rows.t_matvec(c).map_err(Error::compute(name.to_string()))
        };
        put_direction("grad", combined(&jacobian, "grad", &vec![1.0; samples])?)?;
        for lambda in &self.batch.lambdas {
            for rule in ["ef", "ief"] {
                let name = format!("{rule}.lam_{}", lambda.text);
                let epsilon = jacobian.gram_epsilon();
                let solved = updates::exact(rule, &gram, &s, damping(lambda), epsilon);
                let solved = solved.map_err(Error::compute(&name))?;
                put_direction(&name, combined(&jacobian, &name, &solved.values)?)?;
            }
        }
        let drawn = self.measure(&self.batch.drawn)?.jacobian;
        let rows = self.exchange.join(vec![jacobian, drawn]);
        let rows = rows.map_err(Error::compute("sf"))?;
        let gram = rows.gram().map_err(Error::compute("gram_sampled"))?;
        let matches = self.batch.matches();
        let dense = (rows.columns() <= samples).then(|| rows.to_dense());
        for lambda in &self.batch.lambdas {
            let name = format!("sf.lam_{}", lambda.text);
            let epsilon = rows.gram_epsilon();
            let direction = match &dense {
                Some(dense) => {
                    updates::sampled_in_parameters(dense, samples, damping(lambda), epsilon)
                        .and_then(|delta| rows.unflatten(&delta))
                }
                None => updates::sampled(&gram, &matches, damping(lambda), epsilon)
                    .and_then(|update| rows.t_matvec(&update.values)),
            };
            put_direction(&name, direction.map_err(Error::compute(&name))?)?;
        }
        let own: Vec<usize> = (samples..2 * samples).collect();
        let own = gram.principal(&own).into_owned();
        let output = Output {
            shape: vec![samples; 2],
            values: own.values().to_vec(),
        };
        results.insert("gram_sampled".into(), output);
        Ok(results)
    }

    /// Record the losses of these labels `[M, T]`, shard by shard, and join what they give.
    fn measure(&self, labels: &[i64]) -> Result<Measured, Error> {
        let positions = self.batch.positions();
        let shards = self.replicas.iter().cycle().zip(&self.shards);
        let passes = shards.map(|(replica, shard)| {
            let own = &labels[shard.start * positions..shard.end * positions];
            self.record(replica, shard.clone(), own)
        });
        Measured::join(passes, self.exchange)
    }

    fn record(
        &self,
        Replica { place, model }: &Replica<LlamaForCausalLM>,
        shard: Range<usize>,
        labels: &[i64],
    ) -> Result<Pass, Error> {
        let dims = [shard.len(), self.batch.positions()];
        let input = self.input(place, shard)?;
        let tape = Tape::start().with_loss_scale(LossScale::Sum);
        let (logits, losses) = match self.head {
            Head::Plain => {
                let logits = mark_output(model.forward(input)?.logits);
                let losses = plain_losses(logits.clone(), labels, place);
                (to_host(logits), losses)
            }
            Head::Chunked(slice) => {
                let hidden = model.hidden(input)?;
                let head = model.head();
                let head = match slice {
                    Some(slice) => head.with_slice(slice),
                    None => head,
                };
                let labels = TensorData::new(labels.to_vec(), dims);
                let labels = Tensor::<2, Int>::from_data(labels, &place.device);
                let losses = token_cross_entropy(hidden, labels, &head);
                let losses = losses.map_err(Error::compute("losses"))?;
                (Vec::new(), losses.per_sample())
            }
        };
        let grads = losses.clone().sum().backward();
        let recorded = RecordedBatch::collect(tape, grads, model, None);
        Ok(Pass {
            logits,
            losses: to_host(losses),
            recorded: recorded.map_err(Error::compute("per-sample gradients"))?,
        })
    }

    /// The inputs of some samples.
    fn input(&self, place: &Place, samples: Range<usize>) -> Result<LlamaInput, Error> {
        let inputs = &self.batch.inputs;
        let device = &place.device;
        let own = |x: Tensor<2, Int>| {
            // Positions may be shared by all samples.
            if x.dims()[0] == 1 {
                x
            } else {
                x.slice([samples.clone()])
            }
        };
        let ids = own(inputs.needed("input_ids", device)?);
        Ok(LlamaInput {
            attention_mask: inputs.integers("attention_mask", device)?.map(&own),
            position_ids: inputs.integers("position_ids", device)?.map(&own),
            ..LlamaInput::new(ids)
        })
    }
}

/// The summed cross-entropy of every sample, `[M]`, from all logits `[M, T, V]`.
fn plain_losses(logits: Tensor<3>, labels: &[i64], place: &Place) -> Tensor<1> {
    let [samples, positions, vocabulary] = logits.dims();
    let rows = samples * positions;
    // Position t predicts token t + 1, and the last one nothing.
    let next: Vec<i64> = labels
        .chunks(positions)
        .flat_map(|line| line[1..].iter().copied().chain([case::IGNORED]))
        .collect();
    let ignored: Vec<bool> = next.iter().map(|&label| label == case::IGNORED).collect();
    let ignored = TensorData::new(ignored, [rows, 1]);
    let ignored = Tensor::<2, Bool>::from_data(ignored, &place.device);
    let classes: Vec<i64> = next.iter().map(|&label| label.max(0)).collect();
    let classes = TensorData::new(classes, [rows, 1]);
    let classes = Tensor::<2, Int>::from_data(classes, &place.device);
    let losses = cross_entropy(logits.reshape([rows, vocabulary]), classes);
    let losses = losses.mask_fill(ignored, 0.0).reshape([samples, positions]);
    losses.sum_dim(1).squeeze_dim(1)
}
