//! Updates on a grid, along paths and along a ray.

use serde::Serialize;

use super::{Problem, Rule, Toy};
use crate::error::Error;

/// Arrows across and up. Their centres are odd multiples of 1/12 and 1/14 of the reach, so that
/// none has an output of exactly zero, where a sample of the least-squares problem has no gradient.
const GRID: [usize; 2] = [12, 14];
/// Steps of a path.
const STEPS: usize = 260;
/// Steps of a path in what is shown larger.
const FEW_STEPS: usize = 40;
/// Length of a step, in reaches of the problem.
const STEP: f64 = 0.015;

/// The update at one point of a grid.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Arrow {
    /// The method.
    pub method: &'static str,
    /// Middle of the arrow.
    pub offset: f64,
    /// Middle of the arrow.
    pub slope: f64,
    /// Δ.
    pub update_offset: f64,
    /// Δ.
    pub update_slope: f64,
    /// Between Δ and the natural gradient.
    pub degrees_from_ngd: f64,
}

/// A point of a path of steps of equal length.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// The method.
    pub method: &'static str,
    /// Which start; those of what is shown larger come last.
    pub path: usize,
    /// Steps before.
    pub step: usize,
    /// θ₀.
    pub offset: f64,
    /// θ₁.
    pub slope: f64,
    /// Summed loss.
    pub loss: f64,
}

/// How long the update is where the loss has some value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Length {
    /// The method.
    pub method: &'static str,
    /// Summed loss.
    pub loss: f64,
    /// ‖Δ‖.
    pub length: f64,
}

/// Everything that a picture of one method shows.
///
/// ```
/// use burn::tensor::Device;
/// use figures::toy::{Field, Problem, Rule, Toy};
///
/// let toy = Toy::new(Problem::LeastSquares, &Device::flex())?;
/// let ef = Field::of(&toy, Rule::Ef)?;
/// assert!(ef.mean_angle() > 20.0); // degrees from the natural gradient
/// # Ok::<(), figures::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Field {
    /// The method.
    pub rule: Rule,
    /// Over all that is shown.
    pub arrows: Vec<Arrow>,
    /// Over what is shown larger.
    pub zoomed: Vec<Arrow>,
    /// One for each start.
    pub paths: Vec<Vec<Point>>,
    /// As many in what is shown larger, with steps as long as theirs.
    pub zoomed_paths: Vec<Vec<Point>>,
    /// From large to small losses.
    pub lengths: Vec<Length>,
}

impl Field {
    /// Compute a method's.
    ///
    /// # Errors
    ///
    /// [`Error::Method`].
    pub fn of(toy: &Toy, rule: Rule) -> Result<Self, Error> {
        let problem = toy.problem;
        let (middle, half) = problem.zoom();
        let starts = problem.starts();
        let nearer =
            starts.map(|start| [0, 1].map(|i| middle[i] + half * start[i] / problem.reach()));
        let paths = |starts: [[f64; 2]; 5], first: usize, steps| {
            let starts = starts.into_iter().zip(first..);
            starts
                .map(|(start, path)| walk(toy, rule, path, start, steps))
                .collect::<Result<Vec<_>, Error>>()
        };
        let lengths = problem.ray().into_iter().map(|theta| {
            let update = toy.update(rule, theta)?;
            Ok(Length {
                method: rule.look().name,
                loss: problem.loss(theta),
                length: norm(update),
            })
        });
        Ok(Self {
            rule,
            arrows: arrows(toy, rule, [0.0; 2], problem.reach())?,
            zoomed: arrows(toy, rule, middle, half)?,
            paths: paths(starts, 0, STEPS)?,
            zoomed_paths: paths(nearer, starts.len(), FEW_STEPS)?,
            lengths: lengths.collect::<Result<_, Error>>()?,
        })
    }

    /// Mean angle between the updates and the natural gradient, in degrees.
    pub fn mean_angle(&self) -> f64 {
        let angles = self.arrows.iter().map(|arrow| arrow.degrees_from_ngd);
        angles.sum::<f64>() / self.arrows.len() as f64
    }

    /// The largest.
    pub fn largest_angle(&self) -> f64 {
        let angles = self.arrows.iter().map(|arrow| arrow.degrees_from_ngd);
        angles.fold(0.0, f64::max)
    }
}

/// The angle between two vectors, in degrees.
///
/// ```
/// let angle = figures::toy::angle([1.0, 1.0], [0.0, 2.0]);
/// assert!((angle - 45.0).abs() < 1e-12);
/// ```
pub fn angle(a: [f64; 2], b: [f64; 2]) -> f64 {
    let cross = a[0] * b[1] - a[1] * b[0];
    let dot = a[0] * b[0] + a[1] * b[1];
    cross.abs().atan2(dot).to_degrees()
}

fn norm([a, b]: [f64; 2]) -> f64 {
    a.hypot(b)
}

fn arrows(toy: &Toy, rule: Rule, middle: [f64; 2], half: f64) -> Result<Vec<Arrow>, Error> {
    let centre = |axis: usize, i: usize| {
        let count = GRID[axis];
        middle[axis] + half * (2.0 * i as f64 + 1.0 - count as f64) / count as f64
    };
    let points = (0..GRID[0]).flat_map(|i| (0..GRID[1]).map(move |j| [centre(0, i), centre(1, j)]));
    points
        .map(|theta| {
            let update = toy.update(rule, theta)?;
            Ok(Arrow {
                method: rule.look().name,
                offset: theta[0],
                slope: theta[1],
                update_offset: update[0],
                update_slope: update[1],
                degrees_from_ngd: angle(update, toy.update(Rule::Ngd, theta)?),
            })
        })
        .collect()
}

/// Steps of equal length against the update, to the optimum or out of the picture.
fn walk(
    toy: &Toy,
    rule: Rule,
    path: usize,
    start: [f64; 2],
    steps: usize,
) -> Result<Vec<Point>, Error> {
    let problem = toy.problem;
    let reach = problem.reach();
    let length = STEP * reach;
    let arrived = |theta: [f64; 2]| problem == Problem::LeastSquares && norm(theta) < length;
    let outside = |theta: [f64; 2]| theta.iter().any(|t| t.abs() > reach);
    let mut points = Vec::new();
    let mut theta = start;
    for step in 0..=steps {
        points.push(Point {
            method: rule.look().name,
            path,
            step,
            offset: theta[0],
            slope: theta[1],
            loss: problem.loss(theta),
        });
        if arrived(theta) || outside(theta) {
            break;
        }
        let update = toy.update(rule, theta)?;
        let size = norm(update);
        // Nowhere to go: a zero gradient.
        if size == 0.0 {
            break;
        }
        theta = [0, 1].map(|i| theta[i] - length * update[i] / size);
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn field(problem: Problem, rule: Rule) -> Field {
        Field::of(&Toy::new(problem, &Device::flex()).unwrap(), rule).unwrap()
    }

    #[test]
    fn on_least_squares_ief_is_the_natural_gradient_and_ef_is_not() {
        let [ngd, ief, ef] =
            [Rule::Ngd, Rule::Ief, Rule::Ef].map(|rule| field(Problem::LeastSquares, rule));
        assert_eq!(ngd.arrows.len(), GRID[0] * GRID[1]);
        let pairs = ngd.arrows.iter().zip(&ief.arrows);
        let zoomed = ngd.zoomed.iter().zip(&ief.zoomed);
        for (ngd, ief) in pairs.chain(zoomed) {
            let off = [
                ngd.update_offset - ief.update_offset,
                ngd.update_slope - ief.update_slope,
            ];
            let size = norm([ngd.update_offset, ngd.update_slope]);
            assert!(norm(off) <= 1e-9 * size, "{ngd:?} {ief:?}");
        }
        assert!(ef.mean_angle() > 20.0, "{}", ef.mean_angle());
        assert!(ef.largest_angle() > 60.0, "{}", ef.largest_angle());
        // Every path of the natural gradient ends at the optimum, straight.
        for path in &ngd.paths {
            let end = path.last().unwrap();
            assert!(norm([end.offset, end.slope]) < STEP);
        }
    }

    #[test]
    fn ef_updates_grow_as_the_loss_falls() {
        for problem in Problem::ALL {
            let grows = |rule| {
                let lengths = field(problem, rule).lengths;
                lengths[lengths.len() - 1].length / lengths[lengths.len() / 2].length
            };
            assert!(grows(Rule::Ef) > 10.0);
            assert!(grows(Rule::Ief) < 0.1);
        }
    }

    #[test]
    fn on_the_logistic_problem_ief_is_nearer_to_the_natural_gradient_than_ef() {
        let [sgd, ief, ef] = [Rule::Sgd, Rule::Ief, Rule::Ef]
            .map(|rule| field(Problem::Logistic, rule).mean_angle());
        assert!(ief < sgd && ief < ef, "{ief} {sgd} {ef}");
    }
}
