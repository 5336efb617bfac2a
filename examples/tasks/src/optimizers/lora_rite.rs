//! LoRA-RITE (Yen et al., "LoRA Done RITE", arXiv 2410.20625): steps that do not depend on how a product is split
//! into its two factors.

use faer::Mat;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use burn::module::ParamGroup;
use burn::optim::{ModuleOptimizer, SgdConfig};

use super::adamw::{self, AdamWOptions};
use super::{Budget, Contender, Model, Options, read, with_lora, write};
use crate::definition::Trained;
use crate::error::Error;
use crate::matrix::{pseudo_inverse, symmetric_function};
use crate::parameters::lora_pairs;
use crate::stepper::{Pair, PairRule, Recipe};

/// The options of LoRA-RITE, and AdamW for the parameters that are no factors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RiteOptions {
    betas: [f64; 2],
    epsilon: f64,
    /// Largest norm of the unmagnified gradients of all adapters together.
    clip: f64,
    /// An unmagnified gradient whose root mean square is above this is left out.
    skip: f64,
    rest: AdamWOptions,
}

/// LoRA-RITE with the settings of the authors' PyTorch code (without the escaped mass, which it leaves off):
/// five step sizes. The head takes AdamW's steps of the same size.
pub(super) fn contender() -> Contender {
    let options = RiteOptions {
        betas: [0.9, 0.999],
        epsilon: 1e-6,
        clip: 1.0,
        skip: 1.0,
        rest: AdamWOptions::default(),
    };
    Contender {
        name: "lora-rite",
        title: "LoRA-RITE",
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
    let options: RiteOptions = read("lora-rite", options)?;
    let pairs = lora_pairs(model.parameters);
    let factors = pairs.iter().flat_map(|pair| [pair.a.id, pair.b.id]);
    let group = ParamGroup::from_ids(factors.collect());
    let optim = ModuleOptimizer::from(options.rest.build());
    Ok(Recipe::Pairs {
        pairs,
        optim: optim.with_group(group, SgdConfig::new().build(), None),
        rule: Box::new(Rite {
            options,
            step: 0,
            sides: Vec::new(),
        }),
    })
}

/// What is kept of one factor, in the basis of the other.
struct Side {
    /// The basis of the other factor in the step before.
    basis: Mat<f64>,
    first: Mat<f64>,
    second: Mat<f64>,
}

/// The state of all adapters.
struct Rite {
    options: RiteOptions,
    step: i32,
    /// Of A and B of each adapter.
    sides: Vec<Side>,
}

/// A factor with as many columns as the rank, and what the other factor is made of.
struct Seen {
    /// The unmagnified gradient.
    gradient: Mat<f64>,
    /// The basis U of the other factor.
    basis: Mat<f64>,
    /// R⁺ of the other factor.
    inverse: Mat<f64>,
}

impl Rite {
    /// The gradient `gradient` `[n, r]` without the size of the other factor `other` `[m, r]`.
    fn see(&self, gradient: Mat<f64>, other: &Mat<f64>) -> Seen {
        let decomposed = other.qr();
        let (basis, r) = (decomposed.compute_thin_Q(), decomposed.thin_R().to_owned());
        // As PyTorch's in f32.
        let cut = r.nrows() as f64 * f64::from(f32::EPSILON);
        let inverse = pseudo_inverse(&r, cut);
        let mut gradient = gradient * &inverse;
        let entries = (gradient.nrows() * gradient.ncols()) as f64;
        if gradient.norm_l2() / entries.sqrt() > self.options.skip {
            gradient.fill(0.0);
        }
        Seen {
            gradient,
            basis,
            inverse,
        }
    }

    /// The step of a factor.
    fn advance(side: &mut Side, seen: Seen, options: &RiteOptions, step: i32) -> Mat<f64> {
        let decay = |beta: f64| beta * (1.0 - beta.powi(step - 1)) / (1.0 - beta.powi(step));
        let [keep_first, keep_second] = options.betas.map(decay);
        let Seen {
            gradient,
            basis,
            inverse,
        } = seen;
        let moved = basis.transpose() * &side.basis;
        let square = gradient.transpose() * &gradient * faer::Scale(1.0 / gradient.nrows() as f64);
        let second = &moved * &side.second * moved.transpose();
        side.second = second * faer::Scale(keep_second) + square * faer::Scale(1.0 - keep_second);
        let root = |x: f64| 1.0 / (x.max(0.0).sqrt() + options.epsilon);
        let scaled = gradient * symmetric_function(&side.second, root);
        let first = &side.first * moved.transpose();
        side.first = first * faer::Scale(keep_first) + scaled * faer::Scale(1.0 - keep_first);
        side.basis = basis;
        &side.first * inverse.transpose()
    }
}

impl PairRule for Rite {
    fn change(&mut self, factors: &[Pair], gradients: &[Pair]) -> Vec<Pair> {
        self.step += 1;
        // A of the inputs by the rank, and Bᵀ of the outputs by the rank.
        let mut seen = Vec::with_capacity(2 * factors.len());
        for (pair, gradient) in factors.iter().zip(gradients) {
            let b = pair.b.transpose().to_owned();
            seen.push(self.see(gradient.a.clone(), &b));
            seen.push(self.see(gradient.b.transpose().to_owned(), &pair.a));
        }
        let norm = seen.iter().map(|seen| seen.gradient.squared_norm_l2());
        let norm = norm.sum::<f64>().sqrt();
        if norm > self.options.clip {
            for seen in &mut seen {
                seen.gradient *= faer::Scale(self.options.clip / norm);
            }
        }
        if self.sides.is_empty() {
            let new = |seen: &Seen| Side {
                basis: Mat::zeros(seen.basis.nrows(), seen.basis.ncols()),
                first: Mat::zeros(seen.gradient.nrows(), seen.gradient.ncols()),
                second: Mat::zeros(seen.basis.ncols(), seen.basis.ncols()),
            };
            self.sides = seen.iter().map(new).collect();
        }
        let mut steps = Vec::with_capacity(seen.len());
        for (side, seen) in self.sides.iter_mut().zip(seen) {
            steps.push(Self::advance(side, seen, &self.options, self.step));
        }
        let mut steps = steps.into_iter();
        let mut pairs = Vec::with_capacity(factors.len());
        while let (Some(a), Some(b)) = (steps.next(), steps.next()) {
            pairs.push(Pair {
                a,
                b: b.transpose().to_owned(),
            });
        }
        pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rite() -> Rite {
        let options = contender().options;
        let Options::Same(options) = options else {
            panic!("the same options for all tasks");
        };
        Rite {
            options: read("lora-rite", &options).unwrap(),
            step: 0,
            sides: Vec::new(),
        }
    }

    /// The factors of two adapters, and the products that they should have.
    fn problem() -> (Vec<Pair>, Vec<Mat<f64>>) {
        let pair = |p: f64| Pair {
            a: Mat::from_fn(3, 2, |i, j| {
                let (i, j) = (i as f64, j as f64);
                0.3 * (i + 1.0) - 0.5 * j + 0.1 * p * i * j
            }),
            b: Mat::from_fn(2, 4, |i, j| {
                let (i, j) = (i as f64, j as f64);
                0.2 * i - 0.1 * j * (p + 1.0) + 0.05 * i * j
            }),
        };
        let target = |p: f64| Mat::from_fn(3, 4, |i, j| 0.4 * i as f64 - 0.3 * j as f64 + 0.2 * p);
        (vec![pair(0.0), pair(1.0)], vec![target(0.0), target(1.0)])
    }

    /// Steps down a tenth of the squared distance of the products.
    fn descend(factors: &mut [Pair], targets: &[Mat<f64>], steps: usize) {
        let mut rule = rite();
        for _ in 0..steps {
            let gradient = |(pair, target): (&Pair, &Mat<f64>)| {
                let error = (&pair.a * &pair.b - target) * faer::Scale(0.2);
                Pair {
                    a: &error * pair.b.transpose(),
                    b: pair.a.transpose() * &error,
                }
            };
            let gradients: Vec<Pair> = factors.iter().zip(targets).map(gradient).collect();
            let changes = rule.change(factors, &gradients);
            for (pair, change) in factors.iter_mut().zip(changes) {
                pair.a -= change.a * faer::Scale(0.05);
                pair.b -= change.b * faer::Scale(0.05);
            }
        }
    }

    /// Four steps by the authors' PyTorch code (github.com/gkevinyen5418/LoRA-RITE at c9bb451), in f64.
    #[test]
    fn steps_are_those_of_the_authors_code() {
        let expected = [
            (
                [
                    [0.8589786533, -0.1817824631],
                    [1.0790716015, 0.4988769035],
                    [1.2991645496, 1.1795362702],
                ],
                [
                    [0.1305983112, -0.1243951979, -0.3793887069, -0.634382216],
                    [0.3671937667, 0.4373533335, 0.5075129004, 0.5776724673],
                ],
            ),
            (
                [
                    [0.5642457903, 0.5917568577],
                    [0.7278026545, 1.3652590595],
                    [0.8913595186, 2.1387612613],
                ],
                [
                    [0.4610982756, -0.1938809919, -0.8488602594, -1.5038395268],
                    [-0.0024764464, 0.1867688931, 0.3760142327, 0.5652595722],
                ],
            ),
        ];
        let (mut factors, targets) = problem();
        descend(&mut factors, &targets, 4);
        for (pair, (a, b)) in factors.iter().zip(expected) {
            let a = Mat::from_fn(3, 2, |i, j| a[i][j]);
            let b = Mat::from_fn(2, 4, |i, j| b[i][j]);
            assert!((&pair.a - a).norm_max() < 1e-8, "{:?}", pair.a);
            assert!((&pair.b - b).norm_max() < 1e-8, "{:?}", pair.b);
        }
    }

    #[test]
    fn products_do_not_depend_on_the_split_into_factors() {
        let (mut factors, targets) = problem();
        let turn = Mat::from_fn(2, 2, |i, j| [[1.5, -0.4], [0.7, 2.0]][i][j]);
        let back = pseudo_inverse(&turn, 1e-12);
        let other = |pair: &Pair| Pair {
            a: &pair.a * &turn,
            b: &back * &pair.b,
        };
        let mut others: Vec<Pair> = factors.iter().map(other).collect();
        descend(&mut factors, &targets, 6);
        descend(&mut others, &targets, 6);
        for (pair, other) in factors.iter().zip(&others) {
            let difference = &pair.a * &pair.b - &other.a * &other.b;
            // ε is not invariant.
            assert!(difference.norm_max() < 1e-4, "{difference:?}");
        }
    }

    #[test]
    fn a_factor_of_zeros_leaves_the_other_where_it_is() {
        let mut factors = vec![Pair {
            a: Mat::from_fn(5, 2, |i, j| (i + 3 * j) as f64 * 0.1),
            b: Mat::zeros(2, 4),
        }];
        let before = factors[0].a.clone();
        descend(&mut factors, &[Mat::full(5, 4, 1.0)], 1);
        assert_eq!((&factors[0].a - &before).norm_max(), 0.0);
        assert!(factors[0].b.norm_max() > 0.0 && factors[0].b.norm_max().is_finite());
    }
}
