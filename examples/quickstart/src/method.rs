//! The five optimizers and their step sizes.

use burn::optim::{AdamWConfig, ModuleOptimizer, SgdConfig};
use burn_ief::{EfConfig, IefConfig, NaturalGradient, SfConfig};

/// An optimizer to fine-tune with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Method {
    /// Adam with decoupled weight decay.
    Adamw,
    /// Plain stochastic gradient descent.
    Sgd,
    /// Empirical Fisher, updates scaled to norm 1.
    Ef,
    /// Fisher matrix from drawn labels, updates scaled to norm 1.
    Sf,
    /// Improved empirical Fisher.
    Ief,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Adamw, Self::Sgd, Self::Ef, Self::Sf, Self::Ief];

    /// Its name on the command line and in the rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Adamw => "adamw",
            Self::Sgd => "sgd",
            Self::Ef => "ef",
            Self::Sf => "sf",
            Self::Ief => "ief",
        }
    }

    /// Its name in the table and the picture.
    pub fn title(self) -> &'static str {
        match self {
            Self::Adamw => "AdamW",
            Self::Sgd => "SGD",
            Self::Ef => "EF",
            Self::Sf => "SF",
            Self::Ief => "iEF",
        }
    }

    /// The first step size of a run; it falls linearly to zero.
    ///
    /// The best of [`grid`](Self::grid) by final training loss, as
    /// `cargo run --release -p quickstart -- --tune` chose it (seed 100, 8 epochs).
    pub fn step_size(self) -> f64 {
        match self {
            Self::Adamw => 0.016,
            Self::Sgd => 0.5,
            Self::Ef => 0.8,
            Self::Sf => 0.8,
            Self::Ief => 4.0,
        }
    }

    /// The step sizes that `--tune` tries: five for each method, a factor of two apart.
    pub fn grid(self) -> [f64; 5] {
        let middle = match self {
            Self::Adamw => 0.016,
            Self::Sgd => 0.5,
            Self::Ef => 0.8,
            Self::Sf => 0.4,
            Self::Ief => 4.0,
        };
        [0.25, 0.5, 1.0, 2.0, 4.0].map(|factor| factor * middle)
    }

    /// The optimizer, and the natural-gradient method that it belongs to, if any.
    ///
    /// EF and SF scale their updates to norm 1, as in the paper; iEF needs no option. `seed` is
    /// that of the drawn labels.
    pub fn build(self, seed: u64) -> (ModuleOptimizer, Option<NaturalGradient>) {
        let natural = match self {
            Self::Adamw => return (AdamWConfig::new().with_weight_decay(0.01).init(), None),
            Self::Sgd => return (SgdConfig::new().init(), None),
            Self::Ef => EfConfig::new().with_normalize(Some(1.0)).build(),
            Self::Sf => SfConfig::new()
                .with_normalize(Some(1.0))
                .with_seed(seed)
                .build(),
            Self::Ief => IefConfig::new().build(),
        };
        (natural.optimizer(), Some(natural))
    }
}
