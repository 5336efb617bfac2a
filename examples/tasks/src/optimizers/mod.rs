//! The optimizers, one family in a file.
//!
//! To add one, write its file and add a line to [`all`].

mod adafactor;
mod adamw;
mod lora_plus;
mod lora_rite;
mod muon;
mod natural;
pub mod parts;
mod riemannian;
mod sgd;

use serde_json::Value;

use crate::definition::{Definition, Half, Trained};
use crate::error::Error;
use crate::parameters::Parameter;
use crate::schedule::Schedule;
use crate::stepper::Recipe;

pub use natural::BASELINE as IEF;

/// The name of the optimizer that all others are compared with.
pub const REFERENCE: &str = "adamw";

/// An optimizer with its settings and the budget of its search.
#[derive(Debug, Clone)]
pub struct Contender {
    /// Its name on the command line and in files.
    pub name: &'static str,
    /// Its name in tables.
    pub title: &'static str,
    /// The tasks that it is for.
    pub applies: fn(&Definition) -> bool,
    /// The step sizes and schedules of its runs.
    pub budget: Budget,
    /// All options but the step size, for a task. They are what runs are recorded with, and what the
    /// optimizer is made from.
    pub options: Options,
    /// The optimizer.
    pub build: fn(&Value, &Model<'_>) -> Result<Recipe, Error>,
    /// If it is a candidate for a default: the half that it runs on. No half holds it back otherwise.
    pub half: Option<Half>,
}

/// Where the options of a contender come from.
#[derive(Debug, Clone)]
pub enum Options {
    /// The same for all tasks.
    Same(Value),
    /// By the task.
    ByTask(natural::Setting),
}

/// What an optimizer may know of the model and the run.
#[derive(Debug)]
pub struct Model<'a> {
    /// The parameters that are trained.
    pub parameters: &'a [Parameter],
    /// The task.
    pub definition: &'a Definition,
    /// The seed of drawn labels.
    pub seed: u64,
}

/// Which runs an optimizer gets.
#[derive(Debug, Clone, Copy)]
pub enum Budget {
    /// One setting, without a search.
    Fixed {
        /// The largest step size.
        step_size: f64,
        /// How it changes.
        schedule: Schedule,
        /// Runs that are reported, with other seeds than the search's.
        seeds: u64,
    },
    /// A search on one seed, and more seeds of the best setting.
    Searched {
        /// The smallest step size of the grid, by what is trained. The next ones are twice as large each.
        first: fn(Trained) -> f64,
        /// Step sizes.
        sizes: usize,
        /// Schedules, each with all step sizes.
        schedules: &'static [Schedule],
        /// Runs of the best setting that are reported, with other seeds than the search's.
        seeds: u64,
    },
}

impl Budget {
    /// Five step sizes from `first` on, all of them with linear decay after a warm-up; three more seeds of the best one.
    fn five_sizes(first: fn(Trained) -> f64) -> Self {
        Self::Searched {
            first,
            sizes: 5,
            schedules: &[Schedule::WarmupLinear],
            seeds: 3,
        }
    }
}

impl Contender {
    /// All options but the step size, for a task.
    pub fn options(&self, definition: &Definition) -> Value {
        match &self.options {
            Options::Same(options) => options.clone(),
            Options::ByTask(setting) => setting.options(definition),
        }
    }
}

/// All optimizers, in the order in which they run.
pub fn all() -> Vec<Contender> {
    let mut all = vec![natural::ief(), adamw::contender(), natural::ief_constant()];
    all.extend(natural::candidates());
    all.extend([
        natural::ief_tuned(),
        adamw::late(),
        sgd::contender(),
        muon::contender(),
        adafactor::contender(),
        lora_plus::contender(),
        riemannian::contender(),
        lora_rite::contender(),
        natural::ef(),
        natural::sf(),
        natural::kfac(),
    ]);
    all
}

/// The optimizer of this name, or what is compared with its batches in [`parts`].
///
/// ```
/// use tasks::optimizers::named;
///
/// assert_eq!(named("muon")?.title, "Muon");
/// assert!(named("mu").is_err());
/// # Ok::<(), tasks::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Name`].
pub fn named(name: &str) -> Result<Contender, Error> {
    let mut all = all();
    all.extend(parts::all());
    let names: Vec<&str> = all.iter().map(|contender| contender.name).collect();
    let expected = names.join(", ");
    let found = all.into_iter().find(|contender| contender.name == name);
    found.ok_or_else(|| Error::Name {
        what: "optimizer",
        expected,
        found: name.into(),
    })
}

/// For all tasks.
fn everywhere(_definition: &Definition) -> bool {
    true
}

/// For tasks with LoRA.
fn with_lora(definition: &Definition) -> bool {
    definition.trained == Trained::Lora
}

/// Read the options of an optimizer, as they were recorded.
fn read<T: serde::de::DeserializeOwned>(name: &str, options: &Value) -> Result<T, Error> {
    serde_json::from_value(options.clone()).map_err(|error| Error::settings(name, error))
}

/// Serialise the options of an optimizer.
fn write(options: &impl serde::Serialize) -> Value {
    serde_json::to_value(options).expect("options are plain data")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::tasks::definitions;

    #[test]
    fn names_differ_and_options_are_plain_json() {
        let all = all();
        let names: BTreeSet<&str> = all.iter().map(|contender| contender.name).collect();
        assert_eq!(names.len(), all.len());
        for definition in definitions(None) {
            for contender in &all {
                let options = contender.options(definition);
                let text = serde_json::to_string(&options).unwrap();
                let read: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(read, options, "{} {}", contender.name, definition.name);
            }
        }
    }

    #[test]
    fn every_contender_is_built_from_its_options() {
        for definition in definitions(None) {
            let parameters: Vec<Parameter> = [("x.a", [6, 4]), ("x.b", [4, 5]), ("head", [5, 2])]
                .map(|(path, shape)| Parameter {
                    id: burn::module::ParamId::new(),
                    path: path.into(),
                    shape: shape.to_vec(),
                })
                .to_vec();
            let model = Model {
                parameters: &parameters,
                definition,
                seed: 3,
            };
            for contender in all() {
                let options = contender.options(definition);
                let built = (contender.build)(&options, &model);
                assert!(built.is_ok(), "{} {}", contender.name, definition.name);
            }
        }
    }
}
