//! What the forms of a step over several devices cost where there is one device.

use std::time::Duration;

use burn::tensor::Device;
use burn_ief::devices::Replicas;
use burn_ief::methods::AnyMethod;
use burn_ief::prelude::*;
use programs::table::{Style, Table, number, table};

use crate::args::Args;
use crate::call::Call;
use crate::measure::{Effort, interleave, median};
use crate::method::Step;
use crate::operations::Operations;
use crate::settings::{Classified, Classifier, Mlp, Net, Sequences, Setting, Tiny, Transformer};

/// So small that every step meets the same weights.
const STEP_SIZE: f64 = 1e-7;

/// Median times of steps of iEF with momentum in the solve on Flex, taken in turn.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct OneDevice {
    /// What was trained.
    pub setting: Setting,
    /// M.
    pub batch: usize,
    /// A step of the optimizer, in milliseconds.
    pub step_ms: f64,
    /// The same as a step over one shard.
    pub shard_ms: f64,
    /// The same by `Replicas` with one device, which has a thread of its own.
    pub replicas_ms: f64,
}

/// How a step is taken.
enum Form<M> {
    Step,
    Shard,
    Replicas(Replicas<M, Sequences>),
}

struct Training<C> {
    model: Option<C>,
    optim: NaturalOptimizer<AnyMethod>,
    batch: Sequences,
    form: Form<C>,
}

impl<C: Classifier + 'static> Step for Training<C> {
    fn step(&mut self) {
        let model = self.model.take().expect("put back after every step");
        let batch = self.batch.clone();
        let loss = |model: &C, batch| Classified::<C>::loss(model, batch, &Call::Recorded);
        let stepped = match &mut self.form {
            Form::Step => self
                .optim
                .step_closure(STEP_SIZE, model, |model| loss(model, batch)),
            Form::Shard => {
                let recorder = self.optim.shard(0);
                let tape = recorder.start();
                let grads = loss(&model, batch).backward();
                let shard = recorder.measure(tape, grads, &model);
                shard.and_then(|shard| self.optim.step_shards(STEP_SIZE, model, vec![shard]))
            }
            Form::Replicas(replicas) => {
                let samples = batch.labels.dims()[0];
                replicas.step(&mut self.optim, STEP_SIZE, model, vec![(samples, batch)])
            }
        };
        self.model = Some(stepped.expect("a recorded model"));
    }
}

/// Time one setting.
///
/// # Errors
///
/// Says what failed.
pub fn measure(setting: Setting, batch: usize, args: &Args) -> Result<OneDevice, String> {
    match setting {
        Setting::Mlp => timed::<Mlp>(setting, batch, args),
        Setting::Tiny => timed::<Tiny>(setting, batch, args),
        _ => timed::<Transformer>(setting, batch, args),
    }
}

fn timed<C: Classifier + 'static>(
    setting: Setting,
    batch: usize,
    args: &Args,
) -> Result<OneDevice, String> {
    let device = Device::flex().autodiff();
    device.seed(1);
    let model = C::new(&device, Operations::Fused);
    let inputs = Classified::<C>::batch(batch, &device);
    let loss = |model: &C, batch| Classified::<C>::loss(model, batch, &Call::Recorded);
    let replicas = Replicas::new(&model, std::slice::from_ref(&device), loss);
    let replicas = replicas.map_err(|error| error.to_string())?;
    let forms = [Form::Step, Form::Shard, Form::Replicas(replicas)];
    let mut steps = forms.map(|form| {
        Box::new(Training {
            optim: NaturalOptimizer::new(super::counted::config().build().into(), &model),
            model: Some(model.clone()),
            batch: inputs.clone(),
            form,
        }) as Box<dyn Step>
    });
    let effort = Effort {
        rounds: args.rounds,
        budget: Duration::from_secs_f64(args.seconds.max(0.0)),
    };
    let times = interleave(&mut steps, effort);
    let milliseconds = |place: usize| {
        let median: Option<Duration> = median(&times[place]);
        median.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    Ok(OneDevice {
        setting,
        batch,
        step_ms: milliseconds(0),
        shard_ms: milliseconds(1),
        replicas_ms: milliseconds(2),
    })
}

/// A line for each setting.
pub fn table_of(rows: &[OneDevice]) -> Table {
    let header = [
        "setting",
        "M",
        "step ms",
        "one shard ms",
        "x step",
        "one replica ms",
        "x step",
    ];
    let lines = rows.iter().map(|row| {
        [
            row.setting.to_string(),
            row.batch.to_string(),
            number(Some(row.step_ms), 2),
            number(Some(row.shard_ms), 2),
            number(Some(row.shard_ms / row.step_ms), 3),
            number(Some(row.replicas_ms), 2),
            number(Some(row.replicas_ms / row.step_ms), 3),
        ]
    });
    table(Style::Markdown, header, &[0], lines)
}
