//! The results of a classifier: recordings of the shards with the true labels, and with the drawn ones.

use std::ops::Range;

use burn::module::ParamGroup;
use burn::optim::GradientsParams;
use burn::tensor::{Int, Tensor, TensorData};
use burn_ief::eval::{LossKind, imbalance};
use burn_ief::exchange::Exchange;
use burn_ief::jacobian::{Jacobian, RecordedBatch};
use burn_ief::solve::Symmetric;
use burn_ief::{LossScale, Tape};

use crate::array::to_host;
use crate::case::Case;
use crate::cross_entropy::cross_entropy;
use crate::error::Error;
use crate::kind::Kind;
use crate::kronecker::kronecker;
use crate::measured::{Measured, Pass};
use crate::networks::{Network, build};
use crate::place::Place;
use crate::quality::Judge;
use crate::results::Results;
use crate::shards::{Replica, Shards};
use crate::updates::{self, damping};
use crate::weights::Parameter;

/// Compute what `results` asks for.
///
/// # Errors
///
/// Everything that can be wrong with a case, and [`Error::Compute`].
pub fn classifier<N: Network>(
    case: &Case,
    place: &Place,
    shards: &Shards,
    results: &mut Results,
) -> Result<(), Error> {
    let (network, parameters) = build::<N>(case, place)?;
    let truth = labels(case, "labels", network.classes())?;
    let samples = truth.len();
    let input = network.input(case, place, samples)?;
    let replicas = shards.replicas(&network, place);
    let replicas = replicas.into_iter().map(|replica| {
        let input = replica.model.input(case, &replica.place, samples)?;
        Ok((replica, input))
    });
    let batch = Batch {
        replicas: replicas.collect::<Result<_, Error>>()?,
        shards: shards.ranges(samples)?,
        exchange: shards.exchange(),
    };
    let pass = batch.measure(truth)?;

    results.put("logits", vec![samples, network.classes()], pass.logits);
    results.put("losses", vec![samples], pass.losses);
    let s = pass.output_norms;
    results.put("s", vec![samples], s.clone());

    let jacobian = pass.jacobian;
    let imbalance = imbalance(&jacobian).map_err(Error::compute("imbalance"))?;
    results.put("imbalance", vec![1], vec![imbalance]);
    results.put("grad_norms", vec![samples], jacobian.row_norms());
    let grad = jacobian.t_matvec(&vec![1.0; samples]);
    let grad = grad.map_err(Error::compute("grad"))?;
    put_direction(results, "grad", &parameters, &grad);
    let products = case.names().any(|name| name.starts_with("fvp.v."));
    let products = products
        && case
            .order
            .iter()
            .any(|p| results.wants(&format!("fvp.Fv.{p}")));
    let judge = if products || results.selection().wants_gamma(case) {
        let forward = |network: &N| network.logits(input.clone());
        Some(Judge::new(LossKind::CrossEntropy, &network, forward)?)
    } else {
        None
    };
    if let Some(judge) = judge.as_ref().filter(|_| products) {
        judge.put_product(case, place, &parameters, results)?;
    }
    let put_gamma = |name: &str, delta: &GradientsParams, results: &mut Results| {
        let gamma = format!("gamma.{name}");
        if let Some(judge) = judge.as_ref().filter(|_| results.wants(&gamma)) {
            let value = judge.gamma(&gamma, delta, &grad)?;
            results.put(gamma, vec![1], vec![value]);
        }
        Ok::<(), Error>(())
    };
    put_gamma("sgd", &grad, results)?;

    let gram = jacobian.gram().map_err(Error::compute("gram"))?;
    results.put("gram", vec![samples; 2], gram.values().to_vec());
    for lambda in &case.lambdas {
        let epsilon = jacobian.gram_epsilon();
        for rule in ["ef", "ief"] {
            let name = format!("{rule}.lam_{}", lambda.text);
            let solved = updates::exact(rule, &gram, &s, damping(lambda), epsilon);
            let solved = solved.map_err(Error::compute(&name))?;
            let delta = jacobian
                .t_matvec(&solved.values)
                .map_err(Error::compute(&name))?;
            put_direction(results, &name, &parameters, &delta);
            put_gamma(&name, &delta, results)?;
            let name = format!("{rule}_jd.lam_{}", lambda.text);
            results.put(name, vec![samples], solved.decrease);
        }
    }
    let rules = ["sf", "gamma.sf"];
    let wants_sf = rules.map(|rule| results.selection().wants_rule(case, rule));
    if results.wants("gram_sampled") || wants_sf.contains(&true) {
        let drawn = labels(case, "labels_sampled", network.classes())?;
        let matches: Vec<bool> = truth.iter().zip(drawn).map(|(a, b)| a == b).collect();
        let rows = vec![jacobian, batch.measure(drawn)?.jacobian];
        let rows = batch.exchange.join(rows).map_err(Error::compute("sf"))?;
        let put = |name: &str, delta: &GradientsParams, results: &mut Results| {
            put_direction(results, name, &parameters, delta);
            put_gamma(name, delta, results)
        };
        sampled(case, &rows, &matches, results, put)?;
    }
    if case.kind != Kind::Mlp {
        return Ok(());
    }
    kronecker(case, &parameters, results, |drawn, group| {
        let labels = if drawn {
            labels(case, "labels_sampled", network.classes())?
        } else {
            truth
        };
        batch.passes(labels, group).collect()
    })
}

/// A network with its inputs at each place, and how they are divided.
struct Batch<'a, N: Network> {
    replicas: Vec<(Replica<N>, N::Input)>,
    shards: Vec<Range<usize>>,
    exchange: &'a Exchange,
}

impl<N: Network> Batch<'_, N> {
    /// Record the summed cross-entropy of these labels, shard by shard, over the parameters of a group.
    fn passes(
        &self,
        labels: &[i64],
        group: Option<&ParamGroup>,
    ) -> impl Iterator<Item = Result<Pass, Error>> {
        let shards = self.shards.iter().zip(self.replicas.iter().cycle());
        shards.map(move |(shard, (replica, input))| {
            let input = N::part(input, shard.clone());
            record(replica, input, &labels[shard.clone()], group)
        })
    }

    /// Record the summed cross-entropy of these labels, shard by shard, and join what they give.
    fn measure(&self, labels: &[i64]) -> Result<Measured, Error> {
        Measured::join(self.passes(labels, None), self.exchange)
    }
}

/// Record the summed cross-entropy of these labels, over the parameters of a group.
fn record<N: Network>(
    replica: &Replica<N>,
    input: N::Input,
    labels: &[i64],
    group: Option<&ParamGroup>,
) -> Result<Pass, Error> {
    let network = &replica.model;
    let samples = labels.len();
    let data = TensorData::new(labels.to_vec(), [samples, 1]);
    let labels = Tensor::<2, Int>::from_data(data, &replica.place.device);
    let tape = Tape::start().with_loss_scale(LossScale::Sum);
    let logits = burn_ief::mark_output(network.logits(input));
    let losses = cross_entropy(logits.clone(), labels);
    let grads = losses.clone().sum().backward();
    let recorded = RecordedBatch::collect(tape, grads, network, group);
    Ok(Pass {
        logits: to_host(logits),
        losses: to_host(losses),
        recorded: recorded.map_err(Error::compute("per-sample gradients"))?,
    })
}

/// Results that need the rows of the drawn labels, `rows` being those of J, then of Ĵ.
fn sampled(
    case: &Case,
    rows: &Jacobian,
    matches: &[bool],
    results: &mut Results,
    put: impl Fn(&str, &GradientsParams, &mut Results) -> Result<(), Error>,
) -> Result<(), Error> {
    let samples = matches.len();
    let gram = rows.gram().map_err(Error::compute("gram_sampled"))?;
    let drawn: Vec<usize> = (samples..2 * samples).collect();
    let own: Symmetric = gram.principal(&drawn).into_owned();
    results.put("gram_sampled", vec![samples; 2], own.values().to_vec());
    // No more parameters than rows: the system in the parameters is smaller, and has no 1/λ.
    let dense = (rows.columns() <= samples).then(|| rows.to_dense());
    for lambda in &case.lambdas {
        let name = format!("sf.lam_{}", lambda.text);
        let epsilon = rows.gram_epsilon();
        let delta = match &dense {
            Some(dense) => updates::sampled_in_parameters(dense, samples, damping(lambda), epsilon)
                .and_then(|delta| rows.unflatten(&delta)),
            None => updates::sampled(&gram, matches, damping(lambda), epsilon)
                .and_then(|update| rows.t_matvec(&update.values)),
        };
        let delta = delta.map_err(Error::compute(&name))?;
        put(&name, &delta, results)?;
    }
    Ok(())
}

fn put_direction(
    results: &mut Results,
    name: &str,
    parameters: &[Parameter],
    direction: &GradientsParams,
) {
    for parameter in parameters {
        let name = format!("{name}.{}", parameter.name);
        if results.wants(&name) {
            results.put(name, parameter.shape.clone(), parameter.read(direction));
        }
    }
}

/// Labels of all samples, checked against the classes there are.
fn labels<'a>(case: &'a Case, tensor: &str, classes: usize) -> Result<&'a [i64], Error> {
    let samples = case.shape("labels")?.first().copied();
    let labels = case.integers(tensor, &[samples])?;
    let problem = match labels.iter().find(|l| !(0..classes as i64).contains(l)) {
        Some(label) => format!("has the label {label}: expected 0 to {}", classes - 1),
        None if labels.is_empty() => "is empty".into(),
        None => return Ok(labels),
    };
    Err(Error::Value {
        tensor: tensor.into(),
        problem,
    })
}
