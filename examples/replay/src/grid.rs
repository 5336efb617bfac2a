//! `z = θ₀ + θ₁ x` on a grid of θ: least squares and logistic regression.

use std::collections::BTreeMap;
use std::ops::Range;

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};
use burn_ief::eval::{LossKind, imbalance};
use burn_ief::exchange::Exchange;
use burn_ief::jacobian::{Jacobian, RecordedBatch};
use burn_ief::nn::expand_param;
use burn_ief::solve::Damping;
use burn_ief::{LabelDraw, Likelihood, LossScale, Tape};

use crate::array::to_host;
use crate::case::Case;
use crate::error::Error;
use crate::kind::Kind;
use crate::measured::{Measured, Pass};
use crate::place::Place;
use crate::quality::Judge;
use crate::results::Results;
use crate::shards::{Replica, Shards};
use crate::updates::{self, damping};

/// A line through two parameters.
#[derive(Module, Debug)]
pub struct Line {
    theta: Param<Tensor<1>>,
}

impl Line {
    /// `features [n, 2]` are (1, x); the result is `[n, 1]`.
    fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let [samples, _] = features.dims();
        let theta = expand_param::<_, 2>(&self.theta, samples);
        (theta * burn_ief::expand_input(features)).sum_dim(1)
    }
}

/// Compute what `results` asks for, at every θ.
///
/// # Errors
///
/// Everything that can be wrong with a case, and [`Error::Compute`].
pub fn grid(
    case: &Case,
    place: &Place,
    shards: &Shards,
    results: &mut Results,
) -> Result<(), Error> {
    let input = Input::read(case, results)?;
    let mut fields = BTreeMap::new();
    for point in 0..input.points() {
        let theta = &input.theta[2 * point..2 * point + 2];
        let line = Line {
            theta: Param::from_tensor(place.vector(theta)),
        };
        let at = At {
            case,
            input: &input,
            shards: shards.ranges(input.x.len())?,
            exchange: shards.exchange(),
            replicas: shards.replicas(&line, place),
            home: Replica {
                place: place.clone(),
                model: line,
            },
            point,
        };
        at.compute(results, &mut Fields(&mut fields))
            .map_err(|error| match error {
                Error::Compute { what, source } => Error::Compute {
                    what: format!("{what} at theta = {theta:?}"),
                    source,
                },
                other => other,
            })?;
    }
    for (name, (shape, values)) in fields {
        let shape = input.axes.iter().copied().chain(shape).collect();
        results.put(name, shape, values);
    }
    Ok(())
}

/// Values of a result at one θ after another, with the shape at one θ.
struct Fields<'a>(&'a mut BTreeMap<String, (Vec<usize>, Vec<f64>)>);

impl Fields<'_> {
    fn push(&mut self, name: impl Into<String>, shape: &[usize], values: &[f64]) {
        let field = self.0.entry(name.into());
        let (_, all) = field.or_insert_with(|| (shape.to_vec(), Vec::new()));
        all.extend(values);
    }
}

/// Values of a grid's axis.
const LONGEST_AXIS: usize = 1000;

/// The inputs of a grid.
struct Input {
    axes: [usize; 2],
    theta: Vec<f64>,
    x: Vec<f64>,
    labels: Vec<f64>,
    /// At every θ; empty if no result needs them.
    drawn: Vec<f64>,
}

impl Input {
    fn read(case: &Case, results: &Results) -> Result<Self, Error> {
        let foreign = case.names().filter(|name| {
            name.starts_with("param.")
                || name.starts_with("frozen.")
                || (name.starts_with("input.") && *name != "input.x")
        });
        let foreign: Vec<String> = foreign.map(str::to_string).collect();
        if !foreign.is_empty() {
            return Err(Error::Unused {
                network: case.kind.describe(),
                tensors: foreign,
            });
        }
        let (axes, theta) = match (case.has("theta"), case.has("axis")) {
            (true, _) => {
                let theta = case.floats("theta", &[None, None, Some(2)])?;
                let shape = case.shape("theta")?;
                ([shape[0], shape[1]], theta.to_vec())
            }
            (false, true) => {
                let axis = case.floats("axis", &[None])?;
                // The grid has a point for each pair.
                if axis.len() > LONGEST_AXIS {
                    return Err(Error::Value {
                        tensor: "axis".into(),
                        problem: format!(
                            "has {} values: expected at most {LONGEST_AXIS}, a grid of a million points",
                            axis.len()
                        ),
                    });
                }
                let pairs = axis.iter().flat_map(|a| axis.iter().map(move |b| [*a, *b]));
                ([axis.len(); 2], pairs.flatten().collect())
            }
            (false, false) => {
                return Err(Error::Missing {
                    tensor: "theta` or `axis".into(),
                });
            }
        };
        let x = case.floats("input.x", &[None])?;
        let labels = case.floats("labels", &[Some(x.len())])?;
        let shape = [Some(axes[0]), Some(axes[1]), Some(x.len())];
        let drawn = if needs_drawn(case, results) {
            case.floats("labels_sampled", &shape)?
        } else {
            &[]
        };
        if x.is_empty() || theta.is_empty() {
            return Err(Error::Value {
                tensor: "input.x` or `theta".into(),
                problem: "is empty".into(),
            });
        }
        if case.kind == Kind::Logistic {
            for (tensor, labels) in [("labels", labels), ("labels_sampled", drawn)] {
                if let Some(label) = labels.iter().find(|l| ![0.0, 1.0].contains(*l)) {
                    return Err(Error::Value {
                        tensor: tensor.into(),
                        problem: format!("has the label {label}: expected 0 or 1"),
                    });
                }
            }
        }
        Ok(Self {
            axes,
            theta,
            x: x.to_vec(),
            labels: labels.to_vec(),
            drawn: drawn.to_vec(),
        })
    }

    fn points(&self) -> usize {
        self.axes.iter().product()
    }
}

fn needs_drawn(case: &Case, results: &Results) -> bool {
    let rules = ["sf", "gamma.sf"];
    let wanted = rules.map(|rule| results.selection().wants_rule(case, rule));
    results.wants("gram_sampled") || wanted.contains(&true)
}

fn needs_fisher(case: &Case, results: &Results) -> bool {
    let rules = ["ngd", "gamma.ngd"];
    let wanted = rules.map(|rule| results.selection().wants_rule(case, rule));
    let names = ["fisher", "ngd", "gamma.ngd"].map(|name| results.wants(name));
    names.contains(&true) || wanted.contains(&true)
}

/// One θ.
struct At<'a> {
    case: &'a Case,
    input: &'a Input,
    shards: Vec<Range<usize>>,
    exchange: &'a Exchange,
    /// The lines that shards are measured with, in turn.
    replicas: Vec<Replica<Line>>,
    /// The line for everything else.
    home: Replica<Line>,
    point: usize,
}

impl At<'_> {
    fn compute(&self, results: &Results, fields: &mut Fields<'_>) -> Result<(), Error> {
        let samples = self.input.x.len();
        let pass = self.measure(&self.input.labels)?;
        fields.push("logits", &[samples], &pass.logits);
        fields.push("losses", &[samples], &pass.losses);
        let s = pass.output_norms;
        fields.push("s", &[samples], &s);

        let jacobian = pass.jacobian;
        let imbalance = imbalance(&jacobian).map_err(Error::compute("imbalance"))?;
        fields.push("imbalance", &[], &[imbalance]);
        fields.push("grad_norms", &[samples], &jacobian.row_norms());
        let grad = self.combine(&jacobian, &vec![1.0; samples], "grad")?;
        fields.push("grad", &[2], &grad);
        let judge = if results.selection().wants_gamma(self.case) {
            Some(self.judge()?)
        } else {
            None
        };
        let judge = Gamma {
            judge,
            gradient: self.direction(&grad),
        };
        self.put_gamma("sgd", &grad, &judge, fields)?;

        let gram = jacobian.gram().map_err(Error::compute("gram"))?;
        fields.push("gram", &[samples, samples], gram.values());
        for lambda in &self.case.lambdas {
            let epsilon = jacobian.gram_epsilon();
            for rule in ["ef", "ief"] {
                let name = format!("{rule}.lam_{}", lambda.text);
                let solved = updates::exact(rule, &gram, &s, damping(lambda), epsilon);
                let solved = solved.map_err(Error::compute(&name))?;
                let delta = self.combine(&jacobian, &solved.values, &name)?;
                self.put_gamma(&name, &delta, &judge, fields)?;
                fields.push(name, &[2], &delta);
            }
        }
        if needs_drawn(self.case, results) {
            self.sampled(jacobian, &judge, fields)?;
        }
        if needs_fisher(self.case, results) {
            self.fisher(results, &judge, fields)?;
        }
        Ok(())
    }

    /// SF in the two parameters: P is no more than the number of samples, and small.
    fn sampled(
        &self,
        jacobian: Jacobian,
        judge: &Gamma<'_>,
        fields: &mut Fields<'_>,
    ) -> Result<(), Error> {
        let samples = self.input.x.len();
        let drawn = &self.input.drawn[self.point * samples..][..samples];
        let drawn = self.measure(drawn)?.jacobian;
        let gram = drawn.gram().map_err(Error::compute("gram_sampled"))?;
        fields.push("gram_sampled", &[samples, samples], gram.values());
        let rows = self.exchange.join(vec![jacobian, drawn]);
        let rows = rows.map_err(Error::compute("sf"))?;
        self.small("sf", &rows.to_dense(), rows.gram_epsilon(), judge, fields)
    }

    /// The exact Fisher matrix, from a copy of each sample for every label.
    fn fisher(
        &self,
        results: &Results,
        judge: &Gamma<'_>,
        fields: &mut Fields<'_>,
    ) -> Result<(), Error> {
        let samples = self.input.x.len();
        let (mut dense, mut copies, mut epsilon) = (Vec::new(), Vec::new(), 0.0);
        for (replica, shard) in self.divided() {
            let recorded = self.record_exact(replica, shard)?;
            let mut rows = recorded.all_rows().to_dense();
            epsilon = recorded.all_rows().gram_epsilon();
            copies.extend(rows.split_off(shard.len()));
            dense.extend(rows);
        }
        let columns = [0, 1].map(|p| copies.iter().map(|row| row[p]).collect::<Vec<f64>>());
        let fisher: Vec<f64> = columns
            .iter()
            .flat_map(|a| {
                columns
                    .iter()
                    .map(move |b| a.iter().zip(b).map(|(a, b)| a * b).sum())
            })
            .collect();
        fields.push("fisher", &[2, 2], &fisher);
        dense.extend(copies);
        if results.wants("ngd") || results.wants("gamma.ngd") {
            let undamped = Damping::absolute(0.0);
            let ngd = updates::sampled_in_parameters(&dense, samples, undamped, epsilon);
            let ngd = ngd.map_err(Error::compute("ngd"))?;
            self.put_gamma("ngd", &ngd, judge, fields)?;
            fields.push("ngd", &[2], &ngd);
        }
        self.small("ngd", &dense, epsilon, judge, fields)
    }

    /// `(ĴᵀĴ + λI)⁻¹ g` for every λ, from the rows of J and Ĵ.
    fn small(
        &self,
        rule: &str,
        dense: &[Vec<f64>],
        epsilon: f64,
        judge: &Gamma<'_>,
        fields: &mut Fields<'_>,
    ) -> Result<(), Error> {
        for lambda in &self.case.lambdas {
            let name = format!("{rule}.lam_{}", lambda.text);
            let samples = self.input.x.len();
            let delta = updates::sampled_in_parameters(dense, samples, damping(lambda), epsilon);
            let delta = delta.map_err(Error::compute(&name))?;
            self.put_gamma(&name, &delta, judge, fields)?;
            fields.push(name, &[2], &delta);
        }
        Ok(())
    }

    fn judge(&self) -> Result<Judge<'_, Line>, Error> {
        let loss = match self.case.kind {
            Kind::LeastSquares => LossKind::LeastSquares,
            _ => LossKind::BinaryCrossEntropy,
        };
        Judge::new(loss, &self.home.model, |line| {
            let all = 0..self.input.x.len();
            line.forward(self.features(&self.home.place, &all))
        })
    }

    fn put_gamma(
        &self,
        name: &str,
        delta: &[f64],
        judge: &Gamma<'_>,
        fields: &mut Fields<'_>,
    ) -> Result<(), Error> {
        let Some(by) = &judge.judge else {
            return Ok(());
        };
        let name = format!("gamma.{name}");
        let gamma = by.gamma(&name, &self.direction(delta), &judge.gradient)?;
        fields.push(name, &[], &[gamma]);
        Ok(())
    }

    fn direction(&self, delta: &[f64]) -> GradientsParams {
        let mut direction = GradientsParams::new();
        let delta = self.home.place.inner().vector(delta);
        direction.register(self.home.model.theta.id, delta);
        direction
    }

    fn combine(&self, jacobian: &Jacobian, c: &[f64], name: &str) -> Result<Vec<f64>, Error> {
        let delta = jacobian.t_matvec(c).map_err(Error::compute(name))?;
        let delta = delta.get::<1>(self.home.model.theta.id);
        Ok(delta.map_or(vec![0.0; 2], to_host))
    }

    /// Record these labels, shard by shard, and join what the shards give.
    fn measure(&self, labels: &[f64]) -> Result<Measured, Error> {
        let passes = self.divided();
        let passes =
            passes.map(|(replica, shard)| self.record(replica, shard, &labels[shard.clone()]));
        Measured::join(passes, self.exchange)
    }

    /// The shards, and the line that measures each.
    fn divided(&self) -> impl Iterator<Item = (&Replica<Line>, &Range<usize>)> {
        self.replicas.iter().cycle().zip(&self.shards)
    }

    fn record(
        &self,
        Replica { place, model: line }: &Replica<Line>,
        shard: &Range<usize>,
        labels: &[f64],
    ) -> Result<Pass, Error> {
        let tape = Tape::start().with_loss_scale(LossScale::Sum);
        let z = line.forward(self.features(place, shard));
        let (logits, losses) = match self.case.kind {
            Kind::LeastSquares => {
                let z = burn_ief::mark_output_as(z, Likelihood::Gaussian);
                (z.clone(), half_squares(place, z, labels))
            }
            _ => {
                // s is that of the one-logit form.
                let z = burn_ief::mark_output(z);
                (z.clone(), cross_entropy(place, two_logits(z), labels))
            }
        };
        let grads = losses.clone().sum().backward();
        let recorded = RecordedBatch::collect(tape, grads, line, None);
        Ok(Pass {
            logits: to_host(logits),
            losses: to_host(losses),
            recorded: recorded.map_err(Error::compute("per-sample gradients"))?,
        })
    }

    /// The true rows, and a copy of each for every label (or, for least squares, for the one
    /// output), weighted by its probability.
    fn record_exact(
        &self,
        Replica { place, model: line }: &Replica<Line>,
        shard: &Range<usize>,
    ) -> Result<RecordedBatch, Error> {
        let classes = match self.case.kind {
            Kind::LeastSquares => 1,
            _ => 2,
        };
        let tape = Tape::with_drawn_labels(LabelDraw::Enumerate { classes });
        let tape = tape.with_loss_scale(LossScale::Sum);
        let z = line.forward(self.features(place, shard));
        let labels = &self.input.labels[shard.clone()];
        let losses = match self.case.kind {
            Kind::LeastSquares => {
                let z = burn_ief::mark_output_as(z, Likelihood::Gaussian);
                half_squares(place, z, labels)
            }
            _ => {
                let z = burn_ief::mark_output(two_logits(z));
                cross_entropy(place, z, labels)
            }
        };
        let grads = burn_ief::mark_loss(losses.sum()).backward();
        let recorded = RecordedBatch::collect(tape, grads, line, None);
        recorded.map_err(Error::compute("fisher"))
    }

    /// `[n, 2]`: 1 and x.
    fn features(&self, place: &Place, shard: &Range<usize>) -> Tensor<2> {
        let x = &self.input.x[shard.clone()];
        let features: Vec<f64> = x.iter().flat_map(|x| [1.0, *x]).collect();
        place.tensor(&features, [x.len(), 2])
    }
}

fn half_squares(place: &Place, z: Tensor<2>, labels: &[f64]) -> Tensor<2> {
    let y = place.tensor(labels, [labels.len(), 1]);
    (z - y).square() * 0.5
}

fn cross_entropy(place: &Place, z: Tensor<2>, labels: &[f64]) -> Tensor<2> {
    let labels: Vec<i64> = labels.iter().map(|&label| label as i64).collect();
    let rows = labels.len();
    let data = TensorData::new(labels, [rows, 1]);
    let labels = Tensor::<2, Int>::from_data(data, &place.device);
    log_softmax(z, 1).gather(1, labels).neg()
}

/// Who judges updates, if γ is asked for, and the gradient.
struct Gamma<'a> {
    judge: Option<Judge<'a, Line>>,
    gradient: GradientsParams,
}

/// A sigmoid's logit as the two logits (0, z) of a softmax.
fn two_logits(z: Tensor<2>) -> Tensor<2> {
    Tensor::cat(vec![z.zeros_like(), z], 1)
}
