//! The optimizers that the quickstart compares, with the best step sizes of a search.

use programs::optimizer::{OptimizerConfig, OptimizerName, optimizer};

/// An optimizer with its step sizes.
#[derive(Debug, Clone, Copy)]
pub struct Tuned {
    /// The optimizer.
    pub method: OptimizerName,
    /// The first step size of a run; it falls linearly to zero.
    ///
    /// The best of [`grid`](Self::grid) by final training loss, as
    /// `cargo run --release -p quickstart -- --tune` chose it (seed 100, 8 epochs).
    pub step_size: f64,
    /// The middle of the step sizes that `--tune` tries.
    middle: f64,
}

impl Tuned {
    /// All of them.
    pub fn all() -> [Self; 5] {
        let sizes = [
            ("adamw", 0.016, 0.016),
            ("sgd", 0.5, 0.5),
            ("ef", 0.8, 0.8),
            ("sf", 0.8, 0.4),
            ("ief", 1.0, 1.0),
        ];
        sizes.map(|(name, step_size, middle)| Self {
            method: optimizer(name),
            step_size,
            middle,
        })
    }

    /// The optimizer of this name.
    ///
    /// # Errors
    ///
    /// Names those that have a step size for this task.
    pub fn named(name: &str) -> Result<Self, String> {
        let all = Self::all();
        let found = all.iter().find(|tuned| tuned.method.name() == name);
        found.copied().ok_or_else(|| {
            let names = all.map(|tuned| tuned.method.name());
            format!(
                "no step size for `{name}`: expected one of {}",
                names.join(", ")
            )
        })
    }

    /// The step sizes that `--tune` tries: five for each method, a factor of two apart.
    pub fn grid(&self) -> [f64; 5] {
        [0.25, 0.5, 1.0, 2.0, 4.0].map(|factor| factor * self.middle)
    }

    /// The recommended settings of the method. `seed` is that of the drawn labels.
    pub fn config(&self, seed: u64) -> OptimizerConfig {
        OptimizerConfig::new(self.method).with_seed(seed)
    }
}
