//! The update of every method at any point, by the library and in f64.

use burn::module::Param;
use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use burn_ief::eval::summed_gradient;
use burn_ief::methods::AnyConfig;
use burn_ief::prelude::*;
use programs::plot::Color;

use super::Problem;
use crate::chart::Look;
use crate::error::Error;

/// Far below everything that a panel shows.
const DAMPING: f64 = 1e-12;

/// A method.
///
/// ```
/// use figures::toy::Rule;
///
/// assert_eq!(Rule::ALL.map(|rule| rule.look().name), ["SGD", "NGD", "iEF", "EF"]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The gradient.
    Sgd,
    /// The exact natural gradient.
    Ngd,
    /// Improved empirical Fisher.
    Ief,
    /// Empirical Fisher.
    Ef,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sgd, Self::Ngd, Self::Ief, Self::Ef];

    /// Name and colour.
    pub fn look(self) -> Look {
        let (name, color, dashed) = match self {
            Self::Sgd => ("SGD", Color::Grey, false),
            Self::Ngd => ("NGD", Color::Blue, false),
            // Where it is the natural gradient, both are seen.
            Self::Ief => ("iEF", Color::Green, true),
            Self::Ef => ("EF", Color::Purple, false),
        };
        Look {
            name,
            color,
            dashed,
        }
    }

    fn natural(self, classes: usize) -> Option<AnyConfig> {
        let mut config: AnyConfig = match self {
            Self::Sgd => return None,
            Self::Ngd => NgdConfig::new().with_classes(classes).into(),
            Self::Ief => IefConfig::new().into(),
            Self::Ef => EfConfig::new().into(),
        };
        // The plain update, as long as it comes.
        config.step_mut().normalize = Some(0.0);
        if let Some(solve) = config.solve_mut() {
            *solve = SolveOptions::plain(Damping::absolute(DAMPING));
        }
        Some(config)
    }
}

/// A problem on a device.
///
/// ```
/// use burn::tensor::Device;
/// use figures::toy::{Problem, Rule, Toy};
///
/// let toy = Toy::new(Problem::LeastSquares, &Device::flex())?;
/// // The natural gradient of a linear least-squares problem leads to the optimum, here the origin.
/// let update = toy.update(Rule::Ngd, [0.3, -0.5])?;
/// assert!((update[0] - 0.3).abs() < 1e-9 && (update[1] + 0.5).abs() < 1e-9);
/// # Ok::<(), figures::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Toy {
    /// The problem.
    pub problem: Problem,
    device: Device,
    /// `[2, 1]`.
    inputs: Tensor<2>,
}

impl Toy {
    /// In f64 on a device.
    ///
    /// # Errors
    ///
    /// [`Error::NoF64`] if it does not have f64.
    pub fn new(problem: Problem, device: &Device) -> Result<Self, Error> {
        let device = device.clone().inner();
        if !device.supports_dtype(DType::F64) {
            return Err(Error::NoF64);
        }
        let device = device.autodiff();
        Ok(Self {
            problem,
            inputs: floats(&problem.inputs(), [2, 1], &device),
            device,
        })
    }

    /// Δ of the step `θ ← θ − η Δ`, for the parameters (offset, slope).
    ///
    /// # Errors
    ///
    /// [`Error::Method`].
    pub fn update(&self, rule: Rule, theta: [f64; 2]) -> Result<[f64; 2], Error> {
        let what = || format!("{} at {theta:?}", rule.look().name);
        let line = self.line(theta);
        let outputs = match self.problem {
            Problem::LeastSquares => 1,
            Problem::Logistic => 2,
        };
        let delta = match rule.natural(outputs) {
            None => {
                let loss = self.losses(rule, line.forward(self.inputs.clone())).sum();
                summed_gradient(loss.backward(), &line, 1.0)
            }
            Some(config) => {
                let optim = config.try_init(&line);
                let mut optim = optim.map_err(Error::method(what()))?;
                let tape = optim.start().with_loss_scale(LossScale::Sum);
                let losses = self.losses(rule, line.forward_recorded(self.inputs.clone()));
                let grads = mark_loss(losses.sum()).backward();
                let delta = optim.gradients(tape, grads, &line);
                delta.map_err(Error::method(what()))?
            }
        };
        Ok(entries(&line, &delta))
    }

    fn line(&self, [offset, slope]: [f64; 2]) -> Linear {
        let mut line = LinearConfig::new(1, 1).init(&self.device);
        line.weight = Param::from_tensor(floats(&[slope], [1, 1], &self.device));
        line.bias = Some(Param::from_tensor(floats(&[offset], [1], &self.device)));
        line
    }

    /// The loss of each sample, `[2, 1]`, with the outputs marked.
    fn losses(&self, rule: Rule, z: Tensor<2>) -> Tensor<2> {
        let labels = self.problem.labels();
        match self.problem {
            Problem::LeastSquares => {
                let z = mark_output_as(z, Likelihood::Gaussian);
                (z - floats(&labels, [2, 1], &self.device)).square() * 0.5
            }
            Problem::Logistic => {
                // The exact method counts classes; iEF's s is that of the one logit.
                let logits = match rule {
                    Rule::Ngd => mark_output(two_logits(z)),
                    _ => two_logits(mark_output(z)),
                };
                let labels = labels.map(|label| label as i64).to_vec();
                let labels = TensorData::new(labels, [2, 1]);
                let labels = Tensor::<2, Int>::from_data(labels, &self.device);
                log_softmax(logits, 1).gather(1, labels).neg()
            }
        }
    }
}

/// A sigmoid's logit as the two logits (0, z) of a softmax.
fn two_logits(z: Tensor<2>) -> Tensor<2> {
    Tensor::cat(vec![z.zeros_like(), z], 1)
}

fn floats<const D: usize>(values: &[f64], shape: [usize; D], device: &Device) -> Tensor<D> {
    let data = TensorData::new(values.to_vec(), shape);
    Tensor::from_data(data, (device, DType::F64))
}

/// Offset and slope.
fn entries(line: &Linear, delta: &GradientsParams) -> [f64; 2] {
    let offset = line.bias.as_ref().and_then(|bias| delta.get::<1>(bias.id));
    let slope = delta.get::<2>(line.weight.id);
    [
        offset.map_or(0.0, |offset| offset.into_scalar::<f64>()),
        slope.map_or(0.0, |slope| slope.into_scalar::<f64>()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTS: [[f64; 2]; 4] = [[0.7, -0.2], [-1.3, 0.4], [0.2, 1.9], [1.1, -1.7]];

    fn close(a: [f64; 2], b: [f64; 2]) -> bool {
        let off = (a[0] - b[0]).hypot(a[1] - b[1]);
        off < 1e-9 * b[0].hypot(b[1])
    }

    /// The update that moves the outputs by these amounts.
    fn moving(problem: Problem, by: [f64; 2]) -> [f64; 2] {
        let [first, second] = problem.inputs();
        let slope = (by[1] - by[0]) / (second - first);
        [by[0] - slope * first, slope]
    }

    #[test]
    fn updates_are_those_of_the_closed_forms() {
        for problem in Problem::ALL {
            let toy = Toy::new(problem, &Device::flex()).unwrap();
            for theta in POINTS {
                let z = problem.inputs().map(|x| theta[0] + theta[1] * x);
                // Slope and curvature of each sample's loss in its output.
                let [e, h] = match problem {
                    Problem::LeastSquares => [z, [1.0; 2]],
                    Problem::Logistic => {
                        let p = z.map(|z| 1.0 / (1.0 + (-z).exp()));
                        let e = [p[0], p[1] - 1.0];
                        [e, p.map(|p| p * (1.0 - p))]
                    }
                };
                let [first, second] = problem.inputs();
                let sgd = [e[0] + e[1], e[0] * first + e[1] * second];
                // As many parameters as samples: each method moves every output as it likes.
                let expected = [
                    sgd,
                    moving(problem, [e[0] / h[0], e[1] / h[1]]),
                    moving(problem, e),
                    moving(problem, e.map(f64::recip)),
                ];
                for (rule, expected) in Rule::ALL.into_iter().zip(expected) {
                    let found = toy.update(rule, theta).unwrap();
                    assert!(
                        close(found, expected),
                        "{problem:?} {rule:?} {theta:?}: {found:?} {expected:?}"
                    );
                }
            }
        }
    }
}
