//! The problems: `z = θ₀ + θ₁ x` through two samples.

use std::f64::consts::TAU;

/// A problem with two samples and two parameters, an offset and a slope.
///
/// ```
/// use figures::toy::Problem;
///
/// assert_eq!(Problem::LeastSquares.loss([1.0, 1.0]), 2.5); // (1² + 2²) / 2
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// ½ (z − y)² at x = 0, 1 with y = 0, 0.
    LeastSquares,
    /// Cross-entropy of sigmoid(z) at x = 0, 2 with y = 0, 1: the least loss is at infinity.
    Logistic,
}

impl Problem {
    /// Both.
    pub const ALL: [Self; 2] = [Self::LeastSquares, Self::Logistic];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::LeastSquares => "least_squares",
            Self::Logistic => "logistic",
        }
    }

    /// The inputs of its samples.
    pub fn inputs(self) -> [f64; 2] {
        match self {
            Self::LeastSquares => [0.0, 1.0],
            Self::Logistic => [0.0, 2.0],
        }
    }

    /// The labels of its samples.
    pub fn labels(self) -> [f64; 2] {
        match self {
            Self::LeastSquares => [0.0, 0.0],
            Self::Logistic => [0.0, 1.0],
        }
    }

    /// The summed loss.
    pub fn loss(self, [offset, slope]: [f64; 2]) -> f64 {
        let z = self.inputs().map(|x| offset + slope * x);
        match self {
            Self::LeastSquares => (z[0] * z[0] + z[1] * z[1]) / 2.0,
            Self::Logistic => softplus(z[0]) + softplus(-z[1]),
        }
    }

    /// A line of equal summed loss: the samples share it in all proportions.
    pub fn contour(self, loss: f64, points: usize) -> Vec<(f64, f64)> {
        let outputs = (0..=points).map(|i| i as f64 / points as f64);
        let outputs = outputs.filter_map(|part| match self {
            Self::LeastSquares => {
                let (sin, cos) = (TAU * part).sin_cos();
                let radius = (2.0 * loss).sqrt();
                Some([radius * cos, radius * sin])
            }
            Self::Logistic => {
                let inverse = |loss: f64| loss.exp_m1().ln();
                let inside = part > 0.0 && part < 1.0;
                inside.then(|| [inverse(loss * part), -inverse(loss * (1.0 - part))])
            }
        });
        let [first, second] = self.inputs();
        outputs
            .map(|z| {
                let slope = (z[1] - z[0]) / (second - first);
                (z[0] - slope * first, slope)
            })
            .collect()
    }

    /// Half the width of the square around the origin that is shown.
    pub fn reach(self) -> f64 {
        match self {
            Self::LeastSquares => 1.0,
            Self::Logistic => 3.0,
        }
    }

    /// Middle and half width of what is shown larger: around the optimum, or where both samples
    /// are fitted.
    pub fn zoom(self) -> ([f64; 2], f64) {
        match self {
            Self::LeastSquares => ([0.0, 0.0], 0.12),
            Self::Logistic => ([-2.1, 2.1], 0.9),
        }
    }

    /// Where the paths start.
    pub fn starts(self) -> [[f64; 2]; 5] {
        match self {
            Self::LeastSquares => [
                [0.9, -0.3],
                [0.35, 0.85],
                [-0.4, 0.9],
                [-0.9, 0.2],
                [-0.3, -0.85],
            ],
            Self::Logistic => [
                [2.6, -2.2],
                [2.4, 0.6],
                [0.6, -2.6],
                [-0.6, 0.2],
                [-2.6, -1.4],
            ],
        }
    }

    /// Points with ever smaller losses along which the lengths of updates are compared.
    pub fn ray(self) -> Vec<[f64; 2]> {
        let parts = (0..=40).map(|i| f64::from(i) / 40.0);
        match self {
            Self::LeastSquares => parts
                .map(|part| 10f64.powf(-3.0 * part))
                .map(|far| [0.9 * far, -0.3 * far])
                .collect(),
            // z = −t and t: both samples are fitted alike.
            Self::Logistic => parts
                .map(|part| 9.0 * part - 1.0)
                .map(|t| [-t, t])
                .collect(),
        }
    }
}

fn softplus(z: f64) -> f64 {
    z.max(0.0) + (-z.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contours_have_the_loss_they_say() {
        for problem in Problem::ALL {
            for loss in [0.1, 1.0, 3.0] {
                let points = problem.contour(loss, 40);
                assert!(points.len() > 30);
                for (offset, slope) in points {
                    let found = problem.loss([offset, slope]);
                    assert!((found - loss).abs() < 1e-12 * loss, "{found} {loss}");
                }
            }
        }
    }

    #[test]
    fn losses_fall_along_the_ray() {
        for problem in Problem::ALL {
            let losses: Vec<_> = problem.ray().iter().map(|t| problem.loss(*t)).collect();
            assert!(losses.windows(2).all(|pair| pair[1] < pair[0]));
        }
    }
}
