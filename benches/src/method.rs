//! One whole training step, method by method.

use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::{Device, Tensor, TensorData};
use burn_ief::jacobian::Jacobian;
use burn_ief::methods::{Ief, RunningSquares, System, UpdateMetric};
use burn_ief::prelude::*;
use burn_ief::solve::{Coefficients, Symmetric};
use ports::{Form, Port};
use programs::optimizer::{OptimizerConfig, OptimizerName, optimizer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::call::{Call, Leaves, OutputNorms, PerSample};
use crate::operations::Operations;
use crate::settings::{Cells, Classified, Mlp, Net, Ported, Recurrent, Setting, Tiny, Transformer};

/// So small that every step meets the same weights: a batch that gets fitted is other work.
const STEP_SIZE: f64 = 1e-7;

/// Steps from one refresh of Kronecker factors and their inverses to the next.
const REFRESH: usize = 10;

/// How the update is formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// An optimizer. The natural-gradient methods record; those of Burn use plain layers, with
    /// sequences folded to 2-D (in Burn's examples as they come). Exact methods have no momentum in the
    /// solve and no normalisation; the K-FAC family measures and inverts its factors every ten steps.
    Optimizer(OptimizerName),
    /// iEF with the defaults of the library, recorded: momentum in the solve, metric and trust region.
    IefDefault,
    /// iEF with momentum in the solve, recorded.
    IefMomentum,
    /// iEF with the separable metric, recorded.
    IefSeparable,
    /// iEF from one backward pass per sample.
    BySample,
    /// iEF from per-sample gradients [M, P] kept in memory, the naive way.
    Dense,
    /// SGD with sequences in 3-D, as they come (lora).
    SgdUnfolded,
    /// SGD through Burn's own adapters, composed into a dense weight (lora).
    ApplyLora,
}

impl Method {
    /// SGD, which the others are compared with.
    pub const SGD: Self = Self::Optimizer(OptimizerName::SGD);

    /// All methods of a setting, in the order of the table.
    pub fn of(setting: Setting) -> Vec<Self> {
        let (natural, first_order): (Vec<_>, Vec<_>) = OptimizerName::all()
            .iter()
            .partition(|optimizer| optimizer.is_natural());
        let mut all: Vec<Self> = first_order.into_iter().map(Self::Optimizer).collect();
        if setting.is_port() {
            // The methods that work for every loss.
            all.extend(["ef", "ief"].map(|name| Self::Optimizer(optimizer(name))));
            all.extend([Self::IefMomentum, Self::IefDefault]);
            return all;
        }
        all.extend(natural.into_iter().map(Self::Optimizer));
        all.extend([
            Self::IefMomentum,
            Self::IefSeparable,
            Self::IefDefault,
            Self::BySample,
        ]);
        if !matches!(setting, Setting::Lstm | Setting::Cells) {
            all.push(Self::Dense);
        }
        if setting == Setting::Lora {
            all.extend([Self::SgdUnfolded, Self::ApplyLora]);
        }
        all
    }

    /// The name on the command line and in the rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Optimizer(optimizer) => optimizer.name(),
            Self::IefDefault => "ief_default",
            Self::IefMomentum => "ief_momentum",
            Self::IefSeparable => "ief_separable",
            Self::BySample => "by_sample",
            Self::Dense => "dense",
            Self::SgdUnfolded => "sgd_unfolded",
            Self::ApplyLora => "apply_lora",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = Self::of(Setting::Lora);
        let found = all.iter().find(|method| method.name() == text);
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|method| method.name()).collect();
            format!(
                "unknown method `{text}`: expected one of {}",
                names.join(", ")
            )
        })
    }
}

impl Serialize for Method {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Method {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

/// A model, a batch and an optimizer, ready to step.
pub trait Step {
    /// One whole step; when it returns, the parameters are updated and the device is idle.
    fn step(&mut self);
}

/// Build the model and the batch of a setting.
pub fn prepare(
    setting: Setting,
    method: Method,
    batch: usize,
    operations: Operations,
    device: &Device,
) -> Box<dyn Step> {
    // The same weights and data for every method.
    device.seed(1);
    let device = device.clone().autodiff();
    match setting {
        Setting::Mlp => training::<Classified<Mlp>>(method, batch, operations, device),
        Setting::Lora => training::<Classified<Transformer>>(method, batch, operations, device),
        Setting::Tiny => training::<Classified<Tiny>>(method, batch, operations, device),
        Setting::Lstm => training::<Classified<Recurrent>>(method, batch, operations, device),
        Setting::Cells => training::<Classified<Cells>>(method, batch, operations, device),
        Setting::Guide => port::<ports::Guide>(method, batch, device),
        Setting::Mnist => port::<ports::Mnist>(method, batch, device),
        Setting::SimpleRegression => port::<ports::SimpleRegression>(method, batch, device),
        Setting::TextClassification => port::<ports::TextClassification>(method, batch, device),
        Setting::TextGeneration => port::<ports::TextGeneration>(method, batch, device),
        Setting::CustomTrainingLoop => port::<ports::CustomTrainingLoop>(method, batch, device),
        Setting::ModernLstm => port::<ports::ModernLstm>(method, batch, device),
        Setting::Wgan => port::<ports::Wgan>(method, batch, device),
        Setting::CustomImageDataset => port::<ports::CustomImageDataset>(method, batch, device),
    }
}

fn port<P: Port + 'static>(method: Method, batch: usize, device: Device) -> Box<dyn Step> {
    training::<Ported<P>>(method, batch, Operations::Burn, device)
}

fn training<N: Net + 'static>(
    method: Method,
    batch: usize,
    operations: Operations,
    device: Device,
) -> Box<dyn Step> {
    Box::new(Training::<N>::new(method, batch, operations, device))
}

struct Training<N: Net> {
    /// `None` only while the optimizer holds it.
    model: Option<N::Model>,
    optimizer: ModuleOptimizer,
    direction: Direction,
    batch: N::Batch,
    device: Device,
}

/// Where the update comes from.
enum Direction {
    Plain(Call),
    Natural(Box<RefCell<NaturalOptimizer>>),
    BySample,
    Dense,
}

impl<N: Net> Training<N> {
    fn new(method: Method, batch: usize, operations: Operations, device: Device) -> Self {
        let sgd = || SgdConfig::new().init();
        let form = match method {
            Method::Optimizer(name) if !name.is_natural() => Form::Burn,
            Method::SgdUnfolded | Method::ApplyLora => Form::Burn,
            _ => Form::Recorded,
        };
        let model = N::model(form, operations, &device);
        let (optimizer, direction) = match method {
            Method::Optimizer(name) => {
                let mut config = OptimizerConfig::new(name).with_classes(N::CLASSES);
                // The update alone: no momentum, metric or trust region, and the length that it comes with.
                if let Some(solve) = config.solve_mut() {
                    *solve = SolveOptions::plain(Damping::default());
                }
                if let Some(step) = config.step_mut() {
                    step.normalize = Some(0.0);
                }
                optimizer_of(config, &model, operations)
            }
            Method::IefDefault => {
                optimizer_of(OptimizerConfig::new(optimizer("ief")), &model, operations)
            }
            Method::IefMomentum => {
                let mut config = OptimizerConfig::new(optimizer("ief"));
                if let Some(solve) = config.solve_mut() {
                    *solve = SolveOptions::plain(Damping::default()).with_momentum(Some(0.9));
                }
                optimizer_of(config, &model, operations)
            }
            Method::IefSeparable => {
                let mut config = OptimizerConfig::new(optimizer("ief"));
                if let Some(solve) = config.solve_mut() {
                    *solve = SolveOptions::plain(Damping::default());
                    solve.metric = Some(UpdateMetric::Separable(RunningSquares::default()));
                }
                optimizer_of(config, &model, operations)
            }
            Method::SgdUnfolded => (sgd(), Direction::Plain(Call::Unfolded)),
            Method::ApplyLora => (sgd(), Direction::Plain(Call::Burn)),
            Method::BySample => (IefConfig::new().build().optimizer(), Direction::BySample),
            Method::Dense => (IefConfig::new().build().optimizer(), Direction::Dense),
        };
        Self {
            model: Some(model),
            optimizer,
            direction,
            batch: N::batch(batch, &device),
            device,
        }
    }

    fn gradients(&self, model: &N::Model) -> GradientsParams {
        let batch = self.batch.clone();
        match &self.direction {
            Direction::Plain(call) => {
                let grads = N::loss(model, batch, call).backward();
                GradientsParams::from_grads(grads, model)
            }
            Direction::Natural(method) => {
                let tape = method.borrow().start();
                let grads = N::loss(model, batch, &Call::Recorded).backward();
                let update = method.borrow_mut().gradients(tape, grads, model);
                update.expect("a recorded model")
            }
            Direction::BySample => self.by_sample(model),
            Direction::Dense => self.dense(model),
        }
    }

    fn by_sample(&self, model: &N::Model) -> GradientsParams {
        let samples = N::samples(&self.batch);
        let call = Call::OneSample(OutputNorms::default());
        let jacobian = Jacobian::by_sample(model, samples, |model, n| {
            N::loss(model, N::sample(&self.batch, n), &call)
        });
        let jacobian = jacobian.expect("a trainable model");
        let Call::OneSample(norms) = call else {
            unreachable!("made above")
        };
        let s = to_host(norms.take());
        let gram = jacobian.gram().expect("finite gradients");
        let update = ief(gram, s, jacobian.gram_epsilon());
        let delta = jacobian.into_t_matvec(&update.values);
        delta.expect("a coefficient per sample")
    }

    fn dense(&self, model: &N::Model) -> GradientsParams {
        let samples = N::samples(&self.batch);
        let call = Call::PerSample(Leaves::default());
        let mut grads = N::loss(model, self.batch.clone(), &call).backward();
        let Call::PerSample(leaves) = call else {
            unreachable!("made above")
        };
        let s = leaves.norms.take();
        let rows = leaves.take(&mut grads);
        // The loss is a mean: rows are those of the samples' losses over M.
        let scale = samples as f64;
        let shares = rows.iter().map(|leaf| {
            let rows = leaf.rows.clone();
            rows.clone().matmul(rows.transpose())
        });
        let gram = shares.reduce(|a, b| a + b).expect("a trainable model");
        let gram = to_host(gram).iter().map(|k| k * scale * scale).collect();
        let gram = Symmetric::new(samples, gram);
        let epsilon = f64::from(f32::EPSILON);
        let c: Vec<f32> = ief(gram, to_host(s), epsilon)
            .values
            .iter()
            .map(|c| (c * scale) as f32)
            .collect();
        let c = Tensor::<2>::from_data(
            TensorData::new(c, [1, samples]),
            &self.device.clone().inner(),
        );
        let mut delta = GradientsParams::new();
        for PerSample { id, shape, rows } in rows {
            let share = c.clone().matmul(rows);
            match shape[..] {
                [o] => delta.register::<1>(id, share.reshape([o])),
                [i, o] => delta.register::<2>(id, share.reshape([i, o])),
                _ => unreachable!("weights and biases"),
            }
        }
        delta
    }
}

impl<N: Net> Step for Training<N> {
    fn step(&mut self) {
        let model = self.model.take().expect("put back after every step");
        let update = self.gradients(&model);
        self.model = Some(self.optimizer.step(STEP_SIZE, model, update));
        self.device.sync().expect("a working device");
    }
}

/// An optimizer, and where its update comes from.
fn optimizer_of<M: Module>(
    mut config: OptimizerConfig,
    model: &M,
    operations: Operations,
) -> (ModuleOptimizer, Direction) {
    if let Some(factors) = config.factors_mut() {
        (factors.factor_interval, factors.inverse_interval) = (REFRESH, REFRESH);
        factors.warm_up = 0;
    }
    let (optim, natural) = config.for_learner().expect("settings in range");
    let direction = match natural {
        None => Direction::Plain(Call::Folded(operations)),
        Some(method) => Direction::Natural(Box::new(NaturalOptimizer::new(method, model).into())),
    };
    (optim, direction)
}

/// The coefficients of the iEF update.
fn ief(gram: Symmetric, norms: Vec<f64>, epsilon: f64) -> Coefficients {
    let system = System::from_gram(gram, norms.len())
        .with_output_norms(norms)
        .with_epsilon(epsilon);
    let solution = Ief::default().solve(&system).expect("a solvable system");
    solution.into_coefficients().expect("a combination of rows")
}

fn to_host<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    let data = x.into_data().convert::<f64>();
    data.try_to_vec().expect("converted to f64")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::random_state;
    use burn::module::{ModuleVisitor, Param};
    use programs::optimizer::optimizer;

    /// The flattened update.
    struct Flatten<'a> {
        grads: &'a GradientsParams,
        values: Vec<f64>,
    }

    impl ModuleVisitor for Flatten<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(grad) = self.grads.get::<D>(param.id) {
                self.values.extend(to_host(grad));
            }
        }
    }

    /// The updates of several methods at one model and batch.
    fn updates<N: Net>(batch: usize, methods: &[Method], operations: Operations) -> Vec<Vec<f64>> {
        let _random = random_state();
        let device = Device::flex().autodiff();
        // The same weights and data in every run: with new ones, about one run in fifty has a ReLU
        // input so near zero that rounding decides whether the unit is on, and the update then
        // moves by a per cent.
        device.seed(1);
        let mut training = Training::<N>::new(Method::SGD, batch, operations, device.clone());
        let model = training.model.take().expect("a new model");
        let flattened = methods.iter().map(|&method| {
            training.direction =
                Training::<N>::new(method, 1, operations, device.clone()).direction;
            let grads = training.gradients(&model);
            let mut flatten = Flatten {
                grads: &grads,
                values: Vec::new(),
            };
            model.visit(&mut flatten);
            flatten.values
        });
        flattened.collect()
    }

    fn distance(a: &[f64], b: &[f64]) -> f64 {
        assert_eq!(a.len(), b.len());
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
        norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
    }

    #[test]
    fn every_way_to_form_the_ief_update_gives_the_same_one() {
        let methods = [
            Method::BySample,
            Method::Optimizer(optimizer("ief")),
            Method::Dense,
        ];
        for updates in [
            updates::<Classified<Mlp>>(3, &methods, Operations::Fused),
            updates::<Classified<Transformer>>(3, &methods, Operations::Fused),
        ] {
            for (update, method) in updates.iter().zip(methods) {
                // f32 and relative damping 1e-3: the solve amplifies rounding of 1e-7 by up to 1e3.
                let distance = distance(update, &updates[0]);
                assert!(distance < 1e-3, "{method}: {distance}");
            }
        }
    }

    #[test]
    fn recorded_updates_of_recurrent_models_are_those_of_their_samples() {
        let methods = [Method::BySample, Method::Optimizer(optimizer("ief"))];
        for updates in [
            updates::<Classified<Recurrent>>(3, &methods, Operations::Fused),
            updates::<Classified<Cells>>(3, &methods, Operations::Fused),
        ] {
            let distance = distance(&updates[1], &updates[0]);
            assert!(distance < 1e-3, "{distance}");
        }
    }

    #[test]
    fn every_way_to_form_the_gradient_of_lora_gives_the_same_one() {
        let methods = [Method::SGD, Method::SgdUnfolded, Method::ApplyLora];
        let updates = updates::<Classified<Transformer>>(2, &methods, Operations::Fused);
        for (update, method) in updates.iter().zip(methods) {
            let distance = distance(update, &updates[0]);
            assert!(distance < 1e-4, "{method}: {distance}");
        }
    }

    #[test]
    fn fused_operations_give_burns_gradient() {
        let methods = [Method::SGD, Method::Optimizer(optimizer("ief"))];
        let [fused, own] = [Operations::Fused, Operations::Burn]
            .map(|operations| updates::<Classified<Transformer>>(3, &methods, operations));
        // The solve amplifies rounding, see above.
        for (at, bound) in [(0, 1e-5), (1, 1e-3)] {
            let distance = distance(&fused[at], &own[at]);
            assert!(distance < bound, "{}: {distance}", methods[at]);
        }
    }
}
