//! AdamW on Riemannian-preconditioned gradients of LoRA's factors (arXiv 2402.02347, "scaled AdamW").

use faer::Mat;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::adamw::{self, AdamWOptions};
use super::{Budget, Contender, Model, Options, read, with_lora, write};
use crate::definition::Trained;
use crate::error::Error;
use crate::matrix::symmetric_function;
use crate::parameters::lora_pairs;
use crate::stepper::{Pair, PairRule, Recipe};

/// The damping of the preconditioner, and AdamW.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RiemannianOptions {
    damping: f64,
    adamw: AdamWOptions,
}

/// Scaled AdamW as PEFT makes it: five step sizes.
pub(super) fn contender() -> Contender {
    let options = RiemannianOptions {
        damping: 1e-2,
        adamw: AdamWOptions::default(),
    };
    Contender {
        name: "riemannian",
        title: "Riemannian AdamW",
        applies: with_lora,
        budget: Budget::five_sizes(first),
        options: Options::Same(write(&options)),
        build,
        half: None,
    }
}

fn first(trained: Trained) -> f64 {
    2.0 * adamw::first(trained)
}

fn build(options: &Value, model: &Model<'_>) -> Result<Recipe, Error> {
    let options: RiemannianOptions = read("riemannian", options)?;
    Ok(Recipe::Pairs {
        pairs: lora_pairs(model.parameters),
        rule: Box::new(Riemannian {
            damping: options.damping,
        }),
        optim: options.adamw.build().into(),
    })
}

/// `g_A (B Bᵀ + δI)⁻¹` and `(Aᵀ A + δI)⁻¹ g_B`: the gradients in the metric of the dense weight.
struct Riemannian {
    damping: f64,
}

impl PairRule for Riemannian {
    fn change(&mut self, factors: &[Pair], gradients: &[Pair]) -> Vec<Pair> {
        let inverse = |gram: Mat<f64>| symmetric_function(&gram, |x| 1.0 / (x + self.damping));
        let pairs = factors.iter().zip(gradients);
        let change = |(factors, gradients): (&Pair, &Pair)| Pair {
            a: &gradients.a * inverse(&factors.b * factors.b.transpose()),
            b: inverse(factors.a.transpose() * &factors.a) * &gradients.b,
        };
        pairs.map(change).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The inverse of a 2 × 2 matrix by its determinant.
    fn inverse(m: [[f64; 2]; 2]) -> [[f64; 2]; 2] {
        let d = m[0][0] * m[1][1] - m[0][1] * m[1][0];
        [[m[1][1] / d, -m[0][1] / d], [-m[1][0] / d, m[0][0] / d]]
    }

    #[test]
    fn gradients_are_those_of_the_formula() {
        let damping = 0.01;
        let a = Mat::from_fn(3, 2, |i, j| (1 + i) as f64 - 2.5 * j as f64);
        let b = Mat::from_fn(2, 4, |i, j| 0.3 * i as f64 - 0.2 * (j * j) as f64 + 0.1);
        let ga = Mat::from_fn(3, 2, |i, j| (i as f64 - 1.0) * 0.7 + j as f64);
        let gb = Mat::from_fn(2, 4, |i, j| 0.5 - (i + 2 * j) as f64 * 0.3);
        let gram = |entry: &dyn Fn(usize, usize) -> f64| {
            let mut m = [[0.0; 2]; 2];
            for (i, row) in m.iter_mut().enumerate() {
                for (j, value) in row.iter_mut().enumerate() {
                    *value = entry(i, j) + if i == j { damping } else { 0.0 };
                }
            }
            inverse(m)
        };
        let of_b = gram(&|i, j| (0..4).map(|k| b[(i, k)] * b[(j, k)]).sum());
        let of_a = gram(&|i, j| (0..3).map(|k| a[(k, i)] * a[(k, j)]).sum());
        let factors = [Pair { a, b }];
        let gradients = [Pair {
            a: ga.clone(),
            b: gb.clone(),
        }];
        let changed = Riemannian { damping }.change(&factors, &gradients);
        let to_matrix = |m: [[f64; 2]; 2]| Mat::from_fn(2, 2, |i, j| m[i][j]);
        let expected = [ga * to_matrix(of_b), to_matrix(of_a) * gb];
        for (changed, expected) in [&changed[0].a, &changed[0].b].into_iter().zip(&expected) {
            let difference = (changed - expected).norm_max();
            assert!(difference < 1e-9 * expected.norm_max(), "{changed:?}");
        }
    }
}
