//! How to prune.

use burn_ief::prune::{PruneCurvature, WoodFisherConfig};
use burn_ief::solve::DampingAmount;
use serde::Serialize;

use crate::error::Error;

/// A way to prune.
///
/// ```
/// use finetune::prune::Pruning;
///
/// assert_eq!(Pruning::Ief.title(), "WoodFisher, iEF");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pruning {
    /// Smallest weights first.
    Magnitude,
    /// WoodFisher with the empirical Fisher matrix.
    Ef,
    /// WoodFisher with the improved empirical Fisher matrix.
    Ief,
}

impl Pruning {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Magnitude, Self::Ef, Self::Ief];

    /// Its name in tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::Magnitude => "magnitude",
            Self::Ef => "WoodFisher, EF",
            Self::Ief => "WoodFisher, iEF",
        }
    }

    /// Its Fisher matrix, if it has one.
    pub fn curvature(self) -> Option<PruneCurvature> {
        match self {
            Self::Magnitude => None,
            Self::Ef => Some(PruneCurvature::Empirical),
            Self::Ief => Some(PruneCurvature::Improved),
        }
    }
}

/// Ways, sparsities and the settings of the Fisher matrices.
///
/// ```
/// use finetune::prune::PruneOptions;
///
/// let options = PruneOptions { gradients: 0, ..PruneOptions::default() };
/// assert!(options.validate().unwrap_err().to_string().contains("`gradients`"));
/// ```
#[derive(Debug, Clone, clap::Args, Serialize)]
pub struct PruneOptions {
    /// Ways to prune, separated by commas.
    #[arg(long = "method", value_enum, value_delimiter = ',', default_values_t = Pruning::ALL)]
    pub methods: Vec<Pruning>,
    /// Shares of the weights to prune, 0 to 1, separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = [0.5, 0.8, 0.9, 0.95], value_parser = programs::command::share)]
    pub sparsity: Vec<f64>,
    /// Per-sample gradients in the Fisher matrix, each of another training row.
    #[arg(long, default_value_t = 512)]
    pub gradients: usize,
    /// Weights in a block.
    #[arg(long, default_value_t = 64)]
    pub block_size: usize,
    /// Damping, relative to the mean diagonal of the first batch's Fisher matrix.
    #[arg(long, default_value_t = 1e-2)]
    pub damping: f64,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self {
            methods: Pruning::ALL.to_vec(),
            sparsity: vec![0.5, 0.8, 0.9, 0.95],
            gradients: 512,
            block_size: 64,
            damping: 1e-2,
        }
    }
}

impl PruneOptions {
    /// Check the settings of the Fisher matrices.
    ///
    /// # Errors
    ///
    /// [`Error::Method`] naming the first that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        Ok(self.config(PruneCurvature::Improved).validate()?)
    }

    /// Every gradient is that of another training row.
    pub(super) fn check_rows(&self, rows: usize) -> Result<(), Error> {
        let wanted = self.methods.iter().any(|way| way.curvature().is_some());
        if wanted && self.gradients > rows {
            let expected = format!("1 to {rows}, the rows for training");
            Err(Error::config("gradients", self.gradients, expected))
        } else {
            Ok(())
        }
    }

    pub(super) fn config(&self, curvature: PruneCurvature) -> WoodFisherConfig {
        WoodFisherConfig::new(self.gradients)
            .with_curvature(curvature)
            .with_block_size(self.block_size)
            .with_damping(DampingAmount::Relative(self.damping))
    }
}
