//! iEF with every batch cut into parts, as several devices would measure them, and three ways to one update.

use burn_ief::methods::{AnyConfig, Reduction};
use burn_ief::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Budget, Contender, Model, Options, everywhere, read, write};
use crate::error::Error;
use crate::schedule::Schedule;
use crate::stepper::Recipe;

/// A number of parts, and how they become one update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The name of its contender.
    pub name: &'static str,
    /// The name of its contender in tables.
    pub title: &'static str,
    /// Parts of each batch.
    pub parts: usize,
    /// How they become one update.
    pub reduction: Reduction,
}

const fn cut(name: &'static str, title: &'static str, parts: usize, reduction: Reduction) -> Cut {
    Cut {
        name,
        title,
        parts,
        reduction,
    }
}

/// All that are compared, the most different ones first. With one part the three ways are the same.
pub const CUTS: [Cut; 10] = [
    cut("ief-joint-1", "iEF, whole batches", 1, Reduction::Joint),
    cut("ief-joint-8", "joint, 8 parts", 8, Reduction::Joint),
    cut("ief-mean-8", "mean, 8 parts", 8, Reduction::Mean),
    cut("ief-sum-8", "sum, 8 parts", 8, Reduction::Sum),
    cut("ief-joint-2", "joint, 2 parts", 2, Reduction::Joint),
    cut("ief-mean-2", "mean, 2 parts", 2, Reduction::Mean),
    cut("ief-sum-2", "sum, 2 parts", 2, Reduction::Sum),
    cut("ief-joint-4", "joint, 4 parts", 4, Reduction::Joint),
    cut("ief-mean-4", "mean, 4 parts", 4, Reduction::Mean),
    cut("ief-sum-4", "sum, 4 parts", 4, Reduction::Sum),
];

/// What runs are recorded with.
#[derive(Debug, Serialize, Deserialize)]
struct Recorded {
    parts: usize,
    reduction: Reduction,
    method: AnyConfig,
}

impl Cut {
    /// iEF with the paper's damping and without a metric or a bound, with a search for the step size; with momentum in
    /// the solve, except for sums.
    pub fn contender(self) -> Contender {
        // In a sum, the previous update that each part has in its own would grow without bound.
        let momentum = match self.reduction {
            Reduction::Sum => 0.0,
            _ => 0.9,
        };
        let solve = SolveOptions::plain(Damping::relative(1e-3)).with_momentum(Some(momentum));
        let method = AnyConfig::from(IefConfig::new().with_solve(solve));
        Contender {
            name: self.name,
            title: self.title,
            applies: everywhere,
            budget: Budget::Searched {
                first: |_| 0.125,
                sizes: 5,
                schedules: &[Schedule::Linear],
                seeds: 3,
            },
            options: Options::Same(write(&Recorded {
                parts: self.parts,
                reduction: self.reduction,
                method,
            })),
            build,
            half: None,
        }
    }
}

/// A contender for each of [`CUTS`], in their order.
pub fn all() -> Vec<Contender> {
    CUTS.map(Cut::contender).to_vec()
}

fn build(options: &Value, _model: &Model<'_>) -> Result<Recipe, Error> {
    let recorded: Recorded = read("iEF in parts", options)?;
    if recorded.parts == 0 {
        let problem = "parts: expected at least 1, found 0";
        return Err(Error::settings("iEF in parts", problem));
    }
    Ok(Recipe::Parts {
        config: Box::new(recorded.method),
        parts: recorded.parts,
        reduction: recorded.reduction,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks;

    #[test]
    fn contenders_are_built_with_the_parts_of_their_names() {
        let definition = tasks::named("digits-lora").unwrap().definition;
        let model = Model {
            parameters: &[],
            definition,
            seed: 1,
        };
        for cut in CUTS {
            assert_eq!(cut.name, format!("ief-{}-{}", cut.reduction, cut.parts));
            let contender = crate::optimizers::named(cut.name).unwrap();
            let options = contender.options(definition);
            let recipe = (contender.build)(&options, &model).unwrap();
            let Recipe::Parts {
                parts, reduction, ..
            } = recipe
            else {
                panic!("{}", cut.name)
            };
            assert_eq!((parts, reduction), (cut.parts, cut.reduction));
            let mut none = options;
            none["parts"] = 0.into();
            assert!((contender.build)(&none, &model).is_err());
        }
    }
}
